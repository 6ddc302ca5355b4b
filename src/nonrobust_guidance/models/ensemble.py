"""Several classifiers as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from nonrobust_guidance.models.logits import CompositeClassifier, classify, in_training_mode


class Ensemble(CompositeClassifier):
    """Classifiers of the same classes, whose logits are averaged; see `ensemble`."""

    def __init__(self, members: Sequence[Callable[..., Any]]) -> None:
        """Take the members."""
        super().__init__()
        # Attributes, because members may be functions, which no nn.ModuleList takes.
        for number, member in enumerate(members):
            setattr(self, f"member{number}", member)
        self.num_members = len(members)
        self.noise_conditional = any(getattr(member, "noise_conditional", False) for member in members)
        self.num_noise_draws = sum(getattr(member, "num_noise_draws", 0) for member in members)
        self.training = any(map(in_training_mode, members))

    @property
    def members(self) -> list[Callable[..., Any]]:
        """The classifiers, in order."""
        return [getattr(self, f"member{number}") for number in range(self.num_members)]

    def forward(self, x: Tensor, *t: Tensor, noise: Sequence[Tensor] = ()) -> Tensor:
        """Map images (B, C, H, W) to the mean logits, (B, K), or (B,) where a member has the one logit of two classes.

        Members that take t get it, and each gets its own draws of noise, as many as it needs.

        Raises:
            ValueError: if members differ in their number of classes, or as `classify`.
        """
        members, parts = self.members, []
        ends = accumulate((getattr(member, "num_noise_draws", 0) for member in members), initial=0)
        for member, (start, end) in zip(members, pairwise(ends), strict=True):
            told = t if getattr(member, "noise_conditional", False) else ()
            parts.append(classify(member, x, *told, noise=noise[start:end]))
        return mean_logits(parts)


def ensemble(classifiers: Sequence[Callable[..., Any]]) -> Ensemble:
    """Return the classifier whose log-probabilities are the mean of those of its members, normalized.

    ``p(y | x)`` is proportional to ``(prod_m p_m(y | x))^(1/M)``, the logarithmic opinion pool (Genest & Zidek 1986).
    Its logits are the mean of the members' logits: a log-softmax shifts all logits of an image by one number, so the
    mean of the log-probabilities is the same up to such a shift, which normalizing removes. With the objective
    "log_prob" guidance increases ``log p(y | x)``, with "logit" the mean of the members' logits. With both, an ensemble
    of one equals its member.

    Args:
        classifiers: of the same K classes, as `ClassifierGuidance` takes them. Where one has a single logit, the
            log-odds of class 1, those with two logits count with their log-odds, ``l_1 - l_0``, and the ensemble has a
            single logit too.

    Raises:
        TypeError: if one is not callable.
        ValueError: if there is none; when it is called, if they differ in K.
    """
    members = list(classifiers)
    if not members:
        raise ValueError("An ensemble of no classifiers has no logits; give at least one.")
    for number, member in enumerate(members):
        if not callable(member):
            raise TypeError(f"Member {number} of the ensemble, a {type(member).__name__}, is not callable.")
    return Ensemble(members)


def mean_logits(parts: Sequence[Tensor]) -> Tensor:
    """Return the mean of logits, each (B,), (B, 1) or (B, K).

    Raises:
        ValueError: if their numbers of classes differ.
    """
    counts = [num_classes(logits) for logits in parts]
    if len(set(counts)) > 1:
        raise ValueError(
            f"The members of the ensemble have {', '.join(map(str, counts))} classes; leave out those that differ."
        )
    if any(is_log_odds(logits) for logits in parts):
        return torch.stack([log_odds(logits) for logits in parts]).mean(dim=0)
    return torch.stack(list(parts)).mean(dim=0)


def is_log_odds(logits: Tensor) -> bool:
    """Return whether these are the one logit of a binary classifier, (B,) or (B, 1)."""
    return logits.ndim == 1 or logits.shape[1:] == (1,)


def num_classes(logits: Tensor) -> int:
    """Return K of logits (B,), (B, 1) or (B, K).

    Raises:
        ValueError: if they have another shape.
    """
    if logits.ndim not in (1, 2):
        raise ValueError(f"Logits {tuple(logits.shape)} cannot be averaged; the classifier must return (B,) or (B, K).")
    return 2 if is_log_odds(logits) else logits.shape[1]


def log_odds(logits: Tensor) -> Tensor:
    """Return ``log p(1) - log p(0)``, (B,), of a binary classifier's logits (B,), (B, 1) or (B, 2)."""
    return logits.flatten() if is_log_odds(logits) else logits[:, 1] - logits[:, 0]
