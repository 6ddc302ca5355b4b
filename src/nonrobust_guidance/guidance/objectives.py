"""What guidance increases: one number per sample, from the classifier's logits.

Importing this does not import torch: Snakemake reads the names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Objective = Callable[["Tensor", "Tensor"], "Tensor"]
"""From logits (B,) of a binary classifier or (B, K), and the target (B,) on their device, to one number each, (B,)."""


def log_probability(logits: Tensor, target: Tensor) -> Tensor:
    """Return the target's log-probability, which saturates once the classifier is certain."""
    from torch.nn import functional

    if logits.ndim == 1:
        return functional.logsigmoid(of_target(logits, target))
    return of_target(functional.log_softmax(logits, dim=1), target)


def of_target(scores: Tensor, target: Tensor) -> Tensor:
    """Return the target's entry of (B, K); of (B,), the number itself for target 1 and its negative for target 0.

    Applied to logits it is the objective "logit", which grows without bound; Vaeth et al. (2025) differentiate it for
    more than two classes.
    """
    if scores.ndim == 1:
        return scores * (2 * target - 1)
    return scores.gather(1, target[:, None]).squeeze(1)


OBJECTIVES: dict[str, Objective] = {"log_prob": log_probability, "logit": of_target}
"""By the name that a run file gives them."""


def target_objective(logits: Tensor, target: Tensor, objective: str | Objective) -> Tensor:
    """Return the objective of each sample, (B,), once logits and target are known to fit.

    Args:
        logits: (B,) or (B, 1) of a binary classifier, (B, K) of one with K classes.
        target: (B,) int64 on the CPU, each 0 or 1, or 0 .. K-1.
        objective: one of `OBJECTIVES` by its name, or a function like them.

    Raises:
        ValueError: if the logits have another shape, a target is none of the classes, or the objective does not return
            one number for each sample.
    """
    batch = len(target)
    if logits.shape not in ((batch,), (batch, 1)) and (logits.ndim != 2 or len(logits) != batch):
        raise ValueError(
            f"The classifier returned {tuple(logits.shape)} for {batch} images; it must return logits ({batch},), "
            f"({batch}, 1) or ({batch}, K)."
        )
    binary = logits.ndim == 1 or logits.shape[1] == 1
    num_classes = 2 if binary else logits.shape[1]
    if int(target.min()) < 0 or int(target.max()) >= num_classes:
        wrong = int(target[(target < 0) | (target >= num_classes)][0])
        raise ValueError(f"Target {wrong} is none of the classifier's {num_classes} classes, 0 to {num_classes - 1}.")
    function = OBJECTIVES[objective] if isinstance(objective, str) else objective
    from nonrobust_guidance.devices import onto

    value = function(logits.reshape(batch) if binary else logits, onto(target, logits.device))
    if value.shape != (batch,):
        raise ValueError(f"The objective returned {tuple(value.shape)} for {batch} samples; it must return ({batch},).")
    return value
