"""Classifiers whose gradients are continuous: a Softplus in place of each ReLU."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

Classifier = TypeVar("Classifier", bound=nn.Module)


class SoftplusReLU6(nn.Module):
    """``relu(x) - relu(x - 6)`` with Softplus for relu."""

    def __init__(self, beta: float) -> None:
        """Take the sharpness of the Softplus."""
        super().__init__()
        self.softplus = nn.Softplus(beta)

    def forward(self, x: Tensor) -> Tensor:
        """Map x to within 0 .. 6, entry by entry."""
        return self.softplus(x) - self.softplus(x - 6.0)


class SoftplusHardsigmoid(nn.Module):
    """``relu6(x + 3) / 6`` with `SoftplusReLU6` for relu6."""

    def __init__(self, beta: float) -> None:
        """Take the sharpness of the Softplus."""
        super().__init__()
        self.relu6 = SoftplusReLU6(beta)

    def forward(self, x: Tensor) -> Tensor:
        """Map x to within 0 .. 1, entry by entry."""
        return self.relu6(x + 3.0) / 6.0


class SoftplusHardswish(nn.Module):
    """``x relu6(x + 3) / 6`` with `SoftplusReLU6` for relu6."""

    def __init__(self, beta: float) -> None:
        """Take the sharpness of the Softplus."""
        super().__init__()
        self.hardsigmoid = SoftplusHardsigmoid(beta)

    def forward(self, x: Tensor) -> Tensor:
        """Map x entry by entry."""
        return x * self.hardsigmoid(x)


# By exact type: a subclass may compute something else.
SMOOTH: dict[type[nn.Module], Callable[[float], nn.Module]] = {
    nn.ReLU: nn.Softplus,
    nn.ReLU6: SoftplusReLU6,
    nn.Hardsigmoid: SoftplusHardsigmoid,
    nn.Hardswish: SoftplusHardswish,
}


def smoothed(classifier: Classifier, beta: float = 3.0) -> Classifier:
    """Return a copy of a classifier in which Softplus is in place of ReLU, so that its gradients do not jump.

    ``Softplus(x) = log(1 + exp(beta x)) / beta`` for ReLU is from Ma et al. (2024, Elucidating the design space of
    classifier-guided diffusion generation). It replaces every nn.ReLU, and the ReLUs that nn.ReLU6, nn.Hardsigmoid and
    nn.Hardswish are made of: ``relu6(x) = relu(x) - relu(x - 6)``, ``hardsigmoid(x) = relu6(x + 3) / 6`` and
    ``hardswish(x) = x hardsigmoid(x)``. As beta grows the copy approaches the classifier; at a small one its answers
    differ, since Softplus lies above ReLU by ``log(2) / beta`` at 0, so measure its accuracy. Everything else stays:
    what is smooth already, such as SiLU and GELU, the leaky kinds, and max pooling. A call of
    ``torch.nn.functional.relu`` in a forward cannot be detected, and stays too.

    Args:
        classifier: a torch module; it is left as it is, and the copy has weights of its own.
        beta: sharpness, greater than 0.

    Raises:
        TypeError: if the classifier is not a module.
        ValueError: if beta is not a finite number above 0, or there is nothing to replace.
    """
    if not isinstance(classifier, nn.Module):
        raise TypeError(
            f"The classifier, a {type(classifier).__name__}, is no torch module, so no layer can be replaced."
        )
    if not (math.isfinite(beta) and beta > 0.0):
        raise ValueError(f"beta is {beta}; it must be a finite number greater than 0.")
    smooth = copy.deepcopy(classifier)
    # A layer may have several names, and each of them has to be replaced.
    names = [name for name, layer in smooth.named_modules(remove_duplicate=False) if name and type(layer) in SMOOTH]
    if not names:
        kinds = ", ".join(f"nn.{kind.__name__}" for kind in SMOOTH)
        raise ValueError(
            f"The classifier has no layer to smooth ({kinds}); calls of torch.nn.functional cannot be seen, so put "
            "modules in their place."
        )
    for name in names:
        parent, _, attribute = name.rpartition(".")
        owner = smooth.get_submodule(parent)
        layer = getattr(owner, attribute)
        if type(layer) in SMOOTH:  # not yet filled under another name of its owner
            setattr(owner, attribute, SMOOTH[type(layer)](beta).train(layer.training))
    return smooth
