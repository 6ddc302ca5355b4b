"""Manifold-preserving guided diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nonrobust_guidance.guidance.method import Climb, Guidance, Move, Point, StepContext

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class MPGD(Guidance):
    """Moves the predicted clean image, without a pass back through the network.

    Manifold-preserving guided diffusion (He et al. 2024, the form without an autoencoder): with L the objective,
    ``scale grad L(x0_hat)`` is added to the clamped ``x0_hat``, the gradient with respect to it, and the sum is not
    clamped again. DDIM's step keeps the network's predicted noise. How far the step of another sampler moves depends on
    the weight that it gives ``x0_hat``, see `Sampler.x0_weight`.

    Attributes:
        scale: s, in units of the image.
        classifier, target, objective, stabilizer, interval, on_nonfinite, trust_radius: see `Guidance`. With
            ``objective="logit"``, L is the logit. The stabilizer gets ``grad L``.

    Raises:
        TypeError: as `Guidance`.
        ValueError: as `Guidance`.
    """

    scale: float

    @property
    def point(self) -> Point:
        """The clamped prediction, and no gradient through the network."""
        return "x0_detached"

    def reach(self, step: StepContext) -> float:
        """Return the weight of ``x0_hat``."""
        return step.x0_weight

    def move(self, climb: Climb, stabilized: Tensor, step: StepContext) -> Move:
        """Return a move of ``x0_hat``."""
        return Move(x0=self.scale * stabilized)
