"""Score intervals of shares, of their means over strata such as targets, and of mean probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import t as student

from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval

Array = NDArray[np.float64]

SMALLEST_SHIFT = 1e-12


def score_interval(
    estimates: Array,
    variance: Callable[[Array], Array],
    bounds: tuple[float, float],
    weights: Sequence[float] | None = None,
    correlations: Array | None = None,
    level: float = LEVEL,
) -> Interval:
    """Return the weighted mean of K strata with its score interval (low, high).

    An end lies where the mean is shifted by exactly z of its standard errors, with the variance taken at the shifted
    shares rather than at the estimates, as Wilson (1927) and Tango (1998) do for one stratum; for one stratum it is
    their interval. Every stratum is shifted by the same amount. Combining the strata's own intervals by square and add
    covers worse: each of them is pulled towards the middle as strongly as its own few samples require.

    Args:
        estimates: (K,).
        variance: maps what the strata may truly be (K,), within the bounds, to the variances of their estimates (K,).
        bounds: the least and the greatest value that a stratum can have.
        weights: of the strata, positive, taken relative to their sum; equal when left out.
        correlations: between the strata's estimates (K, K); independent when left out.
        level: coverage, in (0, 1).

    Raises:
        ValueError: if there are no strata, or the weights or correlations are not those of K strata.
    """
    share, between = _weigh(len(estimates), weights, correlations)
    z = NormalDist().inv_cdf((1 + level) / 2)
    value = float(share @ estimates)

    def distance_to(sign: int) -> float:
        """Return how far the end lies from the mean, downward for -1 and upward for 1."""

        def excess(shift: float) -> float:
            errors = share * np.sqrt(variance(np.clip(estimates + sign * shift, *bounds)).clip(min=0))
            return float(shift - z * np.sqrt(max(0.0, errors @ between @ errors)))

        # No estimate can be shifted further than to its bound, and there the variance is zero.
        furthest = float(np.max(np.abs((bounds[1] if sign > 0 else bounds[0]) - estimates)))
        if furthest <= SMALLEST_SHIFT or excess(SMALLEST_SHIFT) >= 0:
            return 0.0
        return float(brentq(excess, SMALLEST_SHIFT, furthest))

    low, high = value - distance_to(-1), value + distance_to(1)
    return Interval(value, max(bounds[0], low), min(bounds[1], high))


def score_statistic(
    estimates: Array,
    variance: Callable[[Array], Array],
    bounds: tuple[float, float],
    threshold: float,
    weights: Sequence[float] | None = None,
    correlations: Array | None = None,
) -> float:
    """Return by how many of its standard errors at the threshold the weighted mean of K strata lies above it.

    It is beyond z exactly where `score_interval` with that z excludes the threshold: every stratum is shifted by the
    same amount. For one stratum and no difference it is the signed root of McNemar's statistic.

    Args:
        estimates: (K,).
        variance: as `score_interval` takes it.
        bounds: the least and the greatest value that a stratum can have.
        threshold: what the mean is compared with.
        weights: of the strata; equal when left out.
        correlations: between the strata's estimates (K, K); independent when left out.

    Raises:
        ValueError: if there are no strata, or the weights or correlations are not those of K strata.
    """
    share, between = _weigh(len(estimates), weights, correlations)
    apart = float(share @ estimates) - threshold
    errors = share * np.sqrt(variance(np.clip(estimates - apart, *bounds)).clip(min=0))
    error = math.sqrt(max(0.0, float(errors @ between @ errors)))
    return apart / error if error else math.copysign(math.inf, apart) if apart else 0.0


def _weigh(count: int, weights: Sequence[float] | None, correlations: Array | None) -> tuple[Array, Array]:
    """Return the shares of K strata in their mean, and the correlations between them.

    Raises:
        ValueError: if there are none, or either does not fit them.
    """
    share = np.full(count, 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
    between = np.eye(count) if correlations is None else correlations
    if not count or share.shape != (count,) or between.shape != (count, count) or not np.all(share > 0):
        raise ValueError(f"{count} strata, weights {share.shape} and correlations {between.shape} do not fit together.")
    return share / share.sum(), between


def mean_share(
    successes: Sequence[int],
    trials: Sequence[int],
    weights: Sequence[float] | None = None,
    correlations: Array | None = None,
    level: float = LEVEL,
) -> Interval:
    """Return the weighted mean of the shares of K strata, Wilson's interval where there is one stratum.

    Counts summed over strata and given to `wilson_interval` as if they were one share give an interval that is too wide
    where the strata's shares differ: differences between strata that were chosen, not drawn, are not an error.

    Args:
        successes: (K,), each 0 .. its trials.
        trials: (K,), each at least 1.
        weights: of the strata; equal when left out.
        correlations: between the strata's shares (K, K); independent when left out.
        level: coverage, in (0, 1).

    Raises:
        ValueError: if the counts are impossible.
    """
    counts, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if counts.shape != n.shape or np.any(n < 1) or np.any(counts < 0) or np.any(counts > n):
        raise ValueError(f"{successes} successes of {trials} trials have no interval; give 0 .. n of at least one.")
    return score_interval(counts / n, lambda p: p * (1 - p) / n, (0.0, 1.0), weights, correlations, level)


def mean_probability(mean: float, deviation: float, n: int, level: float = LEVEL) -> Interval:
    """Return the mean of n numbers in [0, 1] with Wilson's interval at their effective n (Korn & Graubard 1998).

    That is the n at which a share would have the mean's variance, ``n m (1 - m) / s^2``, times the square of the
    normal over Student's quantile. The normal interval about a mean near 0 or 1 reaches too little towards the middle.

    Args:
        mean: m, in [0, 1].
        deviation: standard deviation with divisor n, as the tables have it.
        n: numbers, at least 2.
        level: coverage, in (0, 1).

    Raises:
        ValueError: if there are too few numbers, or numbers in [0, 1] cannot have this mean.
    """
    if n < 2 or not 0 <= mean <= 1:
        raise ValueError(f"A mean of {n} probabilities that is {mean:g} has no interval; give two in [0, 1] at least.")
    tail = (1 + level) / 2
    widened = (float(student.ppf(tail, n - 1)) / NormalDist().inv_cdf(tail)) ** 2 / (n - 1)
    spread = mean * (1 - mean)
    # Numbers that are all 0 or all 1 carry as much information as n trials.
    ratio = deviation**2 / spread if spread else 1.0
    return score_interval(np.array([mean]), lambda p: p * (1 - p) * ratio * widened, (0.0, 1.0), level=level)


def correlate(values: Array) -> Array:
    """Return the correlations (K, K) between targets, from what is measured of sample i for each, values (K, N).

    Sample i starts from the same x_T for every target, so means over samples of different targets are not independent.
    A target whose values are all the same correlates with none.
    """
    centred = values - values.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.square(centred).sum(axis=1))
    units = centred / np.where(lengths > 0, lengths, 1.0)[:, None]
    correlations = units @ units.T
    np.fill_diagonal(correlations, 1.0)
    return correlations
