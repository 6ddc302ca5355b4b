"""The implicit step, deterministic or with a share of the ancestral noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from nonrobust_guidance.guidance.method import Move
    from nonrobust_guidance.schedule import Prediction, Transition


@dataclass(frozen=True)
class DDIM:
    """The step of DDIM (Song et al. 2021, equation 12), guided as in Dhariwal & Nichol (2021), Algorithm 2.

    What guidance adds to the score, g, moves the noise, ``eps <- eps - sqrt(1 - abar_t) g``, and with it the predicted
    image, ``x0 <- x0 + (1 - abar_t) / sqrt(abar_t) g``, which is clamped afterwards if ``x0_hat`` is clamped. ``eta``
    scales the noise of the step, ``sigma_t = eta sqrt((1 - abar_{t-1}) / (1 - abar_t)) sqrt(1 - abar_t / abar_{t-1})``:
    0 is deterministic, 1 has the variance of the ancestral step with "fixed_small".

    Attributes:
        eta: within [0, 1].
        use_clipped_model_output: whether eps is recomputed from the clamped x0, ``(x_t - sqrt(abar_t) x0_hat) / sqrt(1
            - abar_t)``, or is the network's; without clamping they are the same. The name is diffusers'.

    Raises:
        ValueError: if eta is out of its range.
    """

    eta: float = 0.0
    use_clipped_model_output: bool = False

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0.0 <= self.eta <= 1.0:
            raise ValueError(f"eta is {self.eta}; it must be within 0 (deterministic) and 1 (ancestral).")

    def init(self, x: Tensor) -> None:
        """Return no state."""

    def noise_std(self, transition: Transition) -> float:
        """Return ``sigma_t``."""
        return self.eta * self._ancestral_std(transition)

    def reference_std(self, transition: Transition) -> float:
        """Return ``sigma_t``, and for eta = 0 that of eta = 1."""
        return self.noise_std(transition) or self._ancestral_std(transition)

    def score_weight(self, transition: Transition) -> float:
        """Return how far the moved x0 and noise together move x; 0 at alpha_bar = 0, where x0 is undetermined."""
        abar = transition.alpha_bar
        if abar == 0.0:
            return 0.0
        moved_x0 = math.sqrt(transition.alpha_bar_end) * (1.0 - abar) / math.sqrt(abar)
        return moved_x0 - self._eps_weight(transition) * math.sqrt(1.0 - abar)

    def x0_weight(self, transition: Transition) -> float:
        """Return the weight of ``x0_hat``, with the noise that the network predicts."""
        return math.sqrt(transition.alpha_bar_end)

    def step(
        self, state: None, x_t: Tensor, prediction: Prediction, transition: Transition, z: Tensor | None, move: Move
    ) -> tuple[None, Tensor]:
        """Return the predicted image at the next level, with the predicted noise and fresh noise in its place."""
        abar, x0_hat, eps = transition.alpha_bar, prediction.x0_hat, prediction.eps
        if move.score is not None:
            x0_hat = prediction.x0 + (1.0 - abar) / math.sqrt(abar) * move.score
            x0_hat = x0_hat.clamp(-1.0, 1.0) if prediction.clipped else x0_hat
            eps = eps - math.sqrt(1.0 - abar) * move.score
        if self.use_clipped_model_output:
            eps = (x_t - math.sqrt(abar) * x0_hat) / math.sqrt(1.0 - abar)
        if move.x0 is not None:
            x0_hat = x0_hat + move.x0
        x = self.x0_weight(transition) * x0_hat + self._eps_weight(transition) * eps
        return None, x if z is None else x + self.noise_std(transition) * z

    def _ancestral_std(self, transition: Transition) -> float:
        abar, end = transition.alpha_bar, transition.alpha_bar_end
        return math.sqrt((1.0 - end) / (1.0 - abar) * max(0.0, 1.0 - abar / end))

    def _eps_weight(self, transition: Transition) -> float:
        return math.sqrt(max(0.0, 1.0 - transition.alpha_bar_end - self.noise_std(transition) ** 2))
