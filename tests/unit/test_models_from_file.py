"""A classifier from a user's own file is trained, kept, guiding and scored like those of the package."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nonrobust_guidance import cli
from nonrobust_guidance.config import Run, parse_config
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import list_cells
from nonrobust_guidance.metrics.distances.references import measure_references
from nonrobust_guidance.metrics.score import score_method
from nonrobust_guidance.metrics.settings import Scoring
from nonrobust_guidance.models.classifiers import load_classifier, require_logits_of, train_classifier
from nonrobust_guidance.models.diffusion import train_diffusion
from nonrobust_guidance.models.origins import TrainedDiffusion, trained_models
from nonrobust_guidance.report.facts import describe_classifier
from nonrobust_guidance.sampling.draw import draw_samples
from nonrobust_guidance.sampling.settings import Chain

MINE = """
from dataclasses import dataclass
from torch import nn

class Network(nn.Module):
    def __init__(self, width, num_classes):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, width, 3, stride=2), nn.BatchNorm2d(width), nn.SiLU())
        self.mixed = nn.Linear(width, width)
        self.again = self.mixed
        self.last = nn.Linear(width, num_classes)

    def forward(self, x):
        h = self.first(x).mean((2, 3))
        # What depends on the numbers, no tracing follows.
        while h.shape[0] and float(h.detach().abs().max()) > 1e6:
            h = h / 2
        return self.last(self.again(self.mixed(h)))

@dataclass(frozen=True)
class Net:
    width: int = 8

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"width is {self.width}; it must be at least 1")

    def build(self, num_classes):
        return Network(self.width, num_classes)

@dataclass(frozen=True)
class Flat:
    def build(self, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(768, 1), nn.Flatten(0))

@dataclass(frozen=True)
class Wide:
    def build(self, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(10, num_classes))

@dataclass(frozen=True)
class Nothing:
    def build(self, num_classes):
        return None

@dataclass(frozen=True)
class Fixed:
    def build(self, num_classes):
        return nn.Flatten()

@dataclass(frozen=True)
class Failing:
    def build(self, num_classes):
        return nn.Lineal(768, num_classes)

@dataclass(frozen=True)
class Noisy:
    noised: bool = True

    def build(self, num_classes):
        return None

@dataclass(frozen=True)
class Unbuilt:
    pass
"""
TRAINING = {"seed": 1, "steps": 3, "batch_size": 8, "learning_rate": 0.001}
BALLS = ["baseball", "basketball", "volleyball"]


def run_with(mine: dict[str, Any]) -> dict[str, Any]:
    """Return a tiny run that an own classifier guides."""
    return {
        "run": "toy",
        "dataset": {
            **{"name": "few", "kind": "sportballs", "image_size": 16, "classes": BALLS},
            "num_images": {"train": 18, "validation": 9, "test": 18},
        },
        "diffusion": {
            "schedule": {"num_steps": 20, "beta_start": 0.01, "beta_end": 0.5},
            "unet": {"block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4},
            "training": TRAINING,
        },
        "classifiers": {
            "mine": mine,
            "judge": {"architecture": "judge_cnn", "noised": False, "training": TRAINING},
        },
        "sampling": {
            **{"steps": 4, "num_samples": 4, "seeds": [0], "targets": BALLS[:1]},
            "methods": {"mine_x0": {"classifier": "mine", "at": "x0", "scales": [10]}},
        },
        "metrics": {"judge": "judge", "bootstrap": {"resamples": 5}},
    }


def section(file: Path, **fields: Any) -> dict[str, Any]:
    return {"uses": f"{file}:Net", "noised": True, "training": TRAINING, **fields}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "net.py"
    file.write_text(MINE)
    return file


def train(config: dict[str, Any], folder: Path) -> Run:
    """Prepare the data and train the own classifier by the commands."""
    path, data = folder / "run.json", str(folder / "data")
    path.write_text(json.dumps(config))
    assert cli.main(["prepare-data", "--config", str(path), "--output", data]) == 0
    command = ["train-classifier", "--config", str(path), "--name", "mine"]
    assert cli.main([*command, "--data", data, "--output", str(folder / "mine")]) == 0
    return parse_config(config, "run.json")


def test_it_is_trained_kept_and_loaded(tmp_path: Path, file: Path) -> None:
    run = train(run_with(section(file, width=6)), tmp_path)
    written = {"uses": f"{file}:Net", "uses_sha256": hashlib.sha256(MINE.encode()).hexdigest(), "width": 6}
    assert json.loads((tmp_path / "mine/config.json").read_text())["network"] == written
    recorded = json.loads((tmp_path / "mine/card.json").read_text())["configuration"]
    assert {key: recorded[key] for key in written} == written
    assert recorded["schedule"]["num_steps"] == 20
    weights = load_file(tmp_path / "mine/model.safetensors")
    assert weights["first.0.weight"].shape == (6, 3, 3, 3)
    assert weights["mixed.weight"].equal(weights["again.weight"])
    # The same by the user's class alone.
    scope: dict[str, Any] = {"__name__": "net"}
    exec(compile(MINE.replace("@dataclass(frozen=True)", "@dataclass"), "net.py", "exec"), scope)
    theirs = scope["Network"](6, 3)
    theirs.load_state_dict(weights)
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    ours = load_classifier(tmp_path / "mine")
    torch.testing.assert_close(ours(x), theirs.eval()(x))
    assert not any(weight.requires_grad for weight in ours.parameters())
    assert describe_classifier(run.classifiers["mine"]).startswith("Net, trained on noised images, 3 steps")


def test_it_guides_and_its_samples_are_scored(tmp_path: Path, file: Path) -> None:
    run = train(run_with(section(file)), tmp_path)
    for name, settings in trained_models(run).items():
        if isinstance(settings, TrainedDiffusion):
            train_diffusion(settings, tmp_path / "data", tmp_path / name)
        elif name == "judge":
            train_classifier(settings, name, tmp_path / "data", tmp_path / name)
    measure_references("judge", tmp_path / "data", tmp_path / "judge", 100, tmp_path / "data/references/judge")
    samples = tmp_path / "samples"
    method, chain = run.sampling.methods["mine_x0"], run.sampling.part(Chain)
    models = tmp_path / "diffusion", tmp_path / "mine"
    draw_samples("mine_x0", method, 10, {0: samples / "mine_x0/scale-10/seed-0"}, chain, {"baseball": 0}, *models)
    places = (tmp_path / "data", tmp_path, tmp_path / "weights", samples, tmp_path / "mine_x0.csv")
    score_method(list_cells(run), run.metrics.part(Scoring), "mine", *places, names={"run": "toy"})
    (row,) = pd.read_csv(tmp_path / "mine_x0.csv").to_dict("records")
    images = np.load(samples / "mine_x0/scale-10/seed-0/baseball.npy").astype(np.float32).transpose(0, 3, 1, 2)
    logits = load_classifier(tmp_path / "mine")(torch.from_numpy(images / 127.5 - 1)).double().numpy()
    probabilities = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    assert row["probability_self_mean"] == pytest.approx(probabilities.mean(), rel=1e-5)


def test_another_file_is_another_training(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(run_with(section(file)), tmp_path)
    assert parse_config(run.resolved(), "run.json") == run
    file.write_text(MINE + "\n")
    with pytest.raises(UserError, match=r"config\.json: uses cannot be used: .*net\.py was changed since"):
        load_classifier(tmp_path / "mine")
    command = ["train-classifier", "--config", str(tmp_path / "run.json"), "--name", "mine"]
    assert cli.main([*command, "--data", str(tmp_path / "data"), "--output", str(tmp_path / "mine")]) == 1
    assert "holds another training: its uses_sha256 is" in capsys.readouterr().err
    file.unlink()
    with pytest.raises(UserError, match=r"config\.json: uses cannot be used: .*net\.py cannot be read \(No such file"):
        load_classifier(tmp_path / "mine")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"uses": "FILE:Ned"}, "run.yaml: classifiers.mine.uses cannot be used: FILE has no class Ned; correct the na"),
        ({"uses": "FILE:Unbuilt"}, "classifiers.mine.uses cannot be used: Unbuilt in FILE has no method build; add it"),
        ({"uses": "FILE:Noisy"}, "classifiers.mine.uses names Noisy with a field noised, which is a key of every "),
        ({"uses": None}, "classifiers.mine.uses is empty; give a text"),
        ({"width": 0}, "classifiers.mine.width is 0; it must be at least 1"),
        ({"width": "6"}, "classifiers.mine.width is '6'; give a whole number"),
        ({"widht": 6}, "classifiers.mine.widht is an unknown key; did you mean width?"),
        ({"noisd": True}, "classifiers.mine.noisd is an unknown key; did you mean noised?"),
        ({"noised": "no"}, "classifiers.mine.noised is 'no'; give true or false, written as false"),
        ({"architecture": "resnet18"}, "classifiers.mine.architecture stands beside classifiers.mine.uses; remove one"),
        ({"source": {"folder": "hand"}, "training": None}, "classifiers.mine.training is empty; give it a value, or"),
    ],
)
def test_a_mistake_is_one_sentence(file: Path, fields: dict[str, Any], sentence: str) -> None:
    asked = {
        key: value.replace("FILE", str(file)) if isinstance(value, str) else value for key, value in fields.items()
    }
    with pytest.raises(UserError) as error:
        parse_config(run_with(section(file, **asked)), "run.yaml")
    assert sentence.replace("FILE", str(file)) in str(error.value)
    assert "\n" not in str(error.value)


def test_it_has_a_training_and_no_source(file: Path) -> None:
    mine = {"uses": f"{file}:Net", "noised": False, "source": {"folder": "hand"}}
    with pytest.raises(
        UserError, match=r"classifiers\.mine\.source is for classifiers of torchvision; give Net its tr"
    ):
        parse_config(run_with(mine), "run.yaml")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Flat", r"the network of .*net\.py:Flat returns \(2,\) for 2 images; let it return \(2, 3\)"),
        (
            "Wide",
            r"the network of .*net\.py:Wide cannot be trained: The classifier cannot take images \(2, 3, 16, 16\)",
        ),
        ("Fixed", r"the network of .*net\.py:Fixed has no weights to train; give it some"),
        ("Nothing", r"Nothing\.build in .*net\.py returns NoneType; let it return a torch\.nn\.Module"),
        ("Failing", r"net\.py fails at line 54 \(AttributeError: module 'torch\.nn' has no attribute 'Lineal'"),
    ],
)
def test_a_network_that_cannot_be_trained_is_one_sentence(
    tmp_path: Path, file: Path, name: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError):
        train(run_with(section(file, uses=f"{file}:{name}")), tmp_path)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(sentence, error), error


def test_two_classes_may_share_a_logit(file: Path) -> None:
    chosen = parse_config(run_with(section(file)), "run.yaml").classifiers["mine"].uses
    assert chosen is not None
    one = nn.Sequential(nn.Flatten(), nn.Linear(768, 1))
    require_logits_of(one, 2, 16, chosen)
    with pytest.raises(UserError, match=r"returns \(2, 1\) for 2 images; let it return \(2, 3\)"):
        require_logits_of(one, 3, 16, chosen)
