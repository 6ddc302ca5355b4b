"""Feature rows that arrive in batches: a Gaussian fitted to all of them, and a random few that are kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonrobust_guidance.metrics.distances.frechet import Gaussian

Rows = NDArray[np.floating]


class FeatureSummary(NamedTuple):
    """What is known of the features of N images.

    Attributes:
        gaussian: the fit to all N rows.
        rows: all of them in order, or a random few, (M, D) with M at most N.
    """

    gaussian: Gaussian
    rows: NDArray[np.float32]

    @property
    def complete(self) -> bool:
        """Whether every row was kept."""
        return len(self.rows) == self.gaussian.n


class Moments:
    """Mean and scatter of rows (N, D) in float64, updated batch by batch (Chan, Golub & LeVeque 1979)."""

    def __init__(self) -> None:
        """Start without a row."""
        self.n, self.mean, self.scatter = 0, np.zeros(0), np.zeros((0, 0))

    def add(self, rows: Rows) -> None:
        """Take a batch (B, D)."""
        if not len(rows):
            return
        batch = Moments()
        exact = np.asarray(rows, dtype=np.float64)
        batch.n, batch.mean = len(exact), exact.mean(axis=0)
        centred = exact - batch.mean
        batch.scatter = centred.T @ centred
        self.merge(batch)

    def merge(self, other: Moments) -> None:
        """Add all rows of another one."""
        if not other.n:
            return
        if not self.n:
            self.n, self.mean, self.scatter = other.n, other.mean.copy(), other.scatter.copy()
            return
        n, shift = self.n + other.n, other.mean - self.mean
        self.scatter += other.scatter
        self.scatter += np.outer(shift, shift) * (self.n * other.n / n)
        self.mean = self.mean + shift * (other.n / n)
        self.n = n

    def gaussian(self) -> Gaussian:
        """Return the fit, with the unbiased covariance.

        Raises:
            ValueError: if there are fewer than two rows.
        """
        if self.n < 2:
            raise ValueError(f"A Gaussian is fitted to at least two rows; got {self.n}.")
        return Gaussian(self.mean, self.scatter / (self.n - 1), self.n)


def summarize_features(batches: Iterable[Rows], n: int, num_rows: int, seed: int) -> FeatureSummary:
    """Return what is known of the rows of all batches, of which at most ``num_rows`` stay in memory.

    Args:
        batches: of features (B, D).
        n: rows in all, at least 2.
        num_rows: rows to keep.
        seed: of the choice among them.
    """
    kept, moments, rows, start = choose_rows(n, num_rows, seed), Moments(), [], 0
    for batch in batches:
        moments.add(batch)
        rows.append(batch[kept[start : start + len(batch)]].astype(np.float32))
        start += len(batch)
    return FeatureSummary(moments.gaussian(), np.concatenate(rows))


def choose_rows(n: int, num_rows: int, seed: int) -> NDArray[np.bool_]:
    """Return which of n rows (n,) to keep: all, or ``num_rows`` drawn without replacement."""
    kept = np.full(n, n <= num_rows)
    if n > num_rows:
        kept[np.random.default_rng(seed).choice(n, num_rows, replace=False)] = True
    return kept
