"""Where a trajectory's randomness comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ROLES = {"step": 0, "renoise": 1, "smooth": 2, "augment": 3}


Noise = Callable[..., Tensor]
"""Standard normal noise (B, C, H, W) by its purpose; the same arguments always give the same noise.

``noise(0)`` is x_T and ``noise(k)`` that of the k-th reverse step. A method that draws more gets it as follows, all
counted from 1: ``noise(k, "step", r)`` for the step's noise in recurrence r = 2, 3, ..., ``noise(k, "renoise", r)`` for
what brings x back after recurrence r, ``noise(k, "smooth", r, m)`` for the m-th draw that smooths its objective, and
``noise(k, "augment", r, m)`` for the m-th draw of its classifier.
"""


@dataclass(frozen=True)
class SampleNoise:
    """Standard normal noise in which sample i at step k depends only on (seed, i, k) and its purpose.

    Drawn from a counter-based generator (Philox, Salmon et al. 2011) with the key (seed, i) and the rest in the
    counter, on the CPU whatever the device, so that batch size, device and earlier draws cannot change it.

    Attributes:
        seed: 0 .. 2^64 - 1.
        indices: the samples i, each 0 .. 2^64 - 1.
        shape: (C, H, W).
    """

    seed: int
    indices: Sequence[int]
    shape: tuple[int, ...]

    def __call__(self, k: int, role: str = "step", r: int = 1, m: int = 0, /) -> Tensor:
        """Return the noise (B, C, H, W), float32; `Noise` lists the arguments."""
        noise = np.empty((len(self.indices), *self.shape), dtype=np.float32)
        # The generator itself counts in the first word.
        counter = np.array([0, m, ROLES[role] + len(ROLES) * (r - 1), k], dtype=np.uint64)
        for row, index in zip(noise, self.indices, strict=True):
            key = np.array([self.seed, index], dtype=np.uint64)
            np.random.Generator(np.random.Philox(key=key, counter=counter)).standard_normal(out=row, dtype=np.float32)
        return torch.from_numpy(noise)
