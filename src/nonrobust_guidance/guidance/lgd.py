"""Loss-guided diffusion."""

from __future__ import annotations

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
from nonrobust_guidance.guidance.noisy_objective import over_noise

if TYPE_CHECKING:
    from torch import Tensor

    from nonrobust_guidance.guidance.method import Network


@dataclass(frozen=True, eq=False)
class LGD(Guidance):
    """Moves x after each step along the gradient of an objective that is averaged over noisy clean images.

    Loss-guided diffusion, LGD-MC (Song et al. 2023, Loss-guided diffusion models for plug-and-play controllable
    generation). With L the objective, n draws of standard normal ``z_i`` and ``x0_hat`` unclamped, ``J = log mean_i exp
    L(x0_hat(x_t) + sqrt(1 - alpha_bar_t) z_i)``, and ``scale grad J / n`` is added to x, the gradient with respect to
    ``x_t``.

    Any sampler's step gets the same move. The steps go along the unclamped prediction, guided or not: with clipping,
    the final image alone is clamped.

    Attributes:
        scale: s, in units of x.
        num_draws: n, at least 1; each is a pass through the classifier.
        classifier, target, objective, stabilizer, interval, on_nonfinite, trust_radius: see `Guidance`. With
            ``objective="logit"``, L is the logit. The stabilizer gets ``grad J / n``.

    Raises:
        TypeError: as `Guidance`.
        ValueError: as `Guidance`, or if there are no draws.
    """

    scale: float
    num_draws: int = 1

    along_clamped: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what could only fail later."""
        require_count("num_draws", self.num_draws)
        super().__post_init__()

    @property
    def num_smooth_draws(self) -> int:
        """The draws of one step."""
        return self.num_draws

    def evaluate(self, network: Network, x_t: Tensor, step: StepContext, draws: Draws = NO_DRAWS) -> Climb:
        """Return the prediction and ``grad J / n``."""
        L = partial(self.log_likelihood, t=step.transition.t, draws=draws)
        J = over_noise(L, draws.smooth, step.transition.noise_level)
        climb = self.climb(network, x_t, step.transition, draws, J)
        return climb._replace(gradient=climb.gradient / self.num_draws)

    def reach(self, step: StepContext) -> float:
        """Return 1: the gradient is added to x as it is."""
        return 1.0

    def move(self, climb: Climb, stabilized: Tensor, step: StepContext) -> Move:
        """Return a move of x after the step."""
        return Move(x=self.scale * stabilized)
