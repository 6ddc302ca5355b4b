"""Diffusion with spherical Gaussian constraint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nonrobust_guidance.guidance.method import Climb, Guidance, Move, StepContext

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class DSG(Guidance):
    """Turns the noise of each step toward the gradient, at the typical length of such noise.

    Diffusion with spherical Gaussian constraint (Yang et al. 2024, Algorithm 1). Let m be the mean of the step, sigma
    the standard deviation of its noise, ``R = sqrt(D) sigma`` the radius of the sphere near which the noise of an image
    of D numbers lies, and G the gradient of the objective of the unclamped ``x0_hat(x_t)`` with respect to ``x_t``. In
    place of ``m + sigma z`` the step ends at ``m + R v / |v|`` with ``v = sigma z + rate (R G / |G| - sigma z)``, norms
    over each image. A sample with G = 0 keeps its noise.

    The mean is that of the sampler's step, along the clamped ``x0_hat`` where clipping is on. A step without noise is
    not guided: that is every step of a deterministic sampler, and the last step of any sampler.

    Attributes:
        rate: the gradient's share, from 0 (noise alone, brought to the sphere) to 1 (gradient alone).
        classifier, target, objective, stabilizer, interval, on_nonfinite, trust_radius: see `Guidance`. With
            ``objective="logit"``, G is the gradient of the logit. The stabilizer gets G.

    Raises:
        TypeError: as `Guidance`.
        ValueError: as `Guidance`.
    """

    rate: float

    strength_field: ClassVar[str] = "rate"

    def reach(self, step: StepContext) -> float:
        """Return NaN, for the length of the gradient does not matter; 0 in a step without noise."""
        return math.nan if step.noise_std > 0.0 else 0.0

    def move(self, climb: Climb, stabilized: Tensor, step: StepContext) -> Move:
        """Return a move of x that replaces the step's noise with the turned noise."""
        from nonrobust_guidance.guidance.stabilizers import direction_and_norm

        assert step.z is not None  # a step without noise is not guided
        noise = step.noise_std * step.z
        R = step.noise_std * math.sqrt(noise[0].numel())
        toward, length = direction_and_norm(stabilized)
        v, v_length = direction_and_norm(noise + self.rate * (R * toward - noise))
        return Move(x=(R * v - noise).masked_fill((length == 0) | (v_length == 0), 0.0))
