"""Which training a folder holds, and that none is lost unasked."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.models.resuming import TrainingState
from nonrobust_guidance.records.trainings import (
    STATE_FILE,
    identify,
    is_trained,
    mismatches,
    read_state,
    require_untrained,
    write_checkpoint_card,
)


def run(folder: Path) -> dict:
    """Write a dataset with the checkpoints of a run, and return the run's configuration."""
    config = {
        "dataset": {"name": "toys", "sizes": (1, 2)},
        "diffusion": {"name": "unet", "schedule": {"num_steps": 4}, "training": {"seed": 1}},
        "classifiers": {
            "robust": {"noised": True, "training": {"seed": 2}},
            "plain": {"noised": False, "training": {"seed": 3}},
            "given": {"noised": False, "source": "elsewhere"},
        },
    }
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"settings": config["dataset"]}))
    robust = {**config["classifiers"]["robust"], "schedule": {"num_steps": 4}}
    trained = {"unet": config["diffusion"], "robust": robust, "plain": config["classifiers"]["plain"]}
    for name, settings in trained.items():
        checkpoint = folder / "checkpoints" / name
        checkpoint.mkdir(parents=True)
        (checkpoint / "model.safetensors").write_bytes(b"weights")
        write_checkpoint_card(checkpoint, settings, [{"step": 5}], manifest, ["model.safetensors"], "cpu")
    return config


def test_cards_of_the_run_are_told_from_others(tmp_path):
    config = run(tmp_path)
    assert mismatches(config, tmp_path) == {"unet": "", "robust": "", "plain": ""}
    # How often its state is saved changes no model.
    config["classifiers"]["plain"]["training"]["checkpoint_every"] = 9
    assert mismatches(config, tmp_path)["plain"] == ""
    config["classifiers"]["plain"]["training"]["seed"] = 4
    shutil.rmtree(tmp_path / "checkpoints" / "unet")
    found = mismatches(config, tmp_path)
    assert found == {"robust": "", "plain": "its training.seed is 3 and not 4"}
    # A robust classifier's training data have the noise of the diffusion model's schedule.
    config["diffusion"]["schedule"]["num_steps"] = 8
    assert mismatches(config, tmp_path) == {
        "robust": "its schedule.num_steps is 4 and not 8",
        "plain": "its training.seed is 3 and not 4",
    }
    (tmp_path / "checkpoints" / "robust" / "card.json").write_text("{")
    assert mismatches(config, tmp_path)["robust"] == "its card cannot be read"


@pytest.mark.parametrize("change", ["settings", "content", "none"])
def test_cards_of_other_data_do_not_vouch(tmp_path, change):
    config = run(tmp_path)
    manifest = tmp_path / "manifest.json"
    if change == "settings":
        config["dataset"]["sizes"] = (1, 3)
    elif change == "content":
        manifest.write_text(manifest.read_text() + "\n")
    else:
        manifest.unlink()
    reasons = mismatches(config, tmp_path)
    assert len(reasons) == 3
    assert set(reasons.values()) == {"it was trained on other data"}


def interrupt(folder: Path, configuration: dict, manifest: Path) -> None:
    """Leave the state of a training that was stopped after three steps."""
    model = torch.nn.Linear(1, 1)
    state = TrainingState(folder / STATE_FILE, identify(configuration, manifest))
    state.save(3, [], [], model, torch.optim.AdamW(model.parameters()), {})


def test_half_a_training_counts_as_one(tmp_path):
    config = run(tmp_path)
    for name in ("unet", "plain"):
        shutil.rmtree(tmp_path / "checkpoints" / name)
    interrupt(tmp_path / "checkpoints" / "plain", config["classifiers"]["plain"], tmp_path / "manifest.json")
    # Half of what the run asks for goes on, and is nothing that could be used.
    assert mismatches(config, tmp_path) == {"robust": ""}
    config["classifiers"]["plain"]["width"] = 9
    assert mismatches(config, tmp_path)["plain"] == "half of it is done, and its width is not set and not 9"
    save_file({"a": torch.zeros(2)}, tmp_path / "checkpoints" / "plain" / STATE_FILE)
    assert mismatches(config, tmp_path)["plain"] == "half of it is done, and its state cannot be read"


def test_a_checkpoint_without_its_weights_is_none(tmp_path):
    config = run(tmp_path)
    (tmp_path / "checkpoints" / "plain" / "model.safetensors").unlink()
    assert mismatches(config, tmp_path) == {"unet": "", "robust": ""}


def test_a_training_in_the_place_of_fetched_weights_is_named(tmp_path):
    config = run(tmp_path)
    config["classifiers"]["plain"] = {"noised": False, "source": {"folder": "hand"}}
    assert mismatches(config, tmp_path)["plain"] == "it was trained and not fetched"
    with pytest.raises(UserError, match=r"plain holds a training; .*--replace to the command"):
        require_untrained(tmp_path / "checkpoints" / "plain")
    require_untrained(tmp_path / "checkpoints" / "given")


def test_all_that_differs_is_counted(tmp_path):
    config = run(tmp_path)
    config["diffusion"] |= {"schedule": {"num_steps": 8}, "unet": {"layers": [1, 2]}}
    config["diffusion"]["training"] = {"seed": 1, "steps": 7}
    reason = "its schedule.num_steps is 4 and not 8, and 2 more settings are others"
    assert mismatches(config, tmp_path)["unet"] == reason


def test_only_the_same_training_stands(tmp_path, capsys):
    config, manifest = run(tmp_path), tmp_path / "manifest.json"
    folder, settings = tmp_path / "checkpoints" / "plain", config["classifiers"]["plain"]
    assert is_trained(folder, settings, manifest, replace=False)
    assert f"{folder} stands" in capsys.readouterr().err
    assert not is_trained(folder, settings, manifest, replace=True)
    assert not is_trained(tmp_path / "empty", settings, manifest, replace=False)
    other = {**settings, "training": {"seed": 4}}
    with pytest.raises(UserError, match=r"plain holds another training: its training.seed is 3 and not 4; .*--replace"):
        is_trained(folder, other, manifest, replace=False)
    assert not is_trained(folder, other, manifest, replace=True)
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(UserError, match="it was trained on other data"):
        is_trained(folder, settings, manifest, replace=False)


def test_states_are_told_apart_without_their_tensors(tmp_path):
    config, manifest = run(tmp_path), tmp_path / "manifest.json"
    interrupt(tmp_path, config["classifiers"]["plain"], manifest)
    content = (tmp_path / STATE_FILE).read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    (tmp_path / "header").write_bytes(content[:end])
    said = json.loads(read_state(tmp_path / "header")["training"])
    assert said["configuration"] == {"noised": False, "training": {"seed": 3}}
    for damaged in (b"", b"12", content[:20], b"\xff" * 40, (4).to_bytes(8, "little") + b"[1]]"):
        (tmp_path / "damaged").write_bytes(damaged)
        assert read_state(tmp_path / "damaged") == {}
