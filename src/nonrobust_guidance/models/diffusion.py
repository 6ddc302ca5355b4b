"""The unconditional diffusion model: a diffusers U-Net that predicts the noise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor, nn
from torch.nn import functional as F

from nonrobust_guidance.data import load_split
from nonrobust_guidance.devices import choose_device
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import naming
from nonrobust_guidance.models.images import add_noise, to_unit_range
from nonrobust_guidance.models.origins import TrainedDiffusion
from nonrobust_guidance.models.resuming import clear_state
from nonrobust_guidance.models.settings import UNet
from nonrobust_guidance.models.training import HISTORY_FILE, seeded, train, write_history
from nonrobust_guidance.records.trainings import identify, is_trained, write_checkpoint_card
from nonrobust_guidance.schedule import Schedule

CHECKPOINT_FILES = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
)


def build_unet(settings: UNet, image_size: int, seed: int) -> UNet2DModel:
    """Return an untrained U-Net for RGB images (B, 3, image_size, image_size), its weights drawn from the seed.

    Args:
        settings: the section ``unet``.
        image_size: height and width, a multiple of two to the number of levels less one.
        seed: of the initial weights.
    """
    channels = settings.block_out_channels
    attention = [level in settings.attention_levels for level in range(len(channels))]
    with seeded(seed):
        return UNet2DModel(
            sample_size=image_size,
            in_channels=3,
            out_channels=3,
            block_out_channels=channels,
            layers_per_block=settings.layers_per_block,
            attention_head_dim=settings.attention_head_dim,
            norm_num_groups=settings.norm_num_groups,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
        )


class NoisePrediction:
    """Mean squared error of the predicted noise at uniformly drawn steps (Ho et al. 2020, eq. 14)."""

    def __init__(self, model: UNet2DModel, images: np.ndarray, schedule: Schedule) -> None:
        """Take the model, uint8 images (N, H, W, 3) and the schedule that noises them."""
        self.model, self.images, self.num_examples = model, images, len(images)
        self.alpha_bar = torch.as_tensor(schedule.alpha_bars)

    def batch(self, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Return x_t and eps, both (B, C, H, W), and t (B,)."""
        x_0 = to_unit_range(self.images[indices])
        t = torch.randint(len(self.alpha_bar), (len(x_0),), generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        return add_noise(x_0, eps, self.alpha_bar[t]), eps, t

    def losses(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """Return the mean squared error of each example's predicted noise, (B,)."""
        x_t, eps, t = batch
        return F.mse_loss(model(x_t, t).sample.float(), eps, reduction="none").mean((1, 2, 3))


def train_diffusion(
    settings: TrainedDiffusion, data_folder: Path, output_folder: Path, *, device: str = "auto", replace: bool = False
) -> None:
    """Train the U-Net on the data's training split and save it as a diffusers folder.

    Nothing is done if the folder already holds the result of this very training, unless it is to be replaced.

    Args:
        settings: the section ``diffusion``, without a source.
        data_folder: the prepared data set.
        output_folder: of the checkpoint.
        device: as `choose_device` takes it.
        replace: whether another training there may be replaced.

    Raises:
        UserError: if the data are missing or not what their manifest says, or the folder holds another training.
    """
    manifest = data_folder / "manifest.json"
    if is_trained(output_folder, settings, manifest, replace=replace):
        return
    images = load_split(data_folder, "train").images
    unet = build_unet(settings.unet, images.shape[1], settings.training.seed)
    scheduler = DDPMScheduler(
        num_train_timesteps=settings.schedule.num_steps,
        beta_start=settings.schedule.beta_start,
        beta_end=settings.schedule.beta_end,
        timestep_spacing="trailing",
        variance_type="fixed_small",
        clip_sample=True,
    )
    objective = NoisePrediction(unet, images, Schedule.from_diffusers(scheduler))
    trained_on = choose_device(device, exact=False)
    history = train(
        objective,
        settings.training,
        output_folder,
        f"train {settings.name}",
        device=trained_on,
        training=identify(settings, manifest),
    )
    if not PartialState().is_main_process:
        return
    save_diffusion(unet, scheduler, output_folder)
    write_history(output_folder / HISTORY_FILE, history)
    made = [*CHECKPOINT_FILES, HISTORY_FILE]
    write_checkpoint_card(output_folder, settings, settings.training.seed, history, manifest, made, trained_on.type)
    clear_state(output_folder)


def save_diffusion(unet: UNet2DModel, scheduler: DDPMScheduler, folder: Path) -> None:
    """Write ``unet/``, ``scheduler/`` and ``model_index.json`` into the folder, each file complete or absent.

    Raises:
        UserError: if the disk is full or not writable.
    """
    temporary = folder / ".saving"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with naming(folder):
            DDPMPipeline(unet.cpu(), scheduler).save_pretrained(temporary)
            for file in sorted(path for path in temporary.rglob("*") if path.is_file()):
                target = folder / file.relative_to(temporary)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_diffusion(folder: Path, device: torch.device | str = "cpu") -> tuple[UNet2DModel, Schedule]:
    """Read a diffusers folder: the U-Net, in evaluation mode and without gradients, and its schedule.

    Raises:
        UserError: if a file is missing, truncated or of another kind.
    """
    for part in ("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"):
        if not (folder / part).is_file():
            raise UserError(f"{folder / part} is missing: {folder} is no complete diffusers folder; train or fetch it")
    unet = read_unet(folder / "unet")
    try:
        scheduler = DDPMScheduler.from_config(json.loads((folder / "scheduler/scheduler_config.json").read_text()))
        schedule = Schedule.from_diffusers(scheduler)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} cannot be read as a diffusers folder ({_first_line(error)}); make it again"
        ) from error
    return unet.to(device), schedule


def read_unet(folder: Path, origin: Path | None = None) -> UNet2DModel:
    """Read ``config.json`` and ``diffusion_pytorch_model.safetensors``: a U-Net in evaluation mode, without gradients.

    Args:
        folder: that holds them.
        origin: where they came from, for messages.

    Raises:
        UserError: if a file is truncated or of another kind.
    """
    try:
        unet, report = UNet2DModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        if report["missing_keys"] or report["unexpected_keys"]:
            # diffusers itself only warns, and continues with random weights.
            raise ValueError("the weights are another network's")
    except Exception as error:
        # diffusers does not check configurations: a wrong one may raise any error.
        raise UserError(
            f"{origin or folder} cannot be read as a U-Net of diffusers ({_first_line(error)}); make or fetch it again"
        ) from error
    return unet.eval().requires_grad_(False)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
