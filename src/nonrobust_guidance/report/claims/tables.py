"""The verdicts as a file of numbers, and as rows of text under the names of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.metrics.tables import CLAIMS as CLAIMS_FILE
from nonrobust_guidance.metrics.tables import ENDS
from nonrobust_guidance.report.claims import decide_claims
from nonrobust_guidance.report.claims.evidence import DRAWN_HERE, Evidence
from nonrobust_guidance.report.claims.verdict import Verdict
from nonrobust_guidance.report.facts import Row
from nonrobust_guidance.report.results import Results


def write_claims(run: Measured, results_folder: Path, output_csv: Path) -> None:
    """Decide the claims and write a row for each verdict.

    Raises:
        UserError: if a table is missing or not a table.
    """
    table = pd.DataFrame(map(as_row, decide_claims(Results.read(run, results_folder))), columns=CLAIMS_FILE.columns)
    # Keep counts as integers although untested claims have none: of floats only six digits are written.
    table = table.astype(dict.fromkeys(("n", "seeds", "needed"), "Int64"))
    write_atomically(output_csv, lambda path: table.to_csv(path, index=False, float_format="%.6g"))


def as_row(verdict: Verdict) -> dict[str, Any]:
    """Return the row of a verdict; it has no numbers if the claim was not tested."""
    row: dict[str, Any] = {"claim": verdict.number, "target": verdict.target, "verdict": verdict.decision}
    if verdict.tested is None:
        return row
    measure = verdict.tested.measure
    row |= {f"value{end}": number for end, number in zip(ENDS, measure.value, strict=True)}
    row |= {name: getattr(measure, name) for name in ("test", "one", "other", "threshold", "n", "seeds")}
    return row | {"p": verdict.tested.p, "p_adjusted": verdict.p_adjusted, "needed": verdict.needed}


def claim_table(verdicts: Sequence[Verdict], evidence: Evidence | None = None) -> list[Row]:
    """Return a row for each claim: what decides it, the numbers of this run over all targets, and the verdict.

    With the evidence of a published run, its verdict is shown beside this one's.
    """
    first = {verdict.number: verdict for verdict in reversed(verdicts)}
    rows = []
    for i, v in sorted(first.items()):
        row = {"claim": f"{i}. {v.claim}", "what decides it": v.test, "this run": v.evidence}
        rows.append(row | ({"verdict": v.decision} if evidence is None else beside(i, v, evidence)))
    return rows


def beside(claim: int, verdict: Verdict, evidence: Evidence) -> Row:
    """Return the verdict drawn here and the published one."""
    return {DRAWN_HERE: verdict.decision, evidence.heading: evidence.verdict_of(claim)}


def verdict_table(verdicts: Sequence[Verdict]) -> list[Row]:
    """Return a row for each claim and target."""
    return [
        {"claim": f"{v.number}. {v.claim}", "target": v.target, "this run": v.evidence, "verdict": v.decision}
        for v in verdicts
    ]
