"""The section ``report``: the pages that not every run has."""

from __future__ import annotations

from typing import Annotated, Protocol

from nonrobust_guidance.metrics.settings import GroundTruth, Measured
from nonrobust_guidance.settings import Settings
from nonrobust_guidance.settings.base import absent
from nonrobust_guidance.settings.types import DIFFERENT, Name, Words

EVIDENCE_FILE = "evidence.csv"
"""File in a run's results: a copy of the verdicts of the run that ``report.evidence`` names."""


class Report(Settings):
    """What is shown."""

    ablation_of: Annotated[tuple[Words, ...], DIFFERENT] = ()
    """Guided methods; the ablation page compares each of them with the methods that differ from it in a single
    setting."""
    beside: Annotated[tuple[Name, ...], DIFFERENT] = ()
    """Other runs of the same data set, whose results the ablation page shows beside this one's."""
    evidence: Name | None = absent(
        "A run under published/ on the paper's own protocol, whose verdicts stand beside these."
    )
    ground_truth: GroundTruth = GroundTruth()


class Reported(Measured, Protocol):
    """The parts of a run that reporting reads; `config.Run` has them."""

    @property
    def report(self) -> Report:
        """What is shown."""
        ...
