"""Charts of gradients: under noise, along the forward process and along guided sampling; bands are 95% intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from nonrobust_guidance.report.figures import DOTTED, LEGEND, REFERENCE, draw_readings, in_maths, panels_of
from nonrobust_guidance.report.pages.gradients.measured import Gradients
from nonrobust_guidance.report.palette import MARKERS, UNGUIDED, LineStyle, method_colours, method_markers
from nonrobust_guidance.report.wording import AT, method_labels, stabilizer_labels

# Below this a classifier is certain up to rounding, and its gradient is practically zero.
SMALLEST_RATIO = 1e-6
FORWARD = "noise level t, from clean to noise alone"
REVERSE = "noise level t, in the order of sampling: from noise to the image"


def right_under_noise(gradients: Gradients) -> Figure:
    """Draw each classifier's accuracy, and the probability it gives to the right class, over the noise level."""
    figure, (panels,) = panels_of(1, 2, width=10, height=3.3)
    titles = {"accuracy": "right answers", "probability": "probability of the right class"}
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        draw_readings(axes, gradients.noise, "accuracy" if name == "accuracy" else "probability_mean", name)
        handles, labels = axes.get_legend_handles_labels()
        axes.legend().remove()
        axes.axhline(1 / len(gradients.run.dataset.classes), color=UNGUIDED, linestyle=DOTTED, linewidth=1.5)
        axes.set(xlabel=FORWARD, ylabel="", ylim=(0, 1.04))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        name_panel(axes, title)
    handles.append(Line2D([], [], color=UNGUIDED, linestyle=DOTTED, linewidth=1.5))
    figure.legend(handles, [*labels, "chance"], loc="outside right center", **LEGEND)
    return figure


def logit_quotients(gradients: Gradients) -> Figure:
    """Draw the quotient of the logits over the noise level."""
    figure, ((axes,),) = panels_of(1, 1, width=7.2, height=3.3)
    table = gradients.sensitivity[gradients.sensitivity["quantity"] == "logits"]
    draw_readings(axes, table, "ratio", "ratio")
    axes.set(xlabel=FORWARD, ylabel="change of the logits\nper length of the step", yscale="log")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), **LEGEND)
    return figure


def gradient_changes(gradients: Gradients, column: str) -> Figure:
    """Draw how gradients change along the forward process: a line per stabilizer, a panel per classifier and input.

    Args:
        gradients: of the run.
        column: "ratio" or "relative_change".
    """
    classifiers = list(dict.fromkeys(change.classifier for change in gradients.changes))
    inputs = list(dict.fromkeys(change.at for change in gradients.changes))
    figure, panels = panels_of(len(classifiers), len(inputs), width=9.4, height=2.7)
    styles = stabilizer_styles(gradients)
    for row, classifier in zip(panels, classifiers, strict=True):
        for axes, at in zip(row, inputs, strict=True):
            for change in gradients.changes:
                if (change.classifier, change.at) == (classifier, at):
                    draw_band(axes, change.rows, column, styles[change.stabilizer])
            name_panel(axes, f"{classifier}, {AT[at]}")
    # All panels share their axes.
    if column == "ratio":
        panels[0][0].set_yscale("log")
        panels[0][0].set_ylim(bottom=SMALLEST_RATIO)
    else:
        panels[0][0].set_ylim(0, 2.02)
    names = {"ratio": "change per length of the step", "relative_change": "relative change"}
    figure.supylabel(names[column], fontsize=10)
    figure.supxlabel(FORWARD, fontsize=10)
    figure.legend(handles=handles_of(list(styles.values())), loc="outside right center", **LEGEND)
    return figure


def cosines(gradients: Gradients) -> Figure:
    """Draw the cosine between successive gradients along guided sampling, raw and as they shift the image."""
    figure, panels = along_sampling(gradients, {"cosine": "raw gradient", "cosine_stabilized": "gradient that shifts"})
    for axes in panels:
        axes.axhline(0, color=REFERENCE, linestyle=DOTTED, linewidth=1)
    panels[0].set(ylabel="cosine with the step before", ylim=(-0.25, 1.05))
    return figure


def norms(gradients: Gradients) -> Figure:
    """Draw the length of the gradients along guided sampling, raw and as they shift the image."""
    figure, panels = along_sampling(gradients, {"norm": "raw gradient", "norm_stabilized": "gradient that shifts"})
    panels[0].set(ylabel="median length, log scale", yscale="log")
    shortest = gradients.trajectories[["norm", "norm_stabilized"]].min().min()
    panels[0].set_ylim(bottom=max(SMALLEST_RATIO, shortest / 2))
    return figure


def survivals(gradients: Gradients) -> Figure:
    """Draw how much of the shift survives along guided sampling: if the raw gradients had shifted x, and as it was."""
    names = {"survival_raw": "if the raw gradients shifted", "survival": "what shifted"}
    figure, panels = along_sampling(gradients, names)
    panels[0].set(ylabel="share of the shift that survives", ylim=(0, 1.04))
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def along_sampling(gradients: Gradients, columns: dict[str, str]) -> tuple[Figure, list[Axes]]:
    """Draw columns of the trajectories over the noise level: a line per guided method, a titled panel per column."""
    figure, (panels,) = panels_of(1, len(columns), width=10.4, height=3.5)
    styles = method_styles(gradients)
    for axes, (column, title) in zip(panels, columns.items(), strict=True):
        for one in gradients.followed:
            draw_band(axes, one.rows, column, styles[one.method.name])
        name_panel(axes, title)
    panels[0].invert_xaxis()
    figure.supxlabel(REVERSE, fontsize=10)
    figure.legend(handles=handles_of(list(styles.values())), loc="outside right center", **LEGEND)
    return figure, panels


def draw_band(axes: Axes, rows: pd.DataFrame, column: str, style: LineStyle) -> None:
    """Draw a column over t with its interval; where a row has no number, there is a gap."""
    spacing = max(1, len(rows) // 12)
    t, ends = rows["t"].to_numpy(), [rows[f"{column}{end}"].to_numpy(dtype=np.float64) for end in ("", "_low", "_high")]
    axes.plot(t, ends[0], color=style.colour, marker=style.marker, markersize=4.5, linewidth=1.4, markevery=spacing)
    axes.fill_between(t, ends[1], ends[2], color=style.colour, alpha=0.15, linewidth=0)


def method_styles(gradients: Gradients) -> dict[str, LineStyle]:
    """Return the style of each guided method, the same as in other figures."""
    colours, markers = method_colours(gradients.methods), method_markers(gradients.methods)
    labels = method_labels(gradients.run)
    names = [one.method.name for one in gradients.followed]
    return {name: LineStyle(labels[name], colours[name], markers[name]) for name in names}


def stabilizer_styles(gradients: Gradients) -> dict[str, LineStyle]:
    """Return the style of each stabilizer: that of the first method with it; raw gradients are black."""
    colours, markers = method_colours(gradients.methods), method_markers(gradients.methods)
    styles = {"": LineStyle("raw", REFERENCE, MARKERS[0])}
    for text, label in stabilizer_labels(gradients.run).items():
        first = next(method.name for method in gradients.methods if method.stabilizer == text)
        styles[text] = LineStyle(label, colours[first], markers[first])
    return styles


def handles_of(styles: Sequence[LineStyle]) -> list[Line2D]:
    """Return the legend's entries."""
    return [Line2D([], [], color=o.colour, marker=o.marker, markersize=5, label=in_maths(o.label)) for o in styles]


def name_panel(axes: Axes, title: str) -> None:
    """Write a panel's title."""
    axes.set_title(in_maths(title), loc="left", fontsize=10, fontweight="bold")
