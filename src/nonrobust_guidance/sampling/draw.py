"""Drawing the cells of a run: one method at one scale with one seed, a file of samples for each target."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from nonrobust_guidance.devices import choose_device
from nonrobust_guidance.guidance.method import Guidance
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.models.diffusion import load_diffusion
from nonrobust_guidance.models.images import to_uint8
from nonrobust_guidance.records.cards import weights_hash, write_card
from nonrobust_guidance.sampling.denoiser import Denoiser
from nonrobust_guidance.sampling.files import save_samples
from nonrobust_guidance.sampling.microbatches import Microbatch
from nonrobust_guidance.sampling.rejection import Rejection
from nonrobust_guidance.sampling.settings import Chain, Guided, Method, acceptance_of
from nonrobust_guidance.sampling.trajectory import trajectory
from nonrobust_guidance.schedule import Schedule

UNGUIDED_TARGET = "any"
Drawing = Callable[[range], Iterator[Tensor]]
"""Draws the samples of these indices: yields their state, the last time as the images (B, C, H, W), in [-1, 1]."""
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def draw_samples(
    name: str,
    method: Method,
    scale: float,
    cells: Mapping[int, Path],
    chain: Chain,
    targets: Mapping[str, int],
    diffusion: Path,
    guide: Path | None,
    indices: range | None = None,
    *,
    batch_size: int = 64,
    device: str = "auto",
) -> None:
    """Draw every target of some cells into ``<folder>/<target>.npy``, uint8 (N, H, W, 3), rounded.

    Beside each file a ``<target>.json`` is written, the card that records what it was drawn with.

    Sample i is a function of (seed, i) alone, so a shard holds what the whole cell has at its indices. Finished batches
    are kept beside the file, so that a job that was killed continues where it stopped and writes the same file.

    Args:
        name: the method's, shown beside the progress bar.
        method: what it is.
        scale: of the guidance.
        cells: for each seed the folder of its files, each written atomically.
        chain: of the run.
        targets: indices of the classes to guide toward, by their names; a method without a guide has none.
        diffusion: the diffusion model's checkpoint.
        guide: the checkpoint of the classifier that guides or picks; None where there is none.
        indices: the samples to draw, a shard of the cell; by default all.
        batch_size: samples at once; on a CPU it does not change any sample, on a GPU only within rounding. A batch that
            does not fit into a GPU's memory goes through the networks in parts of half the size, down to single images.
        device: as `choose_device` takes it.

    Raises:
        UserError: if a checkpoint is missing or damaged.
    """
    where = choose_device(device)
    unet, schedule = load_diffusion(diffusion, where)
    schedule = method.levels_of(schedule)
    origin = [diffusion] if guide is None else [diffusion, guide]
    classifier = None if guide is None else load_classifier(guide, where)
    rows = rows_at_once(where, batch_size, method.num_samples)
    wanted = {UNGUIDED_TARGET: 0} if guide is None else targets
    batches = split_batches(range(method.num_samples) if indices is None else indices, batch_size)
    own = {key: value for key, value in method.recorded().items() if key != "scales"}  # a cell has one of them
    inputs = dict(zip(("diffusion", "guide"), map(weights_hash, origin), strict=False))
    steps = len(cells) * len(wanted) * len(batches) * len(schedule)
    with tqdm(total=steps, desc=f"{name} x {scale:g}", unit="step") as bar:
        for (seed, folder), (target, label) in product(cells.items(), wanted.items()):
            relevant = {"method": own, "scale": scale, "seed": seed, **chain.recorded()}
            parts = Parts(folder / f".{target}.parts", fingerprint(relevant, inputs))
            draw = drawing_of(method, scale, classifier, label, unet, schedule, seed, chain, rows)
            for batch in batches:
                if parts.has(batch):
                    bar.update(len(schedule))
                    continue
                told = 0
                for state in draw(batch):
                    images, told = state, told + 1
                    bar.update()
                bar.update(len(schedule) - told)  # rejection yields only its images
                parts.save(batch, to_uint8(images))
            save_samples(folder / f"{target}.npy", [parts.load(batch) for batch in batches])
            write_card(folder / f"{target}.json", relevant, inputs, [f"{target}.npy"], where.type)
            parts.clear()


def drawing_of(
    method: Method,
    scale: float,
    classifier: Callable[..., Any] | None,
    target: int,
    unet: Denoiser,
    schedule: Schedule,
    seed: int,
    chain: Chain,
    microbatch: Microbatch = "auto",
) -> Drawing:
    """Return what draws a method's samples of a class.

    Args:
        method: what it is.
        scale: of the guidance.
        classifier: that guides or picks; None for an unguided method.
        target: index of the class, which an unguided method ignores.
        unet: the network.
        schedule: the levels, one reverse step each.
        seed: of all noise.
        chain: of the run.
        microbatch: images that the networks see at a time, as `microbatch_size` takes it.
    """
    options = chain_options(chain, method) | {"microbatch": microbatch}
    guidance = method.make(classifier, target, scale) if isinstance(method, Guided) and classifier is not None else None
    kept = acceptance_of(method)
    if kept is not None and classifier is not None:
        rejection = Rejection(classifier, target, kept.threshold, guidance)
        return partial(pick_samples, rejection, kept.max_draws, unet, schedule, seed, options)
    return partial(follow_chain, guidance, unet, schedule, seed, options)


def follow_chain(
    guidance: Guidance | None, unet: Denoiser, schedule: Schedule, seed: int, options: Mapping[str, Any], batch: range
) -> Iterator[Tensor]:
    """Yield the state of a batch (B, C, H, W) after each step."""
    for step in trajectory(unet, schedule, len(batch), seed, guidance=guidance, first_index=batch.start, **options):
        yield step.x


def pick_samples(
    rejection: Rejection,
    max_draws: int,
    unet: Denoiser,
    schedule: Schedule,
    seed: int,
    options: Mapping[str, Any],
    batch: range,
) -> Iterator[Tensor]:
    """Yield only the images of a batch (B, C, H, W), because its attempts end at different times."""
    found = rejection.sample(unet, schedule, len(batch), seed, max_draws=max_draws, first_index=batch.start, **options)
    yield found.images


def chain_options(chain: Chain, method: Method) -> dict[str, Any]:
    """Return the arguments of `trajectory` for a run's chain and this method: sampler and autocast."""
    return {"sampler": chain.sampler_of(method), "autocast": PRECISIONS[chain.precision]}


def rows_at_once(device: torch.device, batch_size: int, num_samples: int) -> Microbatch:
    """Return the microbatch of a cell: one size for all of its batches and shards, including short ones.

    So a sample's bits do not depend on how a cell is divided among jobs. That holds on a GPU too, where
    `microbatch_size` would run the whole batch at once.
    """
    return "auto" if device.type == "cpu" else min(batch_size, num_samples)


def split_batches(indices: range, batch_size: int) -> list[range]:
    """Return the sample indices of each batch, the last one perhaps shorter."""
    return [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]


def fingerprint(settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return a digest of all that the samples depend on: the settings and the hashes of the weights."""
    return hashlib.sha256(json.dumps([settings, inputs], sort_keys=True, default=str).encode()).hexdigest()


class Parts:
    """The finished batches of one file, kept while the rest is drawn; batches of another origin are deleted."""

    def __init__(self, folder: Path, origin: str) -> None:
        """Open the folder, and empty it if its batches were drawn with other settings or weights."""
        self.folder = folder / origin[:16]
        if folder.exists() and not self.folder.exists():
            shutil.rmtree(folder)

    def path(self, indices: range) -> Path:
        """Name the part of these samples."""
        return self.folder / f"{indices.start:08d}-{indices.stop:08d}.npy"

    def has(self, indices: range) -> bool:
        """Say whether these samples are drawn."""
        return self.path(indices).is_file()

    def save(self, indices: range, images: np.ndarray) -> None:
        """Keep uint8 images (B, H, W, 3)."""
        save_samples(self.path(indices), [images])

    def load(self, indices: range) -> np.ndarray:
        """Return the images (B, H, W, 3) of a finished batch, memory-mapped."""
        return np.load(self.path(indices), mmap_mode="r")

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)
