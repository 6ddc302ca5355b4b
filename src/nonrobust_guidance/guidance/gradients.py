"""Gradients through other people's networks, with errors that name what blocks them."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from nonrobust_guidance.models.logits import first_sentence, in_training_mode


def leaf(x: Tensor) -> Tensor:
    """Return x as a tensor of its own graph, with respect to which a gradient can be taken."""
    # A tensor made inside torch.inference_mode can never have gradients, but a copy of it can.
    return (x.clone() if x.is_inference() else x.detach()).requires_grad_()


def differentiate(what: str, output: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the gradient of ``output`` with respect to ``x``, multiplied by ``weight`` where it is not a scalar.

    Args:
        what: the network between them, for the message.
        output: a scalar, or a tensor like ``weight``.
        x: a `leaf`.
        weight: the gradient with respect to the output, by default 1.

    Raises:
        ValueError: if the network cuts the gradient off, or fails on the way back.
    """
    if not output.requires_grad:
        raise ValueError(f"The {what}'s output carries no gradient; leave out its no_grad or detach.")
    try:
        (gradient,) = torch.autograd.grad(output, x, weight, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(
            f"No gradient runs back through the {what} ({first_sentence(error)}); where its layers work in place, make "
            "them with inplace=False."
        ) from error
    if gradient is None:
        raise ValueError(f"The {what}'s output does not depend on its images; leave out its detach.")
    return gradient


def require_gradients() -> None:
    """Raise a ValueError inside torch.inference_mode, where nothing has a gradient."""
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "Guidance needs gradients, and there are none inside torch.inference_mode; use torch.no_grad in its place, "
            "or leave it out."
        )


def require_no_inference_weights(what: str, model: object) -> None:
    """Raise a ValueError if a module's weights were made inside torch.inference_mode."""
    if not isinstance(model, nn.Module):
        return
    if any(tensor.is_inference() for tensor in itertools.chain(model.parameters(), model.buffers())):
        raise ValueError(
            f"The {what}'s weights were made inside torch.inference_mode, so that no gradient runs through them; load "
            "it outside."
        )


def require_evaluation_mode(classifier: object) -> None:
    """Raise a ValueError if a module, or a layer that behaves differently in training, is in training mode."""
    if not isinstance(classifier, nn.Module):
        return
    if in_training_mode(classifier):
        raise ValueError("The classifier is in training mode, in which samples depend on each other; call eval().")
    for name, layer in classifier.named_modules():
        if isinstance(layer, _BatchNorm | _DropoutNd) and layer.training:
            raise ValueError(f"The classifier's layer {name} is in training mode; call the classifier's eval().")
