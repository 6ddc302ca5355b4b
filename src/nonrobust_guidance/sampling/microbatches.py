"""Networks run on batches of one shape, so that a sample's bits do not depend on how many are drawn with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from nonrobust_guidance.guidance.classifier import ClassifierGuidance
from nonrobust_guidance.sampling.denoiser import Denoiser
from nonrobust_guidance.schedule import Prediction, Transition

PIXELS = 32 * 32 * 32
LARGEST = 32

Microbatch = int | Literal["auto"] | None


def microbatch_size(
    microbatch: Microbatch, denoiser: Denoiser, num_samples: int, shape: tuple[int, ...], device: torch.device
) -> int:
    """Return how many images a network sees at a time.

    Convolution and matrix kernels are chosen by the shape of the batch and round differently: an image comes out of a
    batch of 4 and of a batch of 64 with a difference of 1e-6, which a chain of steps can amplify. Within batches of one
    shape an image's bits depend neither on its place nor on its neighbours. So "auto" is one size, fixed by the images
    alone: about 32,768 pixels, 32 images of 32 x 32 or one of 256 x 256, at which a CPU is no slower than on larger
    batches. Elsewhere than on a CPU, and for a denoiser that is no module, it is the whole batch.

    Args:
        microbatch: the size, "auto", or None for the whole batch.
        denoiser: what will be run.
        num_samples: the whole batch.
        shape: of an image, (C, H, W).
        device: where it will be run.

    Raises:
        ValueError: if the size is less than one.
    """
    if microbatch == "auto":
        fixed = device.type == "cpu" and isinstance(denoiser, nn.Module)
        return min(max(PIXELS // (shape[1] * shape[2]), 1), LARGEST) if fixed else num_samples
    if microbatch is not None and (not isinstance(microbatch, int) or microbatch < 1):
        raise ValueError(f"microbatch is {microbatch!r}; give a number of images, 'auto', or None for the whole batch.")
    return microbatch or num_samples


class Microbatched:
    """Denoiser and guidance, run on parts of exactly ``size`` images."""

    def __init__(
        self,
        network: Callable[[Tensor, Transition], Prediction],
        guidance: ClassifierGuidance | None,
        num_samples: int,
        size: int,
    ) -> None:
        """Take the denoiser, the guidance of the whole batch or None, and the size of the parts.

        Raises:
            ValueError: if there are not as many targets as samples.
        """
        self.network, self.guidance, self.size = network, guidance, size
        targets = split_padded(guidance.targets(num_samples), size) if guidance else ()
        self.parts = [replace(guidance, target=part) for part in targets] if guidance else []

    def predict(self, x_t: Tensor, transition: Transition) -> Prediction:
        """Return the denoiser's prediction for ``x_t`` (B, C, H, W)."""
        parts = [self.network(x, transition) for x in split_padded(x_t, self.size)]
        return Prediction(*(join(tensors, len(x_t)) for tensors in zip(*parts, strict=True)))

    def predict_and_differentiate(self, x_t: Tensor, transition: Transition) -> tuple[Prediction, Tensor]:
        """Return the prediction and the gradient with respect to ``x_t``, both (B, C, H, W)."""
        rows = zip(self.parts, split_padded(x_t, self.size), strict=True)
        parts = [guidance.evaluate(self.network, x, transition) for guidance, x in rows]
        predictions = zip(*(prediction for prediction, _ in parts), strict=True)
        gradient = join([gradient for _, gradient in parts], len(x_t))
        return Prediction(*(join(tensors, len(x_t)) for tensors in predictions)), gradient


def split_padded(x: Tensor, size: int) -> tuple[Tensor, ...]:
    """Return x (B, ...) in parts of exactly ``size`` rows, the last filled up with its last row."""
    missing = -len(x) % size
    if missing:
        x = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])
    return x.split(size)


def join(parts: tuple[Tensor, ...] | list[Tensor], num_rows: int) -> Tensor:
    """Return the parts in one, without the rows they were filled up with."""
    return (parts[0] if len(parts) == 1 else torch.cat(parts))[:num_rows]
