"""Unguided steps and pipelines against diffusers' own, on the same noise."""

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, EulerDiscreteScheduler, UNet2DModel

import nonrobust_guidance as ng

SIZE = (2, 3, 8, 8)


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    ).double().eval()  # fmt: skip


def noise_like_diffusers(dtype=torch.float64):
    """Return draws in the order in which a diffusers pipeline makes them."""
    generator = torch.Generator().manual_seed(0)
    return lambda k: torch.randn(SIZE, generator=generator, dtype=dtype)


def with_float64_tables(scheduler):
    """Return the scheduler with its tables computed in float64.

    In float32, as they come, 1 - alpha_bar of the cleanest levels has three digits, and a step is off by up to 1e-4.
    """
    scheduler.alphas_cumprod = (1.0 - scheduler.betas.double()).cumprod(0)
    scheduler.one = torch.ones((), dtype=torch.float64)
    if isinstance(scheduler, DDIMScheduler):
        to_one = scheduler.config.set_alpha_to_one
        scheduler.final_alpha_cumprod = scheduler.one if to_one else scheduler.alphas_cumprod[0]
    return scheduler


@torch.no_grad()
def states_of_diffusers(unet, scheduler, num_steps, **options):
    scheduler.set_timesteps(num_steps)
    noise, generator = noise_like_diffusers(), torch.Generator().manual_seed(0)
    x = torch.randn(SIZE, generator=generator, dtype=torch.float64)
    assert torch.equal(x, noise(0))
    states = []
    for t in scheduler.timesteps:
        x = scheduler.step(unet(x, t).sample, int(t), x, generator=generator, **options).prev_sample
        states.append(x)
    return states


def assert_same_chain(unet, scheduler, num_steps, sampler, **options):
    expected = states_of_diffusers(unet, with_float64_tables(scheduler), num_steps, **options)
    schedule = ng.Schedule.from_diffusers(scheduler).respaced(num_steps)
    assert schedule.timesteps.tolist()[::-1] == scheduler.timesteps.tolist()
    clip = scheduler.config.clip_sample
    steps = ng.trajectory(
        unet,
        schedule,
        2,
        noise=noise_like_diffusers(),
        sampler=sampler,
        clip=clip,
        dtype=torch.float64,
        microbatch=None,
        **options,
    )
    for step, state in zip(steps, expected, strict=True):
        state = state.clamp(-1, 1) if clip and step.k == num_steps else state
        torch.testing.assert_close(step.x, state, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize(
    ("scheduler", "sampler", "atol"),
    [(DDPMScheduler(400), "ddpm", 1e-4), (DDIMScheduler(400), "ddim", 1e-5)],
    ids=["ddpm", "ddim"],
)
def test_steps_with_float32_tables_as_they_come(scheduler, sampler, atol):
    def denoiser(x, t):
        return torch.tanh(1.3 * x.flip(3) + 0.2)

    schedule = ng.Schedule.from_diffusers(scheduler)
    scheduler.set_timesteps(400)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SIZE, generator=generator)
    steps = ng.trajectory(
        denoiser, schedule, 2, sampler=sampler, noise=noise_like_diffusers(torch.float32), shape=SIZE[1:]
    )
    for step in steps:
        expected = scheduler.step(denoiser(x, step.t), step.t, x, generator=generator).prev_sample
        torch.testing.assert_close(step.x, expected, atol=atol, rtol=0)
        x = step.x


@pytest.mark.parametrize("num_steps", [40, 7])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize(
    "fields",
    [
        {"beta_end": 0.05},
        {"beta_end": 0.05, "prediction_type": "v_prediction"},
        {"beta_end": 0.05, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
        {"beta_end": 0.05, "prediction_type": "sample", "clip_sample": False},
        {"beta_end": 0.05, "variance_type": "fixed_small_log"},
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_ddpm_steps(unet, fields, spacing, num_steps):
    scheduler = DDPMScheduler(40, timestep_spacing=spacing, **fields)
    assert_same_chain(unet, scheduler, num_steps, "ddpm")


@pytest.mark.parametrize("spacing", ["leading", "linspace"])
def test_ddpm_steps_with_the_large_variance(unet, spacing):
    # Both end at t = 0; where the last step is another, diffusers adds noise to the image and we do not.
    assert_same_chain(unet, DDPMScheduler(40, variance_type="fixed_large", timestep_spacing=spacing), 8, "ddpm")


@pytest.mark.parametrize("num_steps", [40, 8])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
        {"prediction_type": "sample", "clip_sample": False},
        {"set_alpha_to_one": False, "steps_offset": 0},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_ddim_steps(unet, fields, eta, spacing, num_steps):
    # Where the number of steps does not divide the training steps, or with linspace, diffusers' DDIM takes a level for
    # the end of a step that it does not visit; ours ends where the next step begins.
    scheduler = DDIMScheduler(40, beta_end=0.05, timestep_spacing=spacing, **fields)
    if scheduler.config.rescale_betas_zero_snr and eta == 1.0:
        eta = 0.99  # at 1 diffusers takes the root of 1 - abar_prev - sigma^2, which rounds to less than zero
    assert_same_chain(unet, scheduler, num_steps, "ddim", eta=eta)


def test_a_steps_offset_is_kept(unet):
    scheduler = DDIMScheduler(40, beta_end=0.05, set_alpha_to_one=False, steps_offset=1)
    assert_same_chain(unet, scheduler, 8, "ddim", eta=0.0)


@pytest.mark.parametrize("eta", [0.0, 0.6])
@pytest.mark.parametrize("fields", [{}, {"prediction_type": "v_prediction"}, {"prediction_type": "sample"}])
def test_ddim_steps_along_the_clipped_output(unet, fields, eta):
    scheduler = DDIMScheduler(40, beta_end=0.05, **fields)
    assert_same_chain(unet, scheduler, 8, "ddim", eta=eta, use_clipped_model_output=True)


@pytest.mark.parametrize("clip_sample", [True, False])
def test_steps_are_clipped_as_the_scheduler_says(unet, clip_sample):
    scheduler = DDPMScheduler(40, beta_end=0.05, clip_sample=clip_sample)
    expected = states_of_diffusers(unet, with_float64_tables(scheduler), 8)[-2]
    schedule = ng.Schedule.from_diffusers(scheduler).respaced(8)
    *_, state, _ = ng.trajectory(unet, schedule, 2, noise=noise_like_diffusers(), dtype=torch.float64, microbatch=None)
    torch.testing.assert_close(state.x, expected, atol=1e-7, rtol=1e-7)


def test_zero_terminal_snr_is_diffusers():
    scheduler = DDPMScheduler(400, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    ours = ng.Schedule.linear(400, 1e-4, 0.02, prediction="v").zero_terminal_snr()
    expected = ng.Schedule.from_diffusers(scheduler)
    torch.testing.assert_close(ours.alpha_bars, expected.alpha_bars, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("theirs", "scheduler"),
    [
        (DDPMPipeline, DDPMScheduler(20, beta_end=0.1)),
        (DDPMPipeline, DDPMScheduler(20, beta_end=0.1, prediction_type="v_prediction")),
        (DDIMPipeline, DDIMScheduler(20, beta_end=0.1)),
    ],
    ids=["ddpm", "ddpm-v", "ddim"],
)
def test_guided_pipeline_reads_their_folders_and_gives_their_images(unet, theirs, scheduler, tmp_path):
    pipeline = theirs(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(tmp_path)
    with_float64_tables(pipeline.scheduler)
    options = {"batch_size": 2, "num_inference_steps": 5, "output_type": "np"}
    expected = pipeline(generator=torch.Generator().manual_seed(0), **options)
    ours = ng.GuidedPipeline.from_pretrained(tmp_path, dtype=torch.float64)
    ours.set_progress_bar_config(disable=True)
    found = ours(noise=noise_like_diffusers(), dtype=torch.float64, **options)
    assert abs(found.images - expected.images).max() < 1e-6


def test_guided_pipeline_guides_and_saves(unet, tmp_path, capfd):
    pipe = ng.GuidedPipeline(unet, DDPMScheduler(20, beta_end=0.1))
    guidance = ng.ClassifierGuidance(lambda x: x.mean((2, 3))[:, :2], 0, 300.0, objective="logit")
    plain, guided = (pipe(3, num_inference_steps=5, guidance=g, output_type="pt").images for g in (None, guidance))
    assert guided.shape == (3, 3, 8, 8) and guided.min() >= 0 and guided.max() <= 1
    assert guided[:, 0].mean() > plain[:, 0].mean() + 0.05
    assert "5/5" in capfd.readouterr().err
    image = pipe(num_inference_steps=2).images[0]
    assert image.size == (8, 8)
    generator = torch.Generator().manual_seed(0)
    first, second = (pipe(1, 2, generator=generator, output_type="np", return_dict=False)[0] for _ in range(2))
    assert abs(first - second).max() > 0.01
    pipe.save_pretrained(tmp_path)
    again = ng.GuidedPipeline.from_pretrained(tmp_path, dtype=torch.float64)(
        3, num_inference_steps=5, output_type="pt"
    ).images
    assert torch.equal(again, plain)


@pytest.mark.parametrize(
    ("scheduler", "options", "message"),
    [
        (EulerDiscreteScheduler(20), {}, "EulerDiscreteScheduler is not supported"),
        (DDPMScheduler(20, thresholding=True), {}, "limits x0 otherwise"),
        (DDPMScheduler(20, clip_sample_range=2.0), {}, "limits x0 otherwise"),
        (DDPMScheduler(20, variance_type="learned_range"), {}, "variance_type is 'learned_range'"),
        (DDPMScheduler(20), {"output_type": "latent"}, "output_type is 'latent'"),
        (DDPMScheduler(20), {"num_inference_steps": 21}, "Cannot keep 21"),
        (DDPMScheduler(20), {"eta": 0.5}, "eta belongs to"),
        (DDPMScheduler(20, rescale_betas_zero_snr=True), {}, "starts at alpha_bar = 0"),
    ],
)
def test_guided_pipeline_guards(unet, scheduler, options, message):
    with pytest.raises(ValueError, match=message):
        ng.GuidedPipeline(unet, scheduler)(**options)
