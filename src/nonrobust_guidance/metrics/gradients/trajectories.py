"""What gradients do along guided reverse chains: how they turn, how long they are, how far their shifts add up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from nonrobust_guidance.devices import choose_device, in_float64
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.guidance.stabilizers import direction_and_norm
from nonrobust_guidance.metrics.cells import middle_scale
from nonrobust_guidance.metrics.gather import COLUMNS
from nonrobust_guidance.metrics.settings import Bootstrap, Trajectories
from nonrobust_guidance.metrics.statistics.intervals import resampled_interval
from nonrobust_guidance.metrics.tables import QUANTITIES
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.models.diffusion import load_diffusion
from nonrobust_guidance.sampling.draw import chain_options, split_batches
from nonrobust_guidance.sampling.settings import Chain, Guided
from nonrobust_guidance.sampling.trajectory import Step, trajectory

LENGTHS = ("norm", "norm_stabilized")
Numbers = dict[str, NDArray[np.float64]]


def measure_trajectories(
    name: str,
    method: Guided,
    chain: Chain,
    seed: int,
    target: str,
    label: int,
    settings: Trajectories,
    bootstrap: Bootstrap,
    diffusion: Path,
    guide: Path,
    output_csv: Path,
    *,
    batch_size: int = 64,
    device: str = "auto",
) -> None:
    """Follow the gradients of one method along its sampling, and write a table with a row per guided step.

    The chains are the run's own: its sampler and precision, the method's steps and `middle_scale`, the first seed,
    and the samples with the indices 0 .. ``metrics.trajectories.num_samples`` - 1, as `draw_samples` would draw them.
    Columns, each a mean over samples (lengths: the median) with its bootstrap interval:

    - cosine: between the raw gradients of this guided step and the one before; missing at the first.
    - norm: length of the raw gradient.
    - cosine_stabilized, norm_stabilized: the same for the gradient after the stabilizer, which is what shifts x.
    - survival: length of the sum of all shifts so far over the sum of their lengths: 1 where all point one way, near 0
      where they undo each other. For K steps of equal length in independent random directions it is ``1 / sqrt(K)``.
    - survival_raw: the same if the raw gradients of this very chain had shifted it.

    For a step that is made several times, the last time counts. A method whose shift is not a multiple of its gradient,
    such as `DSG`, has no survival.

    Lengths of saturated classifiers' gradients spread over orders of magnitude, so a few samples would dominate a mean.
    A zero gradient has no direction: a sample for which the classifier's certainty rounds to 1 is left out of the
    cosine, and ``cosine_n`` counts those that are in it.

    Args:
        name: the method's, for the table.
        method: what it is.
        chain: of the run.
        seed: of all noise.
        target: the class to guide toward.
        label: its index.
        settings: how many samples.
        bootstrap: of the intervals.
        diffusion: the diffusion model's checkpoint.
        guide: the classifier's checkpoint.
        output_csv: written atomically.
        batch_size: samples at once.
        device: as `choose_device` takes it.

    Raises:
        UserError: if a checkpoint is missing, truncated or of another kind.
    """
    num_samples, scale, where = settings.num_samples, middle_scale(method.scales), choose_device(device)
    unet, schedule = load_diffusion(diffusion, where)
    schedule = method.levels_of(schedule)
    guidance = method.make(load_classifier(guide, where), label, scale)
    batches = split_batches(range(num_samples), batch_size)
    steps: dict[tuple[int, int], list[Numbers]] = {}
    with tqdm(total=len(batches) * len(schedule), desc=f"trajectories of {name}", unit="step") as bar:
        for indices in batches:
            drawn = trajectory(
                unet, schedule, len(indices), seed,
                guidance=guidance, first_index=indices.start, **chain_options(chain, method),
            )  # fmt: skip
            for step, numbers in follow(counted(drawn, bar)):
                steps.setdefault((step.k, step.t), []).append(numbers)
    levels = {transition.t: transition.noise_level for transition in schedule.transitions()}
    rows = []
    for (k, t), parts in steps.items():
        row = {"method": name, "scale": scale, "target": target, "seed": seed}
        row |= {"k": k, "t": t, "noise_level": levels[t], "n": num_samples}
        for quantity in QUANTITIES:
            values = np.concatenate([part[quantity] for part in parts])
            statistic = np.median if quantity in LENGTHS else np.mean
            found = resampled_interval(values, statistic, bootstrap.resamples, bootstrap.seed)
            row |= {quantity: found.value, f"{quantity}_low": found.low, f"{quantity}_high": found.high}
        row["cosine_n"] = int(np.isfinite(np.concatenate([part["cosine"] for part in parts])).sum())
        rows.append(row)
    table = pd.DataFrame(rows, columns=COLUMNS)
    write_atomically(output_csv, lambda path: table.to_csv(path, index=False, float_format="%.6g"))


def follow(steps: Iterable[Step]) -> Iterator[tuple[Step, Numbers]]:
    """Yield each guided step of a chain with the numbers of its gradients, (B,) for each of `QUANTITIES`."""
    raw, stabilized = GradientSequence(), GradientSequence()
    for step in steps:
        if step.gradient is None or step.stabilized is None:
            continue
        cosine, norm, survival_raw = raw.advance(step.gradient, step.strength)
        cosine_stabilized, norm_stabilized, survival = stabilized.advance(step.stabilized, step.strength)
        found = (cosine, norm, cosine_stabilized, norm_stabilized, survival, survival_raw)
        yield step, dict(zip(QUANTITIES, found, strict=True))


class GradientSequence:
    """A running sequence of gradients (B, C, H, W): the direction of the last one, and their sums so far."""

    def __init__(self) -> None:
        """Start with none."""
        self.before: Tensor | None = None
        self.total: Tensor | float = 0.0
        self.lengths: NDArray[np.float64] | float = 0.0

    def advance(
        self, gradient: Tensor, strength: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the cosine with the gradient before, the norm, and the share of the shift that survives, (B,) each."""
        gradient = in_float64(gradient).flatten(1)  # (B, C * H * W)
        direction, length = direction_and_norm(gradient)
        norm = length.flatten().cpu().numpy()
        cosine = np.full(len(norm), math.nan)
        if self.before is not None:
            both = (direction.norm(dim=1) * self.before.norm(dim=1)).cpu().numpy() > 0
            cosine[both] = (direction * self.before).sum(dim=1).cpu().numpy()[both]
        self.before = direction
        self.total = self.total + strength * gradient
        self.lengths = self.lengths + abs(strength) * norm
        with np.errstate(invalid="ignore"):  # nothing has been shifted yet, so there is no share either
            survival = self.total.norm(dim=1).cpu().numpy() / self.lengths
        return cosine, norm, survival


def counted(steps: Iterable[Step], bar: tqdm) -> Iterator[Step]:
    """Yield the steps, advancing a progress bar with each."""
    for step in steps:
        bar.update()
        yield step
