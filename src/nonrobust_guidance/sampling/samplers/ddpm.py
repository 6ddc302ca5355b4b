"""The ancestral step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from nonrobust_guidance.guidance.method import Move
    from nonrobust_guidance.schedule import Prediction, Transition


@dataclass(frozen=True)
class DDPM:
    """The step of DDPM (Ho et al. 2020, equation 7), shifted as in Vaeth et al. (2025).

    ``x_{t-1} = mu_t(x0_hat, x_t) + sigma_t z + Sigma_t g``, with mu_t the posterior's mean and g what guidance adds to
    the score. The last step is the mean alone: it adds neither noise nor g.
    """

    def init(self, x: Tensor) -> None:
        """Return no state."""

    def noise_std(self, transition: Transition) -> float:
        """Return ``sigma_t``; the last step is the mean."""
        return 0.0 if transition.last else math.sqrt(transition.variance)

    def reference_std(self, transition: Transition) -> float:
        """Return ``sigma_t``, and 0 for the last step."""
        return self.noise_std(transition)

    def score_weight(self, transition: Transition) -> float:
        """Return ``Sigma_t``, and 0 for the last step."""
        return 0.0 if transition.last else transition.variance

    def x0_weight(self, transition: Transition) -> float:
        """Return the weight of ``x0_hat`` in the posterior's mean."""
        return math.sqrt(transition.alpha_bar_prev) * transition.beta / (1.0 - transition.alpha_bar)

    def step(
        self, state: None, x_t: Tensor, prediction: Prediction, transition: Transition, z: Tensor | None, move: Move
    ) -> tuple[None, Tensor]:
        """Return the posterior's mean, plus noise, plus the moves."""
        x_t_weight = math.sqrt(1.0 - transition.beta) * (1.0 - transition.alpha_bar_prev) / (1.0 - transition.alpha_bar)
        x0_hat = prediction.x0_hat if move.x0 is None else prediction.x0_hat + move.x0
        x = self.x0_weight(transition) * x0_hat + x_t_weight * x_t
        if z is not None:
            x = x + math.sqrt(transition.variance) * z
        if move.score is not None:
            x = x + self.score_weight(transition) * move.score
        return None, x
