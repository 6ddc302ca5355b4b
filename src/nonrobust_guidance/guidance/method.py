"""What all guidance methods share: what they get at a step, what they add to it, and their fields.

A method is a frozen dataclass that extends `Guidance` and defines three things: `evaluate`, how its gradient comes from
the networks, `move`, what it adds to the step, and `reach`, how far a gradient of 1 moves x. The chain does the rest:
noise, stabilizer, trust region, recurrences. Importing this does not import torch: Snakemake reads the fields of these
classes.

It is long because `Guidance` is one class, half of it docstrings that every method refers to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, SupportsIndex

from nonrobust_guidance.guidance.objectives import OBJECTIVES, Objective
from nonrobust_guidance.guidance.stabilizers import Identity, Stabilizer

if TYPE_CHECKING:
    from torch import Tensor

    from nonrobust_guidance.schedule import Prediction, Schedule, Transition

    Network = Callable[[Tensor, Transition], Prediction]

Classifier = Callable[..., Any]
OnNonfinite = Literal["raise", "skip"]
Point = Literal["xt", "x0", "x0_hat", "x0_detached"]
IDENTITY = Identity()


class NonFiniteGradientError(ValueError):
    """A gradient with a NaN or an infinity; the message names sample, step, method and, where known, the cause."""


class Move(NamedTuple):
    """What guidance adds in a step, each (B, C, H, W) or None for nothing."""

    score: Tensor | None = None
    """To the score of ``x_t``, the gradient of its log-density."""
    x0: Tensor | None = None
    """To ``x0_hat``, after its clamp."""
    x: Tensor | None = None
    """To the state after the step."""


class Climb(NamedTuple):
    """What a method found at ``x_t``; tensors are (B, C, H, W) unless said otherwise."""

    prediction: Prediction
    """The denoiser's, without a graph behind it."""
    gradient: Tensor
    """What the stabilizer gets next."""
    objective: Tensor
    """What was differentiated, (B,)."""
    ascent: Tensor | None = None
    """How far further steps moved the clean image, for methods that take some."""
    slope: Tensor | None = None
    """The gradient with respect to what the classifier saw; an ascent that starts there takes it for its first step."""


class Draws(NamedTuple):
    """Standard normal noise (B, C, H, W) that a method or its classifier needs besides the step's own."""

    smooth: Sequence[Tensor] = ()
    """`Guidance.num_smooth_draws` of them."""
    augment: Sequence[Tensor] = ()
    """As many as the classifier's ``num_noise_draws``."""


NO_DRAWS = Draws()


@dataclass(frozen=True, eq=False)
class StepContext:
    """A reverse step, as guidance sees it.

    Attributes:
        transition: its constants.
        schedule: all kept levels; None where there is no chain.
        score_weight: by how much a move of the score moves x, with this chain's sampler.
        x0_weight: by how much a move of ``x0_hat`` moves x.
        noise_std: standard deviation of the noise that the step adds.
        z: that noise before it is scaled, (B, C, H, W), or None.
    """

    transition: Transition
    schedule: Schedule | None = None
    score_weight: float = 1.0
    x0_weight: float = 1.0
    noise_std: float = 0.0
    z: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Guidance:
    """The fields and the behaviour that all methods have.

    Attributes:
        classifier: maps images (B, C, H, W) in [-1, 1] to logits (B,), (B, 1) or (B, K); in eval mode. Its weights may
            have any precision: images are cast to it, and gradients come back in the dtype of ``x_t``. It may return
            its logits as models of transformers do, see `logits_of`. In torch.float16 the gradients of a classifier
            that is certain may underflow; torch.bfloat16 has float32's range. One with the attribute
            ``noise_conditional = True`` is called with ``(x_t, t)``, t (B,) int64, and guides at "xt" only; one with
            ``num_noise_draws = M`` with ``noise=[z_1, ..., z_M]``, each standard normal (B, C, H, W).
        target: the class, an int, or a LongTensor (B,) with one for each sample.
        objective: a name of `OBJECTIVES`, "log_prob" or "logit", or a function like them: from logits (B,) of a binary
            classifier or (B, K), and the target (B,), to the values to increase, (B,).
        stabilizer: what is done to the sequence of gradients; `EMA`, `Adam`, .... With recurrences it sees the gradient
            of each one.
        interval: (low, high) within 0 .. 1, both included: the noise levels ``sqrt(1 - alpha_bar_t)`` in which guidance
            acts (Kynkaanniemi et al. 2024). Outside of it, the classifier is not called, no step is repeated, and the
            stabilizer's state does not change.
        on_nonfinite: "raise", or "skip": a sample whose gradient has a NaN or an infinity gets a zero gradient in that
            step, before the stabilizer, and the step counts it.
        trust_radius: r, greater than 0, or None. For each image and step, the difference between the guided and the
            unguided x is shortened to a root mean square of at most ``sigma r / sqrt(N)``, with sigma the standard
            deviation of the step's noise (`Sampler.reference_std`) and N the number of steps; a shorter one is left as
            it is. Without recurrences the guided chain's path then has a Kullback-Leibler divergence from the unguided
            one of at most ``D r^2 / 2`` nats for images of D numbers, whatever the classifier says.

    Raises:
        TypeError: if the classifier is not callable or the target no integer.
        ValueError: if a name is unknown, a number is out of its range, the interval is empty, or the classifier is in
            training mode or unfit for the method.
    """

    classifier: Classifier
    target: int | Tensor
    objective: str | Objective = field(default="log_prob", kw_only=True)
    stabilizer: Stabilizer = field(default=IDENTITY, kw_only=True)
    interval: tuple[float, float] = field(default=(0.0, 1.0), kw_only=True)
    on_nonfinite: OnNonfinite = field(default="raise", kw_only=True)
    trust_radius: float | None = field(default=None, kw_only=True)

    strength_field: ClassVar[str] = "scale"
    """The name of the field that sets how strong guidance is."""
    along_clamped: ClassVar[bool] = True
    """Whether the sampler steps along the clamped ``x0_hat``, guided or not, where the chain clamps it."""

    def __post_init__(self) -> None:
        """Refuse what could only fail later."""
        if not callable(self.objective):
            require_one_of("objective", self.objective, tuple(OBJECTIVES))
        require_one_of("on_nonfinite", self.on_nonfinite, ("raise", "skip"))
        if not callable(self.classifier):
            raise TypeError(f"The classifier, a {type(self.classifier).__name__}, is not callable.")
        require_finite_number(self.strength_field, getattr(self, self.strength_field))
        if len(self.interval) != 2 or not 0.0 <= self.interval[0] <= self.interval[1] <= 1.0:
            raise ValueError(f"interval is {self.interval}; give (low, high) with 0 <= low <= high <= 1.")
        if self.trust_radius is not None and not self.trust_radius > 0.0:
            raise ValueError(f"trust_radius is {self.trust_radius}; it must be greater than 0, or None for no bound.")
        require_target(self.target)
        if hasattr(self.classifier, "named_modules"):
            from nonrobust_guidance.guidance.gradients import require_evaluation_mode

            require_evaluation_mode(self.classifier)
        if self.noise_conditional and self.point != "xt":
            raise ValueError(f"A classifier that is told t guides at 'xt', not at {self.point.removesuffix('_hat')!r}.")

    @property
    def point(self) -> Point:
        """What the classifier sees, and how its gradient comes to ``x_t``; see `climb`."""
        return "x0"

    @property
    def recurrences(self) -> int:
        """How often each step is made."""
        return 1

    @property
    def num_smooth_draws(self) -> int:
        """How many draws of noise `evaluate` asks for at a step."""
        return 0

    @property
    def num_classifier_passes(self) -> int:
        """How often a sample goes forward and back through the classifier each time the step is made."""
        return max(1, self.num_smooth_draws)

    @property
    def through_network(self) -> bool:
        """Whether the gradient runs back through the denoiser."""
        return self.point in ("x0", "x0_hat")

    @property
    def noise_conditional(self) -> bool:
        """Whether the classifier takes t as an argument."""
        return bool(getattr(self.classifier, "noise_conditional", False))

    def evaluate(self, network: Network, x_t: Tensor, step: StepContext, draws: Draws = NO_DRAWS) -> Climb:
        """Return the denoiser's prediction and the gradient, before the stabilizer.

        The network runs forward once. Nothing is added to the ``.grad`` of any weight. The gradient of a sample whose
        objective is not finite is infinity, in all of its entries.

        Args:
            network: the denoiser, from ``x_t`` and the step's constants to its prediction.
            x_t: (B, C, H, W).
            step: of the chain.
            draws: the noise that the method needs.

        Raises:
            ValueError: if the network or the classifier cuts the gradient off, or the classifier fails.
        """
        return self.climb(network, x_t, step.transition, draws)

    def move(self, climb: Climb, stabilized: Tensor, step: StepContext) -> Move:
        """Return what is added in this step.

        Args:
            climb: from `evaluate`.
            stabilized: its gradient, after the stabilizer, (B, C, H, W).
            step: of the chain.
        """
        raise NotImplementedError(f"{type(self).__name__} has no move; give it a method of this name.")

    def reach(self, step: StepContext) -> float:
        """Return how far a stabilized gradient of 1 moves x at strength 1; NaN for a move that is not linear in it.

        Where it is 0, guidance cannot move x, and no gradient is computed.
        """
        raise NotImplementedError(f"{type(self).__name__} has no reach; give it a method of this name.")

    def base(self, prediction: Prediction, x_t: Tensor, transition: Transition) -> Prediction:
        """Return the prediction that the sampler uses, guided or not; some methods leave ``x0_hat`` unclamped."""
        return prediction if self.along_clamped else prediction.unclipped()

    def acts_at(self, noise_level: float) -> bool:
        """Return whether guidance acts at this ``sqrt(1 - alpha_bar_t)``."""
        return self.interval[0] <= noise_level <= self.interval[1]

    def targets(self, num_samples: int) -> Tensor:
        """Return the class of each sample, (num_samples,) int64 on the CPU.

        Raises:
            ValueError: if there are not as many targets as samples.
        """
        return targets_of(self.target, num_samples)

    def climb(
        self,
        network: Network,
        x_t: Tensor,
        transition: Transition,
        draws: Draws = NO_DRAWS,
        objective: Callable[[Tensor], Tensor] | None = None,
    ) -> Climb:
        """Return the prediction, and the gradient of an objective of what the classifier sees at this `point`.

        - "xt": ``x_t`` itself.
        - "x0": the one-step prediction as it is; the gradient runs through the network.
        - "x0_hat": the same after its clamp, through which the gradient runs too.
        - "x0_detached": ``x0_hat``; the gradient is with respect to it, and the network is not differentiated.

        Args:
            network: the denoiser.
            x_t: (B, C, H, W).
            transition: the constants of the step.
            draws: noise for the classifier.
            objective: of what the classifier sees, from (B, C, H, W) to (B,); by default that of the classifier.
        """
        import torch

        from nonrobust_guidance.guidance.gradients import differentiate, leaf, require_gradients

        require_gradients()
        with torch.set_grad_enabled(self.through_network):
            x = leaf(x_t) if self.through_network else x_t.detach()
            prediction = network(x, transition)
        point = {"xt": x_t, "x0": prediction.x0}.get(self.point, prediction.x0_hat)
        with torch.enable_grad():
            seen = leaf(point)
            value = self.log_likelihood(seen, transition.t, draws) if objective is None else objective(seen)
            slope = gradient = differentiate("classifier", value.sum(), seen)
        if self.through_network:
            gradient = differentiate("denoiser", point, x, gradient)
        value = value.detach()
        return Climb(prediction.detached(), infinite_where(gradient, value), value, slope=infinite_where(slope, value))

    def ascend(
        self,
        v: Tensor,
        objective: Callable[[Tensor], Tensor],
        step_size: float,
        num_steps: int,
        slope: Tensor | None = None,
    ) -> Tensor:
        """Return a clean image (B, C, H, W) after some steps of gradient ascent on an objective of it.

        Args:
            v: where to start, (B, C, H, W).
            objective: from images (B, C, H, W) to (B,).
            step_size: of each step.
            num_steps: how many.
            slope: the gradient at ``v`` if it is known already, which saves a pass in the first step.
        """
        import torch

        from nonrobust_guidance.guidance.gradients import differentiate, leaf, require_gradients

        require_gradients()
        for _ in range(num_steps):
            if slope is None:
                with torch.enable_grad():
                    seen = leaf(v)
                    value = objective(seen)
                    slope = infinite_where(differentiate("classifier", value.sum(), seen), value.detach())
            v, slope = v + step_size * slope, None
        return v

    def log_likelihood(self, seen: Tensor, t: int, draws: Draws = NO_DRAWS) -> Tensor:
        """Return the objective of images (B, C, H, W), one number for each, (B,).

        Raises:
            ValueError: if the classifier fails, or returns no logits of the target.
        """
        import torch

        from nonrobust_guidance.guidance.objectives import target_objective
        from nonrobust_guidance.models.logits import classify

        told = (torch.full((len(seen),), t, device=seen.device),) if self.noise_conditional else ()
        logits = classify(self.classifier, seen, *told, noise=draws.augment)
        return target_objective(logits, self.targets(len(seen)), self.objective)

    def require_finite(self, climb: Climb, x_t: Tensor, k: int, t: int, indices: Sequence[int]) -> tuple[Climb, Tensor]:
        """Return the climb with zeros for the samples whose gradient is not finite, and a mask of these samples (B,).

        Args:
            climb: from `evaluate`.
            x_t: what it was evaluated at, (B, C, H, W).
            k: number of the step.
            t: its timestep.
            indices: numbers of the samples.

        Raises:
            NonFiniteGradientError: if there is one and ``on_nonfinite`` is "raise".
        """
        gradient = climb.gradient
        finite = gradient.isfinite().flatten(1).all(dim=1)
        if climb.ascent is not None:
            finite = finite & climb.ascent.isfinite().flatten(1).all(dim=1)
        if bool(finite.all()):
            return climb, ~finite
        if self.on_nonfinite == "raise":
            row = int((~finite).nonzero()[0])
            seen = {"xt": x_t, "x0": climb.prediction.x0}.get(self.point, climb.prediction.x0_hat)
            remedy = remedy_for(gradient[row], seen[row], self.strength_field)
            raise NonFiniteGradientError(
                f"The gradient of sample {indices[row]} is not finite at step {k} (t = {t}), with {self.described}; "
                f"{remedy}, or pass on_nonfinite='skip'."
            )
        rows = ~finite.reshape(-1, 1, 1, 1)
        ascent = None if climb.ascent is None else climb.ascent.masked_fill(rows, 0.0)
        return climb._replace(gradient=gradient.masked_fill(rows, 0.0), ascent=ascent), ~finite

    @property
    def described(self) -> str:
        """The method in words, for a message."""
        strength = getattr(self, self.strength_field)
        return f"{type(self).__name__}, {self.stabilizer}, {self.strength_field} {strength:g}"


def infinite_where(gradient: Tensor, objective: Tensor) -> Tensor:
    """Return the gradient (B, C, H, W) with infinities where a sample's objective (B,) is not finite.

    A ReLU or a clamp in the backward pass may have turned it into zero.
    """
    # There is no check for whether any sample needs this, because it would have to wait for the GPU.
    return gradient.masked_fill(~objective.isfinite().reshape(-1, 1, 1, 1), math.inf)


def remedy_for(gradient: Tensor, seen: Tensor, strength_field: str) -> str:
    """Return why one sample's gradient (C, H, W) is not finite, and what to do, from what the classifier saw."""
    if not bool(seen.isfinite().all()):
        return "the image that the classifier is given is not, so check the denoiser's weights and precision"
    if bool((gradient == math.inf).all()):
        return "the classifier's logits are not, so check its weights and precision"
    return f"lower the {strength_field}"


def require_target(target: object) -> None:
    """Raise a TypeError unless the target is an int or a LongTensor (B,)."""
    if type(target) is int:
        return
    import torch

    if isinstance(target, torch.Tensor):
        if target.ndim != 1 or target.is_floating_point() or target.dtype == torch.bool:
            raise TypeError("A target tensor must be a LongTensor (B,), with the class of each sample.")
    elif isinstance(target, bool) or not isinstance(target, SupportsIndex):
        raise TypeError(f"target is {target!r}; give the class as an int, or a LongTensor (B,).")


def targets_of(target: int | Tensor, num_samples: int) -> Tensor:
    """Return the class of each sample, (num_samples,) int64 on the CPU, from one for all or one for each.

    Raises:
        ValueError: if there are not as many targets as samples.
    """
    import torch

    target = torch.as_tensor(target).cpu().long()
    if target.ndim == 1 and len(target) != num_samples:
        raise ValueError(f"There are {len(target)} targets for {num_samples} samples; give one for each.")
    return target.expand(num_samples)


def require_finite_number(name: str, value: float) -> None:
    """Raise a ValueError unless the value is a finite number."""
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}; it must be a finite number.")


def require_count(name: str, value: int, least: int = 1) -> None:
    """Raise a ValueError unless the value is a whole number that is not too small."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; give a whole number, at least {least}.")


def require_one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise a ValueError that lists the allowed names unless the value is one of them."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, allowed))}.")
