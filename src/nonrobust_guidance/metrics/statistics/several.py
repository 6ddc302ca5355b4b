"""Several claims and several seeds: an interval's p-value, Holm's correction, and seeds as clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval

FEWEST_DEGREES = 4
"""Degrees of freedom between seeds from which on the larger of both variances covers (93% to 97% in simulation)."""


class Side(Enum):
    """On which side of a threshold a claim puts a number."""

    ABOVE = "above"
    BELOW = "below"
    EITHER = "either"


def p_value(interval: Interval, threshold: float, side: Side = Side.EITHER, level: float = LEVEL) -> float:
    """Return the p-value that goes with an interval, as if its ends moved with the normal quantile of its level.

    A two-sided one is below 1 - level exactly where the threshold lies outside the interval. A one-sided claim that is
    called supported where the 95% interval lies on its side is tested at 2.5%, half of that, so compare its p-value
    with 2.5%; one tested at 5% goes with the 90% interval. It is exact for normal intervals. For Wilson's and Tango's,
    whose ends do not move in proportion, it is on the right side of 1 - level and approximate elsewhere.

    Args:
        interval: of the number.
        threshold: in the number's unit.
        side: above or below the threshold, or either.
        level: the interval's coverage, in (0, 1).

    Returns:
        In [0, 1]; NaN where the interval has no ends.
    """
    apart = interval.value - threshold
    half = interval.value - interval.low if apart > 0 else interval.high - interval.value
    if math.isnan(apart) or math.isnan(half):
        return math.nan
    reach = apart / half if half else math.copysign(math.inf, apart) if apart else 0.0
    z = NormalDist().inv_cdf((1 + level) / 2) * reach
    if side is Side.EITHER:
        return math.erfc(abs(z) / math.sqrt(2))
    return math.erfc((z if side is Side.ABOVE else -z) / math.sqrt(2)) / 2


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the step-down adjusted p-values of a family of claims, in their order (Holm 1979).

    Claims whose adjusted p-value is at most alpha are all true with probability 1 - alpha, however they depend on each
    other. The family is every claim that the same report decides, named before the numbers are seen.

    Raises:
        ValueError: if one is not a number in [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"P-values lie in [0, 1]; got {list(p_values)}. Leave claims that were not tested out.")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted.tolist()


def over_seeds(targets: Sequence[Sequence[Interval]]) -> Interval:
    """Return the mean over targets of the means over seeds, seeds as clusters, with its 95% interval.

    The variance of a cell is taken from how the seeds of a target differ (between), unless the cells' own intervals
    give more (within). Between already includes within, so the larger of the two is an estimate of within plus what
    seeds add. So seeds that agree by chance do not give an interval narrower than the samples allow. The quantile is
    Student's, with a degree of freedom for each seed beyond the first of each target, where between is the larger, else
    the normal's. With fewer than `FEWEST_DEGREES` that choice would itself be chance, so it is Student's interval from
    between alone.

    It assumes seeds and targets that are independent, numbers that are normal about the seeds' common mean, and
    intervals that are those of the cells. Samples of one cell are independent draws already, so where only the noise
    depends on the seed, counts are better pooled (`pool`); this is for numbers that cannot be pooled, such as
    distances, and for seeds that also determine trained weights.

    Args:
        targets: for each target the numbers of its seeds, two seeds at least, all of one n.

    Raises:
        ValueError: if there is no target, or one has a single seed.
    """
    if not targets or min(map(len, targets)) < 2:
        raise ValueError(
            "Seeds as clusters take two seeds of every target; with one, its own interval is all there is."
        )
    cells = [np.array(of_target, dtype=np.float64) for of_target in targets]  # each (S, 3)
    z, degrees = NormalDist().inv_cdf((1 + LEVEL) / 2), sum(len(cell) - 1 for cell in cells)
    between = _variance_of_mean([cell[:, 0].var(ddof=1) for cell in cells], cells)
    within = _variance_of_mean([np.square((cell[:, 2] - cell[:, 1]) / (2 * z)).mean() for cell in cells], cells)
    value = float(np.mean([cell[:, 0].mean() for cell in cells]))
    if degrees >= FEWEST_DEGREES and within > between:
        half = z * math.sqrt(within)
    else:
        half = float(student.ppf((1 + LEVEL) / 2, degrees)) * math.sqrt(between)
    return Interval(value, value - half, value + half)


def _variance_of_mean(variances: Sequence[float], cells: Sequence[NDArray[np.float64]]) -> float:
    return sum(variance / len(cell) for variance, cell in zip(variances, cells, strict=True)) / len(cells) ** 2
