"""Guided sampling as a diffusers pipeline."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DiffusionPipeline, ImagePipelineOutput, UNet2DModel

from nonrobust_guidance.guidance.classifier import ClassifierGuidance
from nonrobust_guidance.sampling.microbatches import Microbatch
from nonrobust_guidance.sampling.trajectory import trajectory
from nonrobust_guidance.schedule import Schedule, require_name


class GuidedPipeline(DiffusionPipeline):
    """Unconditional diffusion, guided by a classifier; reads what DDPMPipeline and DDIMPipeline save.

    The scheduler's configuration decides on the schedule and on what the U-Net predicts, and its class, DDPMScheduler
    or DDIMScheduler, on the sampler. Its own step is not used; unguided, the images are those it gives on the same
    noise.
    """

    model_cpu_offload_seq = "unet"

    def __init__(self, unet: UNet2DModel, scheduler: DDPMScheduler | DDIMScheduler) -> None:
        """Take the parts of the pipeline."""
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int | None = None,
        guidance: ClassifierGuidance | None = None,
        seed: int = 0,
        generator: torch.Generator | None = None,
        eta: float = 0.0,
        output_type: str = "pil",
        return_dict: bool = True,
        microbatch: Microbatch = None,
        **options: Any,
    ) -> ImagePipelineOutput | tuple:
        """Return images.

        Args:
            batch_size: how many.
            num_inference_steps: how many of the training steps are kept, as the scheduler spaces them; left out, all.
            guidance: toward which class, and how; None for unguided.
            seed: with an image's index and the step it determines all noise.
            generator: draws the seed, so that calls one after the other give other images.
            eta: noise of DDIM, within [0, 1].
            output_type: "pil", "np" (B, H, W, C) in [0, 1], or "pt" (B, C, H, W) in [0, 1].
            return_dict: whether the images come as ``.images`` or in a tuple.
            microbatch: None runs the networks on the whole batch, the fastest for a few images; with "auto", which
                `sample` does, the bits of an image do not depend on how many are drawn with it.
            **options: of `trajectory`: noise, first_index, autocast, dtype.

        Raises:
            ValueError: if an argument is out of its range, or the scheduler's configuration is not supported.
            NonFiniteGradientError: if a gradient is not finite and guidance says "raise".
        """
        require_name("output_type", output_type, ("pil", "np", "pt"))
        schedule = Schedule.from_diffusers(self.scheduler)
        schedule = schedule if num_inference_steps is None else schedule.respaced(num_inference_steps)
        if generator is not None:
            seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
        steps = trajectory(
            self.unet,
            schedule,
            batch_size,
            seed,
            guidance=guidance,
            sampler=sampler_of(self.scheduler),
            eta=eta,
            clip=clips(self.scheduler.config),
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


def sampler_of(scheduler: Any) -> str:
    """Return the sampler that a diffusers scheduler stands for.

    Raises:
        ValueError: if it is neither DDPM nor DDIM.
    """
    for kind, name in ((DDPMScheduler, "ddpm"), (DDIMScheduler, "ddim")):
        if isinstance(scheduler, kind):
            return name
    raise ValueError(
        f"{type(scheduler).__name__} is not supported; set pipe.scheduler to "
        "DDPMScheduler.from_config(pipe.scheduler.config), or to DDIMScheduler's."
    )


def clips(config: Any) -> bool:
    """Return whether x0_hat is clamped to [-1, 1] under a scheduler's configuration.

    Raises:
        ValueError: if it is limited in another way.
    """
    if config.get("thresholding", False) or (config.clip_sample and config.get("clip_sample_range", 1.0) != 1.0):
        raise ValueError(
            "The scheduler limits x0 otherwise than to [-1, 1]; turn thresholding and clip_sample_range off."
        )
    return bool(config.clip_sample)
