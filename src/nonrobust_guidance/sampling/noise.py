"""Where a trajectory's randomness comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SampleNoise:
    """Standard normal noise in which sample i at step k is a function of (seed, i, k) alone.

    Drawn from a counter-based generator (Philox, Salmon et al. 2011) with the key (seed, i) and k in the counter, on
    the CPU whatever the device, so that neither batch size, nor device, nor what was drawn before can change it.

    Attributes:
        seed: 0 .. 2^64 - 1.
        indices: the samples i, each 0 .. 2^64 - 1.
        shape: (C, H, W).
    """

    seed: int
    indices: Sequence[int]
    shape: tuple[int, ...]

    def __call__(self, k: int) -> Tensor:
        """Return the noise (B, C, H, W), float32: k = 0 is x_T, k = 1, 2, ... that of the k-th reverse step."""
        noise = np.empty((len(self.indices), *self.shape), dtype=np.float32)
        counter = np.array([0, 0, 0, k], dtype=np.uint64)
        for row, index in zip(noise, self.indices, strict=True):
            key = np.array([self.seed, index], dtype=np.uint64)
            np.random.Generator(np.random.Philox(key=key, counter=counter)).standard_normal(out=row, dtype=np.float32)
        return torch.from_numpy(noise)
