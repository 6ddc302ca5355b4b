"""Published checkpoints in their true layouts: fetched, checked, converted, and loaded as trained ones are.

It is long because every way in which a download can be wrong is one case.
"""

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import load, load_file, save
from sections import models_of
from torchvision import models

import nonrobust_guidance as ng
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import sha256_of
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.models.diffusion import load_diffusion
from nonrobust_guidance.models.origins import fetched_models
from nonrobust_guidance.models.published import fetch_classifier, fetch_diffusion
from nonrobust_guidance.models.resuming import clear_state

SCHEDULE = {"num_steps": 40, "beta_start": 1e-4, "beta_end": 0.2}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def fetch_unet(source, folder):
    """Fetch a diffusion model as a run with such a source does."""
    diffusion = {"name": "ddpm", "schedule": SCHEDULE, "source": source}
    fetch_diffusion(fetched_models(models_of(diffusion=diffusion))["ddpm"], 16, folder)


def fetch_guide(source, folder, classes=("female", "male"), **settings):
    """Fetch a classifier likewise."""
    section = {"architecture": "mobilenet_v3_small", "input_size": 32, "noised": False, "source": source} | settings
    models = models_of(classifiers={"guide": section})
    fetch_classifier(fetched_models(models)["guide"], "guide", classes, 16, folder)


@pytest.fixture(scope="module")
def unet() -> UNet2DModel:
    torch.manual_seed(0)
    model = UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=None,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    return model.eval()


def scheduler_config(**changes):
    """What an older diffusers wrote."""
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": "0.1.1",
        "beta_end": 0.2,
        "beta_schedule": "linear",
        "beta_start": 0.0001,
        "clip_sample": True,
        "num_train_timesteps": 40,
        "trained_betas": None,
        "variance_type": "fixed_small",
    } | changes


def published(unet, flat, pickled=False, old_names=False, **scheduler) -> dict[str, bytes]:
    """Return the files of a model: in one folder as google/ddpm-celebahq-256 has them, or as diffusers writes them."""
    weights = {name: tensor.contiguous() for name, tensor in unet.state_dict().items()}
    if old_names:
        new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for theirs, older in new.items():
            weights = {name.replace(f".{theirs}.", f".{older}."): tensor for name, tensor in weights.items()}
    content = save(weights)
    if pickled:
        buffer = io.BytesIO()
        torch.save(weights, buffer)
        content = buffer.getvalue()
    card = {key: value for key, value in unet.config.items() if not key.startswith("_")}
    index = {"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"]}
    folder, schedule = ("", "") if flat else ("unet/", "scheduler/")
    return {
        "README.md": b"# A model",
        "model_index.json": json.dumps(index | {"unet": ["diffusers", "UNet2DModel"]}).encode(),
        f"{folder}config.json": json.dumps({"_class_name": "UNet2DModel", **card}).encode(),
        folder + (WEIGHTS.replace("safetensors", "bin") if pickled else WEIGHTS): content,
        f"{schedule}scheduler_config.json": json.dumps(scheduler_config(**scheduler)).encode(),
    }


def put(folder: Path, files: dict[str, bytes]) -> dict[str, str]:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return {"folder": str(folder)}


def classifier_file(num_logits, prefix="classifier.", architecture="mobilenet_v3_small"):
    torch.manual_seed(1)
    network = models.get_model(architecture, num_classes=num_logits).eval()
    return network, save({prefix + name: tensor for name, tensor in network.state_dict().items()})


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("kind", ["safetensors", "pickled", "old_names"])
def test_a_diffusion_model_comes_out_of_each_layout_as_it_went_in(unet, tmp_path, flat, kind):
    files = published(unet, flat, pickled=kind == "pickled", old_names=kind == "old_names")
    fetch_unet(put(tmp_path / "hand", files), tmp_path / "ddpm")
    loaded, schedule = load_diffusion(tmp_path / "ddpm")
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 30])
    torch.testing.assert_close(loaded(x, t).sample, unet(x, t).sample, atol=0, rtol=0)
    reference = DDPMScheduler(num_train_timesteps=40, beta_start=1e-4, beta_end=0.2).alphas_cumprod.double()
    torch.testing.assert_close(schedule.alpha_bars, reference, atol=1e-6, rtol=0)
    # diffusers' own default would leave out the noisiest level of a respaced chain.
    assert schedule.respaced(4).timesteps[-1] == 39
    left = {path.relative_to(tmp_path / "ddpm").as_posix() for path in (tmp_path / "ddpm").rglob("*.*")}
    parts = ["unet/config.json", f"unet/{WEIGHTS}", "scheduler/scheduler_config.json"]
    assert left == {"model_index.json", "source.json", *parts}


@pytest.mark.parametrize("place", ["hub", "archive"])
def test_a_diffusion_model_of_elsewhere(unet, hub, tmp_path, place):
    if place == "hub":
        commit = hub.add("model", "google/ddpm", published(unet, flat=True))
        source = {"repository": "google/ddpm", "revision": None}
    else:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, data in published(unet, flat=False).items():
                archive.writestr(f"models/unet64/{name}", data)
        hub.served["models.zip"] = content.getvalue()
        commit, source = None, {"url": f"{hub.url}/plain/models.zip", "path": "models/unet64"}
    fetch_unet(source, tmp_path / "ddpm")
    loaded, _ = load_diffusion(tmp_path / "ddpm")
    assert torch.equal(loaded.conv_in.weight, unet.conv_in.weight)
    record = json.loads((tmp_path / "ddpm" / "source.json").read_text())
    assert record["revision"] == commit
    assert WEIGHTS in record["sha256"] if place == "hub" else list(record["sha256"]) == ["models.zip"]


def test_the_first_fetch_is_held_to(unet, hub, tmp_path, capsys):
    first = hub.add("model", "google/ddpm", published(unet, flat=True))
    source = {"repository": "google/ddpm", "revision": None}
    fetch_unet(source, tmp_path)
    assert "recorded, and later fetches are held to it" in capsys.readouterr().err
    changed = published(unet, flat=True) | {"config.json": b"{}"}
    second = hub.add("model", "google/ddpm", changed)
    fetch_unet(source, tmp_path)
    assert "as recorded at the first fetch" in capsys.readouterr().err
    assert json.loads((tmp_path / "source.json").read_text())["revision"] == first
    with pytest.raises(UserError):
        fetch_unet(source | {"revision": second}, tmp_path)
    assert json.loads((tmp_path / "source.json").read_text())["revision"] == first


def test_files_by_hand_are_held_to_and_to_the_configuration(unet, tmp_path):
    files = published(unet, flat=True)
    source = put(tmp_path / "hand", files)
    digest = sha256_of(tmp_path / "hand" / WEIGHTS)
    fetch_unet(source | {"sha256": {WEIGHTS: digest}}, tmp_path / "ddpm")
    weights = {name: tensor + 1 for name, tensor in load(files[WEIGHTS]).items()}
    (tmp_path / "hand" / WEIGHTS).write_bytes(save(weights))
    with pytest.raises(UserError, match=r"safetensors is not the file that .*source\.json recorded at the first fetch"):
        fetch_unet(source, tmp_path / "ddpm")
    with pytest.raises(UserError, match=r"where diffusion\.source\.sha256 says"):
        fetch_unet(source | {"sha256": {WEIGHTS: digest}}, tmp_path / "new")
    unchanged, _ = load_diffusion(tmp_path / "ddpm")
    assert torch.equal(unchanged.conv_in.weight, unet.conv_in.weight)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("was-run"),))


def test_a_pickle_that_is_more_than_tensors_is_refused_and_not_run(unet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = published(unet, flat=True, pickled=True)
    name = next(name for name in files if name.endswith(".bin"))
    for content in (pickle.dumps({"a": Evil()}), b"", files[name][:900]):
        source = put(tmp_path / "hand", files | {name: content})
        with pytest.raises(UserError, match=r"is a pickle that holds more than tensors, or is damaged; convert it"):
            fetch_unet(source, tmp_path / "new")
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_train_timesteps": 50}, r"has 50 steps with betas 0\.0001 to 0\.2, and diffusion\.schedule says 40 with"),
        ({"beta_end": 0.1}, r"betas 0\.0001 to 0\.1, and diffusion\.schedule says 40 with 0\.0001 to 0\.2; make"),
        ({"beta_schedule": "scaled_linear"}, r"scaled_linear, which is not supported"),
        ({"prediction_type": "v_prediction"}, r"predicts v; use one that predicts the noise"),
        ({"variance_type": "learned"}, r"cannot be used as a scheduler"),
        ({"beta_schedule": "cubic"}, r"cannot be used as a scheduler"),
    ],
)
def test_another_schedule_is_named(unet, tmp_path, change, sentence):
    source = put(tmp_path / "hand", published(unet, flat=True, **change))
    with pytest.raises(UserError, match=sentence) as raised:
        fetch_unet(source, tmp_path / "ddpm")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "ddpm" / "source.json").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sample_size": 32}, r"for images of 32 pixels; set dataset\.image_size to that"),
        ({"out_channels": 6}, r"3 channels in and 6 out"),
        ({"num_class_embeds": 10}, r"told the class; use an unconditional one"),
        ({"block_out_channels": [8, 8]}, r"cannot be read as a U-Net"),
    ],
)
def test_another_network_is_named(unet, tmp_path, change, sentence):
    files = published(unet, flat=True)
    card = json.loads(files["config.json"]) | change
    if "block_out_channels" not in change:
        files[WEIGHTS] = save({k: v.contiguous() for k, v in UNet2DModel.from_config(card).state_dict().items()})
    files["config.json"] = json.dumps(card).encode()
    with pytest.raises(UserError, match=sentence):
        fetch_unet(put(tmp_path / "hand", files), tmp_path / "ddpm")


def test_missing_parts_and_places_are_named(unet, tmp_path):
    files = published(unet, flat=False)
    source = put(tmp_path / "hand", {name: files[name] for name in files if not name.startswith("scheduler")})
    with pytest.raises(UserError, match=r"has no file scheduler/scheduler_config\.json nor scheduler_config\.json"):
        fetch_unet(source, tmp_path / "ddpm")
    with pytest.raises(UserError, match=r"has no file else/unet/config\.json nor"):
        fetch_unet(source | {"path": "else"}, tmp_path / "ddpm")
    with pytest.raises(UserError, match=r"diffusion\.source\.folder nowhere is no folder"):
        fetch_unet({"folder": "nowhere"}, tmp_path / "ddpm")


def test_without_the_network_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError) as raised:
        fetch_unet({"repository": "google/ddpm-celebahq-256"}, tmp_path)
    assert str(raised.value).startswith("http://127.0.0.1:9/google/ddpm-celebahq-256 cannot be fetched (")
    assert str(raised.value).endswith(
        "fetch it elsewhere, and name the folder that you put it into in diffusion.source.folder in place of this"
    )


@pytest.mark.parametrize(("num_logits", "classes"), [(1, "ab"), (2, "ab"), (4, "abcd")])
@pytest.mark.parametrize("prefix", ["classifier.", ""])
def test_a_classifier_sees_what_it_was_trained_on(tmp_path, num_logits, classes, prefix):
    network, content = classifier_file(num_logits, prefix)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    source = put(tmp_path / "hand", {"a/nonrobust.safetensors": content}) | {"mean": mean, "std": std}
    fetch_guide(source, tmp_path / "guide", classes)
    x = torch.rand(3, 3, 16, 16) * 2 - 1
    expected = ng.preprocess(network, size=32, mean=mean, std=std)(x)
    torch.testing.assert_close(load_classifier(tmp_path / "guide")(x), expected, atol=1e-5, rtol=1e-5)
    assert sorted(path.name for path in (tmp_path / "guide").iterdir()) == [
        "config.json",
        "model.safetensors",
        "source.json",
    ]
    # Under torchvision's own names, for others to read.
    network.load_state_dict(load_file(tmp_path / "guide" / "model.safetensors"))


def test_half_of_everything_is_minus_one_to_one(tmp_path):
    network, content = classifier_file(1)
    source = put(tmp_path / "hand", {"w.safetensors": content})
    fetch_guide(source, tmp_path / "guide", input_size=None)
    x = torch.rand(3, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(load_classifier(tmp_path / "guide")(x), network(x), atol=1e-5, rtol=1e-5)


def test_a_classifier_of_a_repository_or_a_url(hub, tmp_path):
    _, content = classifier_file(1)
    commit = hub.add("model", "them/models", {"a/robust.safetensors": content, "b/other.safetensors": b"x"})
    hub.served["robust.safetensors"] = content
    with pytest.raises(UserError, match=r"classifiers\.guide\.source has 2 \.safetensors files; name the one"):
        fetch_guide({"repository": "them/models"}, tmp_path / "a")
    in_repository = {"repository": "them/models", "path": "a/robust.safetensors"}
    fetch_guide(in_repository, tmp_path / "a")
    assert json.loads((tmp_path / "a" / "source.json").read_text())["revision"] == commit
    fetch_guide({"url": f"{hub.url}/plain/robust.safetensors"}, tmp_path / "b")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("content", "settings", "sentence"),
    [
        (classifier_file(4)[1], {}, r"it has 4 logits, and the data 2 classes"),
        (classifier_file(1)[1], {"architecture": "resnet18"}, r"does not hold the weights of resnet18"),
        (b"x" * 100, {}, r"cannot be read as safetensors"),
    ],
)
def test_another_classifier_is_named(tmp_path, content, settings, sentence):
    source = put(tmp_path / "hand", {"w.safetensors": content})
    with pytest.raises(UserError, match=sentence) as raised:
        fetch_guide(source, tmp_path / "guide", **settings)
    assert str(raised.value).startswith("classifiers.guide.source cannot be used: ")
    assert list((tmp_path / "guide").iterdir()) == []


def test_a_folder_of_checkpoints_says_how_they_came(tmp_path):
    _, content = classifier_file(1)
    source = put(tmp_path / "hand", {"w.safetensors": content})
    (tmp_path / "guide").mkdir()
    (tmp_path / "guide" / "history.csv").write_text("of a training")
    fetch_guide(source, tmp_path / "guide")
    assert not (tmp_path / "guide" / "history.csv").exists()
    clear_state(tmp_path / "guide")
    assert not (tmp_path / "guide" / "source.json").exists()
