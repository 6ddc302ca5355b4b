"""Schedules against formulas written down again, and against hand-worked numbers."""

import itertools
import math

import numpy as np
import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st

from nonrobust_guidance import Schedule


def test_linear_tables_match_a_loop_in_python_floats():
    schedule = Schedule.linear(num_steps=400, beta_start=1e-4, beta_end=0.02)
    betas = [1e-4 + (0.02 - 1e-4) * i / 399 for i in range(400)]
    product, alpha_bars = 1.0, []
    for beta in betas:
        product *= 1.0 - beta
        alpha_bars.append(product)
    assert schedule.alpha_bars.dtype == torch.float64
    np.testing.assert_allclose(schedule.alpha_bars.numpy(), alpha_bars, rtol=1e-12)
    np.testing.assert_allclose(schedule.betas.numpy(), betas, rtol=1e-9)
    assert schedule.alpha_bars[-1].item() == pytest.approx(0.0175, abs=5e-4)  # method: 13% of the amplitude is left
    variances = [b * (1 - p) / (1 - a) for b, p, a in zip(betas, [1.0, *alpha_bars], alpha_bars, strict=False)]
    np.testing.assert_allclose(schedule.variances.numpy()[1:], variances[1:], rtol=1e-8)
    assert schedule.variances[0].item() == 1e-20


def test_transitions_run_from_noise_to_image():
    schedule = Schedule.linear(10, 0.01, 0.2)
    steps = list(schedule.transitions())
    assert [step.t for step in steps] == list(range(9, -1, -1))
    assert [step.last for step in steps] == [False] * 9 + [True]
    assert steps[-1].alpha_bar_prev == 1.0
    assert all(a.alpha_bar_prev == b.alpha_bar for a, b in itertools.pairwise(steps))
    assert steps[0].noise_level == pytest.approx(math.sqrt(1 - float(schedule.alpha_bars[-1])))
    assert [step.beta for step in steps] == pytest.approx(schedule.betas.flip(0).tolist())


@pytest.mark.parametrize(
    ("spacing", "kept"),
    [("trailing", [1, 4, 7, 9]), ("leading", [0, 2, 4, 6]), ("linspace", [0, 3, 6, 9])],
)
def test_respaced_keeps_timesteps_and_levels(spacing, kept):
    full = Schedule.linear(10, 0.01, 0.2)
    short = full.respaced(4, spacing)
    assert short.timesteps.tolist() == kept
    assert torch.equal(short.alpha_bars, full.alpha_bars[kept])
    assert torch.cumprod(1 - short.betas, 0).tolist() == pytest.approx(short.alpha_bars.tolist())


@pytest.mark.parametrize(
    ("total", "num_steps", "power", "kept"),
    [
        (100, 5, 2.0, [3, 15, 35, 63, 99]),  # 100 i^2 / 25, counted from 0
        (400, 13, 1.2, [17, 41, 68, 96, 126, 157, 189, 222, 256, 291, 326, 362, 399]),  # by a calculator
        (10, 8, 3.0, [0, 1, 2, 3, 4, 5, 6, 9]),  # 10 i^3 / 512 is 0.02, 0.2, 0.5, 1.25, 2.4, 4.2, 6.7, 10
    ],
)
def test_a_power_puts_the_steps_closer_together_at_the_clean_end(total, num_steps, power, kept):
    full = Schedule.linear(total, 1e-3, 0.1)
    assert full.respaced(num_steps, power=power).timesteps.tolist() == kept


@given(total=st.integers(1, 60), data=st.data(), power=st.floats(1.0, 10.0))
def test_any_power_keeps_as_many_levels_as_asked_and_the_noisiest(total, data, power):
    num_steps = data.draw(st.integers(1, total))
    full = Schedule.linear(total, 1e-3, 0.1)
    kept = full.respaced(num_steps, power=power).timesteps.tolist()
    assert kept == sorted(set(kept)) and len(kept) == num_steps
    assert kept[0] >= 0 and kept[-1] == total - 1
    assert full.respaced(num_steps, power=1.0).timesteps.tolist() == full.respaced(num_steps).timesteps.tolist()


@given(total=st.integers(1, 60), data=st.data(), spacing=st.sampled_from(["trailing", "leading", "linspace"]))
def test_respaced_gives_any_number_of_steps(total, data, spacing):
    num_steps = data.draw(st.integers(1, total))
    full = Schedule.linear(total, 1e-3, 0.1)
    short = full.respaced(num_steps, spacing)
    assert len(short) == num_steps
    assert set(short.timesteps.tolist()) <= set(range(total))
    if spacing == "trailing":
        assert short.timesteps[-1] == total - 1
    if num_steps == total:
        assert torch.equal(short.alpha_bars, full.alpha_bars)


def test_zero_terminal_snr_is_an_affine_map_of_the_amplitude():
    full = Schedule.linear(50, 1e-3, 0.05, prediction="v")
    moved = full.zero_terminal_snr()
    root, moved_root = full.alpha_bars.sqrt(), moved.alpha_bars.sqrt()
    assert moved.alpha_bars[-1].item() == 0.0
    assert moved.alpha_bars[0].item() == pytest.approx(full.alpha_bars[0].item())
    ratio = (moved_root[:-1] - moved_root[1:]) / (root[:-1] - root[1:])
    assert ratio.tolist() == pytest.approx([ratio[0].item()] * 49)
    assert bool(moved.variances.isfinite().all())


def test_zero_terminal_snr_of_an_epsilon_network_ends_at_one_percent():
    moved = Schedule.linear(50, 1e-3, 0.05).zero_terminal_snr()
    assert moved.alpha_bars[-1].sqrt().item() == pytest.approx(0.01)


@pytest.mark.parametrize("alpha_bar", [0.9999, 0.5, 0.01])
def test_predictions_of_one_truth_agree(alpha_bar):
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    a, b = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    outputs = {"epsilon": eps, "v": a * eps - b * x0, "sample": x0}
    for kind, output in outputs.items():
        found = Schedule.linear(5, 0.1, 0.2, prediction=kind).predict(output, a * x0 + b * eps, alpha_bar)
        torch.testing.assert_close(found.x0, x0, atol=1e-9, rtol=0)
        torch.testing.assert_close(found.eps, eps, atol=1e-9, rtol=0)
        torch.testing.assert_close(found.x0_hat, x0.clamp(-1, 1), atol=1e-9, rtol=0)


def test_add_noise_looks_up_the_old_timesteps():
    full = Schedule.linear(10, 0.01, 0.2)
    t = torch.tensor([9, 4])
    x0, eps = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 3.0)
    abar = full.alpha_bars[t]
    expected = (abar.sqrt() * 2.0 + (1 - abar).sqrt() * 3.0).float()
    torch.testing.assert_close(full.respaced(2).add_noise(x0, eps, t).flatten(), expected)
    with pytest.raises(ValueError, match="none of the schedule's"):
        full.respaced(2).add_noise(x0, eps, torch.tensor([9, 3]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule.linear(0), "at least one step"),
        (lambda: Schedule.linear(10, 0.0, 0.1), "Every beta"),
        (lambda: Schedule.linear(10, 0.1, 1.5), "Every beta"),
        (lambda: Schedule.linear(10, prediction="noise"), "prediction is 'noise'; choose one of 'epsilon', 'v'"),
        (lambda: Schedule.linear(10).respaced(11), "Cannot keep 11 of the schedule's 10"),
        (lambda: Schedule.linear(10).respaced(0), "Cannot keep 0"),
        (lambda: Schedule.linear(10).respaced(5, "even"), "spacing is 'even'"),
        (lambda: Schedule.linear(10).respaced(5, power=0.5), "power is 0.5; it must be at least 1"),
        (lambda: Schedule.linear(10).respaced(5, "linspace", 2.0), "only the spacing 'trailing' has one"),
        (lambda: Schedule(torch.tensor([0.5, 0.6]), torch.arange(2)), "fall strictly"),
        (lambda: Schedule(torch.tensor([0.5]), torch.arange(2)), "of one length"),
    ],
)
def test_guards(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (DDPMScheduler(20, thresholding=True), r"otherwise than to \[-1, 1\]; make it again with thresholding=False\."),
        (DDIMScheduler(20, thresholding=True, sample_max_value=3.0), "make it again with thresholding=False"),
        (DDPMScheduler(20, clip_sample_range=2.0), "make it again with clip_sample_range=1.0"),
        (EulerDiscreteScheduler(20, use_karras_sigmas=True), "other levels .* with use_karras_sigmas=False"),
        (EulerDiscreteScheduler(20, timestep_type="continuous"), "other levels .* with timestep_type='discrete'"),
        (DDPMScheduler(20, variance_type="learned"), "variance_type is 'learned', .* variance_type='fixed_small'"),
    ],
)
def test_what_of_a_scheduler_would_change_the_images_is_refused(scheduler, message):
    with pytest.raises(ValueError, match=message):
        Schedule.from_diffusers(scheduler)


def test_what_a_scheduler_says_is_kept():
    assert (
        Schedule.from_diffusers(DDPMScheduler(20, clip_sample=False, clip_sample_range=2.0)).respaced(5).clip is False
    )
    assert Schedule.from_diffusers(DDPMScheduler(20)).clip
    assert Schedule.from_diffusers(DDPMScheduler(20, variance_type=None)).variance == "fixed_small"
    output = torch.full((1, 1, 1, 1), 3.0)
    free = Schedule.from_diffusers(DDPMScheduler(20, prediction_type="sample", clip_sample=False))
    assert free.predict(output, output, 0.5).x0_hat.item() == 3.0
    assert free.predict(output, output, 0.5, clip=True).x0_hat.item() == 1.0


def test_alpha_bars_that_were_shifted_after_the_betas_are_kept():
    shifted = Schedule.from_diffusers(CogVideoXDDIMScheduler(snr_shift_scale=3.0))
    plain = Schedule.from_diffusers(CogVideoXDDIMScheduler(snr_shift_scale=1.0))
    # CogVideoX (Yang et al. 2024) divides the signal-to-noise ratio by the scale.
    expected, found = (schedule.alpha_bars / (1.0 - schedule.alpha_bars) for schedule in (plain, shifted))
    torch.testing.assert_close(found, expected / 3.0, rtol=1e-3, atol=1e-6)


def test_a_scheduler_without_betas_is_refused():
    with pytest.raises(TypeError, match="has no betas"):
        Schedule.from_diffusers(object())
