"""The noise schedule: its tables in float64, and the constants of each step of the chain.

It is long because everything that reads a schedule is here, including the conversion of diffusers' settings.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, SupportsIndex, get_args

import numpy as np
import torch
from torch import Tensor

PredictionType = Literal["epsilon", "v", "sample"]
Variance = Literal["fixed_small", "fixed_large"]
Spacing = Literal["trailing", "leading", "linspace"]

VARIANCE_FLOOR = 1e-20
EPSILON_TERMINAL_ALPHA_BAR = 1e-4
# Settings of diffusers' solvers that give the network other levels than those of the betas.
OTHER_LEVELS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas", "use_lu_lambdas")


class Prediction(NamedTuple):
    """The denoiser's prediction for ``x_t``, whatever it was trained to output; all tensors are (B, C, H, W)."""

    x0: Tensor
    """One-step prediction of the clean image, not clamped."""
    x0_hat: Tensor
    """The same, clamped to [-1, 1] where clipping is on."""
    eps: Tensor
    """The noise in ``x_t`` that goes with the unclamped ``x0``."""
    clipped: bool = False
    """Whether ``x0_hat`` is clamped."""

    def detached(self) -> Prediction:
        """Return the same without the graph behind it."""
        return Prediction(self.x0.detach(), self.x0_hat.detach(), self.eps.detach(), self.clipped)

    def unclipped(self) -> Prediction:
        """Return the same with ``x0`` itself as ``x0_hat``."""
        return Prediction(self.x0, self.x0, self.eps)


class Transition(NamedTuple):
    """The constants of one reverse step, from ``x_t`` to the next kept (less noisy) level."""

    t: int
    """Timestep handed to the network."""
    alpha_bar: float
    alpha_bar_prev: float
    variance: float
    """``Sigma_t``, floored at 1e-20."""
    last: bool
    """Whether the step ends at the clean image: no noise is added there."""
    final_alpha_bar: float = 1.0
    """The level at which DDIM ends."""

    @property
    def beta(self) -> float:
        """``1 - alpha_bar / alpha_bar_prev``."""
        return 1.0 - self.alpha_bar / self.alpha_bar_prev

    @property
    def alpha_bar_end(self) -> float:
        """The level at which DDIM ends the step."""
        return min(self.alpha_bar_prev, self.final_alpha_bar)

    @property
    def noise_level(self) -> float:
        """``sqrt(1 - alpha_bar)``, the noise's amplitude in ``x_t``: from 0 (clean) to 1 (noise alone)."""
        return math.sqrt(1.0 - self.alpha_bar)


@dataclass(frozen=True, eq=False)
class Schedule:
    """The levels of a diffusion, from the cleanest to the noisiest, and what its network predicts.

    Attributes:
        alpha_bars: (T,) float64, strictly decreasing, within [0, 1).
        timesteps: (T,) int64, ascending: the t that the network gets at each level.
        prediction: what the network outputs: "epsilon", "v" (Salimans & Ho 2022) or "sample" (the clean image).
        variance: ``Sigma_t`` of the ancestral step: "fixed_small", the posterior's ``beta_t (1 - abar_{t-1}) /
            (1 - abar_t)``, or "fixed_large", ``beta_t`` (Ho et al. 2020, section 3.2).
        spacing: which levels `respaced` keeps.
        steps_offset: added to the kept timesteps by the spacing "leading".
        final_alpha_bar: the level at which DDIM ends; below 1 only for schedulers saved with set_alpha_to_one=False.
        clip: whether sampling clamps x0_hat to [-1, 1] by default.

    Raises:
        ValueError: if a table has the wrong shape or is not monotone, or a name is unknown.
    """

    alpha_bars: Tensor
    timesteps: Tensor
    prediction: PredictionType = "epsilon"
    variance: Variance = "fixed_small"
    spacing: Spacing = "trailing"
    steps_offset: int = 0
    final_alpha_bar: float = 1.0
    clip: bool = True

    def __post_init__(self) -> None:
        """Refuse tables that are not a schedule."""
        for name, kind in (("prediction", PredictionType), ("variance", Variance), ("spacing", Spacing)):
            require_name(name, getattr(self, name), get_args(kind))
        if self.alpha_bars.ndim != 1 or self.alpha_bars.shape != self.timesteps.shape or len(self.alpha_bars) == 0:
            raise ValueError("alpha_bars and timesteps must be one-dimensional and of one length, at least 1.")
        object.__setattr__(self, "alpha_bars", self.alpha_bars.double().cpu())
        object.__setattr__(self, "timesteps", self.timesteps.long().cpu())
        falls = bool((self.alpha_bars.diff() < 0).all()) and bool((self.timesteps.diff() > 0).all())
        if not falls or not 0.0 <= float(self.alpha_bars[-1]) <= float(self.alpha_bars[0]) < 1.0:
            raise ValueError("alpha_bars must fall strictly within [0, 1) while timesteps rise; check the betas.")

    @classmethod
    def linear(
        cls,
        num_steps: int,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        *,
        prediction: PredictionType = "epsilon",
        variance: Variance = "fixed_small",
        spacing: Spacing = "trailing",
    ) -> Schedule:
        """Return the schedule with ``num_steps`` betas on a line from start to end (Ho et al. 2020).

        Raises:
            ValueError: if there are no steps or a beta is not in (0, 1).
        """
        if num_steps < 1:
            raise ValueError(f"num_steps is {num_steps}; a schedule needs at least one step.")
        betas = torch.linspace(beta_start, beta_end, num_steps, dtype=torch.float64)
        return cls.from_betas(betas, prediction=prediction, variance=variance, spacing=spacing)

    @classmethod
    def from_betas(cls, betas: Tensor, **fields: Any) -> Schedule:
        """Return the schedule with these betas (T,), each in (0, 1]; the network gets the timesteps 0 .. T-1."""
        betas = betas.double()
        if not bool(((betas > 0) & (betas <= 1)).all()):
            raise ValueError("Every beta must be greater than 0 and at most 1.")
        return cls(torch.cumprod(1.0 - betas, dim=0), torch.arange(len(betas)), **fields)

    @classmethod
    def from_diffusers(cls, scheduler: Any) -> Schedule:
        """Return the schedule a diffusers scheduler was configured with.

        Takes its alpha_bars (after rescale_betas_zero_snr and the like), prediction_type, variance_type,
        timestep_spacing, steps_offset, set_alpha_to_one and clip_sample, but neither the number of inference steps, for
        which there is `respaced`, nor its step. Settings that its class does not know, such as those left by
        from_config from another class, are ignored.

        Raises:
            TypeError: if it does not have the betas of a diffusion.
            ValueError: if it predicts its variance, predicts something other than epsilon, v or the sample, limits x0
                other than to [-1, 1], or gives the network other levels than those of its betas.
        """
        betas, config = getattr(scheduler, "betas", None), getattr(scheduler, "config", None)
        table = getattr(scheduler, "alphas_cumprod", None)
        if betas is None or table is None or config is None:
            raise TypeError(
                f"{type(scheduler).__name__} has no betas of a diffusion; pass a DDPMScheduler or DDIMScheduler of "
                "diffusers."
            )
        settings = own_settings(scheduler)
        require_levels_of_betas(settings)
        require_plain_clipping(settings)
        kind, variance = settings.get("prediction_type", "epsilon"), settings.get("variance_type", "fixed_small")
        require_name("the scheduler's prediction_type", kind, ("epsilon", "sample", "v_prediction"))
        require_fixed_variance(variance)
        alpha_bars = torch.cumprod(1.0 - betas.double().cpu(), dim=0)
        if not torch.allclose(alpha_bars, table.double().cpu(), rtol=1e-3, atol=1e-6):
            # The table is in float32, so the betas are the better source, except where it was shifted afterwards.
            alpha_bars = table
        return cls(
            alpha_bars,
            torch.arange(len(alpha_bars)),
            prediction="v" if kind == "v_prediction" else kind,
            variance=variance.removesuffix("_log"),
            spacing=settings.get("timestep_spacing", "leading"),
            steps_offset=settings.get("steps_offset", 0),
            final_alpha_bar=1.0 if settings.get("set_alpha_to_one", True) else float(alpha_bars[0]),
            clip=bool(settings.get("clip_sample", True)),
        )

    def __len__(self) -> int:
        """Return the number of reverse steps."""
        return len(self.alpha_bars)

    @property
    def betas(self) -> Tensor:
        """``1 - alpha_bar_t / alpha_bar_{t-1}`` of the kept levels, (T,) float64."""
        return 1.0 - self.alpha_bars / self._alpha_bars_prev

    @property
    def variances(self) -> Tensor:
        """``Sigma_t`` of each reverse step, (T,) float64, floored at 1e-20."""
        small = self.betas * (1.0 - self._alpha_bars_prev) / (1.0 - self.alpha_bars)
        return (self.betas if self.variance == "fixed_large" else small).clamp(min=VARIANCE_FLOOR)

    @property
    def _alpha_bars_prev(self) -> Tensor:
        return torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bars[:-1]])

    def respaced(self, num_steps: int, spacing: Spacing | None = None, power: float = 1.0) -> Schedule:
        """Return the schedule that keeps ``num_steps`` of the levels; the network gets their old timesteps.

        The spacings are those of Lin et al. (2024), Table 2: "trailing" keeps the noisiest level, at which x_T is where
        sampling starts; "leading" keeps the cleanest but not the noisiest; "linspace" keeps both ends. Betas and
        variances follow from the kept alpha_bars (Nichol & Dhariwal 2021, equation 19).

        Args:
            num_steps: how many levels to keep, 1 .. T.
            spacing: by default the schedule's own.
            power: of "trailing", at least 1: it keeps the levels nearest to ``T (i / N)^power``, i = 1 .. N, so that
                above 1 the steps lie closer together at the clean end. At 2 that is the quadratic spacing of Song et
                al. (2021, Denoising diffusion implicit models), Appendix D.2, except at its ends.

        Raises:
            ValueError: if there are not that many levels, or the power is less than 1 or for another spacing.
        """
        total, spacing = len(self), spacing or self.spacing
        require_name("spacing", spacing, get_args(Spacing))
        if not isinstance(num_steps, SupportsIndex):
            raise TypeError(f"The number of steps is {num_steps!r}; give a whole number.")
        if not 1 <= num_steps <= total:
            raise ValueError(f"Cannot keep {num_steps} of the schedule's {total} steps; ask for 1 to {total}.")
        require_power(power, spacing)
        if spacing == "linspace":
            kept = np.linspace(0, total - 1, num_steps).round()
        elif spacing == "leading":
            kept = np.arange(num_steps, dtype=np.float64) * (total // num_steps) + self.steps_offset
        else:
            even = np.arange(total, 0, -total / num_steps)[:num_steps]
            kept = np.round(even if power == 1.0 else total * (even / total) ** power)[::-1] - 1
            # Where they lie closer together than the levels do, take the next free level.
            kept = np.maximum.accumulate(kept.clip(min=0) - np.arange(num_steps)) + np.arange(num_steps)
        if kept[-1] >= total:
            raise ValueError(f"steps_offset {self.steps_offset} leads past the last of {total} steps; keep fewer.")
        index = torch.from_numpy(kept.astype(np.int64))
        return replace(self, alpha_bars=self.alpha_bars[index], timesteps=self.timesteps[index], spacing=spacing)

    def zero_terminal_snr(self) -> Schedule:
        """Return the schedule moved so that nothing of the signal is left at the noisiest level.

        Lin et al. (2024), Algorithm 1: ``sqrt(alpha_bar)`` is shifted and scaled, the cleanest level stays. Networks
        that predict v or the sample end at exactly 0. Epsilon does not determine a clean image at 0, so for it the
        chain ends at alpha_bar = 1e-4, one percent of the signal's amplitude.
        """
        end = math.sqrt(EPSILON_TERMINAL_ALPHA_BAR) if self.prediction == "epsilon" else 0.0
        root = self.alpha_bars.sqrt()
        first, last = root[0], root[-1]
        moved = end + (root - last) * ((first - end) / (first - last))
        return replace(self, alpha_bars=moved.square())

    def transitions(self) -> Iterator[Transition]:
        """Yield the constants of the reverse steps, from the noisiest level to the clean image."""
        timesteps, alpha_bars, variances = self.timesteps.tolist(), self.alpha_bars.tolist(), self.variances.tolist()
        alpha_bars_prev = self._alpha_bars_prev.tolist()
        for i in reversed(range(len(self))):
            yield Transition(
                timesteps[i], alpha_bars[i], alpha_bars_prev[i], variances[i], i == 0, self.final_alpha_bar
            )

    def predict(self, output: Tensor, x_t: Tensor, alpha_bar: float, *, clip: bool | None = None) -> Prediction:
        """Return x0 and eps from the network's output at one level.

        Args:
            output: the network's, (B, C, H, W).
            x_t: its input, (B, C, H, W).
            alpha_bar: the level, a float within [0, 1); above 0 where the network predicts epsilon.
            clip: whether ``x0_hat`` is clamped to [-1, 1]; by default as the schedule says.
        """
        clip = self.clip if clip is None else clip
        a, b = math.sqrt(alpha_bar), math.sqrt(1.0 - alpha_bar)
        if self.prediction == "epsilon":
            x0, eps = (x_t - b * output) / a, output
        elif self.prediction == "v":
            x0, eps = a * x_t - b * output, a * output + b * x_t
        else:
            x0, eps = output, (x_t - a * output) / b
        return Prediction(x0, x0.clamp(-1.0, 1.0) if clip else x0, eps, clip)

    def alpha_bars_at(self, t: Tensor) -> Tensor:
        """Return alpha_bar (B, 1, 1, 1) float64 at the timesteps (B,) that the network gets.

        Raises:
            ValueError: if the schedule has no such timestep.
        """
        index = torch.searchsorted(self.timesteps, t.cpu()).clamp(max=len(self) - 1)
        if not torch.equal(self.timesteps[index], t.cpu().long()):
            raise ValueError("A timestep is none of the schedule's; take them from schedule.timesteps.")
        return self.alpha_bars[index].to(t.device).reshape(-1, 1, 1, 1)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return ``x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise`` (B, C, H, W) at the timesteps ``t`` (B,)."""
        # On the CPU: t may be there while the images are on a GPU, and it always has float64.
        alpha_bar = self.alpha_bars_at(t.cpu())
        return alpha_bar.sqrt().to(x0) * x0 + (1.0 - alpha_bar).sqrt().to(x0) * noise


def require_name(what: str, name: object, allowed: tuple[str | None, ...]) -> None:
    """Raise a ValueError that lists the allowed names unless ``name`` is one of them."""
    if name not in allowed:
        raise ValueError(f"{what} is {name!r}; choose one of {', '.join(map(repr, allowed))}.")


def require_power(power: float, spacing: str) -> None:
    """Raise a ValueError unless a power is at least 1, and exactly 1 for spacings other than "trailing"."""
    if not 1.0 <= power < math.inf:
        raise ValueError(f"power is {power}; it must be at least 1.")
    if power != 1.0 and spacing != "trailing":
        raise ValueError(f"power is {power}, and only the spacing 'trailing' has one; leave it out for {spacing!r}.")


def own_settings(scheduler: Any) -> dict[str, Any]:
    """Return the settings of a diffusers scheduler, without those that are unset or that another class left in it."""
    names = {name for kind in type(scheduler).__mro__ for name in inspect.signature(kind).parameters}
    return {name: value for name, value in scheduler.config.items() if name in names and value is not None}


def require_levels_of_betas(settings: Mapping[str, Any]) -> None:
    """Raise a ValueError if the scheduler gives its network other levels than those of its betas."""
    changes = [f"{name}=False" for name in OTHER_LEVELS if settings.get(name)]
    if settings.get("timestep_type", "discrete") != "discrete":
        changes.append("timestep_type='discrete'")
    if changes:
        raise ValueError(
            "The scheduler tells its network other levels than those of its betas; make it again with "
            f"{', '.join(changes)}."
        )


def require_plain_clipping(settings: Mapping[str, Any]) -> None:
    """Raise a ValueError if the scheduler limits x0 to anything but [-1, 1]."""
    changes = []
    if settings.get("thresholding"):
        changes.append("thresholding=False")
    if settings.get("clip_sample") and settings.get("clip_sample_range", 1.0) != 1.0:
        changes.append("clip_sample_range=1.0")
    if changes:
        raise ValueError(f"The scheduler limits x0 otherwise than to [-1, 1]; make it again with {', '.join(changes)}.")


def require_fixed_variance(variance: str) -> None:
    """Raise a ValueError unless the variance is one that the schedule can give."""
    if variance.removesuffix("_log") not in get_args(Variance):
        raise ValueError(
            f"The scheduler's variance_type is {variance!r}, and only fixed ones are supported; make it again with "
            "variance_type='fixed_small'."
        )
