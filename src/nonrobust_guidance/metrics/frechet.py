"""The Frechet distance between two Gaussians fitted to features (Heusel et al. 2017): clean-fid's, and a fast form."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nonrobust_guidance.metrics.intervals import bootstrap_interval

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


def frechet_distance(features: Features, reference: Gaussian) -> float:
    """Return clean-fid's distance between the Gaussian of features (N, D), N at least 2, and the reference."""
    from cleanfid import fid

    ours = Gaussian.fit(features)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # scipy warns of clean-fid's `disp=`, and of the singular covariances that any n <= D has.
        warnings.simplefilter("ignore")
        distance = fid.frechet_distance(ours.mean, ours.covariance, reference.mean, reference.covariance)
    return max(0.0, float(distance))


def fast_frechet_distance(features: Features, reference: Gaussian) -> float:
    """Return the same number without a matrix square root of the features' covariance.

    With the reference's root R and the centred rows X, ``tr sqrt(C_x C_r)`` is the sum of the singular values of
    ``X R / sqrt(n - 1)``, and those are the roots of the eigenvalues of the smaller of its two Gram matrices.
    """
    return _distance_of_projected(np.asarray(features, dtype=np.float64), features @ reference.root, reference)


def frechet_interval(
    features: Features, reference: Gaussian, estimate: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the distance of features (N, D).

    The generated rows are resampled. The reference is not: it is the yardstick, one and the same for every cell, and
    what its own finite size adds is common to all that are compared.
    """
    rows = np.asarray(features, dtype=np.float64)
    projected = rows @ reference.root
    return bootstrap_interval(
        estimate, lambda i: _distance_of_projected(rows[i], projected[i], reference), len(rows), resamples, seed
    )


def _distance_of_projected(rows: Features, projected: Features, reference: Gaussian) -> float:
    mean, centred = rows.mean(axis=0), projected - projected.mean(axis=0)
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    cross = np.sqrt(np.linalg.eigvalsh(gram).clip(min=0)).sum() / np.sqrt(len(rows) - 1)
    shift = np.square(mean - reference.mean).sum()
    return float(shift + rows.var(axis=0, ddof=1).sum() + np.trace(reference.covariance) - 2 * cross)


def rank_warning(num_samples: int, num_reference: int, dimension: int) -> str:
    """Return a sentence where the rows on either side cannot give a covariance of full rank, else an empty text."""
    short = [f"{num_samples} samples"] if num_samples <= dimension else []
    short += [f"{num_reference} reference images"] if num_reference <= dimension else []
    if not short:
        return ""
    return f"{' and '.join(short)} for {dimension} feature dimensions: distances are biased, compare at equal n only"
