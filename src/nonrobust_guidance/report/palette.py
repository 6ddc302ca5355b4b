"""One colour and one marker for each method, the same in every figure; told apart by colour-blind readers too.

The colours are Paul Tol's "muted" scheme (https://personal.sron.nl/~pault/), with its sand colour darkened for white
paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

from nonrobust_guidance.metrics.cells import Method

COLOURS = ("#332288", "#6BB7E0", "#CC3355", "#D9A400", "#117733", "#44AA99", "#AA4499", "#808019", "#661100")
MARKERS = ("o", "s", "X", "D", "^", "v", "P", "p", "h")
UNGUIDED = "#888888"


class LineStyle(NamedTuple):
    """How a line is drawn, and what the legend calls it."""

    label: str
    colour: str
    marker: str


def method_colours(methods: Sequence[Method]) -> dict[str, str]:
    """Return the colour of each method by name; unguided is grey."""
    return _assign(methods, COLOURS, UNGUIDED)


def method_markers(methods: Sequence[Method]) -> dict[str, str]:
    """Return the matplotlib marker of each method by name."""
    return _assign(methods, MARKERS, "*")


def _assign(methods: Sequence[Method], values: Sequence[str], unguided: str) -> dict[str, str]:
    following = cycle(values)
    return {method.name: unguided if method.unguided else next(following) for method in methods}
