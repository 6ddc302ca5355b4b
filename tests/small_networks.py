"""A denoiser and a classifier of a few weights, for tests of what is drawn around them."""

import torch
from torch import Tensor, nn


class Flat(nn.Module):
    """A denoiser on images of 4 x 4."""

    config = type("Config", (), {"sample_size": 4, "in_channels": 3})

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.layer(x)


class Brightness(nn.Module):
    """A classifier: the mean pixel tells the first two classes apart, and it is never one of the others."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.others = classes - 2

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(dim=1)
        return torch.stack([-50 * mean, 50 * mean, *[-100 + 0 * mean] * self.others], dim=1)
