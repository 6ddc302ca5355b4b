"""Short chains on both devices: a long guided one is chaotic, so that rounding alone leads it elsewhere."""

from typing import Any

import pytest
import torch
from networks import CPU, Close, Networks

import nonrobust_guidance as ng
from nonrobust_guidance.guidance import METHODS
from nonrobust_guidance.sampling.samplers import SAMPLERS

# Shares of the largest value. On a CPU float32 differs from float64 by up to 3e-6 in these images and 1e-6 in these
# gradients. A GPU adds up in another order, and may pick convolutions that round more coarsely.
IMAGES, GRADIENTS = 1e-4, 1e-3
FIELDS: dict[str, dict[str, Any]] = {name: {method.strength_field: 0.5} for name, method in METHODS.items()}
FIELDS["tfg"] |= {"mu": 0.25, "sigma": 0.001}
TARGET = torch.tensor([0, 1, 2, 3, 0, 1])
N = len(TARGET)


def chain_on(
    device: torch.device, networks: Networks, method: str | None, sampler: str, **fields: Any
) -> list[ng.Step]:
    there = networks.on(device)
    guidance = None
    if method is not None:
        guidance = METHODS[method](there.guide, TARGET, **FIELDS[method] | fields)
    return list(ng.trajectory(there.unet, there.schedule, N, 3, guidance=guidance, sampler=sampler, microbatch=None))


def require_parity(found: list[ng.Step], expected: list[ng.Step], close: Close) -> None:
    for one, other in zip(found, expected, strict=True):
        close(one.x, other.x, IMAGES)
        assert (one.gradient is None) == (other.gradient is None)
        if one.gradient is not None and other.gradient is not None:
            close(one.gradient, other.gradient, GRADIENTS)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_unguided_chain_is_the_cpus(on: torch.device, networks: Networks, close: Close, sampler: str) -> None:
    require_parity(*(chain_on(device, networks, None, sampler) for device in (on, CPU)), close)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("at", ["xt", "x0", "x0_detached"])
def test_a_guided_chain_is_the_cpus(on: torch.device, networks: Networks, close: Close, at: str, sampler: str) -> None:
    fields = {"at": at, "scale": 10.0, "stabilizer": ng.EMA(0.9)}
    require_parity(*(chain_on(device, networks, "classifier", sampler, **fields) for device in (on, CPU)), close)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "classifier"])
def test_every_method_is_the_cpus(on: torch.device, networks: Networks, close: Close, method: str) -> None:
    require_parity(*(chain_on(device, networks, method, "ddpm", trust_radius=1.0) for device in (on, CPU)), close)


def test_the_bound_is_ten_times_what_float32_is_worth(networks: Networks, close: Close) -> None:
    single = chain_on(CPU, networks, "classifier", "ddpm", scale=10.0)
    wide = networks.on(CPU)
    guidance = ng.ClassifierGuidance(wide.guide.double(), TARGET, 10.0)
    double = ng.trajectory(
        wide.unet.double(), wide.schedule, N, 3, guidance=guidance, microbatch=None, dtype=torch.float64
    )
    for one, other in zip(single, double, strict=True):
        close(one.x, other.x, IMAGES / 10)


@pytest.mark.parametrize("at", ["xt", "x0", "x0_detached"])
def test_the_same_chain_again_is_the_same_bits(on: torch.device, networks: Networks, at: str) -> None:
    there = networks.on(on)
    guidance = ng.ClassifierGuidance(there.guide, TARGET, 10.0, at=at)
    once, again = (ng.sample(there.unet, there.schedule, N, 3, guidance=guidance, microbatch=None) for _ in range(2))
    assert torch.equal(once, again)


def say_zero(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(x)


def test_all_noise_is_the_cpus(on: torch.device, networks: Networks) -> None:
    """With a denoiser that says zero, the first step is a multiple of x_T: the noise itself, to the last bit."""
    schedule = networks.schedule
    drawn = [
        next(
            ng.trajectory(lambda x, t: torch.zeros_like(x), schedule, 2, 9, shape=(3, 8, 8), device=device, clip=False)
        )
        for device in (on, CPU)
    ]
    torch.testing.assert_close(drawn[0].x0_hat.cpu(), drawn[1].x0_hat, rtol=1e-6, atol=0)
