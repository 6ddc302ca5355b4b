"""Classifier guidance as a value: what is differentiated, stabilized how, at which scale, in which interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, SupportsIndex, get_args

import torch
from torch import Tensor

from nonrobust_guidance.guidance.gradients import differentiate, leaf, require_evaluation_mode, require_gradients
from nonrobust_guidance.guidance.objectives import Objective, target_objective
from nonrobust_guidance.guidance.stabilizers import Identity, Stabilizer
from nonrobust_guidance.models.logits import classify
from nonrobust_guidance.models.preprocessing import Preprocessed
from nonrobust_guidance.schedule import Prediction, Transition, require_name

At = Literal["xt", "x0", "x0_detached"]
OnNonfinite = Literal["raise", "skip"]
Classifier = Callable[..., Any]
IDENTITY = Identity()


class NonFiniteGradientError(ValueError):
    """A gradient with a NaN or an infinity; the message names sample, step, method and, where known, the cause."""


@dataclass(frozen=True, eq=False)
class ClassifierGuidance:
    """Shifts every reverse step toward a class, along the gradient of a classifier (Vaeth et al. 2025).

    With ``g`` the stabilized gradient with respect to ``x_t``, the ancestral step is shifted by ``scale Sigma_t g``.
    What the classifier sees, and how the gradient comes to ``x_t``, is ``at``:

    - "xt": the noisy ``x_t`` itself (Dhariwal & Nichol 2021).
    - "x0": the clamped one-step prediction ``x0_hat(x_t)``; the gradient runs through the clamp and the network.
    - "x0_detached": the same input, no pass back through the network. The gradient with respect to ``x0_hat`` is
      carried to ``x_t`` by the factor ``sqrt(alpha_bar_t)``, in place of the network's Jacobian, and not through the
      clamp. That is the Jacobian of the exact denoiser when ``x0`` given ``x_t`` has covariance ``(1 - alpha_bar_t)
      I``, the assumption of Song et al. (2023, Pseudoinverse-guided diffusion models); in the ancestral step it is the
      same as moving ``x0_hat`` by ``scale sqrt(alpha_t) (1 - alpha_bar_{t-1})`` times its gradient, a step of He et al.
      (2024, Manifold preserving guided diffusion).

    Attributes:
        classifier: maps images (B, C, H, W) in [-1, 1] to logits (B,), (B, 1) or (B, K); in eval mode. It may have
            weights of any precision, for which the images are cast, and give its logits as models of transformers do,
            see `logits_of`; gradients are in the dtype of ``x_t``. In torch.float16 those of a classifier that is
            certain may underflow; torch.bfloat16 has float32's range. One with the attribute ``noise_conditional =
            True`` is called with ``(x_t, t)``, t (B,) int64, and guides at "xt" only.
        target: the class, an int, or a LongTensor (B,) with one for each sample.
        scale: the guidance scale s.
        at: what the classifier sees.
        objective: "log_prob" or "logit".
        stabilizer: what is done to the sequence of gradients; `EMA`, `Adam`, ....
        interval: (low, high) within 0 .. 1, both included: the noise levels ``sqrt(1 - alpha_bar_t)`` in which guidance
            acts (Kynkaanniemi et al. 2024). Outside, no classifier is called and the stabilizer's state stands still.
        on_nonfinite: "raise", or "skip": a sample whose gradient has a NaN or an infinity gets a zero gradient in that
            step, before the stabilizer, and the step counts it.

    Raises:
        TypeError: if the classifier is not callable or the target no integer.
        ValueError: if a name is unknown, a number is not finite, the interval is empty, or the classifier is in
            training mode or unfit for ``at``.
    """

    classifier: Classifier
    target: int | Tensor
    scale: float
    at: At = "x0"
    objective: Objective = "log_prob"
    stabilizer: Stabilizer = IDENTITY
    interval: tuple[float, float] = (0.0, 1.0)
    on_nonfinite: OnNonfinite = "raise"

    def __post_init__(self) -> None:
        """Refuse what could only fail later."""
        require_name("at", self.at, get_args(At))
        require_name("objective", self.objective, get_args(Objective))
        require_name("on_nonfinite", self.on_nonfinite, get_args(OnNonfinite))
        if not callable(self.classifier):
            raise TypeError(f"The classifier, a {type(self.classifier).__name__}, is not callable.")
        if not math.isfinite(self.scale):
            raise ValueError(f"scale is {self.scale}; it must be a finite number.")
        if len(self.interval) != 2 or not 0.0 <= self.interval[0] <= self.interval[1] <= 1.0:
            raise ValueError(f"interval is {self.interval}; give (low, high) with 0 <= low <= high <= 1.")
        target = self.target
        if isinstance(target, Tensor):
            if target.ndim != 1 or target.is_floating_point() or target.dtype == torch.bool:
                raise TypeError("A target tensor must be a LongTensor (B,), with the class of each sample.")
        elif isinstance(target, bool) or not isinstance(target, SupportsIndex):
            raise TypeError(f"target is {target!r}; give the class as an int, or a LongTensor (B,).")
        require_evaluation_mode(self.classifier)
        if self._noise_conditional and self.at != "xt":
            raise ValueError(f"A classifier that is told t guides at 'xt', not at {self.at!r}.")

    @property
    def _noise_conditional(self) -> bool:
        return bool(getattr(self.classifier, "noise_conditional", False))

    def acts_at(self, noise_level: float) -> bool:
        """Return whether guidance acts at this ``sqrt(1 - alpha_bar_t)``."""
        return self.interval[0] <= noise_level <= self.interval[1]

    def targets(self, num_samples: int) -> Tensor:
        """Return the class of each sample, (num_samples,) int64 on the CPU.

        Raises:
            ValueError: if there are not as many targets as samples.
        """
        target = torch.as_tensor(self.target).cpu().long()
        if target.ndim == 1 and len(target) != num_samples:
            raise ValueError(f"There are {len(target)} targets for {num_samples} samples; give one for each.")
        return target.expand(num_samples)

    def evaluate(
        self, network: Callable[[Tensor, Transition], Prediction], x_t: Tensor, transition: Transition
    ) -> tuple[Prediction, Tensor]:
        """Return the denoiser's prediction and the gradient with respect to ``x_t``, not yet stabilized.

        The network runs forward once. Nothing is added to the ``.grad`` of any weight. The gradient of a sample whose
        objective is not finite is infinity, in all of its entries.

        Args:
            network: the denoiser, from ``x_t`` and the step's constants to its prediction.
            x_t: (B, C, H, W).
            transition: the constants of the step.

        Returns:
            The prediction, detached, and the gradient (B, C, H, W).

        Raises:
            ValueError: if the network or the classifier cuts the gradient off, or the classifier fails.
        """
        require_gradients()
        through_network = self.at == "x0"
        with torch.set_grad_enabled(through_network):
            x = leaf(x_t) if through_network else x_t.detach()
            prediction = network(x, transition)
        with torch.enable_grad():
            seen = leaf(x_t if self.at == "xt" else prediction.x0_hat)
            objective = self._objective(seen, transition.t)
            gradient = differentiate("classifier", objective.sum(), seen)
        if through_network:
            gradient = differentiate("denoiser", prediction.x0_hat, x, gradient)
        elif self.at == "x0_detached":
            gradient = math.sqrt(transition.alpha_bar) * gradient
        wrong = ~objective.detach().isfinite()
        if bool(wrong.any()):
            # A ReLU or a clamp on the way back may have made a zero of it.
            gradient = gradient.masked_fill(wrong.reshape(-1, 1, 1, 1), math.inf)
        return Prediction(*(tensor.detach() for tensor in prediction)), gradient

    def require_finite(
        self, gradient: Tensor, k: int, t: int, indices: Sequence[int], seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient (B, C, H, W) with zeros for the samples where it is not finite, and which these are (B,).

        Args:
            gradient: with respect to ``x_t``, from `evaluate`.
            k: number of the step.
            t: its timestep.
            indices: numbers of the samples.
            seen: what the classifier saw, (B, C, H, W).

        Raises:
            NonFiniteGradientError: if there is one and ``on_nonfinite`` is "raise".
        """
        wrong = ~gradient.isfinite().flatten(1).all(dim=1)
        if not bool(wrong.any()):
            return gradient, wrong
        if self.on_nonfinite == "raise":
            row = int(wrong.nonzero()[0])
            remedy = remedy_for(gradient[row], seen[row])
            raise NonFiniteGradientError(
                f"The gradient of sample {indices[row]} is not finite at step {k} (t = {t}), with guidance at "
                f"{self.at!r}, {self.stabilizer}, scale {self.scale:g}; {remedy}, or pass on_nonfinite='skip'."
            )
        return torch.where(wrong.reshape(-1, 1, 1, 1), 0.0, gradient), wrong

    def _objective(self, seen: Tensor, t: int) -> Tensor:
        told = (torch.full((len(seen),), t, device=seen.device),) if self._noise_conditional else ()
        # A preprocessed one brings the images into the network's precision itself, after they are normalized.
        own = isinstance(self.classifier, Preprocessed)
        logits = self.classifier(seen, *told) if own else classify(self.classifier, seen, *told)
        return target_objective(logits, self.targets(len(seen)), self.objective)


def remedy_for(gradient: Tensor, seen: Tensor) -> str:
    """Return why one sample's gradient (C, H, W) is not finite, and what to do, from what the classifier saw."""
    if not bool(seen.isfinite().all()):
        return "the image that the classifier is given is not, so check the denoiser's weights and precision"
    if bool((gradient == math.inf).all()):
        return "the classifier's logits are not, so check its weights and precision"
    return "lower the scale"
