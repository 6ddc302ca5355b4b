"""Published U-Nets in each layout that diffusers and trainings write, read as one model, or refused in one sentence.

It is long because every layout that is published is one case.
"""

import json
import shutil

import pytest
import torch
from diffusers import DDPMScheduler, DiTTransformer2DModel, UNet2DConditionModel, UNet2DModel, VQModel
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from sections import models_of
from torch import nn
from torchvision import models

import nonrobust_guidance as ng
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.models.diffusion import load_diffusion
from nonrobust_guidance.models.origins import fetched_models
from nonrobust_guidance.models.published import fetch_classifier, fetch_diffusion

BLOCKS = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
FLAT = {"down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D")}
STEM = "diffusion_pytorch_model"
SHARD_BYTES = 60_000


def build(**changes):
    torch.manual_seed(0)
    small = {"sample_size": 16, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
    return UNet2DModel(**(small | {"attention_head_dim": None} | BLOCKS | changes)).eval()


def save_scheduler(folder, num_steps=40):
    DDPMScheduler(num_train_timesteps=num_steps, beta_start=1e-4, beta_end=0.2).save_pretrained(folder)


@pytest.fixture(scope="module")
def unet():
    """Has numbers that float16 can hold, so that a variant says the same."""
    return build().half().float()


@pytest.fixture
def source(tmp_path):
    save_scheduler(tmp_path / "source" / "scheduler")
    return tmp_path / "source"


def fetch(source, **further):
    """Fetch from a folder and return the U-Net as the run loads it."""
    schedule = {"num_steps": 40, "beta_start": 1e-4, "beta_end": 0.2}
    diffusion = {"name": "ddpm", "schedule": schedule, "source": {"folder": str(source)} | further}
    output = source.parent / "ddpm"
    fetch_diffusion(fetched_models(models_of(diffusion=diffusion))["ddpm"], 16, output)
    assert sorted(path.name for path in output.rglob("*.*")) == [
        "config.json",
        f"{STEM}.safetensors",
        "model_index.json",
        "scheduler_config.json",
        "source.json",
    ]
    weights = load_file(output / "unet" / f"{STEM}.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    # Neither where it was brought together nor what a training kept beside it.
    card = json.loads((output / "unet" / "config.json").read_text())
    assert (card["_name_or_path"], card.get("decay")) == ("", None)
    return load_diffusion(output)[0]


def same(one, other):
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 30])
    return torch.equal(one(x, t).sample, other(x, t).sample)


def refused(source, **further):
    """Return the sentence that refuses the folder; nothing may be left of it."""
    with pytest.raises(UserError) as raised:
        fetch(source, **further)
    assert "\n" not in str(raised.value)
    assert list((source.parent / "ddpm").rglob("*")) == []
    return str(raised.value)


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
@pytest.mark.parametrize("size", ["10GB", SHARD_BYTES], ids=["whole", "shards"])
@pytest.mark.parametrize("variant", [None, "fp16", "bf16"])
def test_variants_and_shards_are_the_model(unet, source, variant, size, safe):
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(variant, torch.float32)
    saved = build().to(kind)
    saved.save_pretrained(source / "unet", variant=variant, max_shard_size=size, safe_serialization=safe)
    shards = list((source / "unet").glob("*-of-*"))
    assert len(shards) == (0 if size == "10GB" else 2 if variant else 4)
    assert same(fetch(source), saved.float())
    used = json.loads((source.parent / "ddpm" / "source.json").read_text())["sha256"]
    assert len(used) == len(list((source / "unet").iterdir())) + 1


def test_a_repository_of_shards_comes_whole(unet, source, hub):
    unet.half().save_pretrained(source / "unet", variant="fp16", max_shard_size=SHARD_BYTES)
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*.*")}
    commit = hub.add("model", "owner/sharded", files)
    output = source.parent / "of_hub"
    schedule = {"num_steps": 40, "beta_start": 1e-4, "beta_end": 0.2}
    place = {"repository": "owner/sharded", "revision": None}
    diffusion = {"name": "ddpm", "schedule": schedule, "source": place}
    fetch_diffusion(fetched_models(models_of(diffusion=diffusion))["ddpm"], 16, output)
    assert same(load_diffusion(output)[0], unet.float())
    record = json.loads((output / "source.json").read_text())
    assert (record["revision"], set(record["sha256"])) == (commit, set(files))


def test_float32_is_taken_before_a_variant(source):
    single, half = build(), build().half()
    half.save_pretrained(source / "unet", variant="fp16")
    single.save_pretrained(source / "unet")
    assert same(fetch(source), single)


def test_mixed_precision_becomes_one(unet, source):
    unet.save_pretrained(source / "unet")
    file = source / "unet" / f"{STEM}.safetensors"
    kinds = (torch.float16, torch.float32, torch.float64)
    mixed = {name: tensor.to(kinds[i % 3]) for i, (name, tensor) in enumerate(load_file(file).items())}
    save_file(mixed, file)
    assert same(fetch(source), unet)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "ema_model.", "module._orig_mod.unet."])
@pytest.mark.parametrize("old_names", [False, True])
def test_what_wrappers_put_before_all_names_is_dropped(unet, source, prefix, old_names):
    unet.save_pretrained(source / "unet")
    file = source / "unet" / f"{STEM}.safetensors"
    weights = load_file(file)
    if old_names:
        for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
            weights = {name.replace(f".{new}.", f".{old}."): tensor for name, tensor in weights.items()}
    save_file({prefix + name: tensor for name, tensor in weights.items()}, file)
    assert same(fetch(source), unet)


def test_a_prefix_of_some_names_is_none(unet, source):
    unet.save_pretrained(source / "unet")
    file = source / "unet" / f"{STEM}.safetensors"
    weights = load_file(file)
    save_file({f"module.{name}": tensor for name, tensor in weights.items()} | {"step": torch.zeros(1)}, file)
    assert "the weights are another network's" in refused(source)


def test_wrappers_of_torch_itself(unet, source):
    wrapped = nn.DataParallel(torch.compile(unet))
    unet.save_pretrained(source / "unet")
    file = source / "unet" / f"{STEM}.safetensors"
    assert all(name.startswith("module._orig_mod.") for name in wrapped.state_dict())
    save_file(wrapped.state_dict(), file)
    assert same(fetch(source), unet)


def test_an_average_is_chosen_by_path(unet, source):
    unet.save_pretrained(source / "unet")
    average = EMAModel(build().parameters(), decay=0.9, model_cls=UNet2DModel, model_config=unet.config)
    for shadow in average.shadow_params:
        shadow.mul_(0.5)
    average.save_pretrained(source / "unet_ema")
    expected = UNet2DModel.from_pretrained(source / "unet_ema")
    assert same(fetch(source, path="unet_ema/"), expected)
    assert not same(expected, unet)
    shutil.rmtree(source.parent / "ddpm")
    assert same(fetch(source, path="./unet"), unet)


@pytest.mark.parametrize(
    ("unet_folder", "scheduler_folder", "path"),
    [
        ("unet", "scheduler", ""),
        ("unet", "scheduler", "unet"),
        ("unet", ".", ""),
        ("unet", "unet", ""),
        ("unet", "unet/scheduler", ""),
        (".", ".", ""),
        (".", "scheduler", ""),
        ("models/small/unet", "models/small/scheduler", "models/small"),
        ("models/small", "models/scheduler", "models/small"),
        ("models/small", "models", "models/small"),
    ],
)
def test_the_scheduler_lies_beside_the_unet_or_one_folder_above(unet, tmp_path, unet_folder, scheduler_folder, path):
    source = tmp_path / "source"
    unet.save_pretrained(source / unet_folder)
    save_scheduler(source / scheduler_folder)
    assert same(fetch(source, path=path), unet)


def test_the_nearest_scheduler_is_the_models(unet, source):
    save_scheduler(source / "models" / "scheduler", num_steps=50)
    save_scheduler(source / "models" / "small" / "scheduler")
    unet.save_pretrained(source / "models" / "small" / "unet")
    assert same(fetch(source, path="models/small"), unet)


def test_without_a_scheduler_the_sentence_says_how_to_add_one(unet, tmp_path):
    unet.save_pretrained(tmp_path / "source" / "a" / "b" / "unet")
    save_scheduler(tmp_path / "source" / "scheduler")
    sentence = refused(tmp_path / "source", path="a/b")
    assert "has no file a/b/scheduler/scheduler_config.json nor a/b/scheduler_config.json, nor one folder" in sentence
    assert sentence.endswith(
        "save a DDPMScheduler of diffusers with the model's betas into its folder scheduler, and name the folder in "
        "diffusion.source.folder"
    )
    # As it says.
    save_scheduler(tmp_path / "source" / "a" / "b" / "scheduler")
    assert same(fetch(tmp_path / "source", path="a/b"), unet)


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        (None, "does not say for which images the model is; put the source into a folder, write their size"),
        ((16, 32), "for images of 16 x 32 pixels; use one for squares"),
        ((32, 16), "for images of 32 x 16 pixels; use one for squares"),
        ((32, 32), "for images of 32 pixels; set dataset.image_size to that"),
        (8, "for images of 8 pixels; set dataset.image_size to that"),
    ],
)
def test_another_size_or_none_is_refused_when_fetched(source, size, sentence):
    build(sample_size=size).save_pretrained(source / "unet")
    assert sentence in refused(source)


def test_a_square_of_two_numbers_is_a_size(source):
    unet = build(sample_size=(16, 16))
    unet.save_pretrained(source / "unet")
    loaded = fetch(source)
    assert loaded.config["sample_size"] == 16
    images = ng.sample(loaded, ng.Schedule.linear(4, 1e-4, 0.2), num_samples=1, seed=0)
    assert images.shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"out_channels": 6}, "with 3 channels in and 6 out; use one with three of each, which predicts no variance"),
        ({"in_channels": 1, "out_channels": 1}, "with 1 channels in and 1 out"),
        ({"num_class_embeds": 10}, "of a model that is told the class; use an unconditional one"),
        ({"class_embed_type": "timestep"}, "of a model that is told the class"),
        ({"class_embed_type": "identity"}, "of a model that is told the class"),
        # Divides by the noise level that it is told, which is no step.
        ({"time_embedding_type": "fourier"}, "predicts no noise of images of 16 pixels"),
        # Its last level has half a pixel.
        (
            {"block_out_channels": (8,) * 6, **{name: types[:1] * 6 for name, types in FLAT.items()}},
            "predicts no noise",
        ),
    ],
)
def test_a_unet_of_another_kind_is_refused_when_fetched(source, changes, sentence):
    build(**changes).save_pretrained(source / "unet")
    assert sentence in refused(source)


def test_models_of_other_classes_are_refused_by_their_names(source):
    few = {"sample_size": 16, "norm_num_groups": 4}
    conditional = UNet2DConditionModel(
        block_out_channels=(8, 8),
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=4,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **few,
    )
    transformer = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=3, out_channels=3, num_layers=1, **few
    )
    for model in (conditional, transformer):
        model.save_pretrained(source / "unet")
        assert f"is of a {type(model).__name__}; use an unconditional UNet2DModel" in refused(source)


def test_a_diffusion_of_latents_is_refused_though_its_unet_fits(unet, source):
    unet.save_pretrained(source / "unet")
    VQModel(block_out_channels=(8,), norm_num_groups=4, vq_embed_dim=3).save_pretrained(source / "vqvae")
    # Alone the folder may be of anybody.
    assert same(fetch(source), unet)
    shutil.rmtree(source.parent / "ddpm")
    (source / "model_index.json").write_text('{"_class_name": "LDMPipeline"}')
    assert "has a file vqvae/config.json, so it is a diffusion of latents; use one of pixels" in refused(source)
    assert "of latents" in refused(source, path="unet")


@pytest.mark.parametrize("name", ["ScoreSdeVeScheduler", "CMStochasticIterativeScheduler", "EDMEulerScheduler"])
def test_a_scheduler_without_betas_does_not_get_those_of_diffusers(unet, source, name):
    import diffusers

    unet.save_pretrained(source / "unet")
    getattr(diffusers, name)().save_pretrained(source / "scheduler")
    assert "cannot be used as a scheduler (it gives no betas)" in refused(source)


def test_damaged_shards_and_indices_are_named(unet, source):
    unet.save_pretrained(source / "unet", max_shard_size=SHARD_BYTES)
    index = source / "unet" / f"{STEM}.safetensors.index.json"
    first, second, *_ = sorted((source / "unet").glob("*-of-*"))
    whole, shard = index.read_text(), second.read_bytes()
    second.write_bytes(shard[: len(shard) // 2])
    assert f"{second} cannot be read as safetensors" in refused(source)
    second.unlink()
    assert f"{index} names the shard {second.name}, which is not beside it" in refused(source)
    second.write_bytes(shard)
    (source / "outside.safetensors").write_bytes(first.read_bytes())
    for place in ("../outside.safetensors", str(source / "outside.safetensors"), "/etc/passwd"):
        index.write_text(whole.replace(first.name, place))
        assert f"names the shard {place}, which is not beside it" in refused(source)
    index.write_text(whole.replace(first.name, second.name))
    assert f"{second} has no tensor " in refused(source)
    for text in ("", "[]", '{"weight_map": 3}', "{}"):
        index.write_text(text)
        assert f"{index} is no index of shards; fetch it again" in refused(source)
    index.write_text(json.dumps({"weight_map": dict(list(json.loads(whole)["weight_map"].items())[1:])}))
    assert "the weights are another network's" in refused(source)


def test_numbers_that_are_none_are_refused(unet, source):
    unet.save_pretrained(source / "unet")
    file = source / "unet" / f"{STEM}.safetensors"
    weights = load_file(file)
    for name, value in (("conv_in.weight", float("nan")), ("conv_out.bias", float("inf"))):
        save_file(weights | {name: torch.full_like(weights[name], value)}, file)
        assert f"has a {name} with numbers that are not finite" in refused(source)
    save_file(weights | {"conv_in.weight": weights["conv_in.weight"].to(torch.int8)}, file)
    assert "has a conv_in.weight of int8; use weights that are not quantized" in refused(source)


@pytest.mark.parametrize("name", [f"{STEM}.non_ema.safetensors", "model.ckpt", f"{STEM}.msgpack", "pytorch_model.bin"])
def test_weights_of_other_names_are_named(unet, source, name):
    unet.save_pretrained(source / "unet")
    (source / "unet" / f"{STEM}.safetensors").rename(source / "unet" / name)
    assert f"has no file unet/{STEM}.safetensors nor .bin but {name}; " in refused(source)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "ema_model.", "module.classifier."])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_a_classifier_comes_out_of_wrappers_and_precisions(tmp_path, prefix, kind):
    torch.manual_seed(1)
    network = models.mobilenet_v3_small(num_classes=2).eval().to(kind)
    (tmp_path / "source").mkdir()
    weights = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    save_file(weights, tmp_path / "source" / "w.safetensors")
    section = {"architecture": "mobilenet_v3_small", "input_size": 32, "noised": False}
    section |= {"source": {"folder": str(tmp_path / "source"), "mean": [0.5] * 3, "std": [0.5] * 3}}
    models_fetched = fetched_models(models_of(classifiers={"guide": section}))
    fetch_classifier(models_fetched["guide"], "guide", ["a", "b"], 16, tmp_path / "guide")
    written = load_file(tmp_path / "guide" / "model.safetensors")
    counts = {name for name in written if name.endswith("num_batches_tracked")}
    assert {written[name].dtype for name in written.keys() - counts} == {torch.float32}
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    expected = ng.preprocess(network.float(), size=32, mean=[0.5] * 3, std=[0.5] * 3)(x)
    torch.testing.assert_close(load_classifier(tmp_path / "guide")(x), expected, atol=1e-5, rtol=1e-5)


def test_a_classifier_of_no_numbers_is_refused(tmp_path):
    weights = models.resnet18(num_classes=2).state_dict()
    for change, sentence in (
        (weights["fc.bias"] * float("nan"), "fc.bias with numbers that are not finite"),
        (weights["fc.bias"].to(torch.int8), "fc.bias of int8; use weights that are not quantized"),
    ):
        save_file(weights | {"fc.bias": change}, tmp_path / "w.safetensors")
        with pytest.raises(ValueError, match=sentence):
            ng.load_torchvision_classifier(tmp_path / "w.safetensors", "resnet18")
