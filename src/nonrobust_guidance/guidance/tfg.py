"""Training-free guidance, the unified form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from nonrobust_guidance.guidance.level_weights import LevelWeight, level_weight
from nonrobust_guidance.guidance.method import (
    NO_DRAWS,
    Climb,
    Draws,
    Guidance,
    Move,
    Point,
    StepContext,
    require_count,
    require_finite_number,
    require_one_of,
)
from nonrobust_guidance.guidance.noisy_objective import over_noise

if TYPE_CHECKING:
    from torch import Tensor

    from nonrobust_guidance.guidance.method import Network
    from nonrobust_guidance.schedule import Prediction, Transition

SigmaWeight = Literal["decrease", "constant"]


@dataclass(frozen=True, eq=False)
class TFG(Guidance):
    """Moves the clean image by gradient ascent and x after the step by the gradient through the network.

    Training-free guidance (Ye et al. 2024, Algorithm 1). With L the objective, n draws of standard normal ``z_i`` and
    ``d_t`` a noise, ``J(v) = log mean_i exp L(v + d_t z_i)``; the draws are fresh in each recurrence and the same for
    all gradients in it. ``v_0 = x0_hat(x_t)`` is clamped where clipping is on, and:

    - ``rho_t grad J(v_0)``, with respect to ``x_t``, through the clamp and the network, over ``sqrt(alpha_bar_t /
      alpha_bar_{t-1})``, is added to x after the step;
    - I steps of ascent ``v <- v + mu_t grad J(v)`` move ``v_0``, and the step's ``x0_hat`` moves by as much.

    ``rho_t`` and ``mu_t`` are rho and mu spread over the levels, see `level_weight`; ``d_t`` is ``sigma sqrt(1 -
    alpha_bar_t)`` with "decrease" and sigma with "constant". A step is made R times; after each time but the last,
    noise takes x back to the level where the step began.

    Any sampler's step gets the same move of x, and weights the move of ``x0_hat`` as it weights ``x0_hat`` itself, see
    `Sampler.x0_weight`. The steps go along the clamped ``x0_hat`` and the noise that goes with it, ``(x_t -
    sqrt(alpha_bar_t) x0_hat) / sqrt(1 - alpha_bar_t)``, guided or not.

    Attributes:
        rho: strength of the gradient through the network; at 0 the network is not differentiated.
        mu: step size of the ascent; at 0 there is none.
        sigma: of the noise in J, at least 0, in units of the image; at 0 none is drawn.
        recurrences: R, at least 1.
        iterations: I, at least 0.
        num_draws: n, at least 1; each is a pass through the classifier.
        rho_weight, mu_weight: how these are spread, "increase", "decrease" or "constant".
        sigma_weight: "decrease" or "constant".
        classifier, target, objective, stabilizer, interval, on_nonfinite, trust_radius: see `Guidance`. With
            ``objective="logit"``, L is the logit. The stabilizer gets ``grad J(v_0)`` with respect to ``x_t``, or where
            rho is 0, zeros.

    Raises:
        TypeError: as `Guidance`.
        ValueError: as `Guidance`, or if a number is out of its range or a weight unknown.
    """

    rho: float
    mu: float
    sigma: float
    recurrences: int = 1
    iterations: int = 1
    num_draws: int = 1
    rho_weight: LevelWeight = "increase"
    mu_weight: LevelWeight = "increase"
    sigma_weight: SigmaWeight = "decrease"

    strength_field: ClassVar[str] = "rho"

    def __post_init__(self) -> None:
        """Refuse what could only fail later."""
        require_finite_number("mu", self.mu)
        if not 0.0 <= self.sigma < math.inf:
            raise ValueError(f"sigma is {self.sigma}; it must be at least 0 and finite.")
        require_count("recurrences", self.recurrences)
        require_count("iterations", self.iterations, least=0)
        require_count("num_draws", self.num_draws)
        require_one_of("rho_weight", self.rho_weight, get_args(LevelWeight))
        require_one_of("mu_weight", self.mu_weight, get_args(LevelWeight))
        require_one_of("sigma_weight", self.sigma_weight, get_args(SigmaWeight))
        super().__post_init__()

    @property
    def point(self) -> Point:
        """The clamped prediction."""
        return "x0_hat"

    @property
    def through_network(self) -> bool:
        """Whether the gradient that runs back through the denoiser counts."""
        return self.rho != 0.0

    @property
    def num_smooth_draws(self) -> int:
        """The draws of one recurrence; none where sigma is 0."""
        return self.num_draws if self.sigma > 0.0 else 0

    @property
    def num_classifier_passes(self) -> int:
        """One for each draw at each step of the ascent; its first step reuses the gradient that is known already."""
        return max(1, self.num_smooth_draws) * (max(1, self.iterations) if self.mu else 1)

    def evaluate(self, network: Network, x_t: Tensor, step: StepContext, draws: Draws = NO_DRAWS) -> Climb:
        """Return the prediction, the gradient through the network, and how far the ascent moved the image."""
        std = self.sigma * (step.transition.noise_level if self.sigma_weight == "decrease" else 1.0)
        J = over_noise(partial(self.log_likelihood, t=step.transition.t, draws=draws), draws.smooth, std)
        climb = self.climb(network, x_t, step.transition, draws, J)
        gradient = climb.gradient if self.through_network else climb.gradient.new_zeros(climb.gradient.shape)
        if self.mu == 0.0 or self.iterations == 0:
            return climb._replace(gradient=gradient)
        v_0 = climb.prediction.x0_hat
        v = self.ascend(v_0, J, self.mu * level_weight(self.mu_weight, step), self.iterations, climb.slope)
        return climb._replace(gradient=gradient, ascent=v - v_0)

    def reach(self, step: StepContext) -> float:
        """Return the gradient's weight at this level; 0 at alpha_bar = 0, where ``x_t`` says nothing of the image."""
        kept = step.transition.alpha_bar / step.transition.alpha_bar_prev
        return level_weight(self.rho_weight, step) / math.sqrt(kept) if kept > 0.0 else 0.0

    def move(self, climb: Climb, stabilized: Tensor, step: StepContext) -> Move:
        """Return a move of x after the step, and of ``x0_hat`` in it."""
        return Move(x0=climb.ascent, x=self.rho * self.reach(step) * stabilized if self.rho else None)

    def base(self, prediction: Prediction, x_t: Tensor, transition: Transition) -> Prediction:
        """Return the prediction with the noise that goes with the clamped ``x0_hat``."""
        abar = transition.alpha_bar
        return prediction._replace(eps=(x_t - math.sqrt(abar) * prediction.x0_hat) / math.sqrt(1.0 - abar))
