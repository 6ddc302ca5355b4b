"""Images from the reverse chain."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nonrobust_guidance.guidance.method import Guidance
from nonrobust_guidance.sampling.denoiser import Denoiser
from nonrobust_guidance.sampling.noise import Noise
from nonrobust_guidance.sampling.trajectory import trajectory
from nonrobust_guidance.schedule import Schedule


class Samples(NamedTuple):
    """Images, and how often guidance had to be skipped."""

    images: Tensor
    """(N, C, H, W) in [-1, 1]."""
    skipped: Tensor
    """(N,) int64: in how many steps the sample's gradient was not finite and was left out."""


def sample(
    denoiser: Denoiser,
    schedule: Schedule,
    num_samples: int,
    seed: int = 0,
    *,
    guidance: Guidance | None = None,
    batch_size: int | None = None,
    noise: Noise | None = None,
    first_index: int = 0,
    **options: Any,
) -> Tensor:
    """Return images (N, C, H, W), float32 in [-1, 1].

    Args:
        denoiser: a diffusers UNet2DModel or any callable (x_t, t) -> output.
        schedule: the levels, one reverse step each.
        num_samples: N.
        seed: determines all noise, with the sample's index and the step.
        guidance: what shifts the steps; None for unguided.
        batch_size: how many samples are drawn together; by default all. The networks see them in microbatches.
        noise: k -> (N, C, H, W) in place of the seeded noise.
        first_index: index of the first sample: samples 64 .. 127 of a seed are ``first_index=64, num_samples=64``.
        **options: of `trajectory`: sampler, eta, use_clipped_model_output, shape, clip, microbatch, autocast, dtype,
            device.

    Raises:
        ValueError: as `trajectory`, or if the denoiser's output was not finite.
        NonFiniteGradientError: if a gradient is not finite and guidance says "raise".
    """
    images, skipped = sample_counted(
        denoiser, schedule, num_samples, seed,
        guidance=guidance, batch_size=batch_size, noise=noise, first_index=first_index, **options,
    )  # fmt: skip
    if bool(skipped.any()):
        warnings.warn(
            f"{int(skipped.sum())} gradients, of {int((skipped > 0).sum())} of {len(skipped)} samples, were not finite "
            "and were skipped.",
            RuntimeWarning,
            stacklevel=2,
        )
    return images


def sample_counted(
    denoiser: Denoiser,
    schedule: Schedule,
    num_samples: int,
    seed: int = 0,
    *,
    guidance: Guidance | None = None,
    batch_size: int | None = None,
    noise: Noise | None = None,
    first_index: int = 0,
    **options: Any,
) -> Samples:
    """Return what `sample` does, with the count of skipped gradients in place of a warning."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1.")
    size, batches = batch_size or max(num_samples, 1), []
    for start in range(0, max(num_samples, 1), size):
        part = slice(start, min(start + size, num_samples))
        drawn = run_to_end(
            denoiser,
            schedule,
            part.stop - start,
            seed,
            guidance=guidance and replace(guidance, target=guidance.targets(num_samples)[part]),
            noise=noise and partial(noise_of_part, noise, part),
            first_index=first_index + start,
            **options,
        )
        batches.append(drawn)
    images, skipped = (torch.cat(parts) for parts in zip(*batches, strict=True))
    if not bool(images.isfinite().all()):
        raise ValueError("The denoiser's output was not finite; check its weights and precision.")
    return Samples(images, skipped)


def run_to_end(*arguments: Any, **options: Any) -> Samples:
    """Return the last state of a trajectory and its counts; earlier steps are not kept."""
    counts = []
    for step in trajectory(*arguments, **options):
        x = step.x
        counts.append(step.skipped)
    return Samples(x, torch.stack(counts).sum(dim=0))


def noise_of_part(noise: Noise, part: slice, k: int, *use: str | int) -> Tensor:
    """Return the rows of ``noise(k, ...)`` that belong to one batch."""
    return noise(k, *use)[part]
