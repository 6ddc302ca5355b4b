"""Images on disk and images in a network."""

import numpy as np
import torch
from torch import Tensor


def to_unit_range(images: np.ndarray) -> Tensor:
    """Map uint8 images (N, H, W, C) to float32 (N, C, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().contiguous().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> np.ndarray:
    """Map float images (N, C, H, W) in [-1, 1] to uint8 (N, H, W, C), rounded to the nearest."""
    return images.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def add_noise(x_0: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps; images (B, C, H, W), alpha_bar (B,)."""
    a = alpha_bar.view(-1, 1, 1, 1)
    return a.sqrt().to(x_0.dtype) * x_0 + (1 - a).sqrt().to(x_0.dtype) * eps
