"""Any statistic of a set of rows with a bootstrap standard error, and the interval that goes with it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

Statistic = Callable[[Indices], Array]
"""Maps R choices of n rows, by their indices (R, n), to R numbers."""


def of_rows(rows: Array, statistic: Callable[[Array], float]) -> Statistic:
    """Turn a statistic of rows (n, D), such as a distance to a reference, into one of their indices."""
    return lambda indices: np.array([statistic(rows[chosen]) for chosen in indices])


def replicate(statistics: list[Statistic], n: int, resamples: int, seed: int) -> tuple[Array, Array]:
    """Return statistics of n rows, and their values for rows drawn with replacement, with the same draws for all.

    Args:
        statistics: K of them, each of n rows.
        n: rows, at least 2.
        resamples: replicates R, at least 2.
        seed: of the resampling.

    Returns:
        The statistics of all rows (K,), and their replicates (K, R).

    Raises:
        ValueError: if there are too few rows or resamples.
    """
    if n < 2 or resamples < 2:
        raise ValueError(f"A standard error takes two rows and two resamples; got {n} and {resamples}.")
    drawn = np.random.default_rng(seed).integers(n, size=(resamples, n))
    values = np.array([float(statistic(np.arange(n)[None])[0]) for statistic in statistics])
    return values, np.stack([statistic(drawn) for statistic in statistics])


def critical_value(n: int, level: float = LEVEL) -> float:
    """Return how many bootstrap standard errors of n rows an interval reaches to either side.

    It is Student's value times ``sqrt(n / (n - 1))``: rows drawn with replacement have the variance with divisor n.
    """
    return float(student.ppf((1 + level) / 2, n - 1)) * math.sqrt(n / (n - 1))


def standard_interval(statistic: Statistic, n: int, resamples: int, seed: int, level: float = LEVEL) -> Interval:
    """Return a statistic of n rows and its interval of bootstrap standard errors to either side (Efron 1979).

    Like `bootstrap_interval` it covers the average of the statistic AT THIS n. A Frechet distance of n rows lies above
    that of infinitely many. Nothing is subtracted for that, so only distances of equal n are comparable. The bias that
    resampling adds once more cancels, because only the replicates' spread is used. Percentiles of 200 replicates of 64
    rows cover some 93%, this interval some 94%: few replicates give their spread more precisely than their 2.5% points,
    and Student's quantile allows for few rows.

    The spread is too large where a distance is at its minimum, as for rows of the very distribution they are compared
    to: there the interval covers nearly always. It is too small for few rows with heavy tails: for 64 rows of
    lognormal features (sigma 0.7) this interval and that of percentiles cover some 85%.
    """
    (value,), (replicates,) = replicate([statistic], n, resamples, seed)
    half = critical_value(n, level) * float(replicates.std(ddof=1))
    return Interval(float(value), float(value) - half, float(value) + half)
