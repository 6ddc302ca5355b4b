"""Stabilizers: what is done to the gradients of one trajectory before they shift it.

A stabilizer is a value with a pure pair of functions, as in optax: ``init(x)`` gives the state at the first step, and
``update(state, g)`` the next state and the gradient to use. States are never changed in place. A stabilizer whose
update takes a third argument, ``update(state, g, step)``, gets the `StabilizerStep` too.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:  # Snakemake reads the fields of these classes, and starts without torch.
    from torch import Tensor


class StabilizerStep(NamedTuple):
    """What a stabilizer may know of the step that its gradient is for."""

    noise_level: float
    """``sqrt(1 - alpha_bar_t)``, from 0 (clean) to 1 (noise alone)."""
    noise_std: float
    """Standard deviation of the noise that the step adds."""
    strength: float
    """How far a stabilized gradient of 1 will move x; NaN for methods whose move is not linear in it."""


class Stabilizer(Protocol):
    """A pure transformation of a sequence of gradients (B, C, H, W); samples do not affect one another."""

    def init(self, x: Tensor) -> Any:
        """Return the state before the first gradient, for gradients shaped like ``x`` (B, C, H, W)."""
        ...

    def update(self, state: Any, g: Tensor) -> tuple[Any, Tensor]:
        """Return the next state and the stabilized gradient (B, C, H, W)."""
        ...


@dataclass(frozen=True)
class Identity:
    """The gradient as it is."""

    def init(self, x: Tensor) -> None:
        """Return no state."""

    def update(self, state: None, g: Tensor) -> tuple[None, Tensor]:
        """Return the gradient itself."""
        return None, g


class EMAState(NamedTuple):
    """The running mean, and ``beta`` to the power of the number of gradients seen."""

    mean: Tensor
    power: float


@dataclass(frozen=True)
class EMA:
    """Exponential moving average ``m <- beta m + (1 - beta) g``, from zero (Vaeth et al. 2025).

    Without bias correction, as in the paper, it also acts as a warm-up: with beta = 0.99 it reaches half strength at
    step 69. With bias correction, ``m`` is divided by ``1 - beta^n`` after n gradients.

    Args:
        beta: weight of the past, within [0, 1).
        bias_correction: whether the start at zero is divided out.

    Raises:
        ValueError: if beta is not in [0, 1).
    """

    beta: float
    bias_correction: bool = False

    def __post_init__(self) -> None:
        """Check the range."""
        require_decay("beta", self.beta)

    def init(self, x: Tensor) -> EMAState:
        """Start at zero."""
        return EMAState(x.new_zeros(x.shape), 1.0)

    def update(self, state: EMAState, g: Tensor) -> tuple[EMAState, Tensor]:
        """Return the new mean, debiased on request."""
        state = EMAState(self.beta * state.mean + (1.0 - self.beta) * g, state.power * self.beta)
        return state, state.mean / (1.0 - state.power) if self.bias_correction else state.mean


@dataclass(frozen=True)
class Adam:
    """``EMA_beta1(g) / (sqrt(EMA_beta2(g^2)) + eps)``, elementwise, from zero (Vaeth et al. 2025; Kingma & Ba 2015).

    Without bias correction, as in the paper, the early steps are 3 to 6 times too long; with it, the result is the step
    of torch.optim.Adam at learning rate 1.

    Args:
        beta1: weight of the past in the mean, within [0, 1).
        beta2: weight of the past in the mean square, within [0, 1).
        eps: added to the root, in units of the gradient, greater than 0.
        bias_correction: whether the start at zero is divided out.

    Raises:
        ValueError: if an argument is out of its range.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-4
    bias_correction: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_decay("beta1", self.beta1)
        require_decay("beta2", self.beta2)
        if not self.eps > 0.0:
            raise ValueError(f"Adam's eps is {self.eps}; it must be greater than 0.")

    def init(self, x: Tensor) -> tuple[EMAState, EMAState]:
        """Start both moments at zero."""
        return EMAState(x.new_zeros(x.shape), 1.0), EMAState(x.new_zeros(x.shape), 1.0)

    def update(self, state: tuple[EMAState, EMAState], g: Tensor) -> tuple[tuple[EMAState, EMAState], Tensor]:
        """Return the mean over the root mean square."""
        first, m = EMA(self.beta1, self.bias_correction).update(state[0], g)
        second, v = EMA(self.beta2, self.bias_correction).update(state[1], g.square())
        return (first, second), m / (v.sqrt() + self.eps)


@dataclass(frozen=True)
class ClipNorm:
    """Each sample's gradient shortened to at most ``max_norm``, a Euclidean norm over C, H and W, greater than 0.

    Raises:
        ValueError: if max_norm is not greater than 0.
    """

    max_norm: float

    def __post_init__(self) -> None:
        """Check the range."""
        if not self.max_norm > 0.0:
            raise ValueError(f"ClipNorm's max_norm is {self.max_norm}; it must be greater than 0.")

    def init(self, x: Tensor) -> None:
        """Return no state."""

    def update(self, state: None, g: Tensor) -> tuple[None, Tensor]:
        """Return the gradient, shortened where it is too long."""
        direction, norm = direction_and_norm(g)
        return None, (direction * self.max_norm).where(norm > self.max_norm, g)


@dataclass(frozen=True)
class Normalize:
    """Each sample's gradient at length 1, a Euclidean norm over C, H and W; a zero gradient stays zero."""

    def init(self, x: Tensor) -> None:
        """Return no state."""

    def update(self, state: None, g: Tensor) -> tuple[None, Tensor]:
        """Return the direction."""
        return None, direction_and_norm(g)[0]


@dataclass(frozen=True)
class Chain:
    """Stabilizers one after the other."""

    stabilizers: tuple[Stabilizer, ...]

    def init(self, x: Tensor) -> tuple[Any, ...]:
        """Return the state of each."""
        return tuple(stabilizer.init(x) for stabilizer in self.stabilizers)

    def update(
        self, state: tuple[Any, ...], g: Tensor, step: StabilizerStep | None = None
    ) -> tuple[tuple[Any, ...], Tensor]:
        """Return the gradient after all of them."""
        states = []
        for stabilizer, before in zip(self.stabilizers, state, strict=True):
            after, g = stabilize(stabilizer, before, g, step)
            states.append(after)
        return tuple(states), g


def chain(*stabilizers: Stabilizer) -> Chain:
    """Return the stabilizer that applies these from left to right; of none, the identity."""
    return Chain(stabilizers)


def stabilize(stabilizer: Stabilizer, state: Any, g: Tensor, step: StabilizerStep | None) -> tuple[Any, Tensor]:
    """Return the stabilizer's update, passing it the step if it takes one."""
    return stabilizer.update(state, g, step) if sees_step(type(stabilizer)) else stabilizer.update(state, g)  # type: ignore[call-arg]


@cache
def sees_step(kind: type) -> bool:
    """Return whether a stabilizer's update takes the step as its third argument."""
    parameters = list(inspect.signature(kind.update).parameters.values())[1:]  # type: ignore[attr-defined]
    return len([p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]) > 2


def direction_and_norm(g: Tensor) -> tuple[Tensor, Tensor]:
    """Return g over its Euclidean norm (B, C, H, W), and the norms (B, 1, 1, 1); zero has direction zero."""
    dims = tuple(range(1, g.ndim))
    # Divide by the largest entry first, because squares of a saturated classifier's gradient underflow in float32.
    largest = g.abs().amax(dim=dims, keepdim=True)
    scaled = g / largest.where(largest > 0, 1.0)
    length = scaled.square().sum(dim=dims, keepdim=True).sqrt()
    return scaled / length.where(length > 0, 1.0), largest * length


def require_decay(name: str, beta: float) -> None:
    """Raise a ValueError unless ``beta`` is within [0, 1)."""
    if not 0.0 <= beta < 1.0:
        raise ValueError(f"{name} is {beta}; a weight of the past must be at least 0 and less than 1.")


STABILIZERS: dict[str, type] = {
    "identity": Identity,
    "ema": EMA,
    "adam": Adam,
    "clip_norm": ClipNorm,
    "normalize": Normalize,
}
"""By the name that a run file gives them; the fields of a class are its keys there."""
