"""Fidelity and diversity by nearest neighbours: precision and recall, density and coverage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating]

WORKING_MEMORY = 256  # MiB of distances at a time
MAX_PARTS = 20


class Manifold(NamedTuple):
    """Rows (N, D) and the radius (N,) of each one's ball, which reaches to its k-th nearest neighbour among them."""

    rows: NDArray[np.float64]
    radii: NDArray[np.float64]
    k: int

    @classmethod
    def of(cls, rows: Rows, k: int) -> Manifold:
        """Return the manifold of rows; where these are too few for k neighbours, its radii are NaN."""
        from sklearn.neighbors import NearestNeighbors

        exact = np.asarray(rows, dtype=np.float64)
        if len(exact) <= k:
            return cls(exact, np.full(len(exact), np.nan), k)
        distances, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(exact).kneighbors()
        return cls(exact, distances[:, -1], k)


class Fidelity(NamedTuple):
    """What nearest neighbours tell about generated and real images; all but density are in [0, 1].

    Attributes:
        precision: share of generated rows within a ball of the real ones (Kynkaanniemi et al. 2019).
        recall: share of real rows within a ball of the generated ones.
        density: real balls that a generated row lies in, over k (Naeem et al. 2020); real images would have about 1.
        coverage: share of real rows whose ball holds a generated one.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def compare_manifolds(real: Manifold, generated: Manifold) -> Fidelity:
    """Return the four numbers; NaN where one side has too few rows for its balls.

    They depend on the number of rows, which should be the same on both sides, see `equal_parts`.
    """
    from sklearn.metrics import pairwise_distances_chunked

    covered = np.zeros(len(generated.rows))  # how many real balls each generated row is in
    recalled, reached = 0, 0

    def count(distances: NDArray[np.float64], start: int) -> None:
        nonlocal recalled, reached
        inside = distances <= real.radii[start : start + len(distances), None]
        covered[:] += inside.sum(axis=0)
        reached += int(inside.any(axis=1).sum())
        recalled += int((distances <= generated.radii).any(axis=1).sum())

    for _ in pairwise_distances_chunked(real.rows, generated.rows, reduce_func=count, working_memory=WORKING_MEMORY):
        pass
    known, known_too = not np.isnan(real.radii).any(), not np.isnan(generated.radii).any()
    return Fidelity(
        precision=float((covered > 0).mean()) if known else math.nan,
        recall=recalled / len(real.rows) if known_too else math.nan,
        density=float(covered.mean() / real.k) if known else math.nan,
        coverage=reached / len(real.rows) if known else math.nan,
    )


def equal_parts(rows: Rows, n: int, k: int, seed: int) -> list[Manifold]:
    """Return manifolds of n rows each, disjoint random parts of the real ones; with fewer than n rows, one of all.

    A cell of 64 samples cannot cover thousands of balls, and its own few balls are so large that they recall anything.
    Against as many real rows the four numbers mean what they mean in the papers, and averaging over the parts makes up
    for their small size.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    count = min(MAX_PARTS, max(1, len(rows) // n))
    return [Manifold.of(rows[np.sort(order[i * n : (i + 1) * n])], k) for i in range(count)]


def mean_fidelity(parts: Sequence[Manifold], generated: Manifold) -> Fidelity:
    """Return the mean of the four numbers over parts of the real rows."""
    return Fidelity(*np.mean([compare_manifolds(part, generated) for part in parts], axis=0).tolist())
