"""How classifiers cope with noise: accuracy at levels of the forward process, with and without one-step denoising."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from nonrobust_guidance.data import load_split
from nonrobust_guidance.devices import choose_device
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.cells import guides_of
from nonrobust_guidance.metrics.judging import probabilities_of, summarize_probabilities
from nonrobust_guidance.metrics.settings import Bootstrap, Measured, NoiseAccuracy
from nonrobust_guidance.metrics.statistics.intervals import resampled_interval
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.models.diffusion import load_diffusion
from nonrobust_guidance.models.images import to_unit_range
from nonrobust_guidance.sampling.denoiser import Denoiser, network_device, predict
from nonrobust_guidance.sampling.noise import SampleNoise
from nonrobust_guidance.schedule import Schedule, Transition

BATCH_SIZE = 128
Row = dict[str, Any]


def noise_accuracy_of(run: Measured, data_folder: Path, checkpoints: Path, output_csv: Path) -> None:
    """Write the table of a run; see `measure_noise_accuracy`."""
    measure_noise_accuracy(
        run.metrics.part(NoiseAccuracy),
        run.metrics.bootstrap,
        checkpoints / run.diffusion.name,
        guides_of(run, checkpoints),
        data_folder,
        output_csv,
        device=run.device,
    )


def measure_noise_accuracy(
    settings: NoiseAccuracy,
    bootstrap: Bootstrap,
    diffusion: Path,
    guides: Mapping[str, Path],
    data_folder: Path,
    output_csv: Path,
    *,
    device: str = "auto",
) -> None:
    """Measure classifiers on noised test images and write a table with a row per level.

    The levels are ``metrics.noise_levels`` timesteps spread evenly from the first to the last. At each, the classifiers
    see ``x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps`` (xt) and its one-step denoised prediction (x0), clamped to
    [-1, 1]. The noise of image i depends only on (``metrics.bootstrap.seed``, i) and is the same at every level.
    Accuracies have Wilson intervals, and mean probabilities of the right class have bootstrap intervals over the
    images.

    Args:
        settings: how many levels and images.
        bootstrap: of the intervals; its seed is also that of the noise.
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
    classifiers = {name: load_classifier(folder, where) for name, folder in guides.items()}
    test = load_split(data_folder, "test")
    # Draw from the whole split, because a folder of images may be in the order of its classes.
    chosen = noise_levels(len(test.images), settings.num_noise_images)
    x_0, labels = to_unit_range(test.images[chosen]), np.asarray(test.labels[chosen])
    eps = SampleNoise(bootstrap.seed, range(len(x_0)), tuple(x_0.shape[1:]))(0)
    rows = []
    transitions = list(schedule.transitions())[::-1]  # the cleanest first
    for level in tqdm(noise_levels(len(schedule), settings.noise_levels), desc="noise accuracy", unit="level"):
        t, alpha_bar = transitions[level].t, transitions[level].alpha_bar
        x_t = schedule.add_noise(x_0, eps, torch.full((len(x_0),), t))
        for at, x in {"xt": x_t, "x0": denoise(unet, schedule, x_t, transitions[level])}.items():
            for name, classifier in classifiers.items():
                p = torch.cat([probabilities_of(classifier, batch) for batch in x.split(BATCH_SIZE)]).numpy()
                row = {"classifier": name, "at": at, "t": t, "alpha_bar": alpha_bar, "n": len(x_0)}
                rows.append(row | summarize_probabilities(p, labels, "") | probability_interval(p, labels, bootstrap))
    table = pd.DataFrame(rows)
    write_atomically(output_csv, lambda path: table.to_csv(path, index=False, float_format="%.6g"))


def probability_interval(p: NDArray[np.float64], labels: NDArray[np.int64], bootstrap: Bootstrap) -> Row:
    """Return the ends of the interval of the label's mean probability, over images (N, K)."""
    of_label = p[np.arange(len(p)), labels]
    _, low, high = resampled_interval(of_label, np.mean, bootstrap.resamples, bootstrap.seed)
    return {"probability_low": low, "probability_high": high}


def noise_levels(num_steps: int, count: int) -> list[int]:
    """Return at most ``count`` distinct levels, spread evenly over 0 .. num_steps - 1 with both ends."""
    return np.unique(np.linspace(0, num_steps - 1, count).round().astype(int)).tolist()


@torch.no_grad()
def denoise(denoiser: Denoiser, schedule: Schedule, x_t: Tensor, transition: Transition) -> Tensor:
    """Return the one-step prediction ``x0_hat`` (N, C, H, W) in [-1, 1] of images at one level, on their device."""
    device = network_device(denoiser, None)
    batches = (predict(denoiser, schedule, x.to(device), transition).x0_hat for x in x_t.split(BATCH_SIZE))
    return torch.cat([x0_hat.to(x_t.device) for x0_hat in batches])
