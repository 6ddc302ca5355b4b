"""An objective averaged over noise that is added to the image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def over_noise(
    objective: Callable[[Tensor], Tensor], draws: Sequence[Tensor], std: float
) -> Callable[[Tensor], Tensor]:
    """Return ``J(v) = log mean_i exp L(v + std z_i)`` of images (B, C, H, W), (B,); without draws, L itself.

    Args:
        objective: L, from images (B, C, H, W) to (B,).
        draws: ``z_i``, standard normal, each (B, C, H, W).
        std: of the noise that is added.
    """
    if not draws:
        return objective

    def log_mean(v: Tensor) -> Tensor:
        import torch

        values = torch.stack([objective(v + std * z) for z in draws])  # (n, B)
        return values.logsumexp(dim=0) - math.log(len(draws))

    return log_mean
