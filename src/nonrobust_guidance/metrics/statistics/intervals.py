"""95% intervals: for shares, for distances, and for the difference between two numbers that each have one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95


class Interval(NamedTuple):
    """A number and the interval it comes with."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Interval:
        """Return the interval of the number times a positive factor."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)


def wilson_interval(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the score interval (low, high), within [0, 1], of a share (Wilson 1927).

    Args:
        successes: 0 .. n.
        n: trials, at least 1.
        level: coverage, in (0, 1).

    Raises:
        ValueError: if the counts are impossible.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials have no interval; give 0 .. n of at least one.")
    interval = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(
    estimate: float,
    statistic: Callable[[NDArray[np.int64]], float],
    n: int,
    resamples: int,
    seed: int,
    level: float = LEVEL,
    lowest: float = 0.0,
) -> tuple[float, float]:
    """Return the percentile interval (low, high) of resampled rows, moved so that the replicates' mean is the estimate.

    A Frechet distance of n rows is biased upward, and drawing n rows with replacement from them adds the bias a second
    time, so the plain percentile interval lies above the estimate and misses it. Moved back by the bootstrap's own
    measure of that bias, it covers the estimator's average at this n, which is what cells of equal n are compared by.

    Args:
        estimate: the statistic of all rows.
        statistic: maps row indices (n,) to a number.
        n: rows.
        resamples: replicates, at least 1.
        seed: of the resampling.
        level: coverage, in (0, 1).
        lowest: the least value that the statistic can have, 0 for a distance and minus infinity for a signed
            difference.
    """
    rng = np.random.default_rng(seed)
    replicates = np.array([statistic(rng.integers(n, size=n)) for _ in range(resamples)])
    low, high = percentiles_about(estimate, replicates, level)
    return max(lowest, low), high


def resample_counts(n: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """Return how often each of n rows is drawn in each bootstrap replicate, (resamples, n); each row sums to n."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def percentiles_about(estimate: float, replicates: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval (low, high) of replicates, moved so that their mean is the estimate."""
    low, high = np.quantile(replicates - replicates.mean(), [(1 - level) / 2, (1 + level) / 2])
    return float(estimate + low), float(estimate + high)


def resampled_interval(
    values: NDArray[np.float64],
    statistic: Callable[..., NDArray[np.float64]],
    resamples: int,
    seed: int,
    level: float = LEVEL,
) -> Interval:
    """Return a statistic such as numpy's mean or median with its bootstrap percentile interval (Efron 1979).

    Args:
        values: (N,); those that are not finite are left out.
        statistic: of an array along ``axis``.
        resamples: replicates, at least 1.
        seed: of the resampling.
        level: coverage, in (0, 1).

    Returns:
        The statistic and its interval; without values the number is NaN, and with a single one the interval is.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return Interval(float(values[0]) if len(values) else math.nan, math.nan, math.nan)
    found = stats.bootstrap(
        (values,), statistic, n_resamples=resamples, confidence_level=level, method="percentile", rng=seed
    )
    low, high = found.confidence_interval
    return Interval(float(statistic(values, axis=0)), float(low), float(high))


def difference(a: Interval, b: Interval) -> Interval:
    """Return a - b, with the interval that follows from those of a and b, which have to be independent.

    The square-and-add rule (Zou & Donner 2008); with Wilson intervals it is Newcombe's (1998) method 10.
    """
    value = a.value - b.value
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    return Interval(value, value - below, value + above)


def mean_of(parts: list[Interval]) -> Interval:
    """Return the mean of independent numbers, its interval by the same square-and-add rule.

    Raises:
        ValueError: if there are none.
    """
    if not parts:
        raise ValueError("The mean of no numbers has no interval.")
    value = sum(part.value for part in parts) / len(parts)
    below = math.hypot(*(part.value - part.low for part in parts)) / len(parts)
    above = math.hypot(*(part.high - part.value for part in parts)) / len(parts)
    return Interval(value, value - below, value + above)
