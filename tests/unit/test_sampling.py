"""The chain's invariants: bits, scale zero, targets, state, memory, and its guards."""

import gc
import subprocess
import sys

import pytest
import torch
from diffusers import UNet2DModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import nonrobust_guidance as ng
from nonrobust_guidance.sampling.noise import SampleNoise
from nonrobust_guidance.sampling.sample import sample_counted

SCHEDULE = ng.Schedule.linear(400, 1e-4, 0.05).respaced(6)
TARGETS = torch.tensor([0, 1, 2, 3, 0, 1, 2])
METHODS = [("xt", ng.Identity()), ("x0", ng.EMA(0.9)), ("x0_detached", ng.Adam()), ("x0", ng.Normalize())]


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.Hardswish(), nn.Flatten(), nn.Linear(72, 4)
    ).eval()


def guide(classifier, target, scale=200.0, at="x0", **fields):
    return ng.ClassifierGuidance(classifier, target, scale, at=at, **fields)


@pytest.mark.parametrize(("at", "stabilizer"), METHODS, ids=str)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch_size=st.integers(1, 7), first=st.integers(0, 6), sampler=st.sampled_from(["ddpm", "ddim", "dpmsolver"]))
def test_bits_do_not_depend_on_batches_or_jobs(unet, classifier, at, stabilizer, batch_size, first, sampler):
    def draw(first_index, **options):
        guidance = guide(classifier, TARGETS[first_index:], at=at, stabilizer=stabilizer)
        return ng.sample(
            unet, SCHEDULE, 7 - first_index, 3, guidance=guidance, first_index=first_index, sampler=sampler, **options
        )

    assert torch.equal(draw(0)[first:], draw(first, batch_size=batch_size))


def test_a_microbatch_of_the_whole_batch_agrees_to_rounding(unet):
    whole = ng.sample(unet, SCHEDULE, 5, microbatch=None)
    torch.testing.assert_close(whole, ng.sample(unet, SCHEDULE, 5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmsolver"])
@pytest.mark.parametrize(("at", "stabilizer"), METHODS, ids=str)
def test_scale_zero_is_unguided(unet, classifier, at, stabilizer, sampler):
    guidance = guide(classifier, 2, scale=0.0, at=at, stabilizer=stabilizer)
    guided = ng.sample(unet, SCHEDULE, 3, guidance=guidance, sampler=sampler)
    assert torch.equal(guided, ng.sample(unet, SCHEDULE, 3, sampler=sampler))
    moved = ng.sample(unet, SCHEDULE, 3, guidance=guide(classifier, 2, at=at, stabilizer=stabilizer), sampler=sampler)
    assert not torch.allclose(guided, moved, atol=1e-4)


@given(order=st.permutations(range(5)))
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_permuting_targets_permutes_images(unet, classifier, order):
    noise = torch.randn(len(SCHEDULE) + 1, 5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    plain, permuted = (
        ng.sample(
            unet, SCHEDULE, 5, guidance=guide(classifier, TARGETS[:5][rows], stabilizer=ng.EMA(0.9)),
            noise=lambda k, rows=rows: noise[k][rows],
        )
        for rows in (list(range(5)), order)
    )  # fmt: skip
    assert torch.equal(plain[order], permuted)


def test_an_int_target_is_that_target_for_all(unet, classifier):
    one = ng.sample(unet, SCHEDULE, 3, guidance=guide(classifier, 2))
    each = ng.sample(unet, SCHEDULE, 3, guidance=guide(classifier, torch.tensor([2, 2, 2])))
    assert torch.equal(one, each)


def test_trajectories_that_take_turns_do_not_see_each_other(unet, classifier):
    guidance = guide(classifier, 1, stabilizer=ng.chain(ng.ClipNorm(1.0), ng.Adam()))
    expected = ng.sample(unet, SCHEDULE, 2, guidance=guidance)
    turns = [ng.trajectory(unet, SCHEDULE, 2, guidance=guidance) for _ in range(2)]
    for steps in zip(*turns, strict=True):
        assert torch.equal(steps[0].x, steps[1].x)
    assert torch.equal(steps[0].x, expected)


def test_noise_given_is_noise_used(unet):
    seeded = ng.sample(unet, SCHEDULE, 4, seed=9)
    noise = SampleNoise(9, range(4), (3, 8, 8))
    assert torch.equal(seeded, ng.sample(unet, SCHEDULE, 4, noise=noise))
    assert torch.equal(seeded, ng.sample(unet, SCHEDULE, 4, noise=noise, batch_size=3))


def test_steps_tell_what_happened(unet, classifier):
    guidance = guide(classifier, 1, scale=3.0, stabilizer=ng.EMA(0.5))
    steps = list(ng.trajectory(unet, SCHEDULE, 2, guidance=guidance))
    assert [step.k for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step.t for step in steps] == SCHEDULE.timesteps.tolist()[::-1]
    assert steps[-1].gradient is None and steps[-1].stabilized is None  # its shift would be 1e-20
    torch.testing.assert_close(steps[0].stabilized, 0.5 * steps[0].gradient)
    torch.testing.assert_close(steps[1].stabilized, 0.25 * steps[0].gradient + 0.5 * steps[1].gradient)
    assert all(step.x0_hat.abs().max() <= 1.0 for step in steps)
    assert steps[-1].x.abs().max() <= 1.0
    assert not any(step.x.requires_grad or step.x0_hat.requires_grad for step in steps)
    torch.testing.assert_close(steps[-1].x, steps[-1].x0_hat)
    plain = list(ng.trajectory(unet, SCHEDULE, 2))
    assert all(step.gradient is None for step in plain)
    first = next(SCHEDULE.transitions())
    torch.testing.assert_close(
        steps[0].x - plain[0].x, 3.0 * first.variance * steps[0].stabilized, atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmsolver"])
def test_outside_the_interval_no_classifier_is_called(unet, classifier, sampler):
    levels = [transition.noise_level for transition in SCHEDULE.transitions()]
    calls = []

    def counting(x):
        calls.append(len(x))
        return classifier(x)

    guidance = guide(counting, 1, at="xt", interval=(levels[3], levels[1]), stabilizer=ng.EMA(0.5))
    steps = list(ng.trajectory(unet, SCHEDULE, 2, guidance=guidance, sampler=sampler))
    assert [step.gradient is not None for step in steps] == [False, True, True, True, False, False]
    assert len(calls) == 3
    torch.testing.assert_close(steps[1].stabilized, 0.5 * steps[1].gradient)  # the state starts where guidance does


def test_weights_keep_no_gradient_and_memory_does_not_grow(unet, classifier):
    counts = []
    unet.requires_grad_(True)
    for step in ng.trajectory(unet, SCHEDULE, 2, guidance=guide(classifier, 0, stabilizer=ng.Adam())):
        assert step.x.grad_fn is None
        if step.k in (2, 5):
            gc.collect()
            counts.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
    assert all(weight.grad is None for weight in [*unet.parameters(), *classifier.parameters()])
    assert counts[0] == counts[1]


def test_grad_mode_of_the_caller_is_left_alone(unet, classifier):
    for _ in ng.trajectory(unet, SCHEDULE, 1, guidance=guide(classifier, 0)):
        assert torch.is_grad_enabled()
    with torch.no_grad():
        first = next(ng.trajectory(unet, SCHEDULE, 1, guidance=guide(classifier, 0)))
    assert first.gradient.abs().max() > 0


def test_state_stays_float32_under_autocast(unet, classifier):
    schedule = ng.Schedule.linear(400, 1e-4, 0.05, prediction="sample").respaced(6)
    low, full = (
        list(ng.trajectory(unet, schedule, 2, guidance=guide(classifier, 1), autocast=precision))
        for precision in (torch.bfloat16, None)
    )
    assert all(step.x.dtype == step.x0_hat.dtype == step.gradient.dtype == torch.float32 for step in low[:-1])
    error = (low[0].x0_hat - full[0].x0_hat).abs().max()
    assert 1e-4 < error < 0.05  # bfloat16 keeps 8 bits


def explode_for_second(x):
    factor = torch.ones(len(x), 1)
    factor[1] = float("inf") if len(x) > 1 else 1.0
    return x.flatten(1)[:, :2] * factor


def test_a_gradient_that_is_not_finite_is_named():
    schedule = ng.Schedule.linear(8, 0.02, 0.3)
    guidance = guide(explode_for_second, 0, at="xt", stabilizer=ng.EMA(0.9), objective="logit")
    with pytest.raises(ng.NonFiniteGradientError, match=r"sample 11 .* step 1 \(t = 7\), with guidance at 'xt', EMA"):
        ng.sample(lambda x, t: 0.1 * x, schedule, 3, guidance=guidance, shape=(3, 4, 4), first_index=10)


NONFINITE = guide(explode_for_second, 0, at="xt", objective="logit", on_nonfinite="skip")


def test_a_gradient_that_is_not_finite_can_be_skipped_and_is_counted():
    schedule = ng.Schedule.linear(8, 0.02, 0.3)
    options = {"shape": (3, 4, 4), "guidance": NONFINITE}
    images, skipped = sample_counted(lambda x, t: 0.1 * x, schedule, 3, **options)
    assert skipped.tolist() == [0, 7, 0]
    unguided = ng.sample(lambda x, t: 0.1 * x, schedule, 3, shape=(3, 4, 4))
    assert torch.equal(images[1], unguided[1]) and not torch.equal(images[0], unguided[0])
    with pytest.warns(RuntimeWarning, match="7 gradients, of 1 of 3 samples, were not finite"):
        ng.sample(lambda x, t: 0.1 * x, schedule, 3, **options)


def zero(x, t):
    return 0.0 * x


V_ZERO = ng.Schedule.linear(8, 0.02, 0.3, prediction="v").zero_terminal_snr()


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmsolver"])
@pytest.mark.parametrize("at", ["xt", "x0", "x0_detached"])
def test_a_v_network_starts_from_pure_noise(at, sampler):
    guidance = guide(lambda x: x.flatten(1)[:, :2], 0, at=at)
    x = ng.sample(lambda x, t: 0.1 * x, V_ZERO, 2, guidance=guidance, sampler=sampler, shape=(3, 4, 4))
    assert x.isfinite().all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"num_samples": 0}, ValueError, "num_samples is 0"),
        ({"seed": -1}, ValueError, "seed -1"),
        ({"seed": 2**64}, ValueError, "less than 2\\^64"),
        ({"first_index": -1}, ValueError, "first_index -1"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"microbatch": 0}, ValueError, "microbatch is 0"),
        ({"sampler": "euler"}, ValueError, "sampler is 'euler'"),
        ({"eta": 0.5}, ValueError, "eta belongs to"),
        ({"sampler": "ddim", "eta": 1.5}, ValueError, "eta is 1.5"),
        ({"dtype": torch.float16}, ValueError, "autocast is for the network"),
        ({"shape": None}, ValueError, "pass shape="),
        ({"shape": (3, 0, 4)}, ValueError, "three positive numbers"),
        ({"noise": lambda k: torch.zeros(2, 3, 4, 5)}, ValueError, r"noise\(0\) is \(2, 3, 4, 5\)"),
        ({"denoiser": lambda x, t: x[:, :1]}, ValueError, r"denoiser returned \(2, 1, 4, 4\)"),
        ({"denoiser": lambda x, t: None}, ValueError, "denoiser returned NoneType"),
        ({"denoiser": lambda x, t: x * float("nan")}, ValueError, "output was not finite"),
        ({"denoiser": nn.Identity()}, ValueError, "training mode"),
        ({"denoiser": nn.Conv2d(3, 3, 1).eval().to("meta")}, ValueError, None),
        ({"guidance": guide(zero, torch.tensor([0, 1, 1]))}, ValueError, "3 targets for 2 samples"),
        (
            {"guidance": guide(nn.Linear(4, 2).eval().to("meta"), 0), "device": "cpu"},
            ValueError,
            "classifier is on meta",
        ),
        ({"guidance": guide(lambda x: x.flatten(1)[:, :2], 2)}, ValueError, "Target 2 is none of"),
        ({"guidance": guide(lambda x: x, 0)}, ValueError, "must return logits"),
        (
            {"guidance": guide(lambda x: x.detach().flatten(1), 0)},
            ValueError,
            "classifier's output carries no gradient",
        ),
        ({"denoiser": torch.no_grad()(zero), "guidance": guide(lambda x: x.flatten(1), 0)}, ValueError, "x0_detached"),
        ({"schedule": ng.Schedule(V_ZERO.alpha_bars, V_ZERO.timesteps)}, ValueError, "starts at alpha_bar = 0"),
    ],
)
def test_guards(change, error, message):
    arguments = {"denoiser": zero, "schedule": SCHEDULE, "num_samples": 2, "shape": (3, 4, 4)} | change
    if message is None:
        arguments["device"], message = "cpu", "denoiser is on meta and the samples on cpu"
    with pytest.raises(error, match=message):
        ng.sample(**arguments)


def test_the_public_names_are_there_and_errors_are_cheap():
    assert all(getattr(ng, name) is not None for name in ng.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Sgd'"):
        ng.Sgd()
    code = "import sys, nonrobust_guidance.errors; assert not {'torch', 'diffusers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
