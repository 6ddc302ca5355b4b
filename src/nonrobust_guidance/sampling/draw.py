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
from torch import nn
from tqdm import tqdm

from nonrobust_guidance.devices import choose_device
from nonrobust_guidance.guidance.classifier import ClassifierGuidance
from nonrobust_guidance.guidance.stabilizers import STABILIZERS, Stabilizer, chain
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.models.diffusion import load_diffusion
from nonrobust_guidance.models.images import to_uint8
from nonrobust_guidance.records.cards import weights_hash, write_card
from nonrobust_guidance.sampling.files import save_samples
from nonrobust_guidance.sampling.trajectory import trajectory

UNGUIDED_TARGET = "any"
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def draw_samples(
    config: dict[str, Any],
    method: str,
    scale: float,
    seed: int,
    checkpoints: Path,
    output_folder: Path,
    indices: range | None = None,
) -> None:
    """Draw every target of a cell into ``<output_folder>/<target>.npy``, uint8 (N, H, W, 3), rounded.

    Beside each file goes ``<target>.json``, the card that says what it was drawn with.

    Sample i is a function of (seed, i) alone, so a shard holds what the whole cell has at its indices. Finished batches
    wait beside the file, so that a job that was killed goes on where it stopped and writes the same file.

    Args:
        config: the run's validated configuration.
        method: a key of ``sampling.methods``.
        scale: of the guidance.
        seed: of all noise.
        checkpoints: a folder for each model.
        output_folder: where the files go, each written atomically.
        indices: the samples to draw, a shard of the cell; left out, all.

    Raises:
        UserError: if a checkpoint is missing or damaged.
    """
    sampling, settings = config["sampling"], config["sampling"]["methods"][method]
    diffusion = checkpoints / config["diffusion"]["name"]
    device = choose_device(config.get("device", "auto"))
    unet, schedule = load_diffusion(diffusion, device)
    schedule = schedule.respaced(settings["steps"])
    options = chain_options(sampling)
    origin = [diffusion]
    guidances: dict[str, ClassifierGuidance | None] = {UNGUIDED_TARGET: None}
    if settings["classifier"]:
        origin.append(checkpoints / settings["classifier"])
        classifier, classes = load_classifier(origin[-1], device), config["dataset"]["classes"]
        guidances = {
            target: build_guidance(classifier, classes.index(target), scale, settings) for target in sampling["targets"]
        }
    indices = range(settings["num_samples"]) if indices is None else indices
    batches = split_batches(indices, sampling["batch_size"])
    relevant = {"method": settings, "scale": scale, "seed": seed, **options}
    inputs = dict(zip(("diffusion", "guide"), map(weights_hash, origin), strict=False))
    digest = fingerprint(relevant, inputs)
    with tqdm(total=len(guidances) * len(batches) * len(schedule), desc=f"{method} x {scale:g}", unit="step") as bar:
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
            write_card(output_folder / f"{target}.json", relevant, inputs, [f"{target}.npy"], device.type)
            parts.clear()


def chain_options(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's sampling section says of `trajectory`: sampler, eta and autocast."""
    return {
        "sampler": sampling["sampler"],
        "eta": sampling["eta"],
        "autocast": PRECISIONS[sampling["precision"]],
    }


def split_batches(indices: range, batch_size: int) -> list[range]:
    """Return the sample indices of each batch, the last one perhaps shorter."""
    return [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]


def build_guidance(classifier: nn.Module, target: int, scale: float, settings: dict[str, Any]) -> ClassifierGuidance:
    """Return the guidance that a method of the configuration describes, at a scale, toward a class index."""
    return ClassifierGuidance(
        classifier,
        target=target,
        scale=scale,
        at=settings["at"],
        objective=settings["objective"],
        stabilizer=build_stabilizer(settings["stabilizer"]),
        interval=tuple(settings["interval"]),
        on_nonfinite=settings["on_nonfinite"],
    )


def build_stabilizer(settings: list[dict[str, Any]]) -> Stabilizer:
    """Return the chain of stabilizers that a method names, each with its own arguments."""
    return chain(*(STABILIZERS[s["name"]](**{k: v for k, v in s.items() if k != "name"}) for s in settings))


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
