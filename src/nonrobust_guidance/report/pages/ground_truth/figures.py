"""Charts of the experiments with a known answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from nonrobust_guidance.ground_truth import GaussianMixture
from nonrobust_guidance.metrics.intervals import Interval
from nonrobust_guidance.report.figures import DOTTED, LEGEND, REFERENCE, error_arms, in_maths, panels_of
from nonrobust_guidance.report.pages.ground_truth.experiment import (
    AT_X0,
    AT_XT,
    DETACHED,
    FREE,
    GUIDED,
    READINGS,
    ROBUST,
    STABILIZED,
    TARGET,
    Experiment,
)
from nonrobust_guidance.report.palette import COLOURS, UNGUIDED

EDGE = 1.1
OTHER = "#cfcfcf"
SHOWN = 600
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def clouds(experiment: Experiment, *, delivering: bool = False) -> Figure:
    """Draw the exact conditional beside the samples of every method, at its best scale or at one that delivers."""
    figure, rows = panels_of(2, 5, width=10, height=2.35)
    panels = [axes for row in rows for axes in row]
    exact = experiment.mixture.sample(experiment.num_samples, experiment.seed, TARGET).reshape(-1, 2).numpy()
    draw_cloud(panels[1], experiment, exact, REFERENCE, "exact conditional", note_of(experiment.floor))
    draw_mixture(panels[0], experiment)
    for axes, method in zip(panels[2:], (FREE, ROBUST, AT_XT, AT_X0, *STABILIZED, DETACHED), strict=True):
        found = experiment.delivering(method) if delivering else experiment.best(method)
        scale = f", scale {found.scale:g}" if found.scale else ""
        draw_cloud(axes, experiment, found.points, method.colour, method.label, note_of(found.distance) + scale)
    return figure


def draw_mixture(axes: Axes, experiment: Experiment) -> None:
    """Draw the density of the mixture, each class in its colour."""
    points, extent = grid(220)
    picture = np.ones((220, 220, 3))
    for label, colour in ((1 - TARGET, "#8c8c8c"), (TARGET, COLOURS[0])):
        density = experiment.mixture.conditional(label).log_prob(points).exp().reshape(220, 220).numpy()
        ink = np.sqrt(density / density.max())[..., None]
        rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        picture *= 1 - ink * (1 - rgb)
    axes.imshow(picture, origin="lower", extent=extent, interpolation="bilinear")
    finish_plane(axes, "the data", "asked for: blue; other: grey")


def draw_cloud(
    axes: Axes, experiment: Experiment, points: NDArray[np.float64], colour: str, title: str, note: str
) -> None:
    """Draw samples over circles, twice the standard deviation wide, where the components are."""
    draw_components(axes, experiment.mixture)
    shown = points[:SHOWN]
    axes.scatter(shown[:, 0], shown[:, 1], s=3, color=colour, alpha=0.45, linewidth=0, zorder=3, rasterized=True)
    finish_plane(axes, title, note)


def draw_components(axes: Axes, mixture: GaussianMixture) -> None:
    """Draw the components as circles, those of the class asked for dark."""
    angle = np.linspace(0, 2 * np.pi, 90)
    for mean, variance, label in zip(mixture.means, mixture.variances[:, 0], mixture.labels, strict=True):
        radius, own = 2 * float(variance) ** 0.5, int(label) == TARGET
        x, y = float(mean[0]) + radius * np.cos(angle), float(mean[1]) + radius * np.sin(angle)
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
    """Return a distance for a panel."""
    return f"distance {distance.value:.3f}"


def grid(size: int) -> tuple[torch.Tensor, tuple[float, float, float, float]]:
    """Return the points of a square grid over the plane (size^2, 2, 1, 1) and its extent."""
    line = torch.linspace(-EDGE, EDGE, size, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2, 1, 1), (-EDGE, EDGE, -EDGE, EDGE)


def distance_over_scale(experiments: Sequence[Experiment]) -> Figure:
    """Draw the distance to the exact conditional over the scale, a line a method, a panel a mixture."""
    figure, (panels,) = panels_of(1, len(experiments), width=10, height=3.6)
    for axes, experiment in zip(panels, experiments, strict=True):
        axes.axhspan(experiment.floor.low, experiment.floor.high, color="#e6e6ee", zorder=0, linewidth=0)
        axes.axhline(experiment.best(FREE).distance.value, color=UNGUIDED, linestyle=DOTTED, linewidth=1.5, zorder=1)
        for method in GUIDED:
            found = experiment.of(method)
            distances = np.array([outcome.distance for outcome in found])
            axes.errorbar(
                [outcome.scale for outcome in found], distances[:, 0], yerr=error_arms(distances), color=method.colour,
                marker=method.marker, markersize=6, linewidth=1.4, elinewidth=0.8, markeredgecolor="white",
                markeredgewidth=0.6, zorder=3,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log")
        axes.xaxis.set_major_formatter(PLAIN)
        axes.yaxis.set_major_formatter(PLAIN)
        axes.set_title(experiment.name, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel("guidance scale, log scale", fontsize=10)
    panels[0].set_ylabel("energy distance to the exact conditional")
    handles = [Line2D([], [], color=m.colour, marker=m.marker, markersize=6, label=in_maths(m.label)) for m in GUIDED]
    handles.append(Line2D([], [], color=UNGUIDED, linestyle=DOTTED, linewidth=1.5, label="unguided"))
    handles.append(Line2D([], [], color="#e6e6ee", linewidth=8, label="exact samples, 95%"))
    figure.legend(handles=handles, loc="outside right center", **LEGEND)
    return figure


def accuracy_under_noise(experiments: Sequence[Experiment]) -> Figure:
    """Draw how often each posterior names the right class over the noise level, a panel a mixture."""
    figure, (panels,) = panels_of(1, len(experiments), width=10, height=3.2)
    for axes, experiment in zip(panels, experiments, strict=True):
        for (reading, label), method in zip(READINGS.items(), (ROBUST, AT_XT, AT_X0), strict=True):
            found = [accuracy for accuracy in experiment.under_noise if accuracy.reading == reading]
            levels, shares = [a.noise_level for a in found], np.array([a.accuracy for a in found])
            axes.plot(levels, shares[:, 0], color=method.colour, marker=method.marker, markersize=5, label=label)
            axes.fill_between(levels, shares[:, 1], shares[:, 2], color=method.colour, alpha=0.15, linewidth=0)
        axes.axvline(noise_level(experiment), color=REFERENCE, linestyle=DOTTED, linewidth=1, zorder=1)
        axes.set_title(experiment.name, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel(r"noise level $\sqrt{1-\bar\alpha_t}$, from clean to noise alone", fontsize=10)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[0].set(ylabel="right on noised points", ylim=(0.3, 1.03))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, [in_maths(label) for label in labels], loc="outside right center", **LEGEND)
    return figure


def noise_level(experiment: Experiment) -> float:
    """Return the amplitude of the noise at the telling level."""
    return float((1 - experiment.schedule.alpha_bars[experiment.telling_level]).sqrt())


def what_is_seen(experiment: Experiment) -> Figure:
    """Draw what each posterior says of noisy points at the telling level, and where its gradient points."""
    level = experiment.telling_level
    figure, (panels,) = panels_of(1, 3, width=10, height=3.5)
    points, extent = grid(160)
    places, _ = grid(15)
    x_t, labels = experiment.noised(level)
    own = x_t[labels == TARGET].reshape(-1, 2).numpy()[:150]
    for axes, (reading, label), method in zip(panels, READINGS.items(), (ROBUST, AT_XT, AT_X0), strict=True):
        share = experiment.logits(reading, points, level).softmax(1)[:, TARGET].reshape(160, 160).numpy()
        picture = axes.imshow(share, origin="lower", extent=extent, cmap="PuOr", vmin=-0.15, vmax=1.15, alpha=0.55)
        axes.scatter(own[:, 0], own[:, 1], s=7, color="black", linewidth=0, alpha=0.55, zorder=3)
        gradients = experiment.gradients(method, places, level)
        length = gradients.norm(dim=1, keepdim=True)
        arrows = (gradients / length.clamp(min=1e-12)).numpy()
        x, y = places.reshape(-1, 2).numpy().T
        axes.quiver(x, y, *arrows.T, color="#333333", scale=26, width=0.004, pivot="mid", alpha=0.75, zorder=2)
        at_points = experiment.gradients(method, x_t[labels == TARGET], level).norm(dim=1)
        finish_plane(axes, label, f"median length of the gradient at the dots: {float(at_points.median()):.3g}")
    bar = figure.colorbar(picture, ax=panels, fraction=0.025, pad=0.02, ticks=[0, 0.5, 1])
    bar.ax.set(ylim=(0, 1))
    bar.set_label("says: the class asked for", fontsize=9)
    return figure


def error_over_steps(experiments: Sequence[Experiment]) -> Figure:
    """Draw the errors of the exact guidance at scale 1 and of the unguided chain over the number of steps."""
    figure, (panels,) = panels_of(1, len(experiments), width=8.4, height=2.9)
    for axes, experiment in zip(panels, experiments, strict=True):
        steps, guided, free = zip(*experiment.convergence, strict=True)
        axes.axhspan(experiment.floor.low, experiment.floor.high, color="#e6e6ee", zorder=0, linewidth=0)
        for errors, method, label in ((guided, ROBUST, "robust, scale 1"), (free, FREE, "unguided")):
            y = np.array(errors)
            axes.errorbar(
                steps, y[:, 0], yerr=error_arms(y), color=method.colour, marker=method.marker, markersize=6,
                linewidth=1.4, elinewidth=0.8, label=label,
            )  # fmt: skip
        axes.set(xscale="log", xticks=steps)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(PLAIN)
        axes.set_title(experiment.name, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel("number of steps T, log scale", fontsize=10)
    panels[0].set_ylabel("energy distance")
    panels[0].set_ylim(bottom=0)
    panels[-1].legend(loc="upper right", **LEGEND)
    return figure
