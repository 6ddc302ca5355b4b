"""How claims are decided: the evidence for and against each, in groups of outcomes, and all verdicts together.

A claim is supported or not supported only where its p-value, corrected for the other claims of its family, is small
enough; else it is undecided at this n. The claims over all targets, which the answer counts, are one family, and those
of single targets another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from nonrobust_guidance.metrics.cells import Method
from nonrobust_guidance.metrics.choice import best
from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval
from nonrobust_guidance.metrics.statistics.needed import samples_needed
from nonrobust_guidance.metrics.statistics.several import holm
from nonrobust_guidance.metrics.tables import NOT_SUPPORTED, SUPPORTED, UNDECIDED
from nonrobust_guidance.report.claims.weighing import Measure, Weighed, undecidable
from nonrobust_guidance.report.comparisons import Pair
from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import method_labels

SENTENCES = "claims/sentences.j2"

SHARE_MARGIN = 0.05
POINTS = f"{100 * SHARE_MARGIN:.0f} points"
RELATIVE_MARGIN = 0.2
"""Margins that matter: five points of a share, and a fifth of any other number that something is compared with."""


class Finding(NamedTuple):
    """The result of a claim's test, None where it was not tested, and the numbers with their intervals and n."""

    tested: Weighed | None
    evidence: str


class Verdict(NamedTuple):
    """What the run says about one claim, for one target or for all.

    Attributes:
        number: of the claim.
        claim: in a sentence.
        test: what decides it, in a sentence.
        target: a class, `ALL_TARGETS`, or `ALL_IMAGES`.
        decision: supported, not supported, undecided at this n or not tested.
        evidence: the numbers in words.
        tested: the number that decides and its p-values; None where it was not tested.
        p_adjusted: two-sided, by Holm's procedure over the family of the verdict.
        needed: the total n that would decide it a margin away from the threshold; None where it is decided, or not
            known.
    """

    number: int
    claim: str
    test: str
    target: str
    decision: str
    evidence: str
    tested: Weighed | None = None
    p_adjusted: float | None = None
    needed: int | None = None


def decide_together(family: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts of a family with their decisions, which are all right with 95% probability (Holm 1979)."""
    tested = [verdict.tested for verdict in family if verdict.tested is not None]
    adjusted = iter(holm([found.p for found in tested]))
    level = 1 - (1 - LEVEL) / max(1, len(tested))
    return [decide(verdict, next(adjusted), level) if verdict.tested else verdict for verdict in family]


def decide(verdict: Verdict, p_adjusted: float, level: float) -> Verdict:
    """Return a verdict with its decision and, where it is undecided, the n that it would take."""
    found = verdict.tested
    assert found is not None
    if p_adjusted <= 1 - LEVEL:
        decision = SUPPORTED if found.sign > 0 else NOT_SUPPORTED
        return verdict._replace(decision=decision, p_adjusted=p_adjusted)
    measure = found.measure
    needed = measure.needs(level) if measure.needs else None
    words = "" if needed is None else say(SENTENCES, "needed", needed=needed, n=measure.n, margin=measure.margin)
    evidence = f"{verdict.evidence} {words}".strip()
    return verdict._replace(decision=UNDECIDED, p_adjusted=p_adjusted, needed=needed, evidence=evidence)


class Groups:
    """The outcomes for one target, or for all, in the groups that the claims are about.

    Each method is in its group at its chosen scale; ``at_every_scale`` holds the others as well.
    """

    def __init__(self, results: Results, target: str) -> None:
        """Sort the outcomes into groups."""
        self.results, self.target = results, target
        self.labels = method_labels(results.run)
        self.targets = results.targets if target == ALL_TARGETS else [target]
        self.seeds = len(results.run.sampling.seeds)
        outcomes = results.outcomes_of(target)
        chosen = [o for o in outcomes if o.scale == results.chosen[o.method.name]]

        def group(among: Sequence[Outcome], wanted: Callable[[Method], bool]) -> list[Outcome]:
            return [o for o in among if o.method.as_in_paper and wanted(o.method)]

        def stabilized(method: Method) -> bool:
            return not method.robust and method.at == "x0" and bool(method.stabilizer)

        def plain(method: Method) -> bool:
            return not method.robust and method.at in ("xt", "x0") and not method.stabilizer

        self.robust = group(chosen, lambda m: m.robust and not m.stabilizer)
        self.at_xt = group(chosen, lambda m: plain(m) and m.at == "xt")
        self.at_x0 = group(chosen, lambda m: plain(m) and m.at == "x0")
        self.stabilized = group(chosen, stabilized)
        self.plain_at_every_scale = group(outcomes, plain)
        self.stabilized_at_every_scale = group(outcomes, stabilized)
        self.free = next((o for o in chosen if o.method.unguided and not o.method.own_terms), None)
        self.unguided = self.free.accuracy.value if self.free else 1 / max(1, len(results.classes))
        self.top = best(self.robust).accuracy if self.robust else Interval(1.0, 1.0, 1.0)
        self.halfway = (self.unguided + self.top.value) / 2

    @property
    def over_scales(self) -> Groups:
        """The groups with every scale of each method: those of the screening, if the scales were chosen there."""
        return self if self.results.screening is None else Groups(self.results.screening, self.target)

    def name(self, outcome: Outcome) -> str:
        """Return the method and its scale in words."""
        return f"{self.labels[outcome.method.name]} at scale {outcome.scale:g}"

    def accuracy_gain(self, pair: Pair) -> Measure:
        """Return the difference of a pair's held-out accuracies, to be compared with 0."""
        value, strata = pair.difference("accuracy_heldout"), len(self.targets)
        share = max(pair.discordant(), SHARE_MARGIN)

        def needs(level: float) -> int:
            return strata * samples_needed(SHARE_MARGIN, share, strata, level=level)

        names = (pair.one, pair.other)
        return Measure("accuracy_heldout_difference", value, 0.0, pair.n, pair.seeds, *names, POINTS, needs)

    def measure(
        self, test: str, value: Interval, threshold: float, n: int, one: str, other: str = "", *, scale: float = 0.0
    ) -> Measure:
        """Return a number of the samples that is compared with a threshold.

        Args:
            test: the column.
            value: the number.
            threshold: in its unit.
            n: samples.
            one: the method.
            other: the method that it is compared with.
            scale: a difference of a fifth of it would matter; 0 for a share, where five points would.
        """
        measure = Measure(test, value, threshold, n, self.seeds, one, other)
        return measure.within(RELATIVE_MARGIN * abs(scale)) if scale else measure.within(SHARE_MARGIN, POINTS)

    @property
    def measurable(self) -> bool:
        """Whether robust guidance works at all, so that others can be measured by it."""
        return self.top.low > self.unguided

    def unmeasurable(self) -> Finding:
        """Return the finding where it does not."""
        unguided, found = f"{100 * self.unguided:.0f}%", best(self.robust)
        measure = Measure("accuracy_heldout", found.accuracy, self.unguided, found.n, self.seeds, found.method.name)
        return Finding(undecidable(measure), say(SENTENCES, "unmeasurable", robust=self.top, unguided=unguided))


def side(interval: Interval, threshold: float) -> int:
    """Return 1 where the interval lies above the threshold, -1 where below, 0 where it contains it."""
    return 1 if interval.low > threshold else -1 if interval.high < threshold else 0


def agreed(signs: Iterable[int]) -> int:
    """Return 1 where some evidence is for and none against, -1 where some is against and none for, else 0."""
    found = set(signs) - {0}
    return found.pop() if len(found) == 1 else 0


def missing(*kinds: str) -> Finding:
    """Return the finding that a claim was not tested, and what was missing."""
    return Finding(None, say(SENTENCES, "missing", kinds=kinds))
