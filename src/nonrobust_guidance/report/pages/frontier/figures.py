"""The charts of accuracy and distance against cost, with their Pareto fronts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from matplotlib.transforms import Bbox

from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.report.figures import LEGEND, REFERENCE, error_arms, in_maths, panels_of
from nonrobust_guidance.report.pages.frontier.measured import Frontier, Point, accuracy_front, distance_front
from nonrobust_guidance.report.palette import COLOURS, MARKERS, UNGUIDED, LineStyle

HALO = [withStroke(linewidth=2.5, foreground="white")]
OFFSETS = ((0, 6), (0, -14), (7, -4), (-7, -4), (7, 6), (-7, 6), (7, -14), (-7, -14), (0, 17), (0, -25))
"""Offsets of a label from its point, in points, the best place first."""
Measure = Callable[[Point], Interval]


class Row(NamedTuple):
    """What one row of panels shows."""

    words: str
    of: Measure
    front: Callable[[Sequence[Point], Callable[[Point], float]], list[Point]]


ROWS = (
    Row("held-out accuracy", lambda point: point.outcome.accuracy, accuracy_front),
    Row("distance to real images of the class", lambda point: point.outcome.distance, distance_front),
)


def passes_of(point: Point) -> Interval:
    """Return the passes through the diffusion model, which are counted."""
    return Interval(point.passes, point.passes, point.passes)


COSTS: tuple[tuple[str, Measure], ...] = (
    ("seconds for 64 images, log scale", lambda point: point.seconds),
    ("passes through the diffusion model for an image, log scale", passes_of),
)


def draw_frontier(frontier: Frontier) -> Figure:
    """Draw accuracy and distance against seconds and passes: a line per family, a point per method, a black front."""
    figure, panels = panels_of(2, 2, width=11, height=4.1, share=("col", "row"))
    styles = styles_of(frontier.points)
    for row, axes_of_row in zip(ROWS, panels, strict=True):
        for (words, cost), axes in zip(COSTS, axes_of_row, strict=True):
            draw_points(axes, frontier.points, cost, row.of, styles)
            front = row.front(frontier.points, lambda point, cost=cost: cost(point).value)  # type: ignore[misc]
            ends = [*front, front[-1]]
            axes.plot(
                [*(cost(p).value for p in front), axes.get_xlim()[1]], [row.of(p).value for p in ends],
                drawstyle="steps-post", color=REFERENCE, linewidth=1.3, zorder=2,
            )  # fmt: skip
            if row is ROWS[-1]:
                axes.set_xlabel(words)
        axes_of_row[0].set_ylabel(row.words)
    panels[0][0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[0][0].set_ylim(-0.04, 1.1)
    panels[1][0].set_yscale("log")
    for axis in (panels[1][0].yaxis, panels[1][0].xaxis, panels[1][1].xaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    handles = [
        Line2D([], [], color=style.colour, marker=style.marker, markersize=6.5, label=style.label)
        for style in styles.values()
    ]
    handles.append(Line2D([], [], color=REFERENCE, linewidth=1.3, label="Pareto front"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, **LEGEND)
    figure.draw_without_rendering()  # so that the points' positions are known to the labels
    for row, axes_of_row in zip(ROWS, panels, strict=True):
        for (_, cost), axes in zip(COSTS, axes_of_row, strict=True):
            front = row.front(frontier.points, lambda point, cost=cost: cost(point).value)  # type: ignore[misc]
            place_labels(axes, frontier.points, cost, row.of, styles, front)
    return figure


def styles_of(points: Sequence[Point]) -> dict[str, LineStyle]:
    """Return a style for each family: colours in turn, and other markers once the colours repeat."""
    families = dict.fromkeys(point.family for point in points if not point.outcome.method.unguided)
    styles = {
        family: LineStyle(in_maths(family), COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)])
        for i, family in enumerate(families)
    }
    free = dict.fromkeys(point.family for point in points if point.outcome.method.unguided)
    return styles | {family: LineStyle(in_maths(family), UNGUIDED, "*") for family in free}


def draw_points(
    axes: Axes, points: Sequence[Point], cost: Measure, quality: Measure, styles: dict[str, LineStyle]
) -> None:
    """Draw what methods reach over what they cost, with intervals, and a line per family in the order of its cost."""
    axes.set_xscale("log")
    for family, style in styles.items():
        own = sorted((point for point in points if point.family == family), key=lambda point: cost(point).value)
        x, y = np.array([cost(point) for point in own]), np.array([quality(point) for point in own])
        axes.errorbar(
            x[:, 0], y[:, 0], xerr=error_arms(x), yerr=error_arms(y), color=style.colour, marker=style.marker,
            markersize=6.5, linewidth=1, elinewidth=0.8, markeredgecolor="white", markeredgewidth=0.6, zorder=3,
        )  # fmt: skip


def place_labels(
    axes: Axes,
    points: Sequence[Point],
    cost: Measure,
    quality: Measure,
    styles: dict[str, LineStyle],
    front: Sequence[Point],
) -> None:
    """Write names beside the points of the front, and beside the others their steps where there is room."""
    at = {point.name: (cost(point).value, quality(point).value) for point in points}
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform(list(at.values()))]
    for point in [*front, *(point for point in points if point not in front)]:
        ahead = point in front
        label = axes.annotate(
            point.name if ahead else str(point.steps), at[point.name], xytext=OFFSETS[0], textcoords="offset points",
            ha="center", fontsize=8 if ahead else 7, fontweight="bold" if ahead else "normal", zorder=4,
            color=styles[point.family].colour, path_effects=HALO,
        )  # fmt: skip
        label.set_in_layout(False)
        for right, up in OFFSETS:
            label.set_position((right, up))
            label.set_horizontalalignment("left" if right > 0 else "right" if right < 0 else "center")
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken) and contains(axes.bbox, box):
                taken.append(box)
                break
        else:
            label.remove()


def contains(outer: Bbox, inner: Bbox) -> bool:
    """Return whether a box lies within another from left to right; it may stick out above and below."""
    return bool(outer.x0 <= inner.x0 and inner.x1 <= outer.x1)
