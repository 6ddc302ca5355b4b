"""Universal guidance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from nonrobust_guidance.guidance.method import (
    NO_DRAWS,
    Climb,
    Draws,
    Guidance,
    Move,
    StepContext,
    require_count,
)

if TYPE_CHECKING:
    from torch import Tensor

    from nonrobust_guidance.guidance.method import Network


@dataclass(frozen=True, eq=False)
class UGD(Guidance):
    """Moves the predicted noise, forward along the gradient through the network and backward from a better image.

    Universal guidance (Bansal et al. 2023, Algorithm 1). Forward: with G the gradient of the objective L of the
    unclamped ``x0_hat(x_t)`` with respect to ``x_t``, ``eps <- eps - scale sqrt(1 - alpha_bar_t) G``. Backward: from
    the clamped ``x0_hat``, m steps ``v <- v + scale grad L(v)`` of gradient ascent move the clean image by ``Delta``,
    and ``eps <- eps - sqrt(alpha_bar_t / (1 - alpha_bar_t)) Delta``. A step is made R times; after each time but the
    last, noise takes x back to the level where the step began.

    Since eps is ``-sqrt(1 - alpha_bar_t)`` times the score, together they move the score by ``scale G +
    sqrt(alpha_bar_t) / (1 - alpha_bar_t) Delta``. Every sampler turns that into a move of its own step, see `Sampler`.
    The steps go along the unclamped prediction, guided or not: with clipping, the final image alone is clamped.

    Attributes:
        scale: s, of both directions.
        recurrences: R, at least 1.
        ascents: m, at least 0; each is a pass forward and back through the classifier.
        classifier, target, objective, stabilizer, interval, on_nonfinite, trust_radius: see `Guidance`. With
            ``objective="logit"``, L is the logit. The stabilizer gets G.

    Raises:
        TypeError: as `Guidance`.
        ValueError: as `Guidance`, or if there are no recurrences, or the number of ascents is negative.
    """

    scale: float
    recurrences: int = 1
    ascents: int = 0

    along_clamped: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what could only fail later."""
        require_count("recurrences", self.recurrences)
        require_count("ascents", self.ascents, least=0)
        super().__post_init__()

    @property
    def num_classifier_passes(self) -> int:
        """One forward, and one for each of the ascents."""
        return 1 + self.ascents

    def evaluate(self, network: Network, x_t: Tensor, step: StepContext, draws: Draws = NO_DRAWS) -> Climb:
        """Return the prediction, G, and how far the ascents moved the clean image."""
        climb = self.climb(network, x_t, step.transition, draws)
        if self.ascents == 0:
            return climb
        v_0 = climb.prediction.x0_hat
        L = partial(self.log_likelihood, t=step.transition.t, draws=draws)
        return climb._replace(ascent=self.ascend(v_0, L, self.scale, self.ascents) - v_0)

    def reach(self, step: StepContext) -> float:
        """Return the weight of the score."""
        return step.score_weight

    def move(self, climb: Climb, stabilized: Tensor, step: StepContext) -> Move:
        """Return a move of the score."""
        score = self.scale * stabilized
        if climb.ascent is not None:
            abar = step.transition.alpha_bar
            score = score + math.sqrt(abar) / (1.0 - abar) * climb.ascent
        return Move(score=score)
