"""A multistep solver: a tenth of the steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from torch import Tensor

    from nonrobust_guidance.guidance.method import Move
    from nonrobust_guidance.schedule import Prediction, Transition

Algorithm = Literal["dpmsolver++", "sde-dpmsolver++"]


class LastPrediction(NamedTuple):
    """What a multistep solver remembers of the step before."""

    x0_hat: Tensor
    """As the denoiser predicted it, (B, C, H, W); guidance moves x, not this."""
    h: float
    """Length of that step in log-SNR / 2."""


@dataclass(frozen=True)
class DPMSolver:
    """DPM-Solver++ of order 1 or 2, multistep, as an ODE or an SDE (Lu et al. 2022, arXiv 2211.01095).

    With ``alpha = sqrt(abar)``, ``sigma = sqrt(1 - abar)``, ``lambda = log(alpha / sigma)`` and ``h`` the step in
    lambda, primes for the level where the step ends::

        ODE  x' = sigma'/sigma x + alpha' (1 - e^-h) D
        SDE  x' = sigma'/sigma e^-h x + alpha' (1 - e^-2h) D + sigma' sqrt(1 - e^-2h) z

    D is ``x0_hat`` in the first order, and in the second ``x0_hat + h / (2 h_before) (x0_hat - x0_hat_before)``, the
    midpoint form. The first step and the last, which ends at the clean image, are of the first order. What guidance
    adds to the score moves x as it would through ``x0``, by ``(1 - abar) / sqrt(abar)`` times the weight of D, outside
    of any clamp. D itself stays unguided: moved inside the clamp, guidance would lose its effect in the noisy steps,
    where the class is decided.

    Attributes:
        algorithm: "sde-dpmsolver++", which adds noise, or "dpmsolver++", which is deterministic.
        order: 1 or 2; order 1 of the ODE is DDIM.

    Raises:
        ValueError: if the algorithm is unknown, or the order is neither 1 nor 2.
    """

    algorithm: Algorithm = "sde-dpmsolver++"
    order: int = 2

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.algorithm not in get_args(Algorithm):
            names = " or ".join(map(repr, get_args(Algorithm)))
            raise ValueError(f"algorithm is {self.algorithm!r}; choose {names}.")
        if self.order not in (1, 2):
            raise ValueError(f"order is {self.order!r}; it must be 1 or 2.")

    def init(self, x: Tensor) -> None:
        """Return no memory: the first step is of the first order."""

    def noise_std(self, transition: Transition) -> float:
        """Return ``sigma' sqrt(1 - e^-2h)`` of the SDE, 0 of the ODE."""
        return self.reference_std(transition) if self._stochastic else 0.0

    def reference_std(self, transition: Transition) -> float:
        """Return ``sigma' sqrt(1 - e^-2h)``, whether that noise is added or not."""
        return math.sqrt((1.0 - transition.alpha_bar_prev) * -math.expm1(-2.0 * log_snr_step(transition)))

    def score_weight(self, transition: Transition) -> float:
        """Return the weight of D times ``(1 - abar) / sqrt(abar)``; 0 at alpha_bar = 0, where x0 is undetermined."""
        abar = transition.alpha_bar
        return self.x0_weight(transition) * (1.0 - abar) / math.sqrt(abar) if abar > 0.0 else 0.0

    def x0_weight(self, transition: Transition) -> float:
        """Return the weight of D."""
        h = log_snr_step(transition)
        return math.sqrt(transition.alpha_bar_prev) * -math.expm1(-2.0 * h if self._stochastic else -h)

    def step(
        self,
        state: LastPrediction | None,
        x_t: Tensor,
        prediction: Prediction,
        transition: Transition,
        z: Tensor | None,
        move: Move,
    ) -> tuple[LastPrediction, Tensor]:
        """Return what to remember, and the next x."""
        h, x0_hat = log_snr_step(transition), prediction.x0_hat
        D = x0_hat
        if state is not None and self.order == 2 and not transition.last:
            D = x0_hat + 0.5 * h / state.h * (x0_hat - state.x0_hat)
        if move.x0 is not None:
            D = D + move.x0
        shrink = math.sqrt((1.0 - transition.alpha_bar_prev) / (1.0 - transition.alpha_bar))
        x = shrink * (math.exp(-h) if self._stochastic else 1.0) * x_t + self.x0_weight(transition) * D
        if z is not None:
            x = x + self.noise_std(transition) * z
        if move.score is not None:
            x = x + self.score_weight(transition) * move.score
        return LastPrediction(x0_hat, h), x

    @property
    def _stochastic(self) -> bool:
        return self.algorithm == "sde-dpmsolver++"


def log_snr_step(transition: Transition) -> float:
    """Return ``h``, by how much ``lambda = log(sqrt(abar / (1 - abar)))`` grows in the step; infinite at either end."""
    start, end = transition.alpha_bar, transition.alpha_bar_prev
    if start == 0.0 or end == 1.0:
        return math.inf
    return 0.5 * (math.log(end) - math.log1p(-end) - math.log(start) + math.log1p(-start))
