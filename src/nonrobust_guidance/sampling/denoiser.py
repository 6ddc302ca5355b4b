"""What counts as a denoiser, and how it is run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nonrobust_guidance.models.logits import in_training_mode, weights_dtype
from nonrobust_guidance.schedule import Prediction, Schedule, Transition

Denoiser = Callable[[Tensor, Tensor], Any]
"""A diffusers UNet2DModel, or any callable from x_t (B, C, H, W) and t (B,) int64 to an output like x_t."""


def predict(
    denoiser: Denoiser,
    schedule: Schedule,
    x_t: Tensor,
    transition: Transition,
    *,
    clip: bool | None = None,
    autocast: torch.dtype | None = None,
) -> Prediction:
    """Run the denoiser once and return what it predicts, in the dtype of ``x_t``.

    A network that predicts its variance too has twice the channels; the variance is left out, and the schedule's used.

    Raises:
        ValueError: if the output is not shaped like ``x_t``, or carries no gradient where ``x_t`` does.
    """
    t = torch.full((len(x_t),), transition.t, device=x_t.device)
    precision = torch.autocast(x_t.device.type, autocast) if autocast else contextlib.nullcontext()
    with precision:
        output = denoiser(model_input(denoiser, x_t), t)
    output = getattr(output, "sample", output)
    if isinstance(output, Tensor) and output.shape[1:2] == (2 * x_t.shape[1],):
        output = output[:, : x_t.shape[1]]  # its second half predicts a variance (Nichol & Dhariwal 2021)
    if not isinstance(output, Tensor) or output.shape != x_t.shape:
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"The denoiser returned {found} for x_t {tuple(x_t.shape)}; it must return the same shape.")
    if x_t.requires_grad and not output.requires_grad:
        raise ValueError(
            "The denoiser's output carries no gradient, so guidance cannot run back through it; leave out its no_grad, "
            "or guide at 'x0_detached'."
        )
    return schedule.predict(output.to(x_t.dtype).contiguous(), x_t, transition.alpha_bar, clip=clip)


def model_input(denoiser: Denoiser, x_t: Tensor) -> Tensor:
    """Return ``x_t`` as the denoiser takes it best: a module in its own dtype, one of diffusers channels last on a CPU.

    Channels last is a tenth to a quarter faster there; other models may use view(), which fails on it, or work in
    place, and so get a copy.
    """
    if not isinstance(denoiser, nn.Module) or not hasattr(denoiser, "config"):
        return x_t.to(weights_dtype(denoiser, x_t.dtype)).clone(memory_format=torch.contiguous_format)
    layout = torch.channels_last if x_t.device.type == "cpu" else torch.preserve_format
    return x_t.to(getattr(denoiser, "dtype", x_t.dtype), memory_format=layout)


def image_shape(denoiser: Denoiser, shape: tuple[int, int, int] | None) -> tuple[int, ...]:
    """Return (C, H, W) as given, or from a diffusers model's configuration.

    Raises:
        ValueError: if it is neither given nor known to the denoiser, or is not three positive numbers.
    """
    if shape is None:
        config = getattr(denoiser, "config", None)
        size, channels = getattr(config, "sample_size", None), getattr(config, "in_channels", None)
        if size is None or channels is None:
            raise ValueError("The denoiser does not say what images it makes; pass shape=(C, H, W).")
        return (channels, size, size) if isinstance(size, int) else (channels, *size)
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape is {tuple(shape)}; give (C, H, W), three positive numbers.")
    return tuple(shape)


def network_device(denoiser: Denoiser, device: torch.device | str | None) -> torch.device:
    """Return the device as given, or the one the denoiser's weights are on, or the CPU.

    Raises:
        ValueError: if the denoiser is in training mode, or on another device than the given one.
    """
    if not isinstance(denoiser, nn.Module):
        return torch.device(device or "cpu")
    if in_training_mode(denoiser):
        raise ValueError("The denoiser is in training mode; call its eval() first.")
    return same_device("denoiser", denoiser, device)


def same_device(what: str, module: nn.Module, device: torch.device | str | None) -> torch.device:
    """Return the device on which the module runs, which must be the given one.

    Raises:
        ValueError: if it runs elsewhere.
    """
    place = running_device(module)
    if place is None:
        return torch.device(device or "cpu")
    # "cuda" is the current card and "cuda:0" a particular one, so a missing index matches any.
    wanted = torch.device(device) if device is not None else place
    if wanted.type != place.type or len({wanted.index, place.index} - {None}) > 1:
        raise ValueError(f"The {what} is on {place} and the samples on {wanted}; move it there first.")
    return place


def running_device(module: nn.Module) -> torch.device | None:
    """Return where a module computes: the device of its weights, or the one to which accelerate moves them for it."""
    for part in module.modules():
        device = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    weight = next(module.parameters(), None)
    return None if weight is None else weight.device
