"""Datasets on disk: complete or refused, never half."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from sections import dataset_of, prepare

from nonrobust_guidance.data import (
    Example,
    SportBalls,
    load_split,
    storage,
    verify_dataset,
    write_dataset,
)
from nonrobust_guidance.errors import UserError

SETTINGS = {
    "name": "small",
    "kind": "sportballs",
    "seed": 3,
    "image_size": 16,
    "ball_size": 0.75,
    "num_images": {"train": 12, "validation": 5, "test": 4},
}


@pytest.fixture
def folder(tmp_path):
    prepare(SETTINGS, tmp_path / "small")
    return tmp_path / "small"


def edit_manifest(folder, edit):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def test_splits_hold_disjoint_indices_in_order(folder):
    balls = SportBalls(seed=3, image_size=16, ball_size=0.75)
    first = 0
    for split, count in (("train", 12), ("validation", 5), ("test", 4)):
        images, labels, factors, classes, factor_names = load_split(folder, split)
        assert (images.dtype, labels.dtype, factors.dtype) == (np.uint8, np.int64, np.float32)
        assert images.shape == (count, 16, 16, 3)
        assert isinstance(images, np.memmap)
        assert classes == ("baseball", "basketball", "volleyball", "soccer")
        assert factor_names == ("x", "y", "size", "rotation")
        for row in range(count):
            expected = balls.example(first + row)
            np.testing.assert_array_equal(images[row], expected.image)
            assert labels[row] == expected.label
            np.testing.assert_array_equal(factors[row], expected.factors)
        first += count


def test_longer_dataset_starts_with_the_shorter_one(folder, tmp_path):
    prepare({**SETTINGS, "num_images": {"train": 20, "validation": 1, "test": 1}}, tmp_path / "longer")
    longer = load_split(tmp_path / "longer", "train").images
    np.testing.assert_array_equal(longer[:12], load_split(folder, "train").images)
    np.testing.assert_array_equal(longer[12:17], load_split(folder, "validation").images)


def test_manifest_tells_what_the_files_hold(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["settings"] == dataset_of(SETTINGS).resolved()
    assert [manifest[key] for key in ("kind", "name", "image_size")] == ["sportballs", "small", 16]
    assert manifest["factors"] == ["x", "y", "size", "rotation"]
    for split, entry in manifest["splits"].items():
        labels = np.load(folder / split / "labels.npy")
        assert entry["count"] == len(labels) == SETTINGS["num_images"][split]
        for label, name in enumerate(manifest["classes"]):
            assert entry["class_counts"][name] == list(labels).count(label)
        for file, digest in entry["sha256"].items():
            assert hashlib.sha256((folder / split / file).read_bytes()).hexdigest() == digest
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "test", "train", "validation"]


def test_same_settings_give_the_same_bytes(folder, tmp_path):
    prepare(SETTINGS, tmp_path / "again")
    for path in sorted(folder.rglob("*.*")):
        assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_dataset_without_factors_and_with_an_empty_split(tmp_path):
    grey = np.full((4, 4, 3), 128, np.uint8)
    settings = {"name": "grey", "kind": "any", "image_size": 4}
    nothing = np.zeros(0, np.float32)
    write_dataset(
        tmp_path, settings, ["grey"], [], {"train": range(3), "test": []}, lambda _: Example(grey, 0, nothing)
    )
    assert load_split(tmp_path, "train").factors.shape == (3, 0)
    assert load_split(tmp_path, "test").images.shape == (0, 4, 4, 3)
    verify_dataset(tmp_path)


def _drop(folder):
    (folder / "train" / "images.npy").unlink()


def _cut_off(folder):
    path = folder / "train" / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])


def _empty(folder):
    (folder / "train" / "images.npy").write_bytes(b"")


def _reshape(folder):
    np.save(folder / "train" / "images.npy", np.zeros((12, 8, 8, 3), np.uint8))


def _retype(folder):
    np.save(folder / "train" / "images.npy", np.zeros((12, 16, 16, 3), np.float32))


def _pickle(folder):
    np.save(folder / "train" / "images.npy", np.array([{}] * 12, object), allow_pickle=True)


@pytest.mark.parametrize("spoil", [_drop, _cut_off, _empty, _reshape, _retype, _pickle])
def test_unusable_array_is_named(folder, spoil):
    spoil(folder)
    with pytest.raises(UserError, match=r"train/images\.npy .*; run prepare-data again$") as raised:
        load_split(folder, "train")
    assert "\n" not in str(raised.value)
    assert len(load_split(folder, "test").images) == 4
    with pytest.raises(UserError, match=r"train/images\.npy"):
        verify_dataset(folder)


def test_foreign_labels_are_noticed(folder):
    np.save(folder / "train" / "labels.npy", np.full(12, 9))
    with pytest.raises(UserError, match=r"train/labels\.npy has other class counts"):
        load_split(folder, "train")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"kind": "sportballs", "splits": null}', "\udcff"])
def test_foreign_manifest_is_named(folder, content):
    (folder / "manifest.json").write_bytes(content.encode(errors="surrogateescape"))
    for use in (verify_dataset, lambda path: load_split(path, "train")):
        with pytest.raises(UserError, match=r"manifest\.json (cannot be read as JSON|is not the manifest)"):
            use(folder)


def test_manifest_of_another_size_is_noticed(folder):
    edit_manifest(folder, lambda manifest: manifest.update(image_size=32))
    with pytest.raises(UserError, match=r"images\.npy holds uint8 \(12, 16, 16, 3\) where .* \(12, 32, 32, 3\)"):
        load_split(folder, "train")


def test_missing_dataset_and_unknown_split(folder, tmp_path):
    with pytest.raises(UserError, match="prepare-data"):
        load_split(tmp_path / "nowhere", "train")
    with pytest.raises(UserError, match="no split dev; ask for one of train, validation, test"):
        load_split(folder, "dev")


def test_verify_names_the_changed_file(folder):
    verify_dataset(folder)
    images = np.load(folder / "validation" / "images.npy")
    images[2, 3, 4, 1] ^= 1
    np.save(folder / "validation" / "images.npy", images)
    load_split(folder, "validation")
    with pytest.raises(UserError, match=r"validation/images\.npy has changed"):
        verify_dataset(folder)


def test_interrupted_preparation_leaves_the_old_dataset(folder):
    def interrupted(index: int) -> Example:
        if index == 7:
            raise KeyboardInterrupt
        return SportBalls(image_size=16).example(index)

    with pytest.raises(KeyboardInterrupt):
        write_dataset(folder, SETTINGS, list("abcd"), list("xysr"), {"train": range(12)}, interrupted)
    verify_dataset(folder)
    assert not list(folder.glob(".preparing*"))


def test_killed_preparation_leaves_the_old_dataset_and_can_be_repeated(folder):
    script = f"""
import os, signal
from pathlib import Path
from nonrobust_guidance.data import SportBalls, prepare_data
from nonrobust_guidance.data.sportballs import SportBallsData
example = SportBalls.example
SportBalls.example = lambda self, i: os.kill(os.getpid(), signal.SIGKILL) if i == 14 else example(self, i)
prepare_data(SportBallsData(**{ {**SETTINGS, "seed": 4}!r}), Path({str(folder)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, env={**os.environ})
    assert killed.returncode == -signal.SIGKILL
    verify_dataset(folder)
    assert list(folder.glob(".preparing*"))
    prepare({**SETTINGS, "seed": 4}, folder)
    verify_dataset(folder)
    assert not list(folder.glob(".preparing*"))
    assert load_split(folder, "train").labels.tolist() == [
        SportBalls(seed=4, image_size=16, ball_size=0.75).example(index).label for index in range(12)
    ]


def test_death_before_the_manifest_leaves_no_dataset(folder, monkeypatch):
    def die(path, write):
        raise OSError("no space left")

    monkeypatch.setattr(storage, "write_atomically", die)
    with pytest.raises(OSError, match="no space left"):
        prepare({**SETTINGS, "seed": 4}, folder)
    with pytest.raises(UserError, match=r"manifest\.json is missing"):
        load_split(folder, "train")


def test_other_files_in_the_folder_stay(folder):
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "note").write_text("kept")
    prepare(SETTINGS, folder)
    assert (folder / "checkpoints" / "note").read_text() == "kept"


def test_settings_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(UserError, match=r"dataset\.kind is 'mnist', which is unknown; use sportballs"):
        prepare({**SETTINGS, "kind": "mnist"}, tmp_path)
    with pytest.raises(UserError, match="scale_range"):
        prepare({**SETTINGS, "scale_range": [0.9, 0.1]}, tmp_path)
    assert not list(tmp_path.iterdir())
