"""Counting the images that go through a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass
class Passes:
    """How many images went through a network.

    Attributes:
        forward: images that it was shown.
        backward: images for which a gradient came back to its output.
    """

    forward: int = 0
    backward: int = 0


@contextmanager
def counting(network: nn.Module | None) -> Iterator[Passes]:
    """Count the passes of a network inside this context, or nothing where there is no network.

    Images have to be its first argument, and its output a tensor or something whose first item is one.
    """
    passes = Passes()

    def came_back(gradient: Tensor) -> None:
        passes.backward += len(gradient)

    def was_shown(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        passes.forward += len(arguments[0])
        result = output if isinstance(output, Tensor) else output[0]
        if result.requires_grad:
            result.register_hook(came_back)

    handle = None if network is None else network.register_forward_hook(was_shown)
    try:
        yield passes
    finally:
        if handle is not None:
            handle.remove()
