"""The reverse chain, step by step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from nonrobust_guidance.devices import onto
from nonrobust_guidance.guidance.gradients import require_no_inference_weights
from nonrobust_guidance.guidance.method import Draws, Guidance, Move, StepContext
from nonrobust_guidance.guidance.stabilizers import StabilizerStep, stabilize
from nonrobust_guidance.guidance.trust import trust_bound, within_trust_region
from nonrobust_guidance.sampling.denoiser import Denoiser, image_shape, network_device, predict, same_device
from nonrobust_guidance.sampling.microbatches import Microbatch, Microbatched, microbatch_size
from nonrobust_guidance.sampling.noise import Noise, SampleNoise
from nonrobust_guidance.sampling.samplers import DDIM, SAMPLERS
from nonrobust_guidance.sampling.samplers.sampler import Sampler
from nonrobust_guidance.schedule import Schedule, Transition

UNGUIDED = Move()


@dataclass(frozen=True, eq=False)
class Step:
    """What one reverse step did; tensors are (B, C, H, W) unless said otherwise.

    Attributes:
        k: number of the step, 1 .. T; also that of its noise.
        t: timestep the network was told.
        x: state AFTER the step; after the last, the image.
        x0_hat: the denoiser's clean image for the state before the step, clamped; what "x0" guidance classifies.
        gradient: with respect to the state before the step, before the stabilizer; None where guidance did not act.
        stabilized: the gradient after the stabilizer; None where guidance did not act.
        skipped: (B,) bool, samples whose gradient was not finite and was replaced by zero.
        strength: how far guidance moves x along ``stabilized``, apart from a clamp of x0_hat and from the trust region:
            by ``strength * stabilized``. With "ddpm" it is ``scale Sigma_t``; 0 where guidance did not act, NaN for a
            method whose move is not linear in the gradient.
        shift: what guidance added to the state in this step, within its trust region: the difference from the same
            step without it; None where it did not act.
        noise_std: standard deviation of the noise that the step added.

    For a step that is made several times, x and the rest are those of the last time; ``skipped`` is set if any of them
    was skipped.
    """

    k: int
    t: int
    x: Tensor
    x0_hat: Tensor
    gradient: Tensor | None
    stabilized: Tensor | None
    skipped: Tensor
    strength: float = 0.0
    shift: Tensor | None = None
    noise_std: float = 0.0


def trajectory(
    denoiser: Denoiser,
    schedule: Schedule,
    num_samples: int,
    seed: int = 0,
    *,
    guidance: Guidance | None = None,
    sampler: str | Sampler = "ddpm",
    eta: float = 0.0,
    use_clipped_model_output: bool = False,
    shape: tuple[int, int, int] | None = None,
    noise: Noise | None = None,
    first_index: int = 0,
    clip: bool | None = None,
    microbatch: Microbatch = "auto",
    autocast: torch.dtype | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Iterator[Step]:
    """Yield the steps of the reverse chain, from noise to images, one batch of samples together.

    A step is computed only when it is asked for, and none is kept: memory does not grow with their number.

    Args:
        denoiser: a diffusers UNet2DModel or any callable (x_t, t) -> output of the schedule's prediction type, with
            x_t (B, C, H, W) and t (B,) int64.
        schedule: the levels, one reverse step each.
        num_samples: B.
        seed: 0 .. 2^64 - 1; determines all noise, with the sample's index and the step.
        guidance: what shifts the steps; None for unguided.
        sampler: `DDPM`, the ancestral step, `DDIM`, `DPMSolver` or one of your own; or "ddpm", "ddim", "dpmsolver".
        eta: of "ddim" by name, see `DDIM`.
        use_clipped_model_output: of "ddim" by name, see `DDIM`.
        shape: (C, H, W); left out, the model's own.
        noise: k -> (B, C, H, W), k = 0 for x_T and k = 1, 2, ... for the k-th step; left out, `SampleNoise`. A method
            that draws more calls it as described in `Noise`.
        first_index: index of the first sample, so that jobs may share the samples of one seed.
        clip: whether x0_hat and the final image are clamped to [-1, 1]; left out, as the schedule says.
        microbatch: how many images the networks see at a time, see `microbatch_size`. None runs all of them at once,
            which is faster for a few images on a CPU, but then their bits depend on the batch.
        autocast: dtype the denoiser runs in; the state and the classifier keep theirs. Where the classifier is certain,
            a gradient "x0" may underflow in torch.float16; torch.bfloat16 has float32's range.
        dtype: of the state, torch.float32 or torch.float64.
        device: where to sample; left out, where the denoiser is.

    Raises:
        ValueError: if an argument is out of its range, a shape or device does not fit, or a model is in training mode.
        NonFiniteGradientError: if a gradient is not finite and guidance says "raise".
    """
    size, place = image_shape(denoiser, shape), network_device(denoiser, device)
    require_runnable(schedule, num_samples, seed, first_index, dtype)
    if guidance is not None:
        require_guidable(guidance, denoiser, place)
    indices = range(first_index, first_index + num_samples)
    source: Noise = noise or SampleNoise(seed, indices, size)

    def draw(k: int, *use: str | int) -> Tensor:
        z = source(k, *use)
        if z.shape != (num_samples, *size):
            asked = ", ".join(map(repr, (k, *use)))
            raise ValueError(f"noise({asked}) is {tuple(z.shape)}; it must be {(num_samples, *size)}.")
        return onto(z.to(dtype=dtype), place)

    clip = schedule.clip if clip is None else clip
    rows = microbatch_size(microbatch, denoiser, num_samples, size, place)
    network = partial(predict, denoiser, schedule, clip=clip, autocast=autocast)
    models = Microbatched(network, guidance, num_samples, rows)
    return reverse_chain(models, schedule, as_sampler(sampler, eta, use_clipped_model_output), draw, indices, clip)


@torch.no_grad()
def reverse_chain(
    models: Microbatched, schedule: Schedule, sampler: Sampler, draw: Noise, indices: Sequence[int], clip: bool
) -> Iterator[Step]:
    """Yield the steps of a chain whose parts fit together; `trajectory` has checked that."""
    guidance = models.guidance
    x = draw(0)  # (B, C, H, W)
    solver = sampler.init(x)
    stabilizer = guidance.stabilizer.init(x) if guidance else None
    for k, transition in enumerate(schedule.transitions(), start=1):
        std = sampler.noise_std(transition)
        if guidance is None or not acts_in(guidance, sampler, transition, schedule):
            z = draw(k) if std > 0.0 else None
            prediction = models.predict(x, transition)
            along = guidance.base(prediction, x, transition) if guidance else prediction
            solver, x = sampler.step(solver, x, along, transition, z, UNGUIDED)
            none_skipped = torch.zeros(len(x), dtype=torch.bool, device=x.device)
            x = x.clamp(-1.0, 1.0) if clip and transition.last else x
            yield Step(k, transition.t, x, prediction.x0_hat, None, None, none_skipped, noise_std=std)
            continue
        # A step may be made several times: noise undoes each but the last, and only the last is kept in the state.
        skipped = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for r in range(1, guidance.recurrences + 1):
            if r > 1:
                x = renoise(x, draw(k, "renoise", r - 1), transition)
            z = (draw(k) if r == 1 else draw(k, "step", r)) if std > 0.0 else None
            step = context_of(sampler, transition, schedule, z)
            climb = models.evaluate(x, step, draws_for(guidance, draw, k, r))
            climb, wrong = guidance.require_finite(climb, x, k, transition.t, indices)
            skipped = skipped | wrong
            strength = getattr(guidance, guidance.strength_field) * guidance.reach(step)
            seen = StabilizerStep(transition.noise_level, std, strength)
            stabilizer, stabilized = stabilize(guidance.stabilizer, stabilizer, climb.gradient, seen)
            move = guidance.move(climb, stabilized, step)
            along = guidance.base(climb.prediction, x, transition)
            after, guided = sampler.step(solver, x, along, transition, z, move)
            guided = guided if move.x is None else guided + move.x
            _, unguided = sampler.step(solver, x, along, transition, z, UNGUIDED)
            if guidance.trust_radius is not None:
                bound = trust_bound(guidance.trust_radius, sampler.reference_std(transition), len(schedule))
                guided = within_trust_region(guided, unguided, bound)
            x = guided
        solver, shift = after, guided - unguided
        x = x.clamp(-1.0, 1.0) if clip and transition.last else x
        x0_hat = climb.prediction.x0_hat
        yield Step(k, transition.t, x, x0_hat, climb.gradient, stabilized, skipped, strength, shift, std)


def acts_in(guidance: Guidance, sampler: Sampler, transition: Transition, schedule: Schedule) -> bool:
    """Return whether guidance acts in a step: within its interval, and where it can move x."""
    reach = guidance.reach(context_of(sampler, transition, schedule))
    return guidance.acts_at(transition.noise_level) and reach != 0.0


def context_of(
    sampler: Sampler, transition: Transition, schedule: Schedule | None = None, z: Tensor | None = None
) -> StepContext:
    """Return a step as guidance sees it."""
    weights = sampler.score_weight(transition), sampler.x0_weight(transition)
    return StepContext(transition, schedule, *weights, sampler.noise_std(transition), z)


def draws_for(guidance: Guidance, draw: Noise, k: int, r: int) -> Draws:
    """Return the noise that a method and its classifier ask for in recurrence r of step k."""
    augment = getattr(guidance.classifier, "num_noise_draws", 0)
    return Draws(
        [draw(k, "smooth", r, m) for m in range(1, guidance.num_smooth_draws + 1)],
        [draw(k, "augment", r, m) for m in range(1, augment + 1)],
    )


def renoise(x: Tensor, z: Tensor, transition: Transition) -> Tensor:
    """Return ``x`` (B, C, H, W), where a step has ended, brought back by noise to the level where it began."""
    kept = transition.alpha_bar / transition.alpha_bar_prev
    return math.sqrt(kept) * x + math.sqrt(1.0 - kept) * z


def as_sampler(sampler: str | Sampler, eta: float, use_clipped_model_output: bool) -> Sampler:
    """Return the sampler, or the one of this name.

    Raises:
        ValueError: if the name is unknown, or what belongs to "ddim" is out of range or given to another sampler.
    """
    if sampler == "ddim":
        return DDIM(eta, use_clipped_model_output)
    if eta != 0.0:
        raise ValueError("eta belongs to the sampler 'ddim', or to DDIM(eta=...); leave it out here.")
    if use_clipped_model_output:
        raise ValueError("use_clipped_model_output belongs to the sampler 'ddim', or to DDIM; leave it out here.")
    if isinstance(sampler, str):
        if sampler not in SAMPLERS:
            names = ", ".join(map(repr, SAMPLERS))
            raise ValueError(f"sampler is {sampler!r}; choose {names}, or a value such as DDIM(eta=1.0).")
        return SAMPLERS[sampler]()
    return sampler


def require_guidable(guidance: Guidance, denoiser: Denoiser, place: torch.device) -> None:
    """Raise a ValueError unless gradients can run through the models, and the classifier is where the samples are."""
    require_no_inference_weights("classifier", guidance.classifier)
    if guidance.through_network:
        require_no_inference_weights("denoiser", denoiser)
    if isinstance(guidance.classifier, nn.Module):
        same_device("classifier", guidance.classifier, place)


def require_runnable(schedule: Schedule, num_samples: int, seed: int, first_index: int, dtype: torch.dtype) -> None:
    """Raise a ValueError unless the chain can start."""
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; ask for at least one.")
    if min(seed, first_index) < 0 or max(seed, first_index + num_samples - 1) >= 2**64:
        raise ValueError(f"seed {seed} and first_index {first_index} must be at least 0 and less than 2^64.")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype is {dtype}; the state is torch.float32 or torch.float64, autocast is for the network.")
    if schedule.prediction == "epsilon" and float(schedule.alpha_bars[-1]) == 0.0:
        raise ValueError(
            "The schedule starts at alpha_bar = 0, where a predicted epsilon says nothing of the clean image; use a "
            "network that predicts v, or a schedule that ends above 0."
        )
