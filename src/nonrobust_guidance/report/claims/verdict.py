"""How a claim is decided: by which side of a threshold a 95% interval lies on, in groups of outcomes.

A claim is supported or not supported only where an interval lies wholly on one side of what decides it; else it is
undecided at this n. Nothing corrects for several comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from nonrobust_guidance.metrics.cells import Method
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results, best
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import method_labels

SENTENCES = "claims/sentences.j2"
SUPPORTED = "supported"
NOT_SUPPORTED = "not supported"
UNDECIDED = "undecided at this n"
NOT_TESTED = "not tested"


class Finding(NamedTuple):
    """What decides a claim came to: the decision, and the numbers with their intervals and n."""

    decision: str
    evidence: str


class Verdict(NamedTuple):
    """What the run says about one claim, for one target or for all."""

    number: int
    claim: str
    test: str
    target: str
    decision: str
    evidence: str


class Groups:
    """The outcomes for one target, or for all, in the groups that the claims are about."""

    def __init__(self, results: Results, target: str) -> None:
        """Sort the outcomes into groups."""
        self.results = results
        self.labels = method_labels(results.run)
        self.targets = results.targets if target == ALL_TARGETS else [target]
        outcomes = results.outcomes_of(target)

        def group(chosen: Callable[[Method], bool]) -> list[Outcome]:
            return [o for o in outcomes if o.method.as_in_paper and chosen(o.method)]

        self.robust = group(lambda m: m.robust and not m.stabilizer)
        self.at_xt = group(lambda m: not m.robust and m.at == "xt" and not m.stabilizer)
        self.at_x0 = group(lambda m: not m.robust and m.at == "x0" and not m.stabilizer)
        self.stabilized = group(lambda m: not m.robust and m.at == "x0" and bool(m.stabilizer))
        unguided = [o.accuracy.value for o in outcomes if o.method.unguided]
        self.unguided = unguided[0] if unguided else 1 / max(1, len(results.classes))
        self.top = best(self.robust).accuracy if self.robust else Interval(1.0, 1.0, 1.0)
        self.halfway = (self.unguided + self.top.value) / 2

    def name(self, outcome: Outcome) -> str:
        """Return the method and its scale in words."""
        return f"{self.labels[outcome.method.name]} at scale {outcome.scale:g}"

    @property
    def measurable(self) -> bool:
        """Whether robust guidance works at all, so that others can be measured by it."""
        return self.top.low > self.unguided

    def unmeasurable(self) -> Finding:
        """Return the finding where it does not."""
        unguided = f"{100 * self.unguided:.0f}%"
        return Finding(UNDECIDED, say(SENTENCES, "unmeasurable", robust=self.top, unguided=unguided))


def side(interval: Interval, threshold: float) -> int:
    """Return 1 where the interval lies above the threshold, -1 where below, 0 where it holds it."""
    return 1 if interval.low > threshold else -1 if interval.high < threshold else 0


def decide(sign: int) -> str:
    """Return the verdict that goes with evidence for (1), against (-1) or neither (0)."""
    return {1: SUPPORTED, -1: NOT_SUPPORTED, 0: UNDECIDED}[sign]


def any_of(signs: Iterable[int]) -> int:
    """Return 1 where some evidence is for and none against, -1 where some is against and none for, else 0."""
    found = set(signs) - {0}
    return found.pop() if len(found) == 1 else 0


def all_of(signs: Iterable[int]) -> int:
    """Return 1 where all evidence is for, -1 where any is against, else 0."""
    found = set(signs)
    return -1 if -1 in found else 1 if found == {1} else 0


def missing(*kinds: str) -> Finding:
    """Return that a claim was not tested, and for want of what."""
    return Finding(NOT_TESTED, say(SENTENCES, "missing", kinds=kinds))
