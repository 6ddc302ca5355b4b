"""Drawing the cells of a run: one method at one scale with one seed, a file of samples for each target."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from nonrobust_guidance.devices import choose_device
from nonrobust_guidance.guidance.method import Guidance
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.models.diffusion import load_diffusion
from nonrobust_guidance.models.images import to_uint8
from nonrobust_guidance.records.cards import weights_hash, write_card
from nonrobust_guidance.sampling.files import save_samples
from nonrobust_guidance.sampling.microbatches import Microbatch
from nonrobust_guidance.sampling.settings import Chain, Guided, Method
from nonrobust_guidance.sampling.trajectory import trajectory

UNGUIDED_TARGET = "any"
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def draw_samples(
    name: str,
    method: Method,
    scale: float,
    seed: int,
    chain: Chain,
    targets: Mapping[str, int],
    diffusion: Path,
    guide: Path | None,
    output_folder: Path,
    indices: range | None = None,
    *,
    batch_size: int = 64,
    device: str = "auto",
) -> None:
    """Draw every target of a cell into ``<output_folder>/<target>.npy``, uint8 (N, H, W, 3), rounded.

    Beside each file goes ``<target>.json``, the card that says what it was drawn with.

    Sample i is a function of (seed, i) alone, so a shard holds what the whole cell has at its indices. Finished batches
    wait beside the file, so that a job that was killed goes on where it stopped and writes the same file.

    Args:
        name: the method's, shown beside the progress bar.
        method: what it is.
        scale: of the guidance.
        seed: of all noise.
        chain: of the run.
        targets: indices of the classes to guide toward, by their names; a method without a guide has none.
        diffusion: the diffusion model's checkpoint.
        guide: that of the guiding classifier; None where there is none.
        output_folder: where the files go, each written atomically.
        indices: the samples to draw, a shard of the cell; left out, all.
        batch_size: samples at once, which changes none on a CPU, and on a GPU only within rounding. What does not fit
            into a GPU's memory goes through the networks in batches of half the size, down to single images.
        device: as `choose_device` takes it.

    Raises:
        UserError: if a checkpoint is missing or damaged.
    """
    where = choose_device(device)
    unet, schedule = load_diffusion(diffusion, where)
    schedule = schedule.respaced(method.steps)
    options = chain_options(chain, method) | {"microbatch": rows_at_once(where, batch_size, method.num_samples)}
    origin = [diffusion]
    guidances: dict[str, Guidance | None] = {UNGUIDED_TARGET: None}
    if isinstance(method, Guided) and guide is not None:
        origin.append(guide)
        classifier = load_classifier(guide, where)
        guidances = {target: method.make(classifier, label, scale) for target, label in targets.items()}
    indices = range(method.num_samples) if indices is None else indices
    batches = split_batches(indices, batch_size)
    own = {key: value for key, value in method.recorded().items() if key != "scales"}  # the cell has one of them
    relevant = {"method": own, "scale": scale, "seed": seed, **chain.recorded()}
    inputs = dict(zip(("diffusion", "guide"), map(weights_hash, origin), strict=False))
    digest = fingerprint(relevant, inputs)
    with tqdm(total=len(guidances) * len(batches) * len(schedule), desc=f"{name} x {scale:g}", unit="step") as bar:
        for target, guidance in guidances.items():
            parts = Parts(output_folder / f".{target}.parts", digest)
            for batch in batches:
                if parts.has(batch):
                    bar.update(len(schedule))
                    continue
                steps = trajectory(
                    unet, schedule, len(batch), seed, guidance=guidance, first_index=batch.start, **options
                )
                for step in steps:
                    images = step.x
                    bar.update()
                parts.save(batch, to_uint8(images))
            save_samples(output_folder / f"{target}.npy", [parts.load(batch) for batch in batches])
            write_card(output_folder / f"{target}.json", relevant, inputs, [f"{target}.npy"], where.type)
            parts.clear()


def chain_options(chain: Chain, method: Method) -> dict[str, Any]:
    """Return what a run's chain, with this method, is to `trajectory`: sampler and autocast."""
    return {"sampler": chain.sampler_of(method), "autocast": PRECISIONS[chain.precision]}


def rows_at_once(device: torch.device, batch_size: int, num_samples: int) -> Microbatch:
    """Return the microbatch of a cell: one size for all of its batches and shards, short ones too.

    So a sample's bits do not depend on how a cell is shared out over jobs, on a GPU either, where `microbatch_size`
    leaves a batch whole.
    """
    return "auto" if device.type == "cpu" else min(batch_size, num_samples)


def split_batches(indices: range, batch_size: int) -> list[range]:
    """Return the sample indices of each batch, the last one perhaps shorter."""
    return [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]


def fingerprint(settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return a digest of all that the samples depend on: the settings and the hashes of the weights."""
    return hashlib.sha256(json.dumps([settings, inputs], sort_keys=True, default=str).encode()).hexdigest()


class Parts:
    """The finished batches of one file, kept while the rest is drawn; those of another origin are dropped."""

    def __init__(self, folder: Path, origin: str) -> None:
        """Open the folder, empty it if what it holds was drawn from other settings or weights."""
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
