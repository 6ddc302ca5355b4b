"""The held-out judge: it never guides, recognizes images that show no ball at all, and sees geometry as well as class.

A judge with only the guide's classes has to assign one of them to a blank canvas. This one has an extra class, "none of
these", learnt from canvases spoilt on purpose. Its real images get mild jitter, so that a generated image with slightly
soft edges or an off-white of 0.98 still counts as real. It also predicts the factors that the data set knows (position,
size, rotation), so that its features, in which distances are measured, move with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonrobust_guidance.data import Split
from nonrobust_guidance.models.canvases import jitter, spoil
from nonrobust_guidance.models.images import to_unit_range

NUM_FEATURES = 48
FACTOR_WEIGHT = 5.0
CIRCULAR = frozenset({"rotation"})
# A ball that looks the same after a k-th of a turn shows its angle only in multiples of k.
HARMONICS = (1, 2, 3, 5)


class Judge(nn.Module):
    """A small convolutional network with group normalization and two heads on one feature vector."""

    def __init__(self, num_classes: int, factors: Sequence[str]) -> None:
        """Build the network.

        Args:
            num_classes: logits, "none of these" included as the last.
            factors: names of the factors known of each image; empty where none are known.
        """
        super().__init__()
        self.factor_names = tuple(factors)
        widths = (3, 32, 64, 96, 128)
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(before, after, 3, stride=1 if i == 0 else 2, padding=1), nn.GroupNorm(8, after)]
            layers += [nn.SiLU()]
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.embedding = nn.Linear(widths[-1] * 16, NUM_FEATURES)
        self.classes = nn.Linear(NUM_FEATURES, num_classes)
        self.factors = nn.Linear(NUM_FEATURES, code_size(factors)) if factors else None

    def features(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to the features (B, 48) that distances are measured in."""
        return self.embedding(self.trunk(x))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to logits (B, K + 1), "none of these" last."""
        return self.classes(F.silu(self.features(x)))

    def judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 3, H, W) in [-1, 1] to their logits and factors, (B, 0) where none are known, in one pass."""
        hidden = F.silu(self.features(x))
        if self.factors is None:
            return self.classes(hidden), hidden.new_zeros(len(x), 0)
        return self.classes(hidden), decode_factors(self.factors(hidden), self.factor_names)


def code_size(names: Sequence[str]) -> int:
    """Return how many numbers the factors of one image are learnt as."""
    return sum(2 * len(HARMONICS) if name in CIRCULAR else 1 for name in names)


def encode_factors(factors: Tensor, names: Sequence[str]) -> Tensor:
    """Map factors (B, F) to what a network can regress: an angle in degrees becomes cosines and sines of multiples."""
    columns = [
        angle_harmonics(column) if name in CIRCULAR else column[:, None]
        for column, name in zip(factors.unbind(1), names, strict=True)
    ]
    return torch.cat([factors[:, :0], *columns], 1)


def decode_factors(code: Tensor, names: Sequence[str]) -> Tensor:
    """Invert ``encode_factors``; an angle is the whole degree in [0, 360) whose harmonics agree best with the code.

    The angle of a ball with a symmetry is known up to that symmetry.
    """
    widths = [2 * len(HARMONICS) if name in CIRCULAR else 1 for name in names]
    degrees = torch.arange(360.0, device=code.device)
    columns = [
        degrees[(part @ angle_harmonics(degrees).T).argmax(1)] if name in CIRCULAR else part[:, 0]
        for part, name in zip(code.split(widths, 1), names, strict=True)
    ]
    return torch.stack(columns, 1)


def angle_harmonics(degrees: Tensor) -> Tensor:
    """Map angles (B,) to cosine and sine of each multiple in ``HARMONICS``: (B, 2 * len(HARMONICS))."""
    radians = degrees.deg2rad()
    return torch.stack([f(k * radians) for k in HARMONICS for f in (torch.cos, torch.sin)], 1)


class JudgeObjective:
    """Cross-entropy over the classes and "none of these", and squared error of the factors of the real ones."""

    def __init__(self, model: Judge, split: Split) -> None:
        """Take the judge and the data."""
        self.model, self.split, self.num_examples = model, split, len(split.images)

    def batch(self, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Return images (B, 3, H, W), five eighths of them real with mild jitter and the rest spoilt, and their truth.

        That is: labels (B,), encoded factors (B, code_size), and the weight (B,) of each image's factors, 0 for a
        spoilt one.
        """
        x = to_unit_range(self.split.images[indices])
        labels = torch.from_numpy(np.asarray(self.split.labels[indices]))
        num_real = max(1, 5 * len(x) // 8)
        images = torch.cat([jitter(x[:num_real], generator), spoil(x[num_real:], generator)])
        labels[num_real:] = len(self.split.classes)
        factors = torch.from_numpy(np.asarray(self.split.factors[indices]))
        weights = torch.zeros(len(x))
        weights[:num_real] = len(x) / num_real
        return images, labels, encode_factors(factors, self.split.factor_names), weights

    def losses(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """Return each image's loss, (B,)."""
        judge = cast(Judge, model)
        images, labels, truth, weights = batch
        hidden = F.silu(judge.features(images))
        losses = F.cross_entropy(judge.classes(hidden).float(), labels, reduction="none")
        if judge.factors is None:
            return losses
        errors = F.mse_loss(judge.factors(hidden).float(), truth, reduction="none").mean(1)
        return losses + FACTOR_WEIGHT * weights * errors
