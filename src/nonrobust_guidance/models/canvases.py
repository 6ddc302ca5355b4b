"""Degraded images: mildly, like a generator's good samples, or so much that they show nothing real."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def jitter(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return images (B, C, H, W) in [-1, 1] with an off-white, a touch of blur and a little noise, still real."""
    contrast = uniform(x, 0.94, 1.0, generator)
    shift = uniform(x, -0.03, 0.03, generator, channels=True)
    grain = uniform(x, 0.0, 0.05, generator) * randn(x, generator)
    soft = gaussian_blur(x, uniform(x, 0.05, 0.5, generator).flatten())
    return (soft * contrast + shift + grain).clamp(-1, 1)


def spoil(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return canvases (B, C, H, W) that belong to no class, each made from one or two of the images in a random way.

    They are blank, tinted, blurred, noisy, blends of two, two at once, faded out or shrunk to a dot.
    """
    other = x.roll(1, 0)
    pixels = x.shape[-1]
    share = uniform(x, 0.3, 0.7, generator)
    noise = uniform(x, 0.15, 1.2, generator) * torch.where(
        coin(x, generator), randn(x, generator), coarse(x, generator)
    )
    ways = torch.stack(
        [
            blank(x, generator),
            (x + tint(x, generator)).clamp(-1, 1),
            gaussian_blur(x, uniform(x, 0.05 * pixels, 0.16 * pixels, generator).flatten()),
            (x + noise).clamp(-1, 1),
            share * x + (1 - share) * other,
            torch.minimum(x, other),
            1 - (1 - x) * uniform(x, 0.0, 0.5, generator),
            shrink(x, generator),
        ]
    )  # (ways, B, C, H, W)
    choice = torch.randint(len(ways), (len(x),), generator=generator)
    return jitter(ways[choice, torch.arange(len(x))], generator)


def uniform(x: Tensor, low: float, high: float, generator: torch.Generator, channels: bool = False) -> Tensor:
    """Draw one number per image, or one per channel: (B, 1 or C, 1, 1)."""
    shape = (x.shape[0], x.shape[1] if channels else 1, 1, 1)
    return low + (high - low) * torch.rand(shape, generator=generator)


def randn(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw white noise of the shape of ``x``."""
    return torch.randn(x.shape, generator=generator)


def coarse(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw noise whose grain is four pixels wide."""
    small = torch.randn((*x.shape[:2], x.shape[2] // 4, x.shape[3] // 4), generator=generator)
    return F.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=False)


def coin(x: Tensor, generator: torch.Generator) -> Tensor:
    """Toss one coin per image: booleans (B, 1, 1, 1)."""
    return uniform(x, 0, 1, generator) < 0.5


def blank(x: Tensor, generator: torch.Generator) -> Tensor:
    """Paint each image in one colour, half of them in white or nearly so."""
    white = uniform(x, 0.8, 1.0, generator)
    return torch.where(coin(x, generator), white, uniform(x, -1, 1, generator, channels=True)).expand_as(x)


def tint(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw colour shifts (B, C, 1, 1) of which at least one channel is darkened by 0.2 to 0.9."""
    shift = uniform(x, -0.5, 0.5, generator, channels=True)
    darkened = torch.randint(x.shape[1], (x.shape[0], 1, 1, 1), generator=generator)
    return shift.scatter(1, darkened, uniform(x, -0.9, -0.2, generator))


def shrink(x: Tensor, generator: torch.Generator) -> Tensor:
    """Scale each image down to 15 to 40 percent of its size, on an otherwise white canvas."""
    zoom = 1 / uniform(x, 0.15, 0.4, generator).flatten()
    theta = torch.zeros(len(x), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return 1 + F.grid_sample(x - 1, grid, align_corners=False)


def gaussian_blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Blur each image (B, C, H, W) with its own sigma (B,) in pixels; the border repeats."""
    radius = min(int(3 * float(sigma.max())) + 1, x.shape[-1] - 1)
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(x.shape[1], 0)  # (B * C, 2 * radius + 1)
    flat = F.pad(x.reshape(1, -1, *x.shape[2:]), (radius,) * 4, mode="replicate")
    rows = F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel))
    return F.conv2d(rows, kernel[:, None, :, None], groups=len(kernel)).reshape(x.shape)
