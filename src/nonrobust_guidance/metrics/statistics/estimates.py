"""Numbers that record how they vary together, so that any difference or mean of them has an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval
from nonrobust_guidance.metrics.statistics.paired import Compared, fieller
from nonrobust_guidance.metrics.statistics.resampled import critical_value

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number and its deviations, in the same order for all estimates from the same noise.

    Attributes:
        value: the number.
        deviations: (R,); their squares sum to the square of half the 95% interval's width, and their products with
            another estimate's to the covariance of the two in the same unit.
    """

    value: float
    deviations: Array

    @classmethod
    def of_replicates(cls, value: float, replicates: Array, n: int) -> Estimate:
        """Return a statistic of n rows from its bootstrap replicates (R,), R at least 2; see `standard_interval`."""
        spread = (replicates - replicates.mean()) / math.sqrt(len(replicates) - 1)
        return cls(value, critical_value(n) * spread)

    @classmethod
    def of_influence(cls, value: float, influence: Array, n: int) -> Estimate:
        """Return a statistic of n rows from the influence (M,) of all or of a random few; see `linear_interval`."""
        z = NormalDist().inv_cdf((1 + LEVEL) / 2)
        return cls(value, z * (influence - influence.mean()) / math.sqrt((len(influence) - 1) * n))

    @property
    def interval(self) -> Interval:
        """The number with its 95% interval."""
        half = math.sqrt(float(self.deviations @ self.deviations))
        return Interval(self.value, self.value - half, self.value + half)

    def compare(self, other: Estimate) -> Compared:
        """Return this number minus another from the same noise, and their ratio; see `paired.compare`."""
        moved = np.stack([self.deviations, other.deviations])
        apart = Estimate(self.value - other.value, self.deviations - other.deviations)
        return Compared(apart.interval, fieller(self.value, other.value, moved @ moved.T))


def mean_of_same_noise(parts: Sequence[Estimate]) -> Estimate:
    """Return the mean of estimates whose deviations belong together, such as those of one seed's targets."""
    return Estimate(
        float(np.mean([part.value for part in parts])), np.mean([part.deviations for part in parts], axis=0)
    )


def mean_of_independent(parts: Sequence[Estimate]) -> Estimate:
    """Return the mean of estimates that share no noise, such as those of several seeds.

    A seed determines only the noise, so samples of two seeds are independent draws from one distribution, and a cell's
    own rows tell all of its error. Seeds that also determine trained weights need `over_seeds`.
    """
    deviations = np.concatenate([part.deviations for part in parts]) / len(parts)
    return Estimate(float(np.mean([part.value for part in parts])), deviations)


def combine(one: Interval, other: Interval, apart: Interval, factor: float) -> Interval:
    """Return ``one - factor * other`` for two numbers whose difference is known with its interval as well.

    All three intervals reach equally far to both sides, as those of an `Estimate` do. With half-widths a, b and d, the
    covariance is ``(a^2 + b^2 - d^2) / 2``.
    """
    a, b, d = ((part.high - part.low) / 2 for part in (one, other, apart))
    squared = a * a + factor**2 * b * b - factor * (a * a + b * b - d * d)
    value, half = one.value - factor * other.value, math.sqrt(max(0.0, squared))
    return Interval(value, value - half, value + half)
