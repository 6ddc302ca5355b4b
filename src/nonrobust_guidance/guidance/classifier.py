"""Classifier guidance: the score moves along the classifier's gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from nonrobust_guidance.guidance.method import (
    NO_DRAWS,
    Climb,
    Draws,
    Guidance,
    Move,
    NonFiniteGradientError,
    Point,
    StepContext,
    require_one_of,
)

if TYPE_CHECKING:
    from torch import Tensor

    from nonrobust_guidance.guidance.method import Network

At = Literal["xt", "x0", "x0_detached"]

__all__ = ["At", "ClassifierGuidance", "NonFiniteGradientError"]


@dataclass(frozen=True, eq=False)
class ClassifierGuidance(Guidance):
    """Shifts every reverse step toward a class, along the gradient of a classifier (Vaeth et al. 2025).

    With ``g`` the stabilized gradient with respect to ``x_t``, the score moves by ``scale g``: the ancestral step by
    ``scale Sigma_t g``, and the step of "ddim" as in Dhariwal & Nichol (2021), Algorithm 2. What the classifier sees,
    and how the gradient comes to ``x_t``, is ``at``:

    - "xt": the noisy ``x_t`` itself (Dhariwal & Nichol 2021).
    - "x0": the clamped one-step prediction ``x0_hat(x_t)``; the gradient runs through the clamp and the network.
    - "x0_detached": the same input, no pass back through the network. The gradient with respect to ``x0_hat`` is
      carried to ``x_t`` by the factor ``sqrt(alpha_bar_t)``, in place of the network's Jacobian, and not through the
      clamp. That is the Jacobian of the exact denoiser when ``x0`` given ``x_t`` has covariance ``(1 - alpha_bar_t)
      I``, the assumption of Song et al. (2023, Pseudoinverse-guided diffusion models); in the ancestral step it is the
      same as moving ``x0_hat`` by ``scale sqrt(alpha_t) (1 - alpha_bar_{t-1})`` times its gradient, a step of He et al.
      (2024, Manifold preserving guided diffusion).

    Attributes:
        scale: the guidance scale s.
        at: what the classifier sees.
        classifier, target, objective, stabilizer, interval, on_nonfinite, trust_radius: see `Guidance`.

    Raises:
        TypeError: as `Guidance`.
        ValueError: as `Guidance`, or if ``at`` is unknown.
    """

    scale: float
    at: At = "x0"

    def __post_init__(self) -> None:
        """Refuse what could only fail later."""
        require_one_of("at", self.at, get_args(At))
        super().__post_init__()

    @property
    def point(self) -> Point:
        """What the classifier sees: with "x0" the clamped prediction."""
        return "x0_hat" if self.at == "x0" else self.at

    def evaluate(self, network: Network, x_t: Tensor, step: StepContext, draws: Draws = NO_DRAWS) -> Climb:
        """Return the denoiser's prediction and the gradient with respect to ``x_t``, before the stabilizer."""
        climb = self.climb(network, x_t, step.transition, draws)
        if self.at == "x0_detached":
            return climb._replace(gradient=math.sqrt(step.transition.alpha_bar) * climb.gradient)
        return climb

    def reach(self, step: StepContext) -> float:
        """Return the weight of the score."""
        return step.score_weight

    def move(self, climb: Climb, stabilized: Tensor, step: StepContext) -> Move:
        """Return a move of the score by ``scale g``."""
        return Move(score=self.scale * stabilized)

    @property
    def described(self) -> str:
        """The method in words, for a message."""
        return f"guidance at {self.at!r}, {self.stabilizer}, scale {self.scale:g}"
