"""Networks run on batches of one shape, so that a sample's bits do not depend on how many are drawn with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from nonrobust_guidance.guidance.method import NO_DRAWS, Climb, Draws, Guidance, StepContext
from nonrobust_guidance.sampling.denoiser import Denoiser
from nonrobust_guidance.schedule import Prediction, Transition

PIXELS = 32 * 32 * 32
LARGEST = 32

Microbatch = int | Literal["auto"] | None
Found = TypeVar("Found")


def microbatch_size(
    microbatch: Microbatch, denoiser: Denoiser, num_samples: int, shape: tuple[int, ...], device: torch.device
) -> int:
    """Return how many images a network sees at a time.

    Convolution and matrix kernels are chosen by the shape of the batch and round differently: the same image differs by
    1e-6 between a batch of 4 and a batch of 64, and a chain of steps can amplify that. Within batches of one shape an
    image's bits depend neither on its place nor on its neighbours. So "auto" is one size, fixed by the images alone:
    about 32,768 pixels, 32 images of 32 x 32 or one of 256 x 256, at which a CPU is no slower than on larger batches.
    On other devices, and for a denoiser that is not a module, it is the whole batch.

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
    """Denoiser and guidance, run on parts of exactly ``size`` images.

    Where a part does not fit into a GPU's memory, it is run again in parts of half the size, down to single images, and
    everything after it runs in parts of that size too. The images are the same, up to how kernels of another shape
    round.
    """

    def __init__(
        self,
        network: Callable[[Tensor, Transition], Prediction],
        guidance: Guidance | None,
        num_samples: int,
        size: int,
    ) -> None:
        """Take the denoiser, the guidance of the whole batch or None, and the size of the parts.

        Raises:
            ValueError: if there are not as many targets as samples.
        """
        self.network, self.guidance, self.num_samples = network, guidance, num_samples
        self.split(size)

    def split(self, size: int) -> None:
        """Run parts of that many images from now on."""
        self.size = size
        targets = split_padded(self.guidance.targets(self.num_samples), size) if self.guidance else ()
        self.parts = [replace(self.guidance, target=part) for part in targets] if self.guidance else []

    def predict(self, x_t: Tensor, transition: Transition) -> Prediction:
        """Return the denoiser's prediction for ``x_t`` (B, C, H, W).

        Raises:
            torch.OutOfMemoryError: if a single image does not fit.
        """
        return self._within_memory(lambda: self._predict(x_t, transition))

    def evaluate(self, x_t: Tensor, step: StepContext, draws: Draws = NO_DRAWS) -> Climb:
        """Return what guidance finds at ``x_t`` (B, C, H, W), for a step of the chain and the noise it asks for.

        Raises:
            torch.OutOfMemoryError: if a single image does not fit.
        """
        return self._within_memory(lambda: self._evaluate(x_t, step, draws))

    def _within_memory(self, run: Callable[[], Found]) -> Found:
        while True:
            try:
                return run()
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise
            # Only out here: inside the except block, the exception still holds on to what the networks filled the
            # memory with.
            torch.cuda.empty_cache()
            warnings.warn(
                f"The networks ran out of memory on batches of {self.size} and go on with {self.size // 2}.",
                RuntimeWarning,
                stacklevel=2,
            )
            self.split(self.size // 2)

    def _predict(self, x_t: Tensor, transition: Transition) -> Prediction:
        return join_predictions([self.network(x, transition) for x in split_padded(x_t, self.size)], len(x_t))

    def _evaluate(self, x_t: Tensor, step: StepContext, draws: Draws) -> Climb:
        states, parts = split_padded(x_t, self.size), []
        smooth = [split_padded(z, self.size) for z in draws.smooth]
        augment = [split_padded(z, self.size) for z in draws.augment]
        for i, (guidance, x) in enumerate(zip(self.parts, states, strict=True)):
            own = Draws([z[i] for z in smooth], [z[i] for z in augment])
            parts.append(guidance.evaluate(self.network, x, step, own))
        ascents = [part.ascent for part in parts if part.ascent is not None]
        return Climb(
            join_predictions([part.prediction for part in parts], len(x_t)),
            join([part.gradient for part in parts], len(x_t)),
            join([part.objective for part in parts], len(x_t)),
            join(ascents, len(x_t)) if ascents else None,
        )


def join_predictions(parts: list[Prediction], num_rows: int) -> Prediction:
    """Return the predictions of the parts in one, without the rows they were filled up with."""
    x0, x0_hat, eps = (join([getattr(part, name) for part in parts], num_rows) for name in ("x0", "x0_hat", "eps"))
    return Prediction(x0, x0_hat, eps, parts[0].clipped)


def split_padded(x: Tensor, size: int) -> tuple[Tensor, ...]:
    """Return x (B, ...) in parts of exactly ``size`` rows, the last filled up with its last row."""
    missing = -len(x) % size
    if missing:
        x = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])
    return x.split(size)


def join(parts: tuple[Tensor, ...] | list[Tensor], num_rows: int) -> Tensor:
    """Return the parts in one, without the rows they were filled up with."""
    return (parts[0] if len(parts) == 1 else torch.cat(parts))[:num_rows]
