"""DPMSolver against diffusers' DPMSolverMultistepScheduler, on the same noise."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

import nonrobust_guidance as ng

SIZE = (3, 2, 4, 4)


def denoiser(x, t):
    """Return an epsilon that is smooth in x and differs over the levels."""
    return torch.tanh(1.3 * x.flip(3) + 0.2) * (0.5 + t.reshape(-1, 1, 1, 1) / 400)


def noise(k, *use):
    assert not use
    return torch.randn(SIZE, generator=torch.Generator().manual_seed(k))


@pytest.mark.parametrize("num_steps", [1, 2, 8, 20])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("algorithm", ["dpmsolver++", "sde-dpmsolver++"])
def test_steps_are_those_of_diffusers(algorithm, order, num_steps):
    scheduler = DPMSolverMultistepScheduler(
        400, 1e-4, 0.05, timestep_spacing="trailing", algorithm_type=algorithm, solver_order=order
    )
    scheduler.set_timesteps(num_steps)
    x, expected = noise(0), []
    for k, t in enumerate(scheduler.timesteps, start=1):
        x = scheduler.step(denoiser(x, t.expand(len(x))), t, x, variance_noise=noise(k)).prev_sample
        expected.append(x)
    schedule = ng.Schedule.linear(400, 1e-4, 0.05).respaced(num_steps)
    assert schedule.timesteps.tolist()[::-1] == scheduler.timesteps.tolist()
    steps = ng.trajectory(
        denoiser, schedule, 3, sampler=ng.DPMSolver(algorithm, order), shape=SIZE[1:], noise=noise, clip=False
    )
    for step, state in zip(steps, expected, strict=True):
        torch.testing.assert_close(step.x, state, atol=2e-5 * float(state.abs().max()), rtol=2e-5)


def test_the_first_order_of_the_ode_is_ddim():
    schedule = ng.Schedule.linear(400, 1e-4, 0.05).respaced(10)
    chains = [
        ng.sample(denoiser, schedule, 3, sampler=sampler, shape=SIZE[1:], noise=noise, clip=False, dtype=torch.float64)
        for sampler in (ng.DPMSolver("dpmsolver++", order=1), ng.DDIM())
    ]
    torch.testing.assert_close(*chains, atol=1e-12, rtol=1e-12)
