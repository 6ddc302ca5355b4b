"""The U-Net in half precision: how far off it is, and what stays in float32."""

import pytest
import torch
from networks import Close, Networks

import nonrobust_guidance as ng

# Of the largest value, for one pass through the U-Net: bfloat16 keeps 8 bits and float16 11, and the errors of its
# layers add up to a few of their last ones.
BOUNDS = {torch.bfloat16: 0.05, torch.float16: 0.01}


def steps(networks: Networks, at: str | None, precision: torch.dtype | None) -> list[ng.Step]:
    guidance = None if at is None else ng.ClassifierGuidance(networks.guide, 1, 10.0, at=at, stabilizer=ng.EMA(0.9))
    schedule = ng.Schedule.linear(40, 1e-3, 0.1, prediction="sample").respaced(4)  # its output is x0 as it is
    return list(ng.trajectory(networks.unet, schedule, 4, 3, guidance=guidance, microbatch=None, autocast=precision))


@pytest.mark.parametrize("precision", BOUNDS, ids=str)
@pytest.mark.parametrize("at", [None, "xt", "x0", "x0_detached"])
def test_half_precision_is_off_by_its_own_rounding(
    on: torch.device, networks: Networks, close: Close, at: str | None, precision: torch.dtype
) -> None:
    there = networks.on(on)
    half, full = (steps(there, at, dtype) for dtype in (precision, None))
    assert not torch.equal(half[0].x0_hat, full[0].x0_hat)
    close(half[0].x0_hat, full[0].x0_hat, BOUNDS[precision])
    close(half[-1].x, full[-1].x, 4 * BOUNDS[precision])


@pytest.mark.parametrize("precision", BOUNDS, ids=str)
@pytest.mark.parametrize("at", ["xt", "x0", "x0_detached"])
def test_the_state_and_the_gradients_stay_finite_and_float32(
    on: torch.device, networks: Networks, at: str, precision: torch.dtype
) -> None:
    for step in steps(networks.on(on), at, precision):
        for tensor in (step.x, step.x0_hat, step.gradient, step.stabilized):
            assert tensor is None or (tensor.dtype == torch.float32 and bool(tensor.isfinite().all()))


def test_weights_in_half_precision_are_off_as_little(on: torch.device, networks: Networks, close: Close) -> None:
    there, half = networks.on(on), networks.on(on)
    half.unet.to(dtype=torch.bfloat16, memory_format=torch.channels_last)
    one, other = (steps(models, "x0", None)[0] for models in (half, there))
    assert one.x.dtype == torch.float32
    close(one.x0_hat, other.x0_hat, BOUNDS[torch.bfloat16])
