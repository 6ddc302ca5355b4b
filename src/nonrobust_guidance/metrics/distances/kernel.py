"""The kernel distance (KID, Binkowski et al. 2018): unbiased, so that it may be below zero, and with an interval."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nonrobust_guidance.metrics.statistics.intervals import Interval, percentiles_about

Rows = NDArray[np.floating]

BLOCK_ENTRIES = 4_000_000


class KernelDistance:
    """The squared maximum mean discrepancy to reference rows (M, D), kernel ``(x . y / D + 1)^3``.

    The estimator is the unbiased one of Gretton et al. (2012): pairs of a row with itself are left out. It takes all
    pairs at once rather than a mean over random subsets, so the same rows always give the same number.
    """

    def __init__(self, reference: Rows) -> None:
        """Take the reference rows.

        Raises:
            ValueError: if there are fewer than two.
        """
        if len(reference) < 2:
            raise ValueError(f"A kernel distance is to at least two rows; got {len(reference)}.")
        self.reference = np.asarray(reference, dtype=np.float64)
        m = len(self.reference)
        total = sum(float(block.sum() - diagonal.sum()) for block, diagonal in _blocks_within(self.reference))
        self.within = total / (m * (m - 1))

    def measure(self, rows: Rows, resamples: int, seed: int) -> Interval:
        """Return the distance of rows (N, D) with its 95% bootstrap interval.

        As for the Frechet distance, the generated rows are resampled and the reference is not. A row that is drawn
        twice is not paired with itself either.

        Raises:
            ValueError: if there are fewer than two rows.
        """
        x, n = np.asarray(rows, dtype=np.float64), len(rows)
        if n < 2:
            raise ValueError(f"A kernel distance is of at least two rows; got {n}.")
        rng = np.random.default_rng(seed)
        # The first column counts each row once: the estimate itself.
        counts = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=resamples)]).T  # (N, 1 + R)
        among, start = np.zeros(1 + resamples), 0
        for block, diagonal in _blocks_within(x):
            part = counts[start : start + len(block)]
            among += (part * (block @ counts)).sum(axis=0) - diagonal @ part**2
            start += len(block)
        across = np.concatenate([block.mean(axis=1) for block in _blocks(x, self.reference)])  # (N,)
        pairs = n**2 - (counts**2).sum(axis=0)
        # If all n draws are the same row, no pair is left; with two rows that can happen, even every time.
        usable = pairs > 0
        estimate, *replicates = among[usable] / pairs[usable] + self.within - 2 * (across @ counts[:, usable]) / n
        return Interval(float(estimate), *percentiles_about(float(estimate), np.array(replicates or [estimate])))


def _blocks(x: Rows, y: Rows) -> Iterator[NDArray[np.float64]]:
    """Yield the kernel of some rows of x with all rows of y, (B, M), so that matrices stay small."""
    size = max(1, BLOCK_ENTRIES // len(y))
    for start in range(0, len(x), size):
        base = x[start : start + size] @ y.T / x.shape[1] + 1
        yield base * base * base  # ten times as fast as base**3


def _blocks_within(x: Rows) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    start = 0
    for block in _blocks(x, x):
        yield block, np.diagonal(block, offset=start)
        start += len(block)
