"""How a strength is spread over the levels of a chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nonrobust_guidance.guidance.method import StepContext

LevelWeight = Literal["increase", "decrease", "constant"]


def level_weight(weight: LevelWeight, step: StepContext) -> float:
    """Return the weight of a step's level; its mean over all N kept levels is 1 (Ye et al. 2024, section 4).

    Before it is scaled to that mean, with ``alpha = alpha_bar_t / alpha_bar_{t-1}`` of a step from one kept level to
    the next, it is ``alpha`` for "increase", which grows toward the clean image, ``1 - alpha`` for "decrease" and 1 for
    "constant".

    Args:
        weight: "increase", "decrease" or "constant".
        step: a step of a chain.

    Raises:
        ValueError: if the step does not know the levels of its chain.
    """
    if weight == "constant":
        return 1.0
    if step.schedule is None:
        raise ValueError(f"The weight {weight!r} of a level is relative to all; give the step its schedule.")
    betas, beta = step.schedule.betas, step.transition.beta
    if weight == "decrease":
        return beta / float(betas.mean())
    return (1.0 - beta) / float((1.0 - betas).mean())
