"""Charts of the failure signatures: over the guidance scale, and as distributions of known factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from nonrobust_guidance.metrics.cells import Method
from nonrobust_guidance.report.figures import (
    DASHED,
    DOTTED,
    LEGEND,
    REFERENCE,
    error_arms,
    in_maths,
    method_handles,
    panels_of,
)
from nonrobust_guidance.report.pages.signatures.measured import Measured, Signature, Signatures
from nonrobust_guidance.report.palette import UNGUIDED, method_colours, method_markers

REAL_LABEL = "real, as judged"
UNITS = {"rotation": "degrees"}
ENOUGH = 10
"""From this many samples on a distribution is drawn."""


def over_scale(signatures: Signatures, shown: Sequence[Signature]) -> Figure:
    """Draw signatures over the guidance scale: a row per signature, a column per target, a line per method.

    Points have intervals. The dashed line is for as many real test images, the dotted one for unguided sampling.
    """
    results = signatures.results
    columns = len(results.targets)
    figure, panels = panels_of(len(shown), columns, width=2.9 + 3.3 * columns, height=2.5, share=("all", "row"))
    for row, signature in zip(panels, shown, strict=True):
        for axes, target in zip(row, results.targets, strict=True):
            draw_over_scale(axes, signatures, signature, target)
            if signature is shown[0]:
                axes.set_title(in_maths(target), loc="left", fontsize=10, fontweight="bold")
        row[0].set_ylabel(signature.title)
    handles = method_handles(results, [method.name for method in results.methods if method.guided])
    handles.append(Line2D([], [], color=UNGUIDED, linestyle=DOTTED, linewidth=1.5, label="unguided"))
    handles.append(Line2D([], [], color=REFERENCE, linestyle=DASHED, linewidth=1, label="as many real images"))
    figure.legend(handles=handles, loc="outside right center", **LEGEND)
    figure.supxlabel("guidance scale, log scale", fontsize=10)
    return figure


def draw_over_scale(axes: Axes, signatures: Signatures, signature: Signature, target: str) -> None:
    """Draw one signature for one target."""
    methods = signatures.results.methods
    colours, markers = method_colours(methods), method_markers(methods)
    measured = signatures.of(signature, target)
    for method in methods:
        own = [one for one in measured if one.method == method]
        if own and method.unguided:
            axes.axhline(own[0].value.value, color=UNGUIDED, linestyle=DOTTED, linewidth=1.5, zorder=1)
        elif own and method.guided:
            x, y = [one.scale for one in own], np.array([one.value for one in own])
            axes.errorbar(
                x, y[:, 0], yerr=error_arms(y), color=colours[method.name], marker=markers[method.name], markersize=5.5,
                linewidth=1.4, elinewidth=0.8, markeredgecolor="white", markeredgewidth=0.6, zorder=3,
            )  # fmt: skip
    for floor in (floor_of(measured), -floor_of(measured))[: 1 + signature.signed]:
        axes.axhline(floor, color=REFERENCE, linestyle=DASHED, linewidth=1, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if signature.log:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    factor = 1 if signature.degrees else 100
    unit = "°" if signature.degrees else "%"
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{factor * value:g}{unit}"))


def floor_of(measured: Sequence[Measured]) -> float:
    """Return the number for as many real images, a mean over guided cells; for signed numbers on both sides of 0."""
    reals = [one.real for one in measured if one.method.guided] or [one.real for one in measured]
    return float(np.mean(reals)) if reals else 0.0


def factor_distributions(signatures: Signatures, target: str, scales: dict[str, float]) -> Figure:
    """Draw the distributions of every factor in samples that the judge calls the target, and in real images of it.

    There is a column per factor and a row per method; the band is the middle half of the real images, the line their
    median.

    Args:
        signatures: the run's.
        target: a class name.
        scales: for each method's name, the scale to draw it at; others are left out.
    """
    factors = signatures.factors
    groups = {REAL_LABEL: (signatures.factors_of_real(target), REFERENCE)}
    colours = method_colours(signatures.results.methods)
    for method in signatures.results.methods:
        if method.name in scales:
            rows = signatures.factors_at(scales[method.name], method, target)
            groups[row_label(signatures, method, scales[method.name], len(rows))] = (rows, colours[method.name])
    figure, (panels,) = panels_of(
        1, len(factors), width=3.2 + 1.75 * len(factors), height=0.8 + 0.36 * len(groups), share=("none", "all")
    )
    for axes, factor in zip(panels, factors, strict=True):
        draw_distributions(axes, factor, groups)
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)
    return figure


def row_label(signatures: Signatures, method: Method, scale: float, n: int) -> str:
    """Return a method, its scale and its number of samples."""
    at = f" at {scale:g}" if method.guided else ""
    return f"{signatures.labels[method.name]}{at}, n = {n}"


def draw_distributions(axes: Axes, factor: str, groups: dict[str, tuple[pd.DataFrame, str]]) -> None:
    """Draw a factor's distribution, a row per group; where there are too few samples, the samples themselves."""
    real, order = groups[REAL_LABEL][0][factor], [in_maths(label) for label in groups]
    if len(real):
        axes.axvspan(*real.quantile([0.25, 0.75]), color="#f0f0f0", zorder=0)
        axes.axvline(real.median(), color=REFERENCE, linestyle=DASHED, linewidth=1, zorder=1)
    values = {name: rows[factor].to_numpy() for name, (rows, _) in zip(order, groups.values(), strict=True)}
    palette = {name: colour for name, (_, colour) in zip(order, groups.values(), strict=True)}
    style: dict[str, Any] = {"x": "value", "y": "group", "hue": "group", "order": order, "palette": palette}
    many, few = (
        pd.DataFrame(
            [(name, value) for name in order if (len(values[name]) >= ENOUGH) == enough for value in values[name]],
            columns=["group", "value"],
        )
        for enough in (True, False)
    )
    if len(many):
        sns.violinplot(
            many, **style, ax=axes, legend=False, cut=0, inner="quart", linewidth=0.8, density_norm="width", width=0.85,
            saturation=0.85,
        )  # fmt: skip
    if len(few):
        sns.stripplot(few, **style, ax=axes, legend=False, size=3.5, jitter=False)
    axes.set(xlabel=f"{factor}, {UNITS.get(factor, 'share of the canvas')}", ylabel="")
    axes.xaxis.label.set_fontsize(9)
    axes.grid(axis="y", visible=False)
