"""The chart of variants beside their base."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.report.figures import DOTTED, REFERENCE, error_arms, in_maths, panels_of
from nonrobust_guidance.report.pages.ablation.variants import best_of, variants_of
from nonrobust_guidance.report.palette import COLOURS
from nonrobust_guidance.report.results import Results


def draw_ablation(results: Results, base: str) -> Figure:
    """Draw held-out accuracy and distance of each variant at its best scale, with the base's as a dotted line."""
    variants = variants_of(results.run, base)
    found = [best_of(results, variant.method) for variant in variants]
    figure, ((left, right),) = panels_of(1, 2, width=9.5, height=0.9 + 0.32 * len(variants), share=("none", "all"))
    names = [f"{c.setting.replace('_', ' ')} {c.value}" if c.setting else "base" for c in variants]
    for axes, values, label in (
        (left, [outcome.accuracy for outcome in found], "held-out accuracy"),
        (right, [outcome.distance for outcome in found], "distance to real images of the class"),
    ):
        draw_dots(axes, values)
        axes.set_xlabel(label)
    left.set_yticks(range(len(names)), [in_maths(name) for name in names])
    left.invert_yaxis()
    left.set_xlim(-0.02, 1.04)
    return figure


def draw_dots(axes: Axes, values: list[Interval]) -> None:
    """Draw intervals one below the other, the first in another colour and with a dotted line through all."""
    axes.axvline(values[0].value, color=REFERENCE, linestyle=DOTTED, linewidth=1.2, zorder=1)
    for place, value in enumerate(values):
        ends, colour = error_arms(np.array([value])), COLOURS[2] if place == 0 else COLOURS[0]
        axes.errorbar(value.value, place, xerr=ends, fmt="o", color=colour, markersize=6, elinewidth=1.1, zorder=3)
    axes.grid(axis="y", visible=False)
