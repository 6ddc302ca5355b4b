"""The reverse chain, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from nonrobust_guidance.guidance.classifier import ClassifierGuidance
from nonrobust_guidance.guidance.gradients import require_no_inference_weights
from nonrobust_guidance.sampling.denoiser import Denoiser, image_shape, network_device, predict, same_device
from nonrobust_guidance.sampling.microbatches import Microbatch, Microbatched, microbatch_size
from nonrobust_guidance.sampling.noise import SampleNoise
from nonrobust_guidance.sampling.steps import Sampler, make_sampler
from nonrobust_guidance.schedule import Schedule

Noise = Callable[[int], Tensor]


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
        strength: how far guidance moved x along ``stabilized``: it added ``strength * stabilized``, with "ddpm"
            ``scale Sigma_t`` times it, with "ddim" apart from the clamp of x0_hat; 0 where it did not act.
    """

    k: int
    t: int
    x: Tensor
    x0_hat: Tensor
    gradient: Tensor | None
    stabilized: Tensor | None
    skipped: Tensor
    strength: float = 0.0


def trajectory(
    denoiser: Denoiser,
    schedule: Schedule,
    num_samples: int,
    seed: int = 0,
    *,
    guidance: ClassifierGuidance | None = None,
    sampler: str = "ddpm",
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

    Nothing is computed before it is asked for, and no step is kept: memory does not grow with their number.

    Args:
        denoiser: a diffusers UNet2DModel or any callable (x_t, t) -> output of the schedule's prediction type, with
            x_t (B, C, H, W) and t (B,) int64.
        schedule: the levels, one reverse step each.
        num_samples: B.
        seed: 0 .. 2^64 - 1; with the sample's index and the step it determines all noise.
        guidance: what shifts the steps; None for unguided.
        sampler: "ddpm", the ancestral step, or "ddim".
        eta: noise of "ddim", within [0, 1].
        use_clipped_model_output: whether "ddim" steps along the eps that goes with the clamped x0_hat, and not along
            the network's; without clamping they are the same.
        shape: (C, H, W); left out, the model's own.
        noise: k -> (B, C, H, W), k = 0 for x_T and k = 1, 2, ... for the k-th step; left out, `SampleNoise`.
        first_index: index of the first sample, so that jobs may share the samples of one seed.
        clip: whether x0_hat and the final image are clamped to [-1, 1]; left out, as the schedule says.
        microbatch: how many images the networks see at a time, see `microbatch_size`. None, all of them, is faster for
            a few images on a CPU, but then their bits depend on the batch.
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
    source = noise or SampleNoise(seed, indices, size)

    def draw(k: int) -> Tensor:
        z = source(k)
        if z.shape != (num_samples, *size):
            raise ValueError(f"noise({k}) is {tuple(z.shape)}; it must be {(num_samples, *size)}.")
        return z.to(place, dtype)

    clip = schedule.clip if clip is None else clip
    rows = microbatch_size(microbatch, denoiser, num_samples, size, place)
    network = partial(predict, denoiser, schedule, clip=clip, autocast=autocast)
    models = Microbatched(network, guidance, num_samples, rows)
    step = make_sampler(sampler, schedule, eta, clip, use_clipped_model_output)
    return reverse_chain(models, schedule, step, draw, indices, clip)


@torch.no_grad()
def reverse_chain(
    models: Microbatched, schedule: Schedule, sampler: Sampler, draw: Noise, indices: Sequence[int], clip: bool
) -> Iterator[Step]:
    """Yield the steps of a chain whose parts fit together; `trajectory` sees to that."""
    guidance = models.guidance
    x = draw(0)  # (B, C, H, W)
    state = guidance.stabilizer.init(x) if guidance else None
    for k, transition in enumerate(schedule.transitions(), start=1):
        z = draw(k) if sampler.noise_std(transition) > 0.0 else None
        gradient = stabilized = shift = None
        strength = 0.0
        skipped = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        if guidance and guidance.acts_at(transition.noise_level) and sampler.can_shift(transition):
            prediction, gradient = models.predict_and_differentiate(x, transition)
            seen = x if guidance.at == "xt" else prediction.x0_hat
            gradient, skipped = guidance.require_finite(gradient, k, transition.t, indices, seen)
            state, stabilized = guidance.stabilizer.update(state, gradient)
            shift = guidance.scale * stabilized
            strength = guidance.scale * sampler.shift_weight(transition)
        else:
            prediction = models.predict(x, transition)
        x = sampler.step(x, prediction, transition, z, shift)
        x = x.clamp(-1.0, 1.0) if clip and transition.last else x
        yield Step(k, transition.t, x, prediction.x0_hat, gradient, stabilized, skipped, strength)


def require_guidable(guidance: ClassifierGuidance, denoiser: Denoiser, place: torch.device) -> None:
    """Raise a ValueError unless gradients can run through the models, and the classifier is where the samples are."""
    require_no_inference_weights("classifier", guidance.classifier)
    if guidance.at == "x0":
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
