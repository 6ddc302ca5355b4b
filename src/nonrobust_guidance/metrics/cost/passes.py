"""Counting what goes through a network, as it runs."""

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
        backward: images whose output's gradient came back to it.
    """

    forward: int = 0
    backward: int = 0


@contextmanager
def counting(network: nn.Module | None) -> Iterator[Passes]:
    """Count within the passes of a network, or nothing where there is none.

    Its images come first among its arguments, and its output is a tensor or holds one in the first place.
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
