"""The pages of the report: what each is about and reads. Each has a folder here and a notebook of the same name.

This one list is used by the workflow, which renders the pages, and by the index, which links them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from nonrobust_guidance.metrics.tables import (
    COMPARISONS,
    COST,
    FACTORS,
    GROUND_TRUTH,
    GROUND_TRUTH_DRAWN,
    METRICS,
    NOISE_ACCURACY,
    SENSITIVITY,
    SIGNATURES,
    TRAJECTORIES,
    ResultFile,
)
from nonrobust_guidance.report.settings import Report
from nonrobust_guidance.settings import Settings


class Page(NamedTuple):
    """A page of the report.

    Attributes:
        name: of the page, of its notebook and of its folder.
        shows: what is on it, in words for the reader.
        reads: files of the run's results.
        samples: whether it shows samples.
        configured: whether it depends on the configuration; if not, it depends only on what it reads.
        asked_by: keys of the section ``report``; the run has the page if one of them is set. Empty if every run has it.
        verdicts: whether it shows the verdicts on the claims, beside the published ones that ``report.evidence`` names.
    """

    name: str
    shows: str
    reads: tuple[ResultFile, ...]
    samples: bool = False
    configured: bool = True
    asked_by: tuple[str, ...] = ()
    verdicts: bool = False

    def settings(self, run: Settings) -> dict[str, Any]:
        """Return what the page depends on besides what it reads."""
        return run.recorded() if self.configured else {}


PAGES = (
    Page(
        "sampling",
        "what each way of guiding draws: accuracy and distance to real images, at every scale, with samples side by "
        "side",
        (METRICS, NOISE_ACCURACY, SENSITIVITY, TRAJECTORIES, SIGNATURES, FACTORS, COMPARISONS),
        samples=True,
        verdicts=True,
    ),
    Page(
        "gradients",
        "what the classifiers see and say under noise: accuracy, and how much their gradients move",
        (NOISE_ACCURACY, SENSITIVITY, TRAJECTORIES),
    ),
    Page(
        "signatures",
        "what guidance does wrong where it fails: colours, lost features, balls moved, shrunk or erased",
        (METRICS, NOISE_ACCURACY, SIGNATURES, FACTORS),
        samples=True,
    ),
    Page(
        "ablation",
        "what each part of a method does: one setting changed at a time, and other runs",
        (METRICS, NOISE_ACCURACY, COMPARISONS),
        asked_by=("ablation_of", "beside"),
    ),
    Page(
        "frontier",
        "accuracy and distance against seconds and network passes, and what to run for a given budget",
        (METRICS, NOISE_ACCURACY, COST),
    ),
    Page(
        "ground_truth",
        "every method on data whose conditional distribution is a formula, so that errors are its own",
        (GROUND_TRUTH, GROUND_TRUTH_DRAWN),
        configured=False,
    ),
)
"""In reading order."""


def pages_of(report: Report, run: object) -> dict[str, Page]:
    """Return the pages of a run by name: those that the settings ask for, and whose tables the run has."""
    asked = [page for page in PAGES if not page.asked_by or any(getattr(report, key) for key in page.asked_by)]
    return {page.name: page for page in asked if all(file.belongs_to(run) for file in page.reads)}
