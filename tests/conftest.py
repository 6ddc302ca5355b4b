"""What several tests share; complete runs are made here, each once."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nonrobust_guidance.cli import limit_threads

# Before torch and numpy are there: each worker of pytest-xdist has one core, as each job that a test starts.
limit_threads(1)

import torch
import yaml
from commands import snakemake
from fake_run import FakeRun
from filelock import FileLock
from local_hub import LocalHub
from torch import Tensor, nn
from torch.nn import functional as F
from warm_jobs import python_with_warm_kernels

from nonrobust_guidance.fetching import sha256_of
from nonrobust_guidance.metrics.distances.inception_weights import INCEPTION_WEIGHTS, WeightsFile

MadeOnce = Callable[[str, Callable[[Path], None]], Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a complete run; first what needs most after it, last the rest of it, in between all others."""
    for item in items:
        if "finished" in item.fixturenames:
            item.add_marker("complete")
    items.sort(key=lambda item: -1 if "again" in item.fixturenames else item.get_closest_marker("complete") is not None)


class Layers(nn.Module):
    """Stands for the detector's layers: images (B, 3, 299, 299) in [-1, 1] to 2048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 9, stride=8)
        self.pool = nn.AdaptiveAvgPool2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.pool(self.conv(x))).flatten(1)


class Detector(nn.Module):
    """The interface of NVIDIA's file: called with images in [0, 255], and with its layers in reach."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        x = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
        features = self.layers((x - 128) / 128)
        return features if return_features else features.softmax(1)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], Path]:
    """Lets a file count as the published one."""

    def let(name: str, file: Path) -> Path:
        monkeypatch.setitem(
            INCEPTION_WEIGHTS, name, WeightsFile(file.name, INCEPTION_WEIGHTS[name].url, sha256_of(file))
        )
        return file

    return let


@pytest.fixture
def detector(tmp_path: Path, published: Callable[[str, Path], Path]) -> Path:
    """A file of weights in the format of clean-fid's, with random ones."""
    torch.manual_seed(0)
    file = tmp_path / INCEPTION_WEIGHTS["inception"].name
    torch.jit.script(Detector()).save(str(file))
    return published("inception", file)


@pytest.fixture(scope="session")
def trained_judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of the default run's judge, as it is shipped."""
    root, folder = Path(__file__).parents[1], tmp_path_factory.mktemp("judge")
    for out in yaml.safe_load((root / "data.dvc").read_text())["outs"]:
        path = Path(out["path"])
        if path.parent.name == "judge":
            shutil.copy(root / "shipped" / "files" / "md5" / out["md5"][:2] / out["md5"][2:], folder / path.name)
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Makes a folder in the first worker that asks for its name, and gives each worker a copy of it."""
    worker, base = os.environ.get("PYTEST_XDIST_WORKER"), tmp_path_factory.getbasetemp()
    # Each worker has a folder of its own in the session's.
    shared = base.parent if worker else base

    def copy(name: str, make: Callable[[Path], None]) -> Path:
        original, made = shared / name, shared / f"{name}.made"
        with FileLock(shared / f"{name}.lock"):
            if not made.exists():
                shutil.rmtree(original, ignore_errors=True)
                original.mkdir()
                make(original)
                made.touch()
        # As deep as the original: Snakemake compares the notebooks' relative paths with those of the last time.
        return shutil.copytree(original, shared / f"{name}-of-{worker or 'main'}")

    return copy


@pytest.fixture(scope="session")
def finished(made_once: MadeOnce) -> Path:
    """A folder with a complete run; copy it before you change it."""
    return made_once("finished", run_completely)


def run_completely(directory: Path) -> None:
    """Make a complete tiny run in a folder."""
    # Two threads of one job are slow where tests run beside it.
    run = snakemake(directory, "--set-threads", "train_diffusion=1")
    assert run.returncode == 0, run.stdout + run.stderr
    (directory / "stderr.txt").write_text(run.stderr)


@pytest.fixture
def warm_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets notebooks run in kernels that need not import what they use."""
    monkeypatch.setattr(sys, "executable", python_with_warm_kernels())


@pytest.fixture(scope="session")
def fake() -> type[FakeRun]:
    return FakeRun


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A hub on this machine that the hub's own client asks in place of the real one."""
    server = LocalHub()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.close()
