"""The chart of the comparison: how much variance every method keeps at which share of the class."""

from __future__ import annotations

from itertools import product
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from nonrobust_guidance.report.figures import DOTTED, LEGEND, REFERENCE, in_maths, panels_of
from nonrobust_guidance.report.pages.ground_truth.compared import (
    DELIVERS,
    PLAIN,
    REJECTION,
    TOLERANCE,
    Compared,
    Trial,
)
from nonrobust_guidance.report.pages.ground_truth.measured import FREE, STYLES
from nonrobust_guidance.report.palette import UNGUIDED, LineStyle

BAND = "#e6f2e6"
_OWN_COLOURS = {
    "dps": ("#6BB7E0", "s"), "lgd": ("#117733", "^"), "freedom": ("#44AA99", "v"), "mpgd": ("#AA4499", "P"),
    "dsg": ("#661100", "h"), "ugd": ("#DD7733", "<"), "tfg": ("#222222", ">"),
}  # fmt: skip
"""Colours of the methods that are on no other page; those of the paper have the same colours as there."""
_STYLES = {
    name: LineStyle(label, *(STYLES[name][1:] if name in STYLES else _OWN_COLOURS[name]))
    for name, label in PLAIN.items()
}
_ROWS = {"variance_kept": "variance kept, whole class", "variance_within": "variance kept, within components"}


def variance_over_class_share(compared: Compared) -> Figure:
    """Draw the variance that each method keeps over the class share along its scale, with and without a trust region.

    Stabilizers are left out: more than one line per method could not be told apart.
    """
    figure, panels = panels_of(2, 2, width=10, height=3.4)
    for (row, column), (quantity, trust) in zip(
        product(range(2), range(2)), product(_ROWS, (False, True)), strict=True
    ):
        draw_panel(panels[row][column], compared, quantity, trust=trust)
    panels[0][0].set_title("without a trust region", loc="left", fontsize=10, fontweight="bold")
    with_region = f"with a trust region, r = {compared.trust_radius:g}"
    panels[0][1].set_title(with_region, loc="left", fontsize=10, fontweight="bold")
    for (axes, _), name in zip(panels, _ROWS.values(), strict=True):
        axes.set(ylabel=name, xlim=(0.38, 1.03), ylim=(0, 1.55))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axes in panels[1]:
        axes.set_xlabel("samples of the class asked for", fontsize=10)
    handles = [
        Line2D([], [], color=style.colour, marker=style.marker, markersize=6, linestyle=style_of(name),
               label=in_maths(style.label))
        for name, style in _STYLES.items()
    ]  # fmt: skip
    handles += [
        Line2D([], [], color=UNGUIDED, marker="*", markersize=9, linestyle="", label="unguided"),
        Line2D([], [], color=REFERENCE, marker="x", markersize=7, linestyle="", label="rejection"),
        Line2D([], [], color=BAND, linewidth=8, label="to be trusted"),
    ]
    figure.legend(handles=handles, loc="outside right center", **LEGEND)
    return figure


def draw_panel(axes: Axes, compared: Compared, quantity: str, *, trust: bool) -> None:
    """Draw one number of the variance, for all methods with or without a trust region."""
    axes.fill_between([DELIVERS, 1.03], 1 - TOLERANCE, 1 + TOLERANCE, color=BAND, linewidth=0, zorder=0)
    axes.axhline(1.0, color=REFERENCE, linestyle=DOTTED, linewidth=1, zorder=1)
    for method, style in _STYLES.items():
        points = [point_of(trial, quantity) for trial in compared.of(method, trust=trust)]
        axes.plot(
            *zip(*points, strict=True), color=style.colour, marker=style.marker, linestyle=style_of(method),
            markersize=5.5, linewidth=1.2, markeredgecolor="white", markeredgewidth=0.5, zorder=3,
        )  # fmt: skip
    for method, colour, marker in ((FREE, UNGUIDED, "*"), (REJECTION, REFERENCE, "x")):
        share, kept = point_of(compared.of(method)[0], quantity)
        axes.plot([share], [kept], color=colour, marker=marker, markersize=8, linestyle="", zorder=4)


def point_of(trial: Trial, quantity: str) -> tuple[float, float]:
    """Return where a trial is drawn: its class share, and one number of its variance."""
    return trial.class_share.value, getattr(trial, quantity).value


def style_of(method: str) -> Literal["-", "--"]:
    """Return how a line is drawn: classifier guidance solid, the training-free methods dashed."""
    return "-" if method in STYLES else "--"
