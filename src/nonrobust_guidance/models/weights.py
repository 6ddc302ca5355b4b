"""Classifiers from published weights: safetensors alone, for a pickle may run code."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

PREFIX = "classifier."


def load_torchvision_classifier(path: str | Path, architecture: str = "mobilenet_v3_small") -> nn.Module:
    """Return a torchvision classifier with the weights of a safetensors file, in eval mode and without gradients.

    The names in the file are torchvision's own, or these with the prefix ``classifier.``, as in the checkpoints that
    Vaeth et al. (2025) publish. How many logits it has is read from the file.

    Args:
        path: the file, ``.safetensors``.
        architecture: torchvision's name of the model.

    Returns:
        A module from images (B, 3, H, W), normalized as it was trained, to logits (B, K); see `preprocess`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no safetensors file, or holds not the weights of this architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; fetch the weights first.")
    if architecture not in models.list_models(module=models):
        raise ValueError(
            f"{architecture!r} is no classification model of torchvision; see torchvision.models.list_models."
        )
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as safetensors ({error}); convert or fetch it again.") from error
    if weights and all(name.startswith(PREFIX) for name in weights):
        weights = {name.removeprefix(PREFIX): tensor for name, tensor in weights.items()}
    model = models.get_model(architecture, weights=None, num_classes=count_logits(path, architecture, weights))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ValueError(f"{path} does not hold the weights of {architecture}: {first}") from error
    return model.eval().requires_grad_(False)


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
    """Check that a torchvision classifier tells so many classes apart; two may share one logit.

    Raises:
        ValueError: if it has another number of logits.
    """
    *_, bias = network.parameters()
    num_logits = len(bias)
    if num_logits != num_classes and (num_classes, num_logits) != (2, 1):
        raise ValueError(f"it has {num_logits} logits, and the data {num_classes} classes")
