"""Two methods compared sample by sample: sample i of both starts from the same x_T, so they err together.

Numbers that share their noise differ by less than independent ones, so their difference has a narrower interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval
from nonrobust_guidance.metrics.statistics.resampled import Statistic, critical_value, replicate
from nonrobust_guidance.metrics.statistics.score import score_interval, score_statistic

Array = NDArray[np.float64]
Outcomes = NDArray[np.bool_]


@dataclass(frozen=True)
class Pairs:
    """In how many of n pairs both methods, only the one, only the other, or neither succeeded."""

    both: int
    one: int
    other: int
    neither: int

    def __post_init__(self) -> None:
        """Check the counts.

        Raises:
            ValueError: if one is negative or there are no pairs.
        """
        if min(self.both, self.one, self.other, self.neither) < 0 or not self.n:
            raise ValueError(f"{self} are no counts of pairs; give four numbers from 0, one of them above it.")

    @classmethod
    def count(cls, one: Outcomes, other: Outcomes) -> Pairs:
        """Count the outcomes (N,) of two methods, sample i of both from the same noise.

        Raises:
            ValueError: if they differ in number.
        """
        if one.shape != other.shape:
            raise ValueError(f"Outcomes {one.shape} and {other.shape} make no pairs; give both for the same samples.")
        return cls(*(int(part.sum()) for part in (one & other, one & ~other, ~one & other, ~one & ~other)))

    @property
    def n(self) -> int:
        """Return the number of pairs."""
        return self.both + self.one + self.other + self.neither

    @property
    def difference(self) -> float:
        """Return the one's share minus the other's, in [-1, 1]."""
        return (self.one - self.other) / self.n

    @property
    def discordant(self) -> float:
        """Return the share of pairs in which exactly one method succeeded, in [0, 1]."""
        return (self.one + self.other) / self.n


def pool(parts: Iterable[Pairs]) -> Pairs:
    """Return the pairs of several seeds as one count: samples of different seeds share no noise."""
    parts = list(parts)
    return Pairs(*(sum(getattr(part, name) for part in parts) for name in ("both", "one", "other", "neither")))


def share_difference(
    strata: Sequence[Pairs],
    weights: Sequence[float] | None = None,
    correlations: Array | None = None,
    level: float = LEVEL,
) -> Interval:
    """Return the one's share minus the other's, averaged over strata such as targets, with its score interval.

    For one stratum it is Tango's (1998, Statistics in Medicine 17:891), which holds 0 exactly where McNemar's test
    without continuity correction does not reject. Newcombe's hybrid (1998, Statistics in Medicine 17:2635) covers as
    well from n = 64 on, but less well for large differences of few pairs. Over strata the variances are summed at a
    common shift (see `score_interval`).

    Args:
        strata: the pairs for each of K targets, of all seeds.
        weights: of the strata; by default equal.
        correlations: between the strata (K, K), from `correlate` of one's outcomes minus the other's. By default
            independent, which is an assumption: sample i also starts from the same x_T for every target.
        level: coverage, in (0, 1).

    Raises:
        ValueError: if there are no strata, or weights or correlations do not fit them.
    """
    estimates, variance = _estimates_of(strata)
    return score_interval(estimates, variance, (-1.0, 1.0), weights, correlations, level)


def share_difference_statistic(strata: Sequence[Pairs], correlations: Array | None = None) -> float:
    """Return by how many standard errors under no difference the mean of `share_difference` lies above zero.

    For one stratum it is the signed root of McNemar's statistic, without continuity correction.

    Raises:
        ValueError: if there are no strata, or correlations do not fit them.
    """
    estimates, variance = _estimates_of(strata)
    return score_statistic(estimates, variance, (-1.0, 1.0), 0.0, correlations=correlations)


def _estimates_of(strata: Sequence[Pairs]) -> tuple[Array, Callable[[Array], Array]]:
    n, one, other = (np.array([getattr(part, name) for part in strata], dtype=float) for name in ("n", "one", "other"))

    def variance(delta: Array) -> Array:
        return variance_at(delta, n, one, other)

    return np.array([part.difference for part in strata]), variance


def variance_at(delta: Array, n: Array, one: Array, other: Array) -> Array:
    """Return the variance (K,) of differences of shares if they truly are delta (K,), Tango's equation for it.

    ``(2 q + delta (1 - delta)) / n``, where q is the most likely share, given delta, of pairs in which only the other
    succeeded: the greater root of ``2 n q^2 + b q + c = 0``.
    """
    b = (2 * n - one + other) * delta - one - other
    c = -other * delta * (1 - delta)
    q = (np.sqrt((b * b - 8 * n * c).clip(min=0)) - b) / (4 * n)
    return (2 * q + delta * (1 - delta)) / n


class Compared(NamedTuple):
    """One number minus another, and one over another, each with its interval."""

    difference: Interval
    ratio: Interval


def compare(one: Statistic, other: Statistic, n: int, resamples: int, seed: int, level: float = LEVEL) -> Compared:
    """Return the difference and the ratio of two distances of n rows each, by a bootstrap of pairs of rows.

    The same rows are drawn on both sides, so the effect of their common noise cancels. The interval is Student's with
    the bootstrap's standard error, and that of the ratio is Fieller's (1954) with the bootstrap's variances and
    covariance: it holds the ratios r for which the interval of ``one - r other`` holds 0. Where it has ends, it holds 1
    exactly if the difference holds 0. Intervals from logarithms of replicates do not cover, because each replicate has
    the estimate's bias twice and so varies too little in proportion.

    The intervals cover the difference and the ratio of the two averages AT THIS n. A Frechet distance of n rows lies
    above that of infinitely many, by an amount that falls as 1 / n. In a difference this bias cancels as far as the two
    sets of rows spread alike; a ratio is pulled towards 1 by it. It is not subtracted, because the bootstrap's own
    measure of it fails where n is not well above D: compare only at equal n, and read a ratio as one at this n.

    A mean over targets is a statistic as well, and resampling its rows by sample index keeps what targets share.
    Several seeds give one comparison each, to be put together by `over_seeds`.

    Args:
        one: statistic of the one's rows, row i from the noise of the other's row i.
        other: statistic of the other's rows.
        n: rows of each, at least 2.
        resamples: replicates, at least 2; a hundred or more.
        seed: of the resampling.
        level: coverage, in (0, 1).

    Returns:
        Both with their intervals. The ratio's is without ends where the other is not told apart from 0.

    Raises:
        ValueError: if there are too few rows or resamples.
    """
    (a, b), replicates = replicate([one, other], n, resamples, seed)
    squared = critical_value(n, level) ** 2 * np.cov(replicates)
    half = math.sqrt(max(0.0, squared[0, 0] + squared[1, 1] - 2 * squared[0, 1]))
    apart = Interval(float(a - b), float(a - b - half), float(a - b + half))
    return Compared(apart, fieller(float(a), float(b), squared))


def fieller(a: float, b: float, squared: Array) -> Interval:
    """Return a / b with the ends of the set of ratios r for which ``(a - r b)^2`` is at most its squared half-width.

    Args:
        a: the numerator.
        b: the denominator.
        squared: covariance of the two (2, 2) times the square of the critical value.
    """
    ratio = a / b if b else math.nan
    curvature, slope, level = b * b - squared[1, 1], a * b - squared[0, 1], a * a - squared[0, 0]
    if curvature <= 0:
        return Interval(ratio, -math.inf, math.inf)
    root = math.sqrt(max(0.0, slope * slope - curvature * level))
    return Interval(ratio, float((slope - root) / curvature), float((slope + root) / curvature))
