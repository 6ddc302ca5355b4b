"""What a sampler is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from nonrobust_guidance.guidance.method import Move
    from nonrobust_guidance.schedule import Prediction, Transition


class Sampler(Protocol):
    """The reverse step as a value with a pure pair of functions; all tensors are (B, C, H, W).

    ``init(x)`` gives the state before the first step, and ``step`` the next state and the next, less noisy x. Guidance
    moves the score of ``x_t`` and ``x0_hat``. Each sampler applies these moves in its own way, and reports how far a
    move by one moves x.
    """

    def init(self, x: Tensor) -> Any:
        """Return the state before the first step, for samples shaped like ``x``."""
        ...

    def noise_std(self, transition: Transition) -> float:
        """Return the standard deviation of the noise that the step adds; at 0 none is drawn."""
        ...

    def reference_std(self, transition: Transition) -> float:
        """Return the standard deviation that a trust region is measured in.

        It is that of the step's noise, or where the step adds none, of the noise that the sampler's stochastic form
        would add.
        """
        ...

    def score_weight(self, transition: Transition) -> float:
        """Return how far one unit added to the score of ``x_t`` moves x; 0 where it cannot."""
        ...

    def x0_weight(self, transition: Transition) -> float:
        """Return how far one unit added to ``x0_hat`` moves x; 0 where it cannot."""
        ...

    def step(
        self, state: Any, x_t: Tensor, prediction: Prediction, transition: Transition, z: Tensor | None, move: Move
    ) -> tuple[Any, Tensor]:
        """Return the next state and the next x.

        Args:
            state: from `init` or the step before.
            x_t: the current sample.
            prediction: the denoiser's, for it.
            transition: the constants of the step.
            z: standard normal noise, or None where the step adds none.
            move: what guidance adds to the score and to ``x0_hat``; its ``x`` is added by the chain, after the step.
        """
        ...
