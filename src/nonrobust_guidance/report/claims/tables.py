"""The verdicts as rows of text under the names of their columns."""

from __future__ import annotations

from collections.abc import Sequence

from nonrobust_guidance.report.claims.verdict import Verdict
from nonrobust_guidance.report.facts import Row


def claim_table(verdicts: Sequence[Verdict]) -> list[Row]:
    """Return a row a claim: what decides it, the numbers of this run over all targets, and the verdict."""
    first = {verdict.number: verdict for verdict in reversed(verdicts)}
    return [
        {"claim": f"{i}. {v.claim}", "what decides it": v.test, "this run": v.evidence, "verdict": v.decision}
        for i, v in sorted(first.items())
    ]


def verdict_table(verdicts: Sequence[Verdict]) -> list[Row]:
    """Return a row a claim and target."""
    return [
        {"claim": f"{v.number}. {v.claim}", "target": v.target, "this run": v.evidence, "verdict": v.decision}
        for v in verdicts
    ]
