"""A diffusion model trained by two processes and by one: the same curve, and the same weights within rounding."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from nonrobust_guidance import cli
from nonrobust_guidance.config import load_config, write_config

ROOT = Path(__file__).parents[2]
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    assert cli.main(["prepare-data", "--config", str(ROOT / "config" / "tiny.yaml"), "--output", str(folder)]) == 0
    return folder


def command(folder: Path, data: Path, **training: int | str) -> list[str]:
    """Write the tiny run's configuration with these settings of the training, and return the command that trains."""
    config = yaml.safe_load((ROOT / "config" / "tiny.yaml").read_text())
    config["diffusion"]["training"] |= training
    folder.mkdir()
    (folder / "raw.yaml").write_text(yaml.safe_dump(config))
    write_config(load_config(folder / "raw.yaml"), folder / "config.yaml")
    words = ["train-diffusion", "--config", folder / "config.yaml", "--data", data, "--output", folder / "model"]
    return [*map(str, words)]


def train(folder: Path, data: Path, **training: int | str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "nonrobust_guidance.cli", *command(folder, data, **training), "--threads", "2"]
    return subprocess.run(words, capture_output=True, text=True)


def curve(folder: Path) -> list[float]:
    with (folder / "model" / "history.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_two_processes_train_what_one_trains(data: Path, tmp_path: Path) -> None:
    assert cli.main([*command(tmp_path / "one", data), "--threads", "1"]) == 0
    for name, settings in {"two": {"processes": 2}, "parts": {"processes": 2, "accumulation": 2}}.items():
        done = train(tmp_path / name, data, **settings)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("| 0/30 ") == 1, "one of them shows the progress"
        files = sorted(path.name for path in (tmp_path / name / "model").rglob("*") if path.is_file())
        assert files == sorted(path.name for path in (tmp_path / "one" / "model").rglob("*") if path.is_file())
    expected = load_file(tmp_path / "one" / "model" / WEIGHTS)
    for name in ("two", "parts"):
        assert curve(tmp_path / name) == pytest.approx(curve(tmp_path / "one"), rel=1e-4)
        weights = load_file(tmp_path / name / "model" / WEIGHTS)
        assert weights.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(weights[key], value, rtol=1e-3, atol=1e-4)


def test_a_mistake_of_several_processes_is_one_sentence(data: Path, tmp_path: Path) -> None:
    done = train(tmp_path / "run", data / "nowhere", processes=2)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors[0].startswith(f"error: {data / 'nowhere' / 'manifest.json'} is missing; run prepare-data with")
    assert errors[1:] == ["error: one of 2 processes ended early; what it said stands above"]
    assert "Traceback" not in done.stderr
