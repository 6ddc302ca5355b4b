"""The evidence for and against a claim as two one-sided p-values, and how several tests combine into one.

A combined p-value holds however the tests depend on each other, because they share samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval
from nonrobust_guidance.metrics.statistics.needed import samples_to_tell
from nonrobust_guidance.metrics.statistics.several import Side, p_value

TELLING = (1 - LEVEL) / 2
"""The one-sided p-value up to which a single test decides by itself."""


class Measure(NamedTuple):
    """A number that is compared with a threshold.

    Attributes:
        test: what it is: the name of its column in the tables.
        value: the number with its 95% interval.
        threshold: in its unit.
        n: the number of samples, or pairs of them, behind it.
        seeds: the number of their seeds.
        one: the method or classifier that it is about.
        other: the one that it is compared with; empty if there is none.
        margin: which distance from the threshold would matter, in words for the reader.
        needs: maps the interval's level to the total n at which a number a margin away would be decided in four of five
            runs; None without a margin.
    """

    test: str
    value: Interval
    threshold: float
    n: int
    seeds: int = 1
    one: str = ""
    other: str = ""
    margin: str = ""
    needs: Callable[[float], int | None] | None = None

    def within(self, margin: float, words: str = "") -> Measure:
        """Return the number with a margin in its unit, above 0, that its interval should resolve."""
        half, n = (self.value.high - self.value.low) / 2, self.n
        if not math.isfinite(half) or not margin > 0:
            return self
        needs = partial(_needed_for_interval, half, n, margin)
        return self._replace(margin=words or f"{margin:.2g}", needs=needs)


class Weighed(NamedTuple):
    """The result of a claim's test.

    Attributes:
        supporting: one-sided p-value of the claim: how easily the numbers would come about if it were not true.
        opposing: p-value of the opposite.
        measure: the number that decides, or comes nearest to.
    """

    supporting: float
    opposing: float
    measure: Measure

    @property
    def sign(self) -> int:
        """1 where the numbers lean toward the claim, -1 where they lean away from it."""
        return 1 if self.supporting <= self.opposing else -1

    @property
    def p(self) -> float:
        """The two-sided p-value."""
        return min(1.0, 2 * min(self.supporting, self.opposing))


def above(measure: Measure, p: float | None = None) -> Weighed:
    """Return the test of a claim that a number lies above its threshold.

    Args:
        measure: the number.
        p: two-sided, where a better one than the interval's is known.
    """
    if p is None or math.isnan(p):
        supporting, opposing = (p_value(measure.value, measure.threshold, side) for side in (Side.ABOVE, Side.BELOW))
    else:
        supporting, opposing = p / 2, 1 - p / 2
        if measure.value.value < measure.threshold:
            supporting, opposing = opposing, supporting
    # A number without an interval decides nothing.
    if math.isnan(supporting):
        return undecidable(measure)
    return Weighed(supporting, opposing, measure)


def below(measure: Measure, p: float | None = None) -> Weighed:
    """Return the test of a claim that a number lies below its threshold."""
    supporting, opposing, _ = above(measure, p)
    return Weighed(opposing, supporting, measure)


def undecidable(measure: Measure) -> Weighed:
    """Return a test that decides neither way."""
    return Weighed(1.0, 1.0, measure)


def all_of(parts: Sequence[Weighed]) -> Weighed:
    """Return the test of a claim that needs all of its parts; a single false one is enough against it."""
    supporting, opposing = max(part.supporting for part in parts), smallest([part.opposing for part in parts])
    choose = max if supporting <= opposing else min
    key: Callable[[Weighed], float] = _supporting if supporting <= opposing else _opposing
    return Weighed(supporting, opposing, choose(parts, key=key).measure)


def any_of(parts: Sequence[Weighed]) -> Weighed:
    """Return the test of a claim that needs any one of its parts; against it, all have to be false."""
    opposite = all_of([Weighed(part.opposing, part.supporting, part.measure) for part in parts])
    return Weighed(opposite.opposing, opposite.supporting, opposite.measure)


def agreeing(parts: Sequence[Weighed]) -> Weighed:
    """Return the test of a claim for which one part is enough, and against which one is, unless they contradict.

    Where some part decides one way by itself, no other part can decide the other way.
    """
    supporting, opposing = (smallest([key(part) for part in parts]) for key in (_supporting, _opposing))
    if min(map(_opposing, parts)) <= TELLING:
        supporting = 1.0
    if min(map(_supporting, parts)) <= TELLING:
        opposing = 1.0
    return Weighed(supporting, opposing, min(parts, key=lambda part: min(part[:2])).measure)


def most_of(parts: Sequence[Weighed], share: float) -> Weighed:
    """Return the test that more than a share of a claim's parts are true; against it, that more than that are opposite.

    Of m p-values, the k-th smallest times m - k + 1 is the p-value for at least k true parts (Benjamini & Heller 2008).
    """
    k, m = math.floor(share * len(parts)) + 1, len(parts)
    found = []
    for key in (_supporting, _opposing):
        ordered = sorted(parts, key=key)
        found.append((min(1.0, (m - k + 1) * key(ordered[k - 1])), ordered[k - 1].measure))
    (supporting, one), (opposing, other) = found
    return Weighed(supporting, opposing, one if supporting <= opposing else other)


def smallest(p_values: Sequence[float]) -> float:
    """Return the p-value of the claim that at least one of several is true (Bonferroni)."""
    return min(1.0, len(p_values) * min(p_values))


def _needed_for_interval(half: float, n: int, margin: float, level: float) -> int:
    return samples_to_tell(half, n, margin, level=level)


def _supporting(part: Weighed) -> float:
    return part.supporting


def _opposing(part: Weighed) -> float:
    return part.opposing
