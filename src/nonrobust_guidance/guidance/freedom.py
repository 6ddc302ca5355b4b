"""Training-free energy-guided diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, get_args

from nonrobust_guidance.guidance.level_weights import LevelWeight, level_weight
from nonrobust_guidance.guidance.method import (
    Climb,
    Guidance,
    Move,
    StepContext,
    require_count,
    require_one_of,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class FreeDoM(Guidance):
    """Moves x after each step along the gradient through the network, and may make each step several times.

    FreeDoM (Yu et al. 2023, Algorithm 2): with L the objective of the unclamped ``x0_hat(x_t)``, ``W_t grad L`` is
    added to x, the gradient with respect to ``x_t`` and ``W_t`` the scale spread over the levels, see `level_weight`.
    A step is made R times; after each time but the last, noise takes x back to the level where the step began.

    Any sampler's step gets the same move. The steps go along the unclamped prediction, guided or not: with clipping,
    the final image alone is clamped.

    Attributes:
        scale: s, in units of x per gradient; the mean of ``W_t`` over the levels.
        recurrences: R, at least 1.
        weight: how the scale is spread, "increase", "decrease" or "constant".
        classifier, target, objective, stabilizer, interval, on_nonfinite, trust_radius: see `Guidance`. With
            ``objective="logit"``, L is the logit. The stabilizer gets ``grad L``.

    Raises:
        TypeError: as `Guidance`.
        ValueError: as `Guidance`, or if there are no recurrences or the weight is unknown.
    """

    scale: float
    recurrences: int = 1
    weight: LevelWeight = "increase"

    along_clamped: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what could only fail later."""
        require_count("recurrences", self.recurrences)
        require_one_of("weight", self.weight, get_args(LevelWeight))
        super().__post_init__()

    def reach(self, step: StepContext) -> float:
        """Return the weight of the level; 0 at alpha_bar = 0, where ``x_t`` says nothing of the image."""
        return level_weight(self.weight, step) if step.transition.alpha_bar > 0.0 else 0.0

    def move(self, climb: Climb, stabilized: Tensor, step: StepContext) -> Move:
        """Return a move of x after the step."""
        return Move(x=self.scale * self.reach(step) * stabilized)
