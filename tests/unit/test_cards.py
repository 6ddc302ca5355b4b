"""Cards: what they say is what the files are."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from nonrobust_guidance.audit.integrity import changed_by_card
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.records import environment
from nonrobust_guidance.records.cards import (
    gather_cards,
    merge_cards,
    read_card,
    weights_hash,
    write_card,
)
from nonrobust_guidance.records.trainings import write_checkpoint_card

TRAINED = {"training": {"seed": 7}, "width": 3}


def write(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text("the data")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "history.csv").write_text("step,loss\n50,0.5\n")
    history = [{"step": 50, "loss": 0.5, "learning_rate": 0.1}]
    write_checkpoint_card(
        folder, TRAINED, history, folder / "manifest.json", ["model.safetensors", "history.csv"], "cpu"
    )
    return folder / "card.json"


def test_a_checkpoints_card_says_how_it_was_made(tmp_path):
    card = read_card(write(tmp_path))
    assert card["configuration"] == TRAINED
    assert (card["seed"], card["steps"], card["end"], card["history"]) == (7, 50, {"loss": 0.5}, "history.csv")
    assert card["inputs"] == {"data": hashlib.sha256(b"the data").hexdigest()}
    assert card["sha256"]["model.safetensors"] == hashlib.sha256(b"weights").hexdigest() == weights_hash(tmp_path)
    assert card["versions"]["torch"] == environment.library_versions()["torch"]
    assert card["device"]["threads"] >= 1


def test_the_same_job_writes_the_same_card(tmp_path):
    assert write(tmp_path / "a").read_bytes() == write(tmp_path / "b").read_bytes()


def test_files_that_are_not_the_cards_are_named(tmp_path):
    card = write(tmp_path)
    assert list(changed_by_card(card)) == []
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    (tmp_path / "history.csv").unlink()
    changed = list(changed_by_card(card))
    assert len(changed) == 2
    assert "model.safetensors" in changed[0]
    assert "history.csv" in changed[1]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"inputs": [], "sha256": {}}'])
def test_what_is_no_card_is_named_in_one_sentence(tmp_path, content):
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(UserError, match=r"card\.json is no card"):
        read_card(tmp_path / "card.json")


def test_the_ends_of_trainings_are_gathered(tmp_path):
    write(tmp_path / "a")
    gather_cards(["a"], tmp_path, tmp_path / "models.json")
    assert json.loads((tmp_path / "models.json").read_text()) == {"a": {"steps": 50, "loss": 0.5}}


def test_the_hash_of_code_is_that_of_names_and_contents(tmp_path):
    package = Path(environment.__file__).parents[1]
    copy = shutil.copytree(package, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__"))
    assert environment.code_hash(copy) == environment.code_hash()
    (copy / "errors.py").rename(copy / "mistakes.py")
    environment.code_hash.cache_clear()
    renamed = environment.code_hash(copy)
    assert renamed != environment.code_hash()
    (copy / "mistakes.py").write_text("# changed")
    environment.code_hash.cache_clear()
    assert environment.code_hash(copy) != renamed


def test_settings_that_are_no_json_are_written_as_text(tmp_path):
    write_card(tmp_path / "card.json", {"autocast": object}, {}, [])
    assert read_card(tmp_path / "card.json")["configuration"] == {"autocast": str(object)}


def test_the_card_of_shards_is_theirs_for_the_whole(tmp_path):
    for name in ("0-2", "2-4", "whole"):
        (tmp_path / f"{name}.npy").write_text(name)
    for name in ("0-2", "2-4"):
        write_card(tmp_path / f"{name}.json", {"scale": 3}, {"guide": "abc"}, [f"{name}.npy"])
    shards = [tmp_path / "0-2.json", tmp_path / "2-4.json"]
    merge_cards(shards, tmp_path / "whole.json", "whole.npy")
    card = read_card(tmp_path / "whole.json")
    assert card["sha256"] == {"whole.npy": hashlib.sha256(b"whole").hexdigest()}
    assert (card["configuration"], card["inputs"]) == ({"scale": 3}, {"guide": "abc"})
    write_card(shards[1], {"scale": 4}, {"guide": "abc"}, ["2-4.npy"])
    with pytest.raises(UserError, match=r"2-4\.json was made from other settings"):
        merge_cards(shards, tmp_path / "whole.json", "whole.npy")
