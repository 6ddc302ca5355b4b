"""Which training a folder holds, and that none is lost unasked."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sections import models_of

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.models.origins import fetched_models, trained_models
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

TRAINING = {"seed": 3, "steps": 5, "batch_size": 4, "learning_rate": 0.1}


def config_of_run() -> dict:
    """Return the sections of data and models of a run that trains three models and fetches one."""
    guide = {"architecture": "resnet18", "training": TRAINING}
    classifiers = {"robust": {**guide, "noised": True}, "plain": {**guide, "noised": False}}
    classifiers["given"] = {"architecture": "resnet18", "noised": False, "source": {"folder": "elsewhere"}}
    schedule = {"num_steps": 4, "beta_start": 0.1, "beta_end": 0.2}
    unet = {"block_out_channels": [8, 16], "norm_num_groups": 4}
    return {
        "dataset": {"name": "toys", "kind": "celeba", "seed": 1},
        "diffusion": {"name": "unet", "schedule": schedule, "unet": unet, "training": TRAINING},
        "classifiers": classifiers,
    }


def found_in(folder: Path, config: dict) -> dict[str, str]:
    """Return how the trainings in a folder are others than those of a run."""
    models = models_of(**config)
    return mismatches(models.dataset.recorded(), trained_models(models), fetched_models(models), folder)


def settings_of(config: dict, name: str) -> Any:
    """Return what the training of a model depends on."""
    return trained_models(models_of(**config))[name]


def run(folder: Path) -> dict:
    """Write a dataset with the checkpoints of a run, and return the run's configuration."""
    config = config_of_run()
    models = models_of(**config)
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"settings": models.dataset.resolved()}))
    for name, settings in trained_models(models).items():
        checkpoint = folder / "checkpoints" / name
        checkpoint.mkdir(parents=True)
        (checkpoint / "model.safetensors").write_bytes(b"weights")
        write_checkpoint_card(checkpoint, settings, 3, [{"step": 5}], manifest, ["model.safetensors"], "cpu")
    return config


def test_cards_of_the_run_are_told_from_others(tmp_path):
    config = run(tmp_path)
    assert found_in(tmp_path, config) == {"unet": "", "robust": "", "plain": ""}
    # How often its state is saved changes no model.
    config["classifiers"]["plain"]["training"] = TRAINING | {"checkpoint_every": 9}
    assert found_in(tmp_path, config)["plain"] == ""
    config["classifiers"]["plain"]["training"] = TRAINING | {"seed": 4}
    shutil.rmtree(tmp_path / "checkpoints" / "unet")
    found = found_in(tmp_path, config)
    assert found == {"robust": "", "plain": "its training.seed is 3 and not 4"}
    # A robust classifier's training data have the noise of the diffusion model's schedule.
    config["diffusion"]["schedule"]["num_steps"] = 8
    assert found_in(tmp_path, config) == {
        "robust": "its schedule.num_steps is 4 and not 8",
        "plain": "its training.seed is 3 and not 4",
    }
    (tmp_path / "checkpoints" / "robust" / "card.json").write_text("{")
    assert found_in(tmp_path, config)["robust"] == "its card cannot be read"


@pytest.mark.parametrize("change", ["settings", "content", "none"])
def test_cards_of_other_data_do_not_vouch(tmp_path, change):
    config = run(tmp_path)
    manifest = tmp_path / "manifest.json"
    if change == "settings":
        config["dataset"]["seed"] = 2
    elif change == "content":
        manifest.write_text(manifest.read_text() + "\n")
    else:
        manifest.unlink()
    reasons = found_in(tmp_path, config)
    assert len(reasons) == 3
    assert set(reasons.values()) == {"it was trained on other data"}


def interrupt(folder: Path, settings: Any, manifest: Path) -> None:
    """Leave the state of a training that was stopped after three steps."""
    model = torch.nn.Linear(1, 1)
    state = TrainingState(folder / STATE_FILE, identify(settings, manifest))
    state.save(3, [], [], model, torch.optim.AdamW(model.parameters()), {})


def test_half_a_training_counts_as_one(tmp_path):
    config = run(tmp_path)
    for name in ("unet", "plain"):
        shutil.rmtree(tmp_path / "checkpoints" / name)
    interrupt(tmp_path / "checkpoints" / "plain", settings_of(config, "plain"), tmp_path / "manifest.json")
    # Half of what the run asks for goes on, and is nothing that could be used.
    assert found_in(tmp_path, config) == {"robust": ""}
    config["classifiers"]["plain"]["input_size"] = 9
    assert found_in(tmp_path, config)["plain"] == "half of it is done, and its input_size is not set and not 9"
    save_file({"a": torch.zeros(2)}, tmp_path / "checkpoints" / "plain" / STATE_FILE)
    assert found_in(tmp_path, config)["plain"] == "half of it is done, and its state cannot be read"


def test_a_checkpoint_without_its_weights_is_none(tmp_path):
    config = run(tmp_path)
    (tmp_path / "checkpoints" / "plain" / "model.safetensors").unlink()
    assert found_in(tmp_path, config) == {"unet": "", "robust": ""}


def test_a_training_in_the_place_of_fetched_weights_is_named(tmp_path):
    config = run(tmp_path)
    config["classifiers"]["plain"] = config["classifiers"]["given"]
    assert found_in(tmp_path, config)["plain"] == "it was trained and not fetched"
    with pytest.raises(UserError, match=r"plain holds a training; .*--replace to the command"):
        require_untrained(tmp_path / "checkpoints" / "plain")
    require_untrained(tmp_path / "checkpoints" / "given")


def test_all_that_differs_is_counted(tmp_path):
    config = run(tmp_path)
    config["diffusion"]["schedule"]["num_steps"] = 8
    config["diffusion"]["unet"]["layers_per_block"] = 1
    config["diffusion"]["training"] = TRAINING | {"steps": 7}
    reason = "its schedule.num_steps is 4 and not 8, and 2 more settings are others"
    assert found_in(tmp_path, config)["unet"] == reason


def test_only_the_same_training_stands(tmp_path, capsys):
    config, manifest = run(tmp_path), tmp_path / "manifest.json"
    folder, settings = tmp_path / "checkpoints" / "plain", settings_of(config, "plain")
    assert is_trained(folder, settings, manifest, replace=False)
    assert f"{folder} stands" in capsys.readouterr().err
    assert not is_trained(folder, settings, manifest, replace=True)
    assert not is_trained(tmp_path / "empty", settings, manifest, replace=False)
    other = settings.model_copy(update={"training": settings.training.model_copy(update={"seed": 4})})
    with pytest.raises(UserError, match=r"plain holds another training: its training.seed is 3 and not 4; .*--replace"):
        is_trained(folder, other, manifest, replace=False)
    assert not is_trained(folder, other, manifest, replace=True)
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(UserError, match="it was trained on other data"):
        is_trained(folder, settings, manifest, replace=False)


def test_states_are_told_apart_without_their_tensors(tmp_path):
    config, manifest = run(tmp_path), tmp_path / "manifest.json"
    interrupt(tmp_path, settings_of(config, "plain"), manifest)
    content = (tmp_path / STATE_FILE).read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    (tmp_path / "header").write_bytes(content[:end])
    said = json.loads(read_state(tmp_path / "header")["training"])
    defaults = {"warmup_steps": 0, "weight_decay": 0.01, "gradient_clip": 1.0, "ema_decay": None}
    defaults |= {"precision": "fp32", "early_stopping": None}
    plain = {"architecture": "resnet18", "input_size": None, "noised": False, "training": TRAINING | defaults}
    assert said["configuration"] == plain
    for damaged in (b"", b"12", content[:20], b"\xff" * 40, (4).to_bytes(8, "little") + b"[1]]"):
        (tmp_path / "damaged").write_bytes(damaged)
        assert read_state(tmp_path / "damaged") == {}
