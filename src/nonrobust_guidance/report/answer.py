"""The answer in a paragraph, computed from the verdicts and the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results, best
from nonrobust_guidance.report.verdict import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNDECIDED, Field, Verdict
from nonrobust_guidance.report.wording import X0_HAT, X_T, listed, number, percent

KINDS = {
    SUPPORTED: "supports {}",
    NOT_SUPPORTED: "speaks against {}",
    UNDECIDED: "leaves {} undecided",
    NOT_TESTED: "does not test {}",
}


def paragraph(results: Results, verdicts: Sequence[Verdict]) -> str:
    """Return what the run says: which of the paper's statements it supports, and the numbers they rest on."""
    overall = {verdict.number: verdict.outcome for verdict in reversed(verdicts)}
    counts = []
    for outcome, words in KINDS.items():
        numbers = [str(i) for i in sorted(overall) if overall[i] == outcome]
        if numbers:
            counts.append(words.format(f"{len(numbers)} (number {listed(numbers)})"))
    return f"Of the paper's {len(overall)} statements this run {listed(counts)}. {comparison(results)}".rstrip()


def comparison(results: Results) -> str:
    """Return how the groups of methods compare at their best scales, over all targets."""
    field = Field(results, ALL_TARGETS)
    groups = {
        "under the robust classifier": field.robust,
        f"under the non-robust one on the noisy image {X_T}": field.at_xt,
        f"under the non-robust one on the one-step denoised image {X0_HAT}": field.at_x0,
        "under the same with its gradient stabilized": field.stabilized,
    }
    parts = [reached(field, best(group), guide) for guide, group in groups.items() if group]
    unguided = [outcome for outcome in results.outcomes_of(ALL_TARGETS) if not outcome.method.guided]
    if unguided:
        parts.append(f"in {percent(best(unguided).accuracy)} without guidance")
    if not parts:
        return ""
    asked = listed(results.targets)
    return f"A judge that never guides recognizes what was asked for ({asked}) {'; '.join(parts)}."


def reached(field: Field, outcome: Outcome, guide: str) -> str:
    """Return an outcome's accuracy, distance and origin."""
    accuracy, distance = percent(outcome.accuracy), number(outcome.distance)
    return f"in {accuracy} of the samples, at distance {distance} from real ones, {guide} ({field.name(outcome)})"
