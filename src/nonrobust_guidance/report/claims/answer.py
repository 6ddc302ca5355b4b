"""The answer in a paragraph, computed from the verdicts and the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from nonrobust_guidance.metrics.spaces import list_spaces
from nonrobust_guidance.report.claims.verdict import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNDECIDED, Groups, Verdict
from nonrobust_guidance.report.results import ALL_TARGETS, Results, best
from nonrobust_guidance.report.wording import X0_HAT, X_T, decimals_of, listed, number, percent

KINDS = {
    SUPPORTED: "supports {}",
    NOT_SUPPORTED: "speaks against {}",
    UNDECIDED: "leaves {} undecided",
    NOT_TESTED: "does not test {}",
}


def paragraph(results: Results, verdicts: Sequence[Verdict]) -> str:
    """Return what the run says: which of the paper's claims it supports, and the numbers they rest on."""
    overall = {verdict.number: verdict.decision for verdict in reversed(verdicts)}
    counts = []
    for decision, words in KINDS.items():
        numbers = [str(i) for i in sorted(overall) if overall[i] == decision]
        if numbers:
            counts.append(words.format(f"{len(numbers)} (number {listed(numbers)})"))
    return f"Of the paper's {len(overall)} claims this run {listed(counts)}. {comparison(results)}".rstrip()


def comparison(results: Results) -> str:
    """Return how the groups of methods compare, each at its best scale, over all targets."""
    groups = Groups(results, ALL_TARGETS)
    guides = {
        "when the robust classifier guides": groups.robust,
        f"when the non-robust one guides on the noisy image {X_T}": groups.at_xt,
        f"when it guides on the one-step denoised image {X0_HAT}": groups.at_x0,
        "when its gradient is stabilized as well": groups.stabilized,
    }
    found = {guide: best(group) for guide, group in guides.items() if group}
    if not found:
        return ""
    shares = [f"{percent(outcome.accuracy)} {guide}" for guide, outcome in found.items()]
    unguided = [outcome for outcome in results.outcomes_of(ALL_TARGETS) if not outcome.method.guided]
    shares += [f"{percent(best(unguided).accuracy)} without guidance"] if unguided else []
    distances = [number(outcome.distance) for outcome in found.values()]
    real = max(outcome.real_distance for outcome in found.values())
    return (
        f"A judge that never guides recognizes what was asked for ({listed(results.targets)}) in this share of the "
        f"samples: {', '.join(shares)}. Their distances to real images of the class, in features of "
        f"{list_spaces(results.config)[0].words}, are in the same order "
        f"{listed(distances)}; as many real images that no model was trained on are at {real:.{decimals_of(real)}f}."
    )
