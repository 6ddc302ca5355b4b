"""Classifiers that see their images shifted and flipped at random."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nonrobust_guidance.devices import in_float64
from nonrobust_guidance.models.ensemble import mean_logits
from nonrobust_guidance.models.logits import CompositeClassifier, classify, in_training_mode

NUMBERS_PER_IMAGE = 3  # down, right, flip


class Augmented(CompositeClassifier):
    """A classifier of randomly shifted and flipped images; see `augmented`."""

    def __init__(self, network: Callable[..., Any], shift: float, flip: bool, num_draws: int) -> None:
        """Take the classifier, the farthest shift as a fraction of the side, whether to flip, and the draws a call."""
        super().__init__()
        self.network, self.shift, self.flip, self.num_draws = network, shift, flip, num_draws
        self.noise_conditional = bool(getattr(network, "noise_conditional", False))
        # Each draw takes one tensor of noise for the augmentation, followed by those that the network itself needs.
        self.noise_per_draw = 1 + int(getattr(network, "num_noise_draws", 0))
        self.num_noise_draws = num_draws * self.noise_per_draw
        self.training = in_training_mode(network)

    def forward(self, x: Tensor, *t: Tensor, noise: Sequence[Tensor] = ()) -> Tensor:
        """Map images (B, C, H, W) to the mean of the classifier's logits over the draws, in the dtype of the images.

        Args:
            x: images.
            *t: timesteps (B,), for a classifier that takes them.
            noise: ``num_noise_draws`` standard normal tensors (B, C, H, W).

        Raises:
            ValueError: if there is not as much noise as needed, or as `classify`.
        """
        if len(noise) != self.num_noise_draws:
            raise ValueError(
                f"The augmented classifier was given {len(noise)} tensors of noise and draws none itself; call it with "
                f"noise=[...] of {self.num_noise_draws}, standard normal and like the images, as ng.sample does."
            )
        parts = []
        for start in range(0, self.num_noise_draws, self.noise_per_draw):
            own, *rest = noise[start : start + self.noise_per_draw]
            parts.append(classify(self.network, self.augment(x, own), *t, noise=rest))
        return mean_logits(parts)

    def augment(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the images ``x`` (B, C, H, W), each shifted and flipped as three entries of its ``z`` say.

        Args:
            x: images.
            z: standard normal, (B, ...), at least three entries for each image.

        Raises:
            ValueError: if there are fewer entries.
        """
        z = z.to(x.device).flatten(1)
        if z.shape[1] < NUMBERS_PER_IMAGE:
            raise ValueError(f"Noise of {z.shape[1]} entries an image cannot augment it; it takes {NUMBERS_PER_IMAGE}.")
        height, width = x.shape[-2:]
        rows = shifted(height, self.shift, z[:, 0])  # (B, H)
        columns = shifted(width, self.shift, z[:, 1])  # (B, W)
        if self.flip:
            columns = torch.where(z[:, 2:3] < 0.0, columns.flip(1), columns)
        # Products with zeros and ones are exact and sum their gradient in a fixed order; indexing does not, with
        # several threads.
        vertical, horizontal = (
            functional.one_hot(index, side).to(x.dtype)[:, None] for index, side in ((rows, height), (columns, width))
        )
        return vertical @ x @ horizontal.mT


def shifted(side: int, fraction: float, z: Tensor) -> Tensor:
    """Return which pixel moves to each place along a side, (B, side).

    The shift is a whole number of pixels, all from ``-floor(fraction side)`` to ``floor(fraction side)`` equally
    likely.
    """
    farthest = math.floor(fraction * side)
    uniform = torch.special.ndtr(in_float64(z))
    pixels = (uniform * (2 * farthest + 1)).floor().clamp(max=2 * farthest).long().to(z.device) - farthest  # (B,)
    return (torch.arange(side, device=z.device) - pixels[:, None]).clamp(0, side - 1)


def augmented(classifier: Callable[..., Any], shift: float = 0.125, flip: bool = True, num_draws: int = 1) -> Augmented:
    """Return a classifier that sees its images shifted and flipped at random, differentiably.

    Shifts are by whole pixels as in Zhao et al. (2020, Differentiable augmentation for data-efficient GAN training),
    but the border is filled with the nearest pixel of the image, and not with zeros. The logits are the mean over the
    draws, which are an `ensemble`: the probabilities are the normalized mean of the log-probabilities. Averaging these
    rather than the probabilities is from Athalye et al. (2018, Synthesizing robust adversarial examples, expectation
    over transformation): a draw of which the classifier is unsure counts as much as the others, and under the objective
    "logit" the expected gradient is the same for any ``num_draws``.

    The randomness comes from the sampler: it reads ``num_noise_draws`` and calls the classifier with ``noise=[z_1,
    ...]``, standard normal and seeded, so that sample i still depends only on (seed, i). The normal distribution
    function turns the first three entries of an image's z into uniform numbers, which give the shift down, the shift
    right and the flip.

    Args:
        classifier: as `ClassifierGuidance` takes it.
        shift: the farthest shift, in whole pixels rounded down, as a fraction of height and width, within 0 .. 1.
        flip: whether half of the draws are mirrored left to right.
        num_draws: how many draws one call averages; it costs as many passes.

    Raises:
        TypeError: if the classifier is not callable.
        ValueError: if a number is out of its range; when it is called, if there is no noise.
    """
    if not callable(classifier):
        raise TypeError(f"The classifier, a {type(classifier).__name__}, is not callable.")
    if not 0.0 <= shift < 1.0:
        raise ValueError(f"shift is {shift}; it must be a fraction of the side, at least 0 and less than 1.")
    if isinstance(num_draws, bool) or not isinstance(num_draws, int) or num_draws < 1:
        raise ValueError(f"num_draws is {num_draws!r}; give a whole number, at least 1.")
    return Augmented(classifier, shift, flip, num_draws)
