"""The answer in a paragraph, computed from the verdicts and the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from nonrobust_guidance.metrics.choice import best
from nonrobust_guidance.metrics.distances.spaces import list_spaces
from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval
from nonrobust_guidance.metrics.tables import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNDECIDED
from nonrobust_guidance.report.claims.verdict import SENTENCES, Groups, Verdict
from nonrobust_guidance.report.results import ALL_TARGETS, Results
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import decimals_of, percent


def paragraph(results: Results, verdicts: Sequence[Verdict]) -> str:
    """Return what the run says: which of the paper's claims it supports, and the numbers they rest on."""
    overall = {verdict.number: verdict.decision for verdict in reversed(verdicts)}
    found = {
        decision: [str(i) for i in sorted(overall) if overall[i] == decision]
        for decision in (SUPPORTED, NOT_SUPPORTED, UNDECIDED, NOT_TESTED)
    }
    counts = {decision: numbers for decision, numbers in found.items() if numbers}
    return say(SENTENCES, "counted", total=len(overall), counts=counts, comparison=comparison(results))


def how_decided() -> str:
    """Return how verdicts are reached, and that they hold together."""
    return say(SENTENCES, "how_decided", level=f"{100 * LEVEL:.0f}%", alpha=f"{100 * (1 - LEVEL):.0f}%")


def comparison(results: Results) -> str:
    """Return how the groups of methods compare, each at its best scale, over all targets."""
    groups = Groups(results, ALL_TARGETS)
    guides = {name: getattr(groups, name) for name in ("robust", "at_xt", "at_x0", "stabilized")}
    found = {name: best(group) for name, group in guides.items() if group}
    if not found:
        return ""
    unguided = [outcome for outcome in results.outcomes_of(ALL_TARGETS) if outcome.method.unguided]
    real = max(outcome.real_distance for outcome in found.values())
    return say(
        SENTENCES,
        "comparison",
        targets=results.targets,
        shares={name: share_of(outcome.accuracy) for name, outcome in found.items()},
        unguided=share_of(best(unguided).accuracy) if unguided else None,
        features=list_spaces(results.run.metrics)[0].words,
        distances={name: plain(outcome.distance.value) for name, outcome in found.items()},
        real=plain(real),
    )


def share_of(accuracy: Interval) -> str:
    """Return a share without its interval, which the figure and the tables show."""
    return percent(accuracy).partition(" ")[0]


def plain(distance: float) -> str:
    """Return a distance without its interval, in the same way."""
    return f"{distance:.{decimals_of(distance)}f}"
