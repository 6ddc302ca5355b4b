"""How much of a class's variety samples keep, where its covariance is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonrobust_guidance.ground_truth import GaussianMixture
from nonrobust_guidance.metrics.statistics.intervals import Interval, percentiles_about

Array = NDArray[np.float64]


class VarianceKept(NamedTuple):
    """Traces of covariances over the exact ones: 1 is right, 0 is a single point, more than 1 is blurred."""

    total: Interval
    """Of all samples of the class: it falls when components are lost or move closer together."""
    within: Interval
    """About the mean of each component, pooled over those that have samples: it falls when components shrink."""


def variance_kept(mixture: GaussianMixture, label: int, x: Tensor, counts: Array) -> VarianceKept:
    """Return the variance of the samples that are of one class, over that of the class itself.

    A sample belongs to the class, and to the component in it, that is most likely by the exact posterior. Traces are
    unbiased: each mean takes a degree of freedom. NaN where fewer than two samples are of the class.

    Args:
        mixture: the distribution.
        label: the class.
        x: samples (N, D, 1, 1) or (N, D).
        counts: bootstrap replicates (R, N), see `resample_counts`.
    """
    x = x.reshape(len(x), -1).double()
    log_joint = mixture.log_joint(x, torch.ones(len(x), dtype=torch.float64))
    right = mixture.class_scores(log_joint).argmax(1) == label
    if int(right.sum()) < 2:
        return VarianceKept(*[Interval(np.nan, np.nan, np.nan)] * 2)
    exact = mixture.conditional(label)
    component = log_joint[right][:, mixture.labels == label].argmax(1)
    own = np.eye(len(exact.means))[component.numpy()]  # (n, K)
    # Centred first: squares of uncentred coordinates would lose the digits of a small spread far from 0.
    points = (x[right] - x[right].mean(0)).numpy()  # (n, D)
    weights = np.vstack([np.ones(len(points)), counts[:, right.numpy()]])  # (1 + R, n)
    n = weights @ own  # (1 + R, K)
    sums = np.stack([weights @ (own * axis[:, None]) for axis in points.T], axis=-1)  # (1 + R, K, D)
    squares = weights @ (points**2).sum(1)  # (1 + R,)
    drawn, filled = n.sum(1), (n > 0).sum(1)
    about_all = squares - (sums.sum(1) ** 2).sum(1) / np.maximum(drawn, 1)
    about_each = squares - ((sums**2).sum(2) / np.maximum(n, 1)).sum(1)
    spreads = exact.variances.sum(1).numpy()  # (K,)
    within = n @ spreads / np.maximum(drawn, 1)
    return VarianceKept(
        about(about_all / np.maximum(drawn - 1, 1) / total_variance(exact)),
        about(about_each / np.maximum(drawn - filled, 1) / np.where(within > 0, within, 1.0)),
    )


def total_variance(mixture: GaussianMixture) -> float:
    """Return the trace of the covariance of a whole mixture."""
    offsets = mixture.means - mixture.weights @ mixture.means
    return float(mixture.weights @ (mixture.variances.sum(1) + offsets.square().sum(1)))


def about(values: Array) -> Interval:
    """Return the first value, with the interval of the others, its bootstrap replicates (1 + R,)."""
    low, high = percentiles_about(float(values[0]), values[1:])
    return Interval(float(values[0]), max(0.0, low), high)
