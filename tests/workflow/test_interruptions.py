"""Jobs killed without warning, and what the next call makes of what they left."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from nonrobust_guidance import cli
from nonrobust_guidance.config import load_config, write_config

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(900)


def run(*arguments: str | Path) -> None:
    """Run a command undisturbed: in this process, in which torch is there already."""
    assert cli.main([*map(str, arguments), "--threads", "1"]) == 0


def kill_when(reached: Callable[[], bool], *arguments: str | Path) -> None:
    """Start a command and send it SIGKILL as soon as it is there; it must not have ended by then."""
    command = [sys.executable, "-m", "nonrobust_guidance.cli", *map(str, arguments), "--threads", "1"]
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not reached():
        assert job.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.01)
    job.kill()
    assert job.wait() == -9


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with trainings and chains long enough to be killed in, its data and its diffusion model."""
    folder = tmp_path_factory.mktemp("house")
    config = yaml.safe_load((ROOT / "config" / "tiny.yaml").read_text())
    config["classifiers"]["nonrobust"]["training"] |= {"steps": 60, "checkpoint_every": 10}
    config["sampling"] |= {"num_samples": 12, "batch_size": 4, "steps": 10}
    (folder / "raw.yaml").write_text(yaml.safe_dump(config))
    write_config(load_config(folder / "raw.yaml"), folder / "config.yaml")
    run("prepare-data", "--config", folder / "config.yaml", "--output", folder / "data")
    arguments = ["--config", folder / "config.yaml", "--data", folder / "data"]
    run("train-diffusion", *arguments, "--output", folder / "checkpoints" / "diffusion")
    run("train-classifier", *arguments, "--name", "nonrobust", "--output", folder / "checkpoints" / "nonrobust")
    return folder


def test_a_killed_training_ends_with_the_same_weights(house: Path, tmp_path: Path) -> None:
    job = ["train-classifier", "--config", house / "config.yaml", "--data", house / "data", "--name", "nonrobust"]
    job += ["--output", tmp_path]
    kill_when((tmp_path / "training-state.safetensors").exists, *job)
    assert not (tmp_path / "model.safetensors").exists()
    run(*job)
    for file in ("model.safetensors", "config.json", "history.csv", "card.json"):
        assert (tmp_path / file).read_bytes() == (house / "checkpoints" / "nonrobust" / file).read_bytes(), file
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.safetensors",
        "config.json",
        "history.csv",
        "card.json",
    }


def test_a_killed_drawing_ends_with_the_same_samples(house: Path, tmp_path: Path) -> None:
    job = ["draw-samples", "--config", house / "config.yaml", "--checkpoints", house / "checkpoints"]
    job += ["--method", "nonrobust_x0_ema09", "--scale", "10", "--seed", "3", "--output"]
    whole, killed = (tmp_path / name / "nonrobust_x0_ema09" / "scale-10" / "seed-3" for name in ("whole", "killed"))
    run(*job, tmp_path / "whole")
    parts = killed / ".baseball.parts"
    kill_when(lambda: len(list(parts.rglob("[0-9]*.npy"))) >= 2, *job, tmp_path / "killed")
    assert not (killed / "baseball.npy").exists()
    run(*job, tmp_path / "killed")
    names = {path.name for path in whole.iterdir()}
    assert (
        names
        == {"baseball.npy", "basketball.npy", "baseball.json", "basketball.json"}
        == {path.name for path in killed.iterdir()}
    )
    for name in names:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
