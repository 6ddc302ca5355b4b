"""Guided sampling as a diffusers pipeline."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiffusionPipeline,
    ImagePipelineOutput,
    UNet2DModel,
)
from torch import Tensor

from nonrobust_guidance.guidance.method import Guidance
from nonrobust_guidance.sampling.denoiser import image_shape
from nonrobust_guidance.sampling.microbatches import Microbatch
from nonrobust_guidance.sampling.noise import Noise, SampleNoise
from nonrobust_guidance.sampling.samplers.sampler import Sampler
from nonrobust_guidance.sampling.trajectory import as_sampler, trajectory
from nonrobust_guidance.schedule import Schedule, require_name

# The order where the second argument is a whole number, which cannot be a generator.
STEPS_SECOND = ("batch_size", "num_inference_steps", "guidance", "seed")


def placed_as_in_diffusers(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a pipeline's call whose positional arguments come in the order that its scheduler's own pipeline has."""

    @functools.wraps(call)
    def named(self: DiffusionPipeline, *arguments: Any, **options: Any) -> Any:
        theirs = DDIMPipeline if isinstance(self.scheduler, DDIMScheduler) else DDPMPipeline
        _, *names = inspect.signature(theirs.__call__).parameters
        if len(arguments) > 1 and isinstance(arguments[1], int):
            names = list(STEPS_SECOND)
        if len(arguments) > len(names):
            raise TypeError(f"{len(arguments)} arguments are too many; name those after {', '.join(names)}.")
        placed = dict(zip(names, arguments, strict=False))
        twice = ", ".join(placed.keys() & options.keys())
        if twice:
            raise TypeError(f"{twice} is given twice, by place and by name; the order is {', '.join(names)}.")
        return call(self, **placed, **options)

    return named


class GuidedPipeline(DiffusionPipeline):
    """Unconditional diffusion, guided by a classifier; reads what DDPMPipeline and DDIMPipeline save.

    The scheduler's configuration decides on the schedule and on what the U-Net predicts, and its class, DDPMScheduler
    or DDIMScheduler, on the sampler. Its own step is not used; unguided, the images are those it gives on the same
    noise, except where diffusers' step does not end at the level where the next one begins, or adds noise to the final
    image:

    - DDIM with "linspace", or with a number of steps that does not divide the training steps: theirs ends a step at
      ``t - T // num_inference_steps``, which need not be one of the kept levels; ours ends where the next begins.
    - DDPM with "fixed_large" whose last timestep is not 0, as with "trailing": theirs adds noise to the image.

    A generator gives other noise than in diffusers, so that an image does not depend on the others; see the call.
    """

    model_cpu_offload_seq = "unet"

    def __init__(self, unet: UNet2DModel, scheduler: DDPMScheduler | DDIMScheduler) -> None:
        """Take the parts of the pipeline."""
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @placed_as_in_diffusers
    def __call__(
        self,
        batch_size: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        eta: float = 0.0,
        num_inference_steps: int | None = None,
        use_clipped_model_output: bool | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        *,
        guidance: Guidance | None = None,
        sampler: Sampler | None = None,
        seed: int = 0,
        microbatch: Microbatch = None,
        **options: Any,
    ) -> ImagePipelineOutput | tuple:
        """Return images.

        With a DDIMScheduler positional arguments come in the order above, DDIMPipeline's. With a DDPMScheduler it is
        DDPMPipeline's: batch_size, generator, num_inference_steps, output_type, return_dict. A whole number in the
        second place is num_inference_steps; guidance and seed may follow it.

        Args:
            batch_size: how many.
            generator: draws the seed, so that successive calls give different images, and a generator in the same state
                gives the same ones. Image i then has the noise of (seed, i). A list has one for each image, whose noise
                is that of (its generator's seed, 0), whatever the others are.
            eta: noise of DDIM, within [0, 1].
            num_inference_steps: how many of the training steps are kept, as the scheduler spaces them; by default all.
                DDPMPipeline's default is 1000, DDIMPipeline's 50.
            use_clipped_model_output: whether DDIM steps along the eps of the clamped x0_hat; None is False.
            output_type: "pil", "np" (B, H, W, C) in [0, 1], "pt" (B, C, H, W) in [0, 1]; None is "np".
            return_dict: whether the images come as ``.images`` or in a tuple.
            guidance: toward which class, and how; None for unguided.
            sampler: in place of the scheduler's, such as DPMSolver(); the levels are the scheduler's in any case.
            seed: determines all noise, with an image's index and the step, where no generator is given.
            microbatch: None runs the networks on the whole batch, the fastest for a few images; with "auto", which
                `sample` does, the bits of an image do not depend on how many are drawn with it.
            **options: of `trajectory`: noise, first_index, clip, autocast, dtype.

        Raises:
            TypeError: if an argument is of another type, or given twice.
            ValueError: if an argument is out of its range, or the scheduler's configuration is not supported.
            NonFiniteGradientError: if a gradient is not finite and guidance says "raise".
        """
        require_name("output_type", output_type, ("pil", "np", "pt", None))
        schedule = Schedule.from_diffusers(self.scheduler)
        own = sampler_of(self.scheduler, schedule, eta, bool(use_clipped_model_output))
        schedule = schedule if num_inference_steps is None else schedule.respaced(num_inference_steps)
        if isinstance(generator, list | tuple):
            source = noise_of_each(generator, batch_size, image_shape(self.unet, None), options.get("first_index", 0))
            options.setdefault("noise", source)
        elif generator is not None:
            seed = seed_from(generator)
        steps = trajectory(
            self.unet,
            schedule,
            batch_size,
            seed,
            guidance=guidance,
            sampler=own if sampler is None else sampler,
            microbatch=microbatch,
            device=self._execution_device,
            **options,
        )
        with self.progress_bar(total=len(schedule)) as bar:
            for step in steps:
                x = step.x
                bar.update()
        self.maybe_free_model_hooks()
        images: Any = (x / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.cpu().permute(0, 2, 3, 1).numpy()
        if output_type == "pil":
            images = self.numpy_to_pil(images)
        return ImagePipelineOutput(images=images) if return_dict else (images,)


def sampler_of(scheduler: Any, schedule: Schedule, eta: float, use_clipped_model_output: bool) -> Sampler:
    """Return the sampler that a diffusers scheduler, whose schedule this is, stands for.

    Raises:
        ValueError: if it is neither DDPM nor DDIM, or eta or use_clipped_model_output are given to DDPM.
    """
    for kind, name in ((DDPMScheduler, "ddpm"), (DDIMScheduler, "ddim")):
        if isinstance(scheduler, kind):
            return as_sampler(name, eta, use_clipped_model_output)
    # A schedule from from_config lacks what the scheduler's class changed, such as another default or shifted levels.
    table = DDPMScheduler.from_config(scheduler.config).alphas_cumprod.double()
    same = len(table) == len(schedule) and torch.allclose(table, schedule.alpha_bars, rtol=1e-3, atol=1e-6)
    betas = "" if same else ", trained_betas=ng.Schedule.from_diffusers(pipe.scheduler).betas.tolist()"
    raise ValueError(
        f"{type(scheduler).__name__} is not supported; set pipe.scheduler to "
        f"DDPMScheduler.from_config(pipe.scheduler.config{betas}), or to DDIMScheduler's."
    )


def noise_of_each(generators: Sequence[torch.Generator], batch_size: int, shape: tuple[int, ...], index: int) -> Noise:
    """Return the noise k -> (B, C, H, W) of images that have a generator each: sample ``index`` of each one's seed.

    Raises:
        TypeError: if one is no generator.
        ValueError: if there are not as many generators as images.
    """
    if len(generators) != batch_size:
        raise ValueError(f"There are {len(generators)} generators for {batch_size} images; give one for each.")
    sources = [SampleNoise(seed_from(generator), [index], shape) for generator in generators]

    def noise(k: int, *use: Any) -> Tensor:
        return torch.cat([source(k, *use) for source in sources])

    return noise


def seed_from(generator: object) -> int:
    """Return the seed that a generator draws, 0 .. 2^63 - 2.

    Raises:
        TypeError: if it is no generator.
    """
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator is {generator!r}; give a torch.Generator, or a list with one for each image.")
    return int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
