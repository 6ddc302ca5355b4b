"""The pipeline against the calls of diffusers' own two, and every scheduler of theirs: read, or refused with a remedy.

The images themselves are compared with diffusers' in tests/parity.
"""

import copy
import inspect
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import diffusers.schedulers
import numpy as np
import pytest
import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UNet2DModel,
)
from diffusers.configuration_utils import ConfigMixin
from torch import nn

import nonrobust_guidance as ng


def build_unet(**fields):
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, **fields,
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def unet():
    return build_unet()


def pipe_with(unet, scheduler):
    pipe = ng.GuidedPipeline(unet, scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


KINDS = [(DDPMPipeline, DDPMScheduler), (DDIMPipeline, DDIMScheduler)]
# Another value than the default for each argument that a pipeline of diffusers has.
VALUES = {
    "batch_size": 2,
    "generator": seeded,
    "eta": 0.5,
    "num_inference_steps": 5,
    "use_clipped_model_output": True,
    "output_type": "np",
    "return_dict": False,
}


@pytest.mark.parametrize(("theirs", "kind"), KINDS, ids=["ddpm", "ddim"])
def test_every_argument_of_theirs_is_taken_by_name_and_in_their_order(unet, theirs, kind):
    names = list(inspect.signature(theirs.__call__).parameters)[1:]
    assert set(names) <= set(inspect.signature(ng.GuidedPipeline.__call__).parameters)
    pipe = pipe_with(unet, kind(20, beta_end=0.1))
    by_name = pipe(**{name: VALUES[name]() if name == "generator" else VALUES[name] for name in names})[0]
    for count in range(1, len(names) + 1):
        placed = [VALUES[name]() if name == "generator" else VALUES[name] for name in names[:count]]
        rest = {name: seeded() if name == "generator" else VALUES[name] for name in names[count:]}
        assert np.array_equal(pipe(*placed, **rest)[0], by_name)


@pytest.mark.parametrize(
    ("kind", "arguments", "options", "error", "message"),
    [
        (DDPMScheduler, (1, seeded(), 5, "np", True, None), {}, TypeError, "6 arguments are too many"),
        (DDPMScheduler, (1, seeded(), 5), {"num_inference_steps": 5}, TypeError, "num_inference_steps is given twice"),
        (DDIMScheduler, (1, seeded(), 0.5), {"eta": 0.5}, TypeError, "eta is given twice, .* generator, eta"),
        (DDPMScheduler, (1, seeded(), "np"), {}, TypeError, "number of steps is 'np'"),
        (DDPMScheduler, (1, "seed"), {}, TypeError, "generator is 'seed'"),
        (DDPMScheduler, (1, ["seed"]), {}, TypeError, "generator is 'seed'"),
        (DDPMScheduler, (2, [seeded()]), {}, ValueError, "1 generators for 2 images"),
        (DDPMScheduler, (1, 2), {"use_clipped_model_output": True}, ValueError, "belongs to the sampler 'ddim'"),
    ],
)
def test_arguments_are_guarded(unet, kind, arguments, options, error, message):
    with pytest.raises(error, match=message):
        pipe_with(unet, kind(20))(*arguments, **options)


def test_generators_give_the_same_images_again(unet):
    pipe = pipe_with(unet, DDPMScheduler(20, beta_end=0.1))
    options = {"num_inference_steps": 4, "output_type": "pt", "microbatch": "auto"}
    generator = seeded(3)
    first, second = (pipe(2, generator, **options).images for _ in range(2))
    assert torch.equal(first, pipe(2, seeded(3), **options).images) and not torch.equal(first, second)
    seed = int(torch.randint(2**63 - 1, (), generator=seeded(3)))  # as documented
    assert torch.equal(first, pipe(2, seed=seed, **options).images)
    both = pipe(2, [seeded(4), seeded(3)], **options).images
    alone = torch.cat([pipe(1, seeded(seed), **options).images for seed in (4, 3)])
    assert torch.equal(both, alone) and torch.equal(both[1], first[0])


def test_output_types_are_theirs(unet):
    ours, theirs = (kind(unet, DDPMScheduler(20)) for kind in (ng.GuidedPipeline, DDPMPipeline))
    for pipe in (ours, theirs):
        pipe.set_progress_bar_config(disable=True)
    for output_type in ("pil", "np", "pt", None):
        found, expected = (p(2, seeded(), 2, output_type).images for p in (ours, theirs))
        assert type(found) is type(expected) and len(found) == len(expected) == 2
        assert getattr(found, "shape", None) == getattr(expected, "shape", None)


def guidance_at(at):
    torch.manual_seed(1)
    return ng.ClassifierGuidance(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval(), 1, 50.0, at=at)


@pytest.mark.parametrize("at", ["xt", "x0", "x0_detached"])
def test_models_are_offloaded(unet, at):
    options = {"num_inference_steps": 3, "output_type": "pt", "guidance": guidance_at(at)}
    expected = pipe_with(unet, DDPMScheduler(20))(2, **options).images
    whole = pipe_with(copy.deepcopy(unet), DDPMScheduler(20))
    whole.enable_model_cpu_offload(device="cpu")
    assert whole._execution_device == torch.device("cpu:0")
    for _ in range(2):  # the hooks are put back after a call
        assert torch.equal(whole(2, **options).images, expected)


def test_models_are_offloaded_layer_by_layer(unet):
    """With a stand-in: on a CPU accelerate's own hooks fail in the call of DDPMPipeline too."""
    options = {"num_inference_steps": 3, "output_type": "pt", "guidance": guidance_at("x0")}
    expected = pipe_with(unet, DDPMScheduler(20))(2, **options).images
    offloaded = copy.deepcopy(unet).to("meta")
    offloaded._hf_hook = SimpleNamespace(execution_device=None)
    offloaded.conv_in._hf_hook = SimpleNamespace(execution_device="cpu")
    offloaded.forward = unet.forward
    assert offloaded.device.type == "meta"
    assert torch.equal(pipe_with(offloaded, DDPMScheduler(20))(2, **options).images, expected)


def test_an_offloaded_classifier_guides(unet):
    options = {"num_inference_steps": 3, "output_type": "pt"}
    pipe, guidance = pipe_with(unet, DDPMScheduler(20)), guidance_at("x0")
    expected = pipe(2, guidance=guidance, **options).images
    offloaded = copy.deepcopy(guidance.classifier).to("meta")
    offloaded[1]._hf_hook = SimpleNamespace(execution_device="cpu")
    offloaded.forward = guidance.classifier.forward
    assert torch.equal(pipe(2, guidance=replace(guidance, classifier=offloaded), **options).images, expected)


def test_a_folder_with_a_dpm_solver_samples_after_the_remedy(unet, tmp_path):
    DDPMPipeline(unet, DPMSolverMultistepScheduler(20, beta_end=0.1)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "scheduler" / "scheduler_config.json").read_text())
    assert config["variance_type"] is None
    pipe = ng.GuidedPipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 4, "output_type": "pt"}
    with pytest.raises(ValueError, match=r"DPMSolverMultistepScheduler is not supported; set pipe\.scheduler to (\S+)"):
        pipe(2, **options)
    for kind in (DDPMScheduler, DDIMScheduler):
        pipe.scheduler = kind.from_config(pipe.scheduler.config)
        expected = pipe_with(unet, kind(20, beta_end=0.1, timestep_spacing="linspace"))(2, **options).images
        assert torch.equal(pipe(2, **options).images, expected)
        pipe.save_pretrained(tmp_path / kind.__name__)
        again = ng.GuidedPipeline.from_pretrained(tmp_path / kind.__name__)
        assert torch.equal(again(2, **options).images, expected) and set(again.components) == {"unet", "scheduler"}


def kinds_of_schedulers():
    """Yield each scheduler class of diffusers, and the settings of some that matter here."""
    for name in sorted(dir(diffusers.schedulers)):
        kind = getattr(diffusers.schedulers, name, None)
        if inspect.isclass(kind) and issubclass(kind, ConfigMixin) and name.endswith("Scheduler"):
            yield pytest.param(kind, {}, id=name)
    for kind, settings in [
        (DPMSolverMultistepScheduler, {"use_karras_sigmas": True, "thresholding": True}),
        (DPMSolverMultistepScheduler, {"use_lu_lambdas": True, "variance_type": "learned_range"}),
        (DPMSolverMultistepScheduler, {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}),
        (EulerDiscreteScheduler, {"timestep_type": "continuous", "prediction_type": "v_prediction"}),
        (EulerDiscreteScheduler, {"use_beta_sigmas": True, "beta_end": 0.05}),
        (HeunDiscreteScheduler, {"clip_sample": True, "clip_sample_range": 2.0}),
        (CogVideoXDDIMScheduler, {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}),
        (DDIMScheduler, {"clip_sample_range": 2.0, "thresholding": True, "beta_schedule": "scaled_linear"}),
        (DDPMScheduler, {"variance_type": "learned", "num_train_timesteps": 20}),
    ]:
        yield pytest.param(kind, settings, id=f"{kind.__name__}-{'-'.join(settings)}")


REMEDY = re.compile(
    r"set pipe\.scheduler to (DDPMScheduler\.from_config\(.*\)), or to DDIMScheduler's|again with (.*)\."
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("kind", "settings"), list(kinds_of_schedulers()))
def test_every_scheduler_is_read_or_refused_with_a_remedy_that_works(unet, kind, settings):
    try:
        scheduler = kind(**settings)
    except (TypeError, ImportError) as error:
        # Not of images, or of a package that is not installed; those have no defaults, or no module.
        assert "required" in str(error)
        return
    table = getattr(scheduler, "alphas_cumprod", None)
    if table is None:
        with pytest.raises(TypeError, match="has no betas of a diffusion; pass a DDPMScheduler or DDIMScheduler"):
            ng.Schedule.from_diffusers(scheduler)
        return
    pipe = pipe_with(unet, scheduler)
    for _ in range(4):
        try:
            images = pipe(1, num_inference_steps=2, output_type="pt").images
            break
        except ValueError as error:
            whole, changes = REMEDY.search(str(error)).groups()
            if whole:
                pipe.scheduler = eval(whole, {"DDPMScheduler": DDPMScheduler, "pipe": pipe, "ng": ng})
            else:
                settings = settings | eval(f"dict({changes})")
                pipe.scheduler = kind(**settings)
    assert images.isfinite().all()
    found = ng.Schedule.from_diffusers(pipe.scheduler).alpha_bars
    torch.testing.assert_close(found, table.double(), rtol=1e-3, atol=1e-6)


def test_a_flow_is_refused():
    scheduler = DPMSolverMultistepScheduler(20, prediction_type="flow_prediction", use_flow_sigmas=False)
    with pytest.raises(ValueError, match="prediction_type is 'flow_prediction'; choose one of 'epsilon'"):
        ng.Schedule.from_diffusers(scheduler)


def test_settings_of_another_class_do_not_count():
    dpm = DPMSolverMultistepScheduler(20, use_karras_sigmas=True, steps_offset=1)
    ddim = DDIMScheduler.from_config(dpm.config, set_alpha_to_one=False)
    ddpm = DDPMScheduler.from_config(ddim.config)
    assert ddpm.config.use_karras_sigmas and not ddpm.config.set_alpha_to_one  # kept for the way back
    assert ng.Schedule.from_diffusers(ddpm).final_alpha_bar == 1.0
    assert ng.Schedule.from_diffusers(ddim).final_alpha_bar == pytest.approx(1 - 1e-4)


def test_a_network_that_predicts_its_variance_samples_after_the_remedy():
    double = pipe_with(build_unet(out_channels=6), DDPMScheduler(num_train_timesteps=20, variance_type="learned_range"))
    with pytest.raises(ValueError, match=r"variance_type is 'learned_range'.*variance_type='fixed_small'"):
        double(1, 2)
    double.scheduler = DDPMScheduler.from_config(double.scheduler.config, variance_type="fixed_small")
    found = double(2, num_inference_steps=2, output_type="pt").images
    half = build_unet()
    half.load_state_dict(
        {name: tensor[:3] if name.startswith("conv_out") else tensor
         for name, tensor in double.unet.state_dict().items()}
    )  # fmt: skip
    expected = pipe_with(half, DDPMScheduler(20))(2, num_inference_steps=2, output_type="pt").images
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
