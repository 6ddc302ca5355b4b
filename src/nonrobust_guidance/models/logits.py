"""The logits of images, from classifiers of any library: inputs in the form each one takes, outputs as tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# What torch and the models of transformers, timm and torchvision raise for images that do not fit.
FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, IndexError)


class CompositeClassifier(nn.Module):
    """A classifier around others: it calls each of them by `classify`, and returns their logits in the images' dtype.

    Attributes:
        noise_conditional: whether one of them takes t.
        num_noise_draws: how many draws of noise one call needs, for itself and for them.
    """

    noise_conditional: bool = False
    num_noise_draws: int = 0


def classify(
    classifier: Callable[..., Any],
    x: Tensor,
    *t: Tensor,
    layout: torch.memory_format = torch.contiguous_format,
    noise: Sequence[Tensor] = (),
) -> Tensor:
    """Return the logits of images ``x`` (B, C, H, W), in the dtype of ``x``.

    A module gets the images in the dtype of its weights, and every classifier gets a copy of its own: layers that work
    in place may write into it, and it has the layout that view() needs. A `CompositeClassifier` gets the images as they
    are, because its members may differ in all of this.

    Args:
        classifier: what is called.
        x: images.
        *t: timesteps (B,), for one that takes them.
        layout: memory format of the images.
        noise: standard normal tensors like ``x``, for one with ``num_noise_draws``.

    Raises:
        ValueError: if the classifier fails on such images, or returns no logits; see `logits_of`.
    """
    if isinstance(classifier, CompositeClassifier):
        return classifier(x, *t, noise=noise)
    own = x.to(weights_dtype(classifier, x.dtype)).clone(memory_format=layout)
    try:
        output = classifier(own, *t, noise=noise) if noise else classifier(own, *t)
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        images = f"{tuple(own.shape)}, {own.dtype} on {own.device}"
        raise ValueError(
            f"The classifier cannot take images {images} ({first_sentence(error)}); where it was trained on another "
            "size or number of channels, see ng.preprocess."
        ) from error
    return logits_of(output).to(x.dtype)


def weights_dtype(model: object, default: torch.dtype) -> torch.dtype:
    """Return the dtype of a module's first floating-point weight; without one, and for a function, the default."""
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    return next((weight.dtype for weight in weights if weight.dtype in DTYPES), default)


def logits_of(output: Any) -> Tensor:
    """Return the logits in a classifier's output: (B,), (B, 1) or (B, K), or whatever shape they have.

    The output is the tensor itself, an object or a mapping with ``logits``, as of transformers, or a tuple that begins
    with them, as of transformers with return_dict=False. (B, K, 1, 1) of a network of convolutions alone is (B, K).

    Raises:
        ValueError: if there are none, if it is ambiguous which they are, or if they are not floating-point numbers.
    """
    named = isinstance(output, Mapping)
    logits = output.get("logits") if named else getattr(output, "logits", output)
    if isinstance(logits, tuple | list):
        logits = first_of(logits)
    if not isinstance(logits, Tensor):
        parts = f" with {', '.join(map(str, output))}" if named and output else ""
        raise ValueError(
            f"The classifier returned {type(output).__name__}{parts}, in which there are no logits; put a function "
            "around it that returns them, (B, K)."
        )
    if not logits.is_floating_point():
        raise ValueError(f"The classifier returned {logits.dtype}; logits are real floating-point numbers.")
    return logits.flatten(1) if logits.ndim == 4 and logits.shape[2:] == (1, 1) else logits


def first_of(parts: tuple[Any, ...] | list[Any]) -> Any:
    """Return the first part, unless another looks like logits of another width.

    Raises:
        ValueError: if one does.
    """
    tables = [tuple(part.shape) for part in parts if isinstance(part, Tensor) and part.ndim == 2]
    if len(set(tables)) > 1:
        raise ValueError(
            f"The classifier returned tensors {', '.join(map(str, tables))}, and it is open which are the logits; put "
            "a function around it that returns them alone."
        )
    return parts[0] if parts else None


def in_training_mode(model: object) -> bool:
    """Return whether a module is in training mode; a frozen TorchScript has no mode and is always in evaluation."""
    return isinstance(model, nn.Module) and bool(getattr(model, "training", False))


def first_sentence(error: BaseException) -> str:
    """Return what an error says first, without its full stop, or else its name."""
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0].rstrip(".: ") if lines else type(error).__name__
