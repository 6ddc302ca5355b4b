"""How `gpu.py` evaluates its measurements, whatever device they were taken on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch

BASE = "float32"


class Row(NamedTuple):
    """A line of the table: images a second, shares within [0, 1], and GiB."""

    way: str
    at: str
    batch: int
    rate: float
    waiting: float
    memory: float
    deviation: float


def search_batch_size(
    rate: Callable[[int], float], first: int = 8, growth: float = 0.05, largest: int = 4096
) -> tuple[int, float]:
    """Return the batch size at which drawing is fast enough, and its images a second.

    It is doubled until that brings less than a share more, or memory runs out.

    Args:
        rate: images a second at a batch size; raises torch.OutOfMemoryError where it does not fit.
        first: size to start with.
        growth: the least share that a doubling must bring.
        largest: greatest size to try.

    Raises:
        torch.OutOfMemoryError: if not even the first fits.
    """
    size, best = first, rate(first)
    while 2 * size <= largest:
        try:
            doubled = rate(2 * size)
        except torch.OutOfMemoryError:
            break
        if doubled < best * (1 + growth):
            break
        size, best = 2 * size, doubled
    return size, best


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of the intervals; they may overlap, as kernels of two streams do."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def waiting_share(busy: float, wall: float) -> float:
    """Return the share of the wall time in which the GPU was idle; both are in seconds, for drawings of one kind."""
    return max(0.0, 1.0 - busy / wall)


def format_table(rows: Sequence[Row]) -> str:
    """Return the table in Markdown; a rate has no factor if there is none in float32 to compare it with."""
    base = {row.at: row.rate for row in rows if row.way == BASE}
    lines = [
        "| U-Net | guidance | batch | images per second | times float32 | the GPU waits | GiB | off by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        factor = f"{row.rate / base[row.at]:.2f}" if row.at in base else ""
        lines.append(
            f"| {row.way} | {row.at} | {row.batch} | {row.rate:.1f} | {factor} | {row.waiting:.0%} | {row.memory:.1f} "
            f"| {row.deviation:.1%} |"
        )
    return "\n".join(lines)
