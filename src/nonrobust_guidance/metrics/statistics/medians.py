"""The interval of a median of few values."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval


def median_interval(values: NDArray[np.float64], level: float = LEVEL) -> Interval:
    """Return the median with its interval between ordered values, interpolated (Hettmansperger & Sheather 1986).

    The k-th smallest and k-th largest enclose the median with a binomial probability, whatever the distribution. It
    takes only a few values, so the ends are interpolated between the two k on either side of the level. Percentiles of
    200 resampled medians cover some 94%, and for 16 values 93%.

    Args:
        values: (N,); those that are not finite are left out.
        level: coverage, in (0, 1).

    Returns:
        The interval; without ends where even the smallest and largest value enclose the median less often than the
            level.
    """
    ordered = np.sort(values[np.isfinite(values)])
    n = len(ordered)
    if not n:
        return Interval(math.nan, math.nan, math.nan)
    median = float(np.median(ordered))
    k = int(binom.ppf((1 - level) / 2, n, 0.5))
    if k < 1:
        return Interval(median, math.nan, math.nan)
    wide, narrow = (1 - 2 * float(binom.cdf(rank - 1, n, 0.5)) for rank in (k, k + 1))
    excess = (wide - level) / (wide - narrow)
    inward = (n - k) * excess / (k + (n - 2 * k) * excess)
    low = (1 - inward) * ordered[k - 1] + inward * ordered[k]
    high = (1 - inward) * ordered[n - k] + inward * ordered[n - k - 1]
    return Interval(median, float(low), float(high))
