"""How close every method comes where the right answer is known: the table, and the arrays that a page draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.cells import Method
from nonrobust_guidance.metrics.ground_truth.comparison import CONTENDERS, MIXTURE, Comparison, Trial
from nonrobust_guidance.metrics.ground_truth.mixtures import (
    READINGS,
    ROBUST,
    SEED,
    TARGET,
    UNGUIDED,
    Experiment,
    experiments,
)
from nonrobust_guidance.metrics.ground_truth.variance import VarianceKept, variance_kept
from nonrobust_guidance.metrics.settings import GroundTruth
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.tables import GROUND_TRUTH

COLUMNS = [*GROUND_TRUTH.columns, "seed"]

SHOWN, DOTS = 600, 150
EDGE = 1.1
DENSITY_SIZE, POSTERIOR_SIZE, ARROWS_SIZE = 220, 160, 15


def measure_ground_truth(settings: GroundTruth, output_csv: Path, output_npz: Path) -> None:
    """Run every method on both mixtures, and write the numbers and the arrays that a page draws.

    Rows of the table, each a number with its 95% interval:

    - distance: of a method's samples at a scale, or of as many exact ones, to the exact conditional (energy distance;
      for exact samples the range that holds 95% of such distances).
    - class_share: share of a method's samples that are of the target class.
    - fullest_share: share of those that are of the component with most of them; without an interval.
    - variance_kept, variance_within: the trace of their covariance, and that within components, over the exact one's;
      also for as many exact samples.
    - denoiser_passes, classifier_passes: forward and backward passes per step and sample; without an interval.
    - accuracy: how often a classifier at an input names the right class of noised points, over the noise level t.
    - chain_error: distance of what exact guidance at scale 1 draws in so many steps to the exact conditional, and of
      what the unguided chain draws to the whole mixture.

    ``levels`` is "linear" in the rows of the chain with linear betas and "log_snr" in those of `Comparison`, which has
    every method, stabilizer and sampler, on one mixture.

    Args:
        settings: how many samples and steps.
        output_csv: the table, written atomically.
        output_npz: points (N, 2) and fields over the plane, written atomically; their names begin with the mixture's.
    """
    rows: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for experiment in experiments(settings.num_samples, settings.num_steps, SEED):
        rows += rows_of(experiment)
        arrays |= {f"{experiment.name}_{name}": array for name, array in arrays_of(experiment).items()}
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"t": "Int64"})
    write_atomically(output_npz, lambda path: np.savez_compressed(path, **arrays))  # type: ignore[arg-type]
    # Written in full: rounding a number twice, here and on a page, may give another digit.
    write_atomically(output_csv, lambda path: table.to_csv(path, index=False))


def rows_of(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the rows of an experiment in the table."""
    cells = [
        row | {"quantity": quantity} | numbers
        for found in experiment.outcomes
        for row in [row_of(experiment, found.method, found.scale)]
        for quantity, numbers in (
            ("distance", ends_of(found.distance)),
            ("class_share", ends_of(found.class_share)),
            ("fullest_share", {"value": found.fullest_share}),
            *numbers_of(found.variance),
        )
    ]
    x = experiment.mixture.sample(experiment.num_samples, experiment.seed, TARGET)
    kept = variance_kept(experiment.mixture, TARGET, x, experiment.counts)
    exact = [
        row_of(experiment) | {"method": "exact_samples", "quantity": quantity} | numbers
        for quantity, numbers in (("distance", ends_of(experiment.floor)), *numbers_of(kept))
    ]
    seen = [
        row_of(experiment, READINGS[found.reading])
        | {
            "method": "",
            "quantity": "accuracy",
            "sampler": "",
            "t": found.t,
            "noise_level": found.noise_level,
            "n": found.n,
        }
        | ends_of(found.accuracy)
        for found in experiment.under_noise
    ]
    errors = [
        row_of(experiment, method, scale) | {"quantity": "chain_error", "steps": steps} | ends_of(error)
        for steps, *found in experiment.convergence
        for (method, scale), error in zip(((ROBUST, 1.0), (UNGUIDED, 0.0)), found, strict=True)
    ]
    compared = Comparison(experiment).trials if experiment.name == MIXTURE else []
    return [*cells, *exact, *seen, *errors, *(row for trial in compared for row in rows_of_trial(experiment, trial))]


def rows_of_trial(experiment: Experiment, trial: Trial) -> list[dict[str, Any]]:
    """Return the rows of a trial of the comparison."""
    row = {"mixture": experiment.name, "method": trial.method, "n": experiment.num_samples, "seed": experiment.seed}
    row |= {"scale": trial.scale, "steps": trial.steps, "trust_radius": trial.trust_radius}
    row |= {"sampler": trial.sampler, "levels": "log_snr", "classifier": classifier_of(trial.method)}
    return [
        row | {"quantity": quantity} | numbers
        for quantity, numbers in (
            ("distance", ends_of(trial.distance)),
            ("class_share", ends_of(trial.class_share)),
            *numbers_of(trial.variance),
            ("denoiser_passes", {"value": trial.denoiser_passes}),
            ("classifier_passes", {"value": trial.classifier_passes}),
        )
    ]


def classifier_of(method: str) -> str:
    """Return which posterior a method of the comparison uses; none for the unguided chain."""
    if method == UNGUIDED.name:
        return ""
    robust = {contender.name for contender in CONTENDERS if contender.robust}
    return "exact" if method in robust else "clean_time"


def numbers_of(variance: VarianceKept) -> list[tuple[str, dict[str, float]]]:
    """Return the two numbers of the variance by the names of their quantities."""
    return [("variance_kept", ends_of(variance.total)), ("variance_within", ends_of(variance.within))]


def row_of(experiment: Experiment, method: Method | None = None, scale: float | None = None) -> dict[str, Any]:
    """Return the columns that every row begins with; the method's are empty where there is no method."""
    row = {"mixture": experiment.name, "scale": scale, "steps": experiment.num_steps, "n": experiment.num_samples}
    row |= {"seed": experiment.seed, "levels": "linear"}
    if not method:
        return row
    return row | {"method": method.name, "classifier": method.classifier, "at": method.at, "sampler": "ddpm"}


def arrays_of(experiment: Experiment) -> dict[str, NDArray[Any]]:
    """Return the points and the fields that a page draws, by name."""
    level = experiment.telling_level
    exact = experiment.mixture.sample(experiment.num_samples, experiment.seed, TARGET)
    points = {f"{found.method.name}_{found.scale:g}": found.points[:SHOWN] for found in experiment.outcomes}
    arrays: dict[str, NDArray[Any]] = {
        "means": experiment.mixture.means.numpy(),
        "deviations": experiment.mixture.variances[:, 0].sqrt().numpy(),
        "asked_for": (experiment.mixture.labels == TARGET).numpy(),
        "exact_samples": exact.reshape(-1, 2).numpy()[:SHOWN],
        "telling_level": np.array(level),
    }
    arrays |= points
    for name, label in (("density_asked_for", TARGET), ("density_other", 1 - TARGET)):
        density = experiment.mixture.conditional(label).log_prob(grid(DENSITY_SIZE)).exp()
        arrays[name] = density.reshape(DENSITY_SIZE, DENSITY_SIZE).numpy()
    x_t, labels = experiment.noised(level)
    own = x_t[labels == TARGET]
    arrays["dots"] = own.reshape(-1, 2).numpy()[:DOTS]
    for reading, method in READINGS.items():
        says = experiment.logits(reading, grid(POSTERIOR_SIZE), level).softmax(1)[:, TARGET]
        arrays[f"posterior_{reading}"] = says.reshape(POSTERIOR_SIZE, POSTERIOR_SIZE).numpy()
        arrays[f"gradients_{reading}"] = experiment.gradients(method, grid(ARROWS_SIZE), level).numpy()
        arrays[f"length_{reading}"] = experiment.gradients(method, own, level).norm(dim=1).median().numpy()
    return arrays


def ends_of(interval: Interval) -> dict[str, float]:
    """Return a number and the ends of its interval as columns of the table."""
    return {"value": interval.value, "value_low": interval.low, "value_high": interval.high}


def grid(size: int) -> Tensor:
    """Return the points of a square grid over the plane (size^2, 2, 1, 1), row by row from below."""
    line = torch.linspace(-EDGE, EDGE, size, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2, 1, 1)
