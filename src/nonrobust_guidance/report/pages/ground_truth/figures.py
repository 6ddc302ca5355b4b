"""Charts of the mixtures with a known answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.report.figures import DOTTED, LEGEND, REFERENCE, error_arms, in_maths, panels_of
from nonrobust_guidance.report.pages.ground_truth.measured import (
    FREE,
    GUIDED,
    READINGS,
    ROBUST,
    STYLE_OF_READING,
    STYLES,
    Mixture,
)
from nonrobust_guidance.report.palette import COLOURS, UNGUIDED

EDGE = 1.1
EXTENT = (-EDGE, EDGE, -EDGE, EDGE)
OTHER = "#cfcfcf"
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def clouds(mixture: Mixture, *, delivering: bool = False) -> Figure:
    """Draw the exact conditional beside each method's samples, at its best scale or at one that delivers the class."""
    figure, rows = panels_of(2, 5, width=10, height=2.35)
    panels = [axes for row in rows for axes in row]
    exact = mixture.array("exact_samples")
    draw_cloud(panels[1], mixture, exact, REFERENCE, "exact conditional", note_of(mixture.floor))
    draw_mixture(panels[0], mixture)
    for axes, method in zip(panels[2:], STYLES, strict=True):
        found = mixture.delivering(method) if delivering else mixture.best(method)
        scale = f", scale {found.scale:g}" if found.scale else ""
        note = note_of(found.distance) + scale
        draw_cloud(axes, mixture, mixture.points(found), found.style.colour, found.style.label, note)
    return figure


def draw_mixture(axes: Axes, mixture: Mixture) -> None:
    """Draw the density of the mixture, each class in its colour."""
    picture = np.ones((*mixture.array("density_other").shape, 3))
    for name, colour in (("density_other", "#8c8c8c"), ("density_asked_for", COLOURS[0])):
        density = mixture.array(name)
        ink = np.sqrt(density / density.max())[..., None]
        rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        picture *= 1 - ink * (1 - rgb)
    axes.imshow(picture, origin="lower", extent=EXTENT, interpolation="bilinear")
    finish_plane(axes, "the data", "asked for: blue; other: grey")


def draw_cloud(axes: Axes, mixture: Mixture, points: NDArray[np.float64], colour: str, title: str, note: str) -> None:
    """Draw samples over circles, twice the standard deviation wide, where the components are."""
    draw_components(axes, mixture)
    axes.scatter(points[:, 0], points[:, 1], s=3, color=colour, alpha=0.45, linewidth=0, zorder=3, rasterized=True)
    finish_plane(axes, title, note)


def draw_components(axes: Axes, mixture: Mixture) -> None:
    """Draw the components as circles, those of the target class dark."""
    angle = np.linspace(0, 2 * np.pi, 90)
    means, deviations, asked_for = (mixture.array(name) for name in ("means", "deviations", "asked_for"))
    for mean, deviation, own in zip(means, deviations, asked_for, strict=True):
        x, y = mean[0] + 2 * deviation * np.cos(angle), mean[1] + 2 * deviation * np.sin(angle)
        axes.plot(x, y, color=REFERENCE if own else OTHER, linewidth=0.8 if own else 0.7, zorder=2)


def finish_plane(axes: Axes, title: str, note: str) -> None:
    """Give a panel of the plane its title and its limits."""
    axes.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), xticks=[], yticks=[], aspect="equal")
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set(visible=True, color="#dddddd")
    axes.set_title(in_maths(title), loc="left", fontsize=9, fontweight="bold", pad=4)
    axes.set_xlabel(note, fontsize=8, color="#5d5d68", loc="left", labelpad=3)


def note_of(distance: Interval) -> str:
    """Return the text of a distance for a panel."""
    return f"distance {distance.value:.3f}"


def distance_over_scale(mixtures: Sequence[Mixture]) -> Figure:
    """Draw the distance to the exact conditional over the scale: a line per method, a panel per mixture."""
    figure, (panels,) = panels_of(1, len(mixtures), width=10, height=3.6)
    for axes, mixture in zip(panels, mixtures, strict=True):
        axes.axhspan(mixture.floor.low, mixture.floor.high, color="#e6e6ee", zorder=0, linewidth=0)
        axes.axhline(mixture.best(FREE).distance.value, color=UNGUIDED, linestyle=DOTTED, linewidth=1.5, zorder=1)
        for method in GUIDED:
            found, style = mixture.of(method), STYLES[method]
            distances = np.array([outcome.distance for outcome in found])
            axes.errorbar(
                [outcome.scale for outcome in found], distances[:, 0], yerr=error_arms(distances), color=style.colour,
                marker=style.marker, markersize=6, linewidth=1.4, elinewidth=0.8, markeredgecolor="white",
                markeredgewidth=0.6, zorder=3,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log")
        axes.xaxis.set_major_formatter(PLAIN)
        axes.yaxis.set_major_formatter(PLAIN)
        axes.set_title(mixture.name, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel("guidance scale, log scale", fontsize=10)
    panels[0].set_ylabel("energy distance to the exact conditional")
    handles = [
        Line2D([], [], color=style.colour, marker=style.marker, markersize=6, label=in_maths(style.label))
        for style in (STYLES[method] for method in GUIDED)
    ]
    handles.append(Line2D([], [], color=UNGUIDED, linestyle=DOTTED, linewidth=1.5, label="unguided"))
    handles.append(Line2D([], [], color="#e6e6ee", linewidth=8, label="exact samples, 95%"))
    figure.legend(handles=handles, loc="outside right center", **LEGEND)
    return figure


def accuracy_under_noise(mixtures: Sequence[Mixture]) -> Figure:
    """Draw how often each posterior names the right class over the noise level, a panel per mixture."""
    figure, (panels,) = panels_of(1, len(mixtures), width=10, height=3.2)
    for axes, mixture in zip(panels, mixtures, strict=True):
        for reading, label in READINGS.items():
            style = STYLE_OF_READING[reading]
            found = [accuracy for accuracy in mixture.under_noise if accuracy.reading == reading]
            levels, shares = [a.noise_level for a in found], np.array([a.accuracy for a in found])
            axes.plot(levels, shares[:, 0], color=style.colour, marker=style.marker, markersize=5, label=label)
            axes.fill_between(levels, shares[:, 1], shares[:, 2], color=style.colour, alpha=0.15, linewidth=0)
        axes.axvline(noise_level(mixture), color=REFERENCE, linestyle=DOTTED, linewidth=1, zorder=1)
        axes.set_title(mixture.name, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel(r"noise level $\sqrt{1-\bar\alpha_t}$, from clean to noise alone", fontsize=10)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[0].set(ylabel="right on noised points", ylim=(0.3, 1.03))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, [in_maths(label) for label in labels], loc="outside right center", **LEGEND)
    return figure


def noise_level(mixture: Mixture) -> float:
    """Return the amplitude of the noise at the telling level."""
    return next(found.noise_level for found in mixture.under_noise if found.t == mixture.telling_level)


def what_is_seen(mixture: Mixture) -> Figure:
    """Draw what each posterior says of noisy points at the telling level, and where its gradient points."""
    figure, (panels,) = panels_of(1, 3, width=10, height=3.5)
    dots = mixture.array("dots")
    for axes, (reading, label) in zip(panels, READINGS.items(), strict=True):
        share, gradients = mixture.array(f"posterior_{reading}"), mixture.array(f"gradients_{reading}")
        picture = axes.imshow(share, origin="lower", extent=EXTENT, cmap="PuOr", vmin=-0.15, vmax=1.15, alpha=0.55)
        axes.scatter(dots[:, 0], dots[:, 1], s=7, color="black", linewidth=0, alpha=0.55, zorder=3)
        arrows = gradients / np.linalg.norm(gradients, axis=1, keepdims=True).clip(min=1e-12)
        line = np.linspace(-EDGE, EDGE, round(len(arrows) ** 0.5))
        x, y = np.meshgrid(line, line)
        axes.quiver(x.ravel(), y.ravel(), *arrows.T, color="#333333", scale=26, width=0.004, pivot="mid", alpha=0.75,
                    zorder=2)  # fmt: skip
        length = float(mixture.array(f"length_{reading}"))
        finish_plane(axes, label, f"median length of the gradient at the dots: {length:.3g}")
    bar = figure.colorbar(picture, ax=panels, fraction=0.025, pad=0.02, ticks=[0, 0.5, 1])
    bar.ax.set(ylim=(0, 1))
    bar.set_label("says: the class asked for", fontsize=9)
    return figure


def error_over_steps(mixtures: Sequence[Mixture]) -> Figure:
    """Draw the errors of the exact guidance at scale 1 and of the unguided chain over the number of steps."""
    figure, (panels,) = panels_of(1, len(mixtures), width=8.4, height=2.9)
    for axes, mixture in zip(panels, mixtures, strict=True):
        steps, guided, free = zip(*mixture.convergence, strict=True)
        axes.axhspan(mixture.floor.low, mixture.floor.high, color="#e6e6ee", zorder=0, linewidth=0)
        for errors, style, label in ((guided, STYLES[ROBUST], "robust, scale 1"), (free, STYLES[FREE], "unguided")):
            y = np.array(errors)
            axes.errorbar(
                steps, y[:, 0], yerr=error_arms(y), color=style.colour, marker=style.marker, markersize=6,
                linewidth=1.4, elinewidth=0.8, label=label,
            )  # fmt: skip
        axes.set(xscale="log", xticks=steps)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(PLAIN)
        axes.set_title(mixture.name, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel("number of steps T, log scale", fontsize=10)
    panels[0].set_ylabel("energy distance")
    panels[0].set_ylim(bottom=0)
    panels[-1].legend(loc="upper right", **LEGEND)
    return figure
