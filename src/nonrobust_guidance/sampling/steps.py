"""The reverse steps: from ``x_t`` and what the denoiser says about it to the next level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from nonrobust_guidance.schedule import Prediction, Schedule, Transition


class Sampler(Protocol):
    """A reverse step as a value; all tensors are (B, C, H, W)."""

    def can_shift(self, transition: Transition) -> bool:
        """Return whether a gradient can change this step; where not, none is computed."""
        ...

    def noise_std(self, transition: Transition) -> float:
        """Return the standard deviation of the noise that is added; at 0 none is drawn."""
        ...

    def shift_weight(self, transition: Transition) -> float:
        """Return what a shift is multiplied by when it moves x, apart from any clamp."""
        ...

    def step(
        self, x_t: Tensor, prediction: Prediction, transition: Transition, z: Tensor | None, shift: Tensor | None
    ) -> Tensor:
        """Return the next, less noisy x.

        Args:
            x_t: the current state.
            prediction: what the denoiser says about it.
            transition: the constants of the step.
            z: standard normal noise, or None where the step adds none.
            shift: scale times gradient, or None without guidance.
        """
        ...


@dataclass(frozen=True)
class Ancestral:
    """The step of DDPM (Ho et al. 2020, equation 7), shifted as in Vaeth et al. (2025).

    ``x_{t-1} = mu_t(x0_hat, x_t) + sigma_t z + Sigma_t s g``, with mu_t from the clamped x0_hat.
    """

    def can_shift(self, transition: Transition) -> bool:
        """Return True but for the last step, whose variance is zero."""
        return not transition.last

    def noise_std(self, transition: Transition) -> float:
        """Return ``sigma_t``; the last step is the mean."""
        return 0.0 if transition.last else math.sqrt(transition.variance)

    def shift_weight(self, transition: Transition) -> float:
        """Return ``Sigma_t``."""
        return transition.variance

    def step(
        self, x_t: Tensor, prediction: Prediction, transition: Transition, z: Tensor | None, shift: Tensor | None
    ) -> Tensor:
        """Return the posterior's mean, plus noise, plus the shift."""
        _, abar, abar_prev, variance, _ = transition
        beta = transition.beta
        x0_weight = math.sqrt(abar_prev) * beta / (1.0 - abar)
        x_t_weight = math.sqrt(1.0 - beta) * (1.0 - abar_prev) / (1.0 - abar)
        x = x0_weight * prediction.x0_hat + x_t_weight * x_t
        if z is not None:
            x = x + math.sqrt(variance) * z
        if shift is not None:
            x = x + self.shift_weight(transition) * shift
        return x


@dataclass(frozen=True)
class DDIM:
    """The step of DDIM (Song et al. 2021, equation 12), guided as in Dhariwal & Nichol (2021), Algorithm 2.

    Guidance moves the noise, ``eps <- eps - sqrt(1 - abar_t) s g``, and with it the predicted image, ``x0 <- x0 + (1 -
    abar_t) / sqrt(abar_t) s g``, which is clamped after. ``eta`` scales the noise of the step, ``sigma_t = eta
    sqrt((1 - abar_{t-1}) / (1 - abar_t)) sqrt(1 - abar_t / abar_{t-1})``: 0 is deterministic, 1 has the variance of
    the ancestral step with "fixed_small". eps goes with the unclamped x0, or with the clamped one on request, as in
    diffusers.

    Attributes:
        eta: within [0, 1].
        clip: whether the moved x0 is clamped to [-1, 1].
        final_alpha_bar: the level at which the last step ends.
        use_clipped_model_output: whether eps goes with the clamped x0, ``(x_t - sqrt(abar_t) x0_hat) / sqrt(1 -
            abar_t)``.
    """

    eta: float = 0.0
    clip: bool = True
    final_alpha_bar: float = 1.0
    use_clipped_model_output: bool = False

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0.0 <= self.eta <= 1.0:
            raise ValueError(f"eta is {self.eta}; it must be within 0 (deterministic) and 1 (ancestral).")

    def can_shift(self, transition: Transition) -> bool:
        """Return True but at alpha_bar = 0, where x_t holds nothing of the image and the shift is undefined."""
        return transition.alpha_bar > 0.0

    def noise_std(self, transition: Transition) -> float:
        """Return ``sigma_t``."""
        abar, abar_prev = transition.alpha_bar, self._end(transition)
        return self.eta * math.sqrt((1.0 - abar_prev) / (1.0 - abar) * max(0.0, 1.0 - abar / abar_prev))

    def shift_weight(self, transition: Transition) -> float:
        """Return by how much the moved x0 and the moved noise together move x."""
        abar, abar_prev, sigma = transition.alpha_bar, self._end(transition), self.noise_std(transition)
        moved_x0 = math.sqrt(abar_prev) * (1.0 - abar) / math.sqrt(abar)
        return moved_x0 - math.sqrt(max(0.0, 1.0 - abar_prev - sigma**2)) * math.sqrt(1.0 - abar)

    def step(
        self, x_t: Tensor, prediction: Prediction, transition: Transition, z: Tensor | None, shift: Tensor | None
    ) -> Tensor:
        """Return the predicted image at the next level, with the predicted noise and fresh noise in its place."""
        abar, abar_prev, sigma = transition.alpha_bar, self._end(transition), self.noise_std(transition)
        x0_hat, eps = prediction.x0_hat, prediction.eps
        if shift is not None:
            x0_hat = prediction.x0 + (1.0 - abar) / math.sqrt(abar) * shift
            x0_hat = x0_hat.clamp(-1.0, 1.0) if self.clip else x0_hat
            eps = eps - math.sqrt(1.0 - abar) * shift
        if self.use_clipped_model_output:
            eps = (x_t - math.sqrt(abar) * x0_hat) / math.sqrt(1.0 - abar)
        x = math.sqrt(abar_prev) * x0_hat + math.sqrt(max(0.0, 1.0 - abar_prev - sigma**2)) * eps
        return x if z is None else x + sigma * z

    def _end(self, transition: Transition) -> float:
        return min(transition.alpha_bar_prev, self.final_alpha_bar)


def make_sampler(
    name: str, schedule: Schedule, eta: float, clip: bool, use_clipped_model_output: bool = False
) -> Sampler:
    """Return the sampler of this name.

    Raises:
        ValueError: if the name is unknown, or what belongs to "ddim" is out of range or given to another sampler.
    """
    if name == "ddim":
        return DDIM(eta, clip, schedule.final_alpha_bar, use_clipped_model_output)
    if name != "ddpm":
        raise ValueError(f"sampler is {name!r}; choose 'ddpm' or 'ddim'.")
    if eta != 0.0:
        raise ValueError("eta belongs to the sampler 'ddim'; leave it out with 'ddpm'.")
    if use_clipped_model_output:
        raise ValueError("use_clipped_model_output belongs to the sampler 'ddim'; leave it out with 'ddpm'.")
    return Ancestral()
