"""The verdicts of a published run on the paper's own protocol, to stand beside those of what was drawn here."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.tables import CLAIMS, NOT_TESTED
from nonrobust_guidance.report.results import read_table
from nonrobust_guidance.report.settings import EVIDENCE_FILE, Reported

DRAWN_HERE = "drawn here"


class Evidence(NamedTuple):
    """The verdicts of a published run.

    Attributes:
        heading: what a reader is told they are of.
        table: its ``claims.csv``.
    """

    heading: str
    table: pd.DataFrame

    def verdict_of(self, claim: int) -> str:
        """Return the verdict on a claim over all targets, with its n."""
        rows = self.table[self.table["claim"] == claim]
        if rows.empty or rows.iloc[0]["verdict"] == NOT_TESTED:
            return NOT_TESTED
        return f"{rows.iloc[0]['verdict']}, n = {rows.iloc[0]['n']:.0f}"


def read_evidence(run: Reported, results_folder: Path) -> Evidence | None:
    """Read the verdicts of the run that ``report.evidence`` names; None where it names none.

    Args:
        run: the run; its schedule is that of the published one, which takes every step of it.
        results_folder: of the run, which holds a copy of the published verdicts.

    Raises:
        UserError: if the file is missing or lacks a column.
    """
    name = run.report.evidence
    if name is None:
        return None
    path = results_folder / EVIDENCE_FILE
    if not path.is_file():
        raise UserError(f"report.evidence is {name}, but {path} is missing; copy published/{name}/{CLAIMS.name} there")
    steps = run.diffusion.schedule.num_steps
    return Evidence(f"paper's protocol, {steps} steps (published evidence)", read_table(path, CLAIMS.columns))
