"""The verdicts of a published run on the paper's own protocol, shown beside those of this run."""

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
        heading: what they are verdicts on, in words for the reader.
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
        run: the run; the published one has the same schedule and takes every step of it.
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
