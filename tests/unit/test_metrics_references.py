"""References on disk: the numbers of all images at once, and every mismatch named."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from nonrobust_guidance.data import Example, write_dataset
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import sha256_of
from nonrobust_guidance.metrics.distances import references
from nonrobust_guidance.metrics.distances.extractors import Extractor
from nonrobust_guidance.metrics.distances.references import load_reference, measure_references
from nonrobust_guidance.metrics.distances.spaces import FEATURE_SPACES

N_TRAIN, N_TEST, SIZE = 300, 40, 4
RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (N_TRAIN + N_TEST, SIZE, SIZE, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 2, N_TRAIN + N_TEST)
SEEN: list[int] = []


def embed(images: np.ndarray) -> np.ndarray:
    """The first three pixels' red."""
    SEEN.append(len(images))
    return images[:, 0, :3, 0].astype(np.float32)


EXTRACTOR = Extractor(FEATURE_SPACES["judge"], embed, {"extractor": "judge", "weights_sha256": "abc"})


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(references, "load_extractor", lambda name, weights, device="cpu": EXTRACTOR)
    settings = {"kind": "toys", "name": "toys", "image_size": SIZE}
    splits = {"train": range(N_TRAIN), "test": range(N_TRAIN, N_TRAIN + N_TEST)}

    def example(i: int) -> Example:
        return Example(PICTURES[i], int(LABELS[i]), np.zeros(0, np.float32))

    write_dataset(tmp_path, settings, ["cup", "ball"], [], splits, example)
    measure_references("judge", tmp_path, tmp_path, 50, tmp_path / "references")
    return tmp_path


def test_a_file_holds_what_all_features_at_once_give(measured: Path) -> None:
    assert sorted(path.name for path in (measured / "references").iterdir()) == [
        "all.safetensors", "ball.safetensors", "cup.safetensors"
    ]  # fmt: skip
    assert max(SEEN) < N_TRAIN  # in batches
    train, labels = embed(PICTURES[:N_TRAIN]), LABELS[:N_TRAIN]
    test = embed(PICTURES[N_TRAIN:])
    for name, rows, rows_too in (
        ("all", train, test),
        ("cup", train[labels == 0], test[LABELS[N_TRAIN:] == 0]),
        ("ball", train[labels == 1], test[LABELS[N_TRAIN:] == 1]),
    ):
        reference = load_reference(
            measured / "references" / f"{name}.safetensors", EXTRACTOR, measured / "manifest.json"
        )
        assert reference.gaussian.n == len(rows)
        np.testing.assert_allclose(reference.gaussian.mean, rows.astype(float).mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(reference.gaussian.covariance, np.cov(rows.astype(float), rowvar=False), rtol=1e-9)
        assert reference.gaussian.covariance.dtype == np.float64
        assert reference.rows.shape == (50, 3)
        assert {tuple(row) for row in reference.rows} <= {tuple(row) for row in rows}
        np.testing.assert_array_equal(reference.test_rows, rows_too)


def test_measuring_again_writes_the_same_numbers(measured: Path) -> None:
    measure_references("judge", measured, measured, 50, measured / "again")
    for path in (measured / "references").iterdir():
        assert path.read_bytes() == (measured / "again" / path.name).read_bytes()


def test_the_metadata_say_what_it_was_made_from(measured: Path) -> None:
    with safe_open(measured / "references" / "cup.safetensors", framework="numpy") as file:
        assert json.loads(file.metadata()["provenance"]) == {
            "extractor": "judge",
            "weights_sha256": "abc",
            "manifest_sha256": sha256_of(measured / "manifest.json"),
            "split": "train",
            "class": "cup",
        }


def test_references_of_other_weights_or_data_are_refused(measured: Path) -> None:
    path, manifest = measured / "references" / "cup.safetensors", measured / "manifest.json"
    other = Extractor(EXTRACTOR.space, embed, EXTRACTOR.provenance | {"weights_sha256": "def"})
    with pytest.raises(UserError, match="was made with weights_sha256 abc where def is in use; run measure-ref"):
        load_reference(path, other, manifest)
    manifest.write_text(json.dumps(json.loads(manifest.read_text())))
    with pytest.raises(UserError, match="was made with manifest_sha256"):
        load_reference(path, EXTRACTOR, manifest)


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:300])]
)
def test_a_damaged_file_is_one_sentence_that_names_it(measured: Path, damage) -> None:
    path = measured / "references" / "ball.safetensors"
    damage(path)
    with pytest.raises(UserError) as caught:
        load_reference(path, EXTRACTOR, measured / "manifest.json")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
