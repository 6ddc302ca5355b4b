"""The trust region: how far guidance may leave the unguided chain in one step."""

from __future__ import annotations

import math

from torch import Tensor

from nonrobust_guidance.devices import in_float64


def within_trust_region(guided: Tensor, unguided: Tensor, bound: float) -> Tensor:
    """Return the guided state with each sample brought to within a bound of the unguided one.

    A sample already within the bound is returned bit for bit; for any other, the difference keeps its direction.

    Args:
        guided: (B, C, H, W).
        unguided: the same step without guidance.
        bound: on the root mean square of their difference over C, H and W, at least 0.
    """
    shift = guided - unguided
    size = in_float64(shift).square().flatten(1).mean(dim=1).sqrt().to(shift).reshape(-1, 1, 1, 1)
    shortened = unguided + shift * (bound / size.where(size > 0, 1.0))
    return shortened.where(size > bound, guided)


def trust_bound(radius: float, reference_std: float, num_steps: int) -> float:
    """Return ``sigma r / sqrt(N)``, the bound of one step of N.

    By Girsanov's theorem (for a chain: the divergences of its Gaussian steps add up), the path then has a
    Kullback-Leibler divergence from the unguided one of at most ``D r^2 / 2`` nats for images of D numbers.

    Args:
        radius: r, greater than 0.
        reference_std: sigma of the step, see `Sampler.reference_std`.
        num_steps: N.
    """
    return reference_std * radius / math.sqrt(num_steps)
