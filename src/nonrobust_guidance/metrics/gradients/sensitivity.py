"""How much a classifier's logits and gradients change from one noise level to the next, along the forward process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from nonrobust_guidance.data import load_split
from nonrobust_guidance.devices import choose_device, in_float64
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.guidance.classifier import At, ClassifierGuidance
from nonrobust_guidance.guidance.method import StepContext
from nonrobust_guidance.guidance.stabilizers import Stabilizer, StabilizerStep, stabilize
from nonrobust_guidance.metrics.cells import guides_of, list_methods
from nonrobust_guidance.metrics.gradients.noise_accuracy import noise_levels
from nonrobust_guidance.metrics.settings import Bootstrap, Measured, Sensitivity
from nonrobust_guidance.metrics.statistics.intervals import resampled_interval
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.models.diffusion import load_diffusion
from nonrobust_guidance.models.images import to_unit_range
from nonrobust_guidance.sampling.denoiser import Denoiser, network_device, predict
from nonrobust_guidance.sampling.microbatches import Microbatched, join, microbatch_size, split_padded
from nonrobust_guidance.sampling.noise import SampleNoise
from nonrobust_guidance.sampling.settings import Plan, chain_of_stabilizers
from nonrobust_guidance.schedule import Prediction, Schedule, Transition

LOGITS, GRADIENT = "logits", "gradient"
Values = dict[tuple[str, str], Tensor]
"""(B, ...) by quantity and stabilizer, whose name is empty for unstabilized values."""
Changes = dict[tuple[str, str], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""By the same keys: for each image the quotient and the relative change, (B,) each."""


def sensitivity_of(run: Measured, data_folder: Path, checkpoints: Path, output_csv: Path) -> None:
    """Write the table of a run; see `measure_sensitivity`."""
    measure_sensitivity(
        run.metrics.sensitivity,
        run.metrics.bootstrap,
        run.sampling.steps,
        stabilizers_of(run),
        checkpoints / run.diffusion.name,
        guides_of(run, checkpoints),
        data_folder,
        output_csv,
        device=run.device,
    )


def measure_sensitivity(
    settings: Sensitivity,
    bootstrap: Bootstrap,
    steps: int,
    stabilizers: Mapping[str, Stabilizer],
    diffusion: Path,
    guides: Mapping[str, Path],
    data_folder: Path,
    output_csv: Path,
    *,
    device: str = "auto",
) -> None:
    """Measure classifiers on test images and write a table with a row per pair of levels.

    Vaeth et al. (2025) ask how far a small step along the forward process takes a classifier's output:
    ``||f(x_t) - f(x_{t-1})|| / ||x_t - x_{t-1}||``, with one draw of noise for both points of a pair and for all of an
    image's pairs. Here f is the logits, or the gradient of the log-probability of the image's own class with respect to
    ``x_t``; at "x0" both are of the one-step denoised image, each point denoised with its own timestep.

    The points are the levels that the run samples at, ``sampling.steps`` of the schedule's: with all of them, t and
    t - 1 are the paper's. Stabilizers keep a state, so each one that the run's methods use starts from zero, goes over
    all of these levels, from the noisiest to the cleanest as in sampling, and sees the gradient at the image's ``x_t``
    at each. This sets the cost: a classifier at an input costs as much as ``num_images`` samples that it guides.
    ``metrics.sensitivity.levels`` pairs, spread evenly, are reported, by their noisier level.

    The quotient has a unit, and a stabilizer that makes gradients shorter makes it smaller. The relative change has
    none: the same difference over the mean length of the two, 0 for equal ones, at most 2. Both are medians over the
    images with bootstrap intervals, because quotients of saturated classifiers spread over orders of magnitude. The
    networks run in float32 whatever ``sampling.precision`` is, because rounding to 8 bits would itself be a change.

    Args:
        settings: how many pairs of levels and images.
        bootstrap: of the intervals; its seed is that of the noise too.
        steps: how many levels of the schedule to go over.
        stabilizers: by their names in the table.
        diffusion: the diffusion model's checkpoint.
        guides: the classifiers' checkpoints, by name.
        data_folder: the prepared data set.
        output_csv: written atomically.
        device: as `choose_device` takes it.

    Raises:
        UserError: if a file is missing, truncated or of another kind.
    """
    where = choose_device(device)
    unet, schedule = load_diffusion(diffusion, where)
    schedule = schedule.respaced(steps)
    classifiers = {name: load_classifier(folder, where) for name, folder in guides.items()}
    test = load_split(data_folder, "test")
    # From all of the split, which a folder of images may have in the order of its classes.
    chosen = noise_levels(len(test.images), settings.num_images)
    x_0, labels = to_unit_range(test.images[chosen]).to(where), torch.from_numpy(np.asarray(test.labels[chosen]))
    eps = SampleNoise(bootstrap.seed, range(len(x_0)), tuple(x_0.shape[1:]))(0).to(where)
    observers = list_observers(unet, schedule, classifiers, labels, tuple(x_0.shape[1:]), stabilizers)
    pairs, rows = set(noise_levels(len(schedule) - 1, settings.levels)), []
    walked = tqdm(walk(observers, schedule, x_0, eps), desc="sensitivity", unit="level", total=len(schedule) - 1)
    for pair, (transition, found) in enumerate(walked):
        for (name, at), changes in found.items() if pair in pairs else ():
            for (quantity, stabilizer), (ratio, relative) in changes.items():
                row: dict[str, Any] = {"classifier": name, "at": at, "quantity": quantity, "stabilizer": stabilizer}
                row |= {"t": transition.t, "alpha_bar": transition.alpha_bar, "n": len(x_0)}
                for column, values in {"ratio": ratio, "relative_change": relative}.items():
                    median = resampled_interval(values, np.median, bootstrap.resamples, bootstrap.seed)
                    row |= {column: median.value, f"{column}_low": median.low, f"{column}_high": median.high}
                rows.append(row)
    table = pd.DataFrame(rows)
    write_atomically(output_csv, lambda path: table.to_csv(path, index=False, float_format="%.6g"))


def stabilizers_of(plan: Plan) -> dict[str, Stabilizer]:
    """Return the stabilizers that the run's methods use, each once, by their names in the tables."""
    guided = plan.sampling.guided
    used = {m.stabilizer: chain_of_stabilizers(guided[m.name].stabilizer) for m in list_methods(plan) if m.guided}
    return {name: stabilizer for name, stabilizer in used.items() if name}


def list_observers(
    denoiser: Denoiser,
    schedule: Schedule,
    classifiers: Mapping[str, nn.Module],
    labels: Tensor,
    shape: tuple[int, ...],
    stabilizers: Mapping[str, Stabilizer],
) -> dict[tuple[str, str], Observer]:
    """Return an observer for each classifier, by its name, at "xt" and at "x0".

    Args:
        denoiser: as sampling takes it.
        schedule: of the levels.
        classifiers: by name.
        labels: (B,) int64, each image's own class.
        shape: of an image, (C, H, W).
        stabilizers: by name.
    """
    size = microbatch_size("auto", denoiser, len(labels), shape, network_device(denoiser, None))
    networks: list[tuple[At, Callable[[Tensor, Transition], Prediction]]] = [
        ("xt", predict_nothing),
        ("x0", partial(predict, denoiser, schedule)),
    ]
    return {
        (name, at): Observer(
            Microbatched(network, ClassifierGuidance(classifier, labels, 1.0, at=at), len(labels), size), stabilizers
        )
        for name, classifier in classifiers.items()
        for at, network in networks
    }


def predict_nothing(x_t: Tensor, transition: Transition) -> Prediction:
    """Return ``x_t`` itself for every prediction: at "xt" a classifier sees it as it is, and no denoiser is needed."""
    return Prediction(x_t, x_t, x_t)


class Observer:
    """What a classifier says at an input, level by level, with the states of the stabilizers."""

    def __init__(self, models: Microbatched, stabilizers: Mapping[str, Stabilizer]) -> None:
        """Take the networks with their guidance, and the stabilizers by name."""
        self.models, self.stabilizers = models, dict(stabilizers)
        self.states: dict[str, Any] = {}

    def observe(self, x_t: Tensor, transition: Transition) -> Values:
        """Return logits and gradients at ``x_t`` (B, C, H, W); call it level by level, starting with the noisiest."""
        prediction, gradient, *_ = self.models.evaluate(x_t, StepContext(transition))
        values = {(LOGITS, ""): self.logits(prediction.x0_hat), (GRADIENT, ""): gradient}
        # There is no chain here, so a stabilizer that takes the step gets the ancestral one at scale 1.
        seen = StabilizerStep(transition.noise_level, math.sqrt(transition.variance), transition.variance)
        for name, stabilizer in self.stabilizers.items():
            state = self.states[name] if name in self.states else stabilizer.init(gradient)
            self.states[name], values[GRADIENT, name] = stabilize(stabilizer, state, gradient, seen)
        return values

    @torch.no_grad()
    def logits(self, seen: Tensor) -> Tensor:
        """Return the logits (B, K) of what the classifier sees (B, C, H, W)."""
        classifier = self.models.parts[0].classifier
        return join([classifier(x) for x in split_padded(seen, self.models.size)], len(seen)).reshape(len(seen), -1)


def walk(
    observers: Mapping[tuple[str, str], Observer], schedule: Schedule, x_0: Tensor, eps: Tensor
) -> Iterator[tuple[Transition, dict[tuple[str, str], Changes]]]:
    """Yield the changes between neighbouring levels, from the noisiest pair on, with the pair's noisier level.

    Args:
        observers: by classifier and input.
        schedule: of the levels.
        x_0: clean images (B, C, H, W) in [-1, 1].
        eps: their noise, the same at every level, (B, C, H, W).
    """
    before = None
    for transition in schedule.transitions():
        x_t = schedule.add_noise(x_0, eps, torch.full((len(x_0),), transition.t))
        now = {key: observer.observe(x_t, transition) for key, observer in observers.items()}
        if before is not None:
            noisier, noisier_x, values = before
            distance = norms(noisier_x - x_t)
            yield noisier, {key: changes(values[key], now[key], distance) for key in observers}
        before = transition, x_t, now


def changes(noisier: Values, cleaner: Values, distance: NDArray[np.float64]) -> Changes:
    """Return the quotients and relative changes of values at two points that lie ``distance`` (B,) apart."""
    found = {}
    for key, value in noisier.items():
        difference = norms(value - cleaner[key])
        length = (norms(value) + norms(cleaner[key])) / 2
        with np.errstate(invalid="ignore"):  # two zero gradients have no relative change
            found[key] = difference / distance, difference / length
    return found


def norms(x: Tensor) -> NDArray[np.float64]:
    """Return each row's Euclidean norm, (B,)."""
    return in_float64(x).flatten(1).norm(dim=1).cpu().numpy()
