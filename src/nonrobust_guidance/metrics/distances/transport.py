"""Wasserstein-1 distance on the line and on the circle: how far one distribution has to move to become another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Transport:
    """The distance of resamples of some values to a reference, all sorted together once.

    On the line it is ``integral |F - G|`` of the two distribution functions. On the circle, which has no starting
    point, it is ``integral |F - G - a|`` with the ``a`` that makes it least, the median of ``F - G`` (Rabin, Delon &
    Gousseau 2011). Both are in the unit of the values.
    """

    def __init__(self, values: Array, reference: Array, period: float | None = None) -> None:
        """Take the values (n,), the reference (m,), each at least one, and the circle's length, None on the line."""
        self.n, self.circular = len(values), period is not None
        points = np.concatenate([values, reference]).astype(np.float64)
        if period is not None:
            points %= period
        self.order = np.argsort(points, kind="stable")
        ends = points[self.order[[0, -1]]]
        # The last gap closes the circle; on the line it has length 0.
        closing = 0.0 if period is None else period - (ends[1] - ends[0])
        self.gaps = np.append(np.diff(points[self.order]), closing)
        self.reference_weights = np.full(len(reference), -1 / len(reference))

    def distance(self, rows: NDArray[np.int64]) -> float:
        """Return the distance of the values at these rows, which may repeat, to the reference."""
        weights = np.concatenate([np.bincount(rows, minlength=self.n) / len(rows), self.reference_weights])
        apart = np.cumsum(weights[self.order])  # F - G on the gap that follows each point
        if self.circular:
            apart = apart - weighted_median(apart, self.gaps)
        return float(np.abs(apart) @ self.gaps)


def weighted_median(values: Array, weights: Array) -> float:
    """Return a value with at most half of the weight below it and at most half above it."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(reached, reached[-1] / 2)]])
