"""Charts of accuracy, distance and scale; every point comes with its 95% interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from nonrobust_guidance.metrics.cells import Method
from nonrobust_guidance.metrics.distances.spaces import list_spaces
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.statistics.seeds import share_over_seeds
from nonrobust_guidance.report.figures import (
    DASHED,
    DOTTED,
    LEGEND,
    REFERENCE,
    draw_readings,
    error_arms,
    in_maths,
    method_handles,
    panels_of,
)
from nonrobust_guidance.report.palette import UNGUIDED, method_colours, method_markers
from nonrobust_guidance.report.results import Outcome, Results

FADED = "#d4d4d4"
Chosen = Callable[[Method], bool]
GROUPS: dict[str, Chosen] = {
    "robust": lambda method: method.robust,
    "non-robust": lambda method: not method.robust and not method.stabilizer,
    "non-robust, stabilized": lambda method: not method.robust and bool(method.stabilizer),
}
HALO = [withStroke(linewidth=2, foreground="white")]
LABEL_OFFSETS = ((5, 4), (5, -10), (-5, -10), (-5, 4))


def accuracy_against_distance(results: Results) -> Figure:
    """Draw held-out accuracy against conditional distance: a line per method, its points labelled with their scales.

    There is a row of panels per target and a column per group of methods; the other groups' methods are in the
    background, in grey.
    """
    guided = [method for method in results.methods if method.guided]
    groups = {title: [m.name for m in guided if chosen(m)] for title, chosen in GROUPS.items()}
    groups = {title: names for title, names in groups.items() if names} or {"unguided": []}
    figure, panels = panels_of(len(results.targets), len(groups), width=3.3 * max(2, len(groups)), height=2.9)
    for row, target in zip(panels, results.targets, strict=True):
        outcomes = results.outcomes_of(target)
        for axes, (title, names) in zip(row, groups.items(), strict=True):
            real = min(outcome.real_distance for outcome in outcomes if outcome.method.guided == bool(guided))
            axes.axvline(real, color=REFERENCE, linestyle=DASHED, linewidth=1, zorder=1)
            draw_methods(axes, results, [o for o in outcomes if o.method.name not in names], at_distance, faded=True)
            draw_methods(axes, results, [o for o in outcomes if o.method.name in names], at_distance, named=True)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_title(in_maths(f"{target}, {title}"), loc="left", fontsize=10, fontweight="bold")
    for axes, names in zip(panels[-1], groups.values(), strict=True):
        axes.legend(handles=method_handles(results, names), loc="upper center", bbox_to_anchor=(0.5, -0.24), **LEGEND)
    features = list_spaces(results.run.metrics)[0].words
    label = f"distance to real images of the class in features of {features} (dashed: as many real test images)"
    panels[-1][len(groups) // 2].set_xlabel(label)
    finish_accuracy(panels)
    return figure


def accuracy_over_scale(results: Results) -> Figure:
    """Draw held-out accuracy over the scale: a line per method, a panel per target, a level line for unguided."""
    curves = results.over_scales
    figure, (panels,) = panels_of(1, len(results.targets), width=2.4 + 3.8 * len(results.targets), height=3.5)
    for axes, target in zip(panels, results.targets, strict=True):
        for outcome in results.outcomes_of(target):
            if outcome.method.unguided:
                axes.axhline(outcome.accuracy.value, color=UNGUIDED, linestyle=DOTTED, linewidth=1.5, zorder=1)
        guided = [outcome for outcome in curves.outcomes_of(target) if outcome.method.guided]
        draw_methods(axes, curves, guided, at_scale)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_title(in_maths(target), loc="left", fontsize=10, fontweight="bold")
    handles = method_handles(curves, [method.name for method in curves.methods if method.guided])
    handles.append(Line2D([], [], color=UNGUIDED, linestyle=DOTTED, linewidth=1.5, label="unguided"))
    figure.legend(handles=handles, loc="outside right center", **LEGEND)
    finish_accuracy([panels])
    figure.supxlabel("guidance scale, log scale", fontsize=10)
    return figure


def accuracy_under_noise(results: Results) -> Figure:
    """Draw each classifier's accuracy over the noise level, on x_t and on the one-step denoised image."""
    figure, ((axes,),) = panels_of(1, 1, width=7.2, height=3.6)
    draw_readings(axes, results.noise, "accuracy", "accuracy")
    if results.classes:
        axes.axhline(1 / len(results.classes), color=UNGUIDED, linestyle=DOTTED, linewidth=1.5, label="chance")
    axes.set(xlabel="noise level t, from clean to noise alone", ylabel="accuracy on noised test images", ylim=(0, 1.04))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), **LEGEND)
    return figure


def class_shares(results: Results) -> Figure:
    """Draw the shares of the unguided samples that the held-out judge gives to each class and to none."""
    rows = results.metrics[
        results.metrics["method"].isin([method.name for method in results.unguided])
    ].drop_duplicates(["method", "seed"])
    names = [*results.classes, "none of these"]
    shares = [
        share_over_seeds(rows, column) for column in [*(f"share_{name}" for name in results.classes), "none_share"]
    ]
    figure, ((axes,),) = panels_of(1, 1, width=6.2, height=0.7 + 0.36 * len(shares))
    sns.barplot(
        x=[share.value for share in shares],
        y=[in_maths(name) for name in names],
        ax=axes,
        color="#8f86c4",
        width=0.62,
        errorbar=None,
    )
    ends = error_arms(np.array(shares))
    axes.errorbar(
        [share.value for share in shares], range(len(shares)), xerr=ends, fmt="none", color=REFERENCE, linewidth=1
    )
    axes.axvline(1 / max(1, len(results.classes)), color=REFERENCE, linestyle=DOTTED, linewidth=1.3)
    for place, share in enumerate(shares):
        axes.annotate(
            f"{100 * share.value:.0f}%", (share.high, place), xytext=(6, 0), textcoords="offset points", va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    axes.set(xlabel=f"share of {int(rows['n'].sum())} unguided samples (dotted: an even split)", ylabel="")
    axes.set_xlim(0, 1.18 * max(share.high for share in shares))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="y", visible=False)
    return figure


def at_distance(outcome: Outcome) -> Interval:
    """Return the conditional distance."""
    return outcome.distance


def at_scale(outcome: Outcome) -> Interval:
    """Return the scale, which is known."""
    return Interval(outcome.scale, outcome.scale, outcome.scale)


def draw_methods(
    axes: Axes,
    results: Results,
    outcomes: Sequence[Outcome],
    x_of: Callable[[Outcome], Interval],
    *,
    named: bool = False,
    faded: bool = False,
) -> None:
    """Draw held-out accuracy over the value of ``x_of`` for an outcome, with intervals, a line per method.

    Args:
        axes: where.
        results: the run, for colours and markers.
        outcomes: the points, those of a method in the order of its line.
        x_of: gives the horizontal value.
        named: write each point's scale beside it.
        faded: draw in grey and without intervals, as a background.
    """
    colours, markers = method_colours(results.methods), method_markers(results.methods)
    for turn, name in enumerate(dict.fromkeys(outcome.method.name for outcome in outcomes)):
        own = [outcome for outcome in outcomes if outcome.method.name == name]
        x, y = np.array([x_of(outcome) for outcome in own]), np.array([outcome.accuracy for outcome in own])
        if faded:
            axes.plot(x[:, 0], y[:, 0], color=FADED, marker=markers[name], markersize=4, linewidth=1, zorder=1)
            continue
        axes.errorbar(
            x[:, 0], y[:, 0], xerr=error_arms(x), yerr=error_arms(y), color=colours[name], marker=markers[name],
            markersize=6.5, linewidth=1.4, elinewidth=0.8, markeredgecolor="white", markeredgewidth=0.6, zorder=3,
        )  # fmt: skip
        right, up = LABEL_OFFSETS[turn % len(LABEL_OFFSETS)]
        for outcome in own if named else ():
            axes.annotate(
                f"{outcome.scale:g}", (x_of(outcome).value, outcome.accuracy.value), xytext=(right, up), zorder=4,
                textcoords="offset points", ha="left" if right > 0 else "right", fontsize=8, color=colours[name],
                path_effects=HALO,
            )  # fmt: skip


def finish_accuracy(panels: Sequence[Sequence[Axes]]) -> None:
    """Give the vertical axes, which are shared, their label and their percentages."""
    for row in panels:
        row[0].set(ylabel="held-out accuracy", ylim=(-0.06, 1.12), yticks=np.linspace(0, 1, 6))
        row[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
