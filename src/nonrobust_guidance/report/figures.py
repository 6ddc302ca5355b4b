"""What the charts of all pages share: panels, lines with their intervals, legends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nonrobust_guidance.report.palette import COLOURS, method_colours, method_markers
from nonrobust_guidance.report.results import Results
from nonrobust_guidance.report.wording import X0_HAT, X_T, method_labels

REFERENCE = "#333333"
DASHED, DOTTED = (0, (5, 3)), (0, (1, 2))
IN_MATHS = {X0_HAT: r"$\hat{x}_0$", X_T: r"$x_t$"}
Sharing = Literal["none", "all", "row", "col"]
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 9}


def draw_readings(axes: Axes, table: pd.DataFrame, column: str, ends: str) -> None:
    """Draw a column over the noise level t, with its interval, a line for each classifier at each input.

    Args:
        axes: where.
        table: has the columns classifier, at and t.
        column: what is drawn.
        ends: the columns of its interval are this name with _low and _high.
    """
    names = list(dict.fromkeys(table["classifier"]))
    for name, colour in zip(names, (COLOURS[0], COLOURS[2], *COLOURS[3:]), strict=False):
        for at, symbol, line, marker in (("xt", X_T, "-", "o"), ("x0", X0_HAT, "--", "s")):
            rows = table[(table["classifier"] == name) & (table["at"] == at)].sort_values("t")
            sns.lineplot(
                rows, x="t", y=column, ax=axes, color=colour, linestyle=line, marker=marker, markersize=5.5,
                label=in_maths(f"{name}, {symbol}"), errorbar=None,
            )  # fmt: skip
            axes.fill_between(rows["t"], rows[f"{ends}_low"], rows[f"{ends}_high"], color=colour, alpha=0.15, lw=0)


def panels_of(
    rows: int, columns: int, width: float, height: float, *, share: tuple[Sharing, Sharing] = ("all", "all")
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure, ``width`` inches wide and ``height`` per row, and its panels row by row, sharing x and y."""
    style = {"axes.spines.top": False, "axes.spines.right": False, "grid.color": "#ececec", "axes.edgecolor": "#777777"}
    with sns.axes_style("whitegrid", rc=style):
        figure = Figure(figsize=(width, height * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=share[0], sharey=share[1], squeeze=False)
    for axes in panels.flat:
        axes.tick_params(labelsize=9)
    return figure, [list(row) for row in panels]


def error_arms(values: np.ndarray) -> np.ndarray:
    """Turn rows of (value, low, high) into matplotlib's (below, above), (2, N)."""
    return np.stack([values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]]).clip(min=0)


def method_handles(results: Results, names: Sequence[str]) -> list[Line2D]:
    """Return the legend's entries of these methods."""
    colours, markers = method_colours(results.methods), method_markers(results.methods)
    labels = method_labels(results.run)
    return [
        Line2D([], [], color=colours[name], marker=markers[name], markersize=6.5, label=in_maths(labels[name]))
        for name in names
    ]


def in_maths(text: str) -> str:
    """Return a label with its symbols in matplotlib's notation; a dollar sign stays a dollar sign."""
    text = text.replace("$", r"\$")
    for symbol, maths in IN_MATHS.items():
        text = text.replace(symbol, maths)
    return text
