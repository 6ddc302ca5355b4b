"""Classifiers from published weights: only safetensors, because a pickle may run code."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models


def load_torchvision_classifier(path: str | Path, architecture: str = "mobilenet_v3_small") -> nn.Module:
    """Return a torchvision classifier with the weights of a safetensors file, in eval mode and without gradients.

    The names in the file are torchvision's own, perhaps with a prefix that wrappers put before all of them:
    ``classifier.`` in the checkpoints that Vaeth et al. (2025) publish, ``module.`` of DataParallel, ``_orig_mod.`` of
    torch.compile. How many logits it has is read from the file; numbers of another precision become float32.

    Args:
        path: the file, ``.safetensors``.
        architecture: torchvision's name of the model.

    Returns:
        A module from images (B, 3, H, W), normalized as it was trained, to logits (B, K); see `preprocess`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a safetensors file, does not hold the weights of this architecture, or has numbers that
            are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; fetch the weights first.")
    if architecture not in models.list_models(module=models):
        raise ValueError(
            f"{architecture!r} is no classification model of torchvision; see torchvision.models.list_models."
        )
    weights = as_float32(without_prefix(read_safetensors(path)), path)
    model = models.get_model(architecture, weights=None, num_classes=count_logits(path, architecture, weights))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ValueError(f"{path} does not hold the weights of {architecture}: {first}") from error
    return model.eval().requires_grad_(False)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        ValueError: if it is not a safetensors file.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as safetensors ({error}); convert or fetch it again.") from error


def without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under their names, without the prefix of modules that contain all of them.

    No network here is contained in one module as a whole, so such modules are wrappers: ``module.``, ``_orig_mod.``,
    ``model.``, ``ema_model.``, ``classifier.``, or several of them.
    """
    while len(weights) > 1 and all("." in name for name in weights):
        if len({name.partition(".")[0] for name in weights}) > 1:
            break
        weights = {name.partition(".")[2]: tensor for name, tensor in weights.items()}
    return weights


def as_float32(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return tensors with all real numbers in float32; counts stay int64.

    Args:
        weights: of whatever precision, by name.
        path: the file they are from, for messages.

    Raises:
        ValueError: if some are quantized, or not finite.
    """
    converted = {}
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            converted[name] = tensor.float()
            if not converted[name].isfinite().all():
                raise ValueError(f"{path} has a {name} with numbers that are not finite; use other weights.")
        elif tensor.dtype == torch.int64:
            converted[name] = tensor
        else:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(f"{path} has a {name} of {kind}; use weights that are not quantized.")
    return converted


def count_logits(path: Path, architecture: str, weights: dict[str, Tensor]) -> int:
    """Return the number of logits: the rows of the layer whose shape depends on it.

    Raises:
        ValueError: if the file has no such layer.
    """
    with torch.device("meta"):
        one, two = (models.get_model(architecture, weights=None, num_classes=n).state_dict() for n in (1, 2))
    heads = [name for name in one if one[name].shape != two[name].shape]
    for name in heads:
        if name in weights:
            return len(weights[name])
    raise ValueError(f"{path} does not hold the weights of {architecture}: {heads[0]} is missing.")


def require_logits(network: nn.Module, num_classes: int) -> None:
    """Check that a torchvision classifier has this number of classes; two may share one logit.

    Raises:
        ValueError: if it has another number of logits.
    """
    *_, bias = network.parameters()
    num_logits = len(bias)
    if num_logits != num_classes and (num_classes, num_logits) != (2, 1):
        raise ValueError(f"it has {num_logits} logits, and the data {num_classes} classes")
