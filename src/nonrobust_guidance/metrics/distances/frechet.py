"""The Frechet distance between two Gaussians fitted to features (Heusel et al. 2017), and its interval."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from nonrobust_guidance.metrics.statistics.estimates import Estimate
from nonrobust_guidance.metrics.statistics.intervals import LEVEL, bootstrap_interval

BOOTSTRAP_RANK = 256
REAL_DRAWS = 20

Features = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Gaussian:
    """The fit to n feature rows: mean (D,) and unbiased covariance (D, D), float64."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    n: int

    @classmethod
    def fit(cls, features: Features) -> Gaussian:
        """Fit to features (N, D).

        Raises:
            ValueError: if there are fewer than two rows.
        """
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"A Gaussian is fitted to at least two rows (N, D); got {features.shape}.")
        rows = np.asarray(features, dtype=np.float64)
        return cls(rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False)), len(rows))

    @cached_property
    def root(self) -> NDArray[np.float64]:
        """The symmetric square root of the covariance, (D, D)."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def frechet_distance(ours: Gaussian, reference: Gaussian) -> float:
    """Return ``|m - m_r|^2 + tr(C + C_r - 2 sqrt(C C_r))``, clean-fid's number.

    With the reference's root R, ``tr sqrt(C C_r)`` is the sum of the roots of the eigenvalues of the symmetric
    ``R C R``: no square root of a matrix that is not symmetric, which takes a minute at 2048 dimensions.
    """
    cross = np.sqrt(np.linalg.eigvalsh(reference.root @ ours.covariance @ reference.root).clip(min=0)).sum()
    shift = np.square(ours.mean - reference.mean).sum()
    return max(0.0, float(shift + np.trace(ours.covariance) + np.trace(reference.covariance) - 2 * cross))


def frechet_interval(
    features: Features, ours: Gaussian, reference: Gaussian, estimate: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 95% interval of the distance of samples, by the bootstrap or, where that costs too much, its limit.

    Only the generated rows are resampled: the reference is the same for every cell, so what its own finite size adds is
    common to all that are compared. Rows are resampled if all of them were kept and the smaller of N and D is at most
    ``BOOTSTRAP_RANK``, which takes a few seconds; otherwise it is `linear_interval`.

    Args:
        features: the rows (M, D) that were kept of the N samples.
        ours: the Gaussian of all N.
        reference: of the real images.
        estimate: the distance between the two.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    rows = np.asarray(features, dtype=np.float64)
    if len(rows) < ours.n or min(rows.shape) > BOOTSTRAP_RANK:
        return linear_interval(rows, ours, reference, estimate)
    projected = rows @ reference.root
    return bootstrap_interval(
        estimate, lambda i: _distance_of_projected(rows[i], projected[i], reference), len(rows), resamples, seed
    )


def linear_interval(rows: Features, ours: Gaussian, reference: Gaussian, estimate: float) -> tuple[float, float]:
    """Return the 95% interval from the distance's derivative by each row's weight (the infinitesimal jackknife).

    The standard error is the deviation of `influence_of` the rows over ``sqrt(N)`` (Efron 1982).

    Args:
        rows: (M, D), M at least 2.
        ours: the Gaussian of all N rows.
        reference: of the real images.
        estimate: the distance between the two.
    """
    influence = influence_of(rows, ours, reference)
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * influence.std(ddof=1) / np.sqrt(ours.n)
    return max(0.0, float(estimate - half)), float(estimate + half)


def influence_of(rows: Features, ours: Gaussian, reference: Gaussian) -> NDArray[np.float64]:
    """Return N times what each row (M, D) of N adds to the distance, to first order and up to a constant, (M,).

    A row x moves it by ``2 (m - m_r) . (x - m) + (x - m)^T (I - T) (x - m)`` over N, where
    ``T = R (R C R)^(-1/2) R`` is the optimal transport between the two Gaussians. It takes one eigendecomposition
    instead of hundreds, and a random few of the rows are enough.
    """
    centred = np.asarray(rows, dtype=np.float64) - ours.mean
    values, vectors = np.linalg.eigh(reference.root @ ours.covariance @ reference.root)
    # Directions in which the samples do not vary contain only rounding errors.
    held = values > values.max(initial=0) * len(values) * np.finfo(np.float64).eps
    onto = reference.root @ vectors[:, held] / values[held] ** 0.25  # (D, rank)
    influence = 2 * centred @ (ours.mean - reference.mean) + np.square(centred).sum(axis=1)
    return influence - np.square(centred @ onto).sum(axis=1)


def estimate_distance(
    features: Features, ours: Gaussian, reference: Gaussian, resamples: int, rng: np.random.Generator
) -> Estimate:
    """Return the distance and how it varies with the rows, comparable with that of other rows from the same noise.

    Rows are resampled, or their influence is taken, in the same cases as in `frechet_interval`. Two calls with
    generators in the same state and as many rows have the same resamples.

    Args:
        features: the rows (M, D) that were kept of the N samples.
        ours: the Gaussian of all N.
        reference: of the real images.
        resamples: of the bootstrap, at least 2.
        rng: draws them.
    """
    rows = np.asarray(features, dtype=np.float64)
    value = frechet_distance(ours, reference)
    if len(rows) < ours.n or min(rows.shape) > BOOTSTRAP_RANK:
        return Estimate.of_influence(value, influence_of(rows, ours, reference), ours.n)
    projected, drawn = rows @ reference.root, rng.integers(len(rows), size=(resamples, len(rows)))
    replicates = np.array([_distance_of_projected(rows[i], projected[i], reference) for i in drawn])
    return Estimate.of_replicates(value, replicates, len(rows))


def _distance_of_projected(rows: Features, projected: Features, reference: Gaussian) -> float:
    """Return the distance of features X (N, D) and their projection X R, using matrices of the smaller of N and D.

    ``tr sqrt(C C_r)`` is the sum of the singular values of the centred ``X R / sqrt(N - 1)``, and those are the roots
    of the eigenvalues of the smaller of its two Gram matrices.
    """
    mean, centred = rows.mean(axis=0), projected - projected.mean(axis=0)
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    cross = np.sqrt(np.linalg.eigvalsh(gram).clip(min=0)).sum() / np.sqrt(len(rows) - 1)
    shift = np.square(mean - reference.mean).sum()
    return float(shift + rows.var(axis=0, ddof=1).sum() + np.trace(reference.covariance) - 2 * cross)


def real_distance(features: Features, reference: Gaussian, n: int, seed: int) -> float:
    """Return the mean distance of n real held-out images: the distance of a perfect generator at this n.

    They are drawn without replacement from features (M, D), M and n at least 2; where M is less than n, all M are used.
    """
    rows = np.asarray(features, dtype=np.float64)
    projected, size, rng = rows @ reference.root, min(n, len(rows)), np.random.default_rng(seed)
    draws = 1 if size == len(rows) else REAL_DRAWS
    subsets = [rng.choice(len(rows), size, replace=False) for _ in range(draws)]
    return float(np.mean([_distance_of_projected(rows[i], projected[i], reference) for i in subsets]))


def rank_warning(num_samples: int, num_reference: int, dimension: int) -> str:
    """Return a sentence where the rows on either side cannot give a covariance of full rank, else an empty text."""
    short = [f"{num_samples} samples"] if num_samples <= dimension else []
    short += [f"{num_reference} reference images"] if num_reference <= dimension else []
    if not short:
        return ""
    return f"{' and '.join(short)} for {dimension} feature dimensions: distances are biased, compare at equal n only"
