"""What guidance climbs: one number per sample, from the classifier's logits."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from nonrobust_guidance.guidance.method import Objective


def target_objective(logits: Tensor, target: Tensor, objective: Objective) -> Tensor:
    """Return the target's log-probability or its logit, (B,).

    "log_prob" saturates once the classifier is certain; "logit" grows without bound (Vaeth et al. 2025 differentiate
    it for more than two classes). For a binary classifier with the one logit l of class 1 they are log sigmoid(l)
    and l for target 1, log sigmoid(-l) and -l for target 0.

    Args:
        logits: (B,) or (B, 1) of a binary classifier, (B, K) of one with K classes.
        target: (B,) int64 on the CPU, each 0 or 1, or 0 .. K-1.
        objective: "log_prob" or "logit".

    Raises:
        ValueError: if the logits have another shape, or a target is none of the classes.
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
    target = target.to(logits.device)
    if binary:
        signed = logits.reshape(batch) * (2 * target - 1)
        return functional.logsigmoid(signed) if objective == "log_prob" else signed
    scores = functional.log_softmax(logits, dim=1) if objective == "log_prob" else logits
    return scores.gather(1, target[:, None]).squeeze(1)
