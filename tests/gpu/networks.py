"""The networks that run on both devices."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import nonrobust_guidance as ng

CPU = torch.device("cpu")
Close = Callable[[Tensor, Tensor, float], None]


@dataclass(frozen=True)
class Networks:
    """A U-Net with attention, and a guide like the runs': folded MobileNetV3 behind an enlargement, made smooth.

    Where a ReLU bends, the rounding of either device can decide for the other side, and its gradient jumps.
    """

    unet: nn.Module
    guide: nn.Module
    schedule: ng.Schedule

    def on(self, device: torch.device) -> "Networks":
        """Return copies on a device."""
        return Networks(copy.deepcopy(self.unet).to(device), copy.deepcopy(self.guide).to(device), self.schedule)
