"""Diffusion posterior sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nonrobust_guidance.guidance.method import NO_DRAWS, Climb, Draws, Guidance, Move, StepContext

if TYPE_CHECKING:
    from torch import Tensor

    from nonrobust_guidance.guidance.method import Network


@dataclass(frozen=True, eq=False)
class DPS(Guidance):
    """Moves x after each step along the gradient through the network, over the size of the objective.

    Diffusion posterior sampling (Chung et al. 2023, Algorithm 1), with a classifier for the measurement: with L the
    objective of the unclamped ``x0_hat(x_t)``, ``scale grad L / |L|`` is added to x, the gradient with respect to
    ``x_t`` and the divisor outside of it. A sample with L = 0 does not move.

    Any sampler's step gets the same move. The steps go along the unclamped prediction, guided or not: with clipping,
    the final image alone is clamped.

    Attributes:
        scale: s, in units of x.
        classifier, target, objective, stabilizer, interval, on_nonfinite, trust_radius: see `Guidance`. With
            ``objective="logit"``, L is the logit. The stabilizer gets ``grad L / |L|``.

    Raises:
        TypeError: as `Guidance`.
        ValueError: as `Guidance`.
    """

    scale: float

    along_clamped: ClassVar[bool] = False

    def evaluate(self, network: Network, x_t: Tensor, step: StepContext, draws: Draws = NO_DRAWS) -> Climb:
        """Return the prediction and ``grad L / |L|``."""
        climb = self.climb(network, x_t, step.transition, draws)
        size = climb.objective.abs().reshape(-1, 1, 1, 1)
        # Where L is not finite, the gradient is infinite by now. It stays infinite, so that the chain notices.
        scaled = climb.gradient / size.where((size > 0) & size.isfinite(), 1.0)
        return climb._replace(gradient=scaled.masked_fill(size == 0, 0.0))

    def reach(self, step: StepContext) -> float:
        """Return 1: the gradient is added to x as it is."""
        return 1.0

    def move(self, climb: Climb, stabilized: Tensor, step: StepContext) -> Move:
        """Return a move of x after the step."""
        return Move(x=self.scale * stabilized)
