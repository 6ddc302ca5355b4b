"""Files of samples: the good one is read, every bad one is named in a sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.sampling.files import load_samples

IMAGES = np.random.default_rng(0).integers(0, 256, size=(5, 8, 8, 3), dtype=np.uint8)


def test_images_come_back_as_they_were_written(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", IMAGES)
    np.testing.assert_array_equal(load_samples(tmp_path / "a.npz", image_size=8), IMAGES)


def truncated(path: Path, drop: int) -> None:
    np.savez_compressed(path, IMAGES)
    path.write_bytes(path.read_bytes()[:-drop])


def flipped(path: Path) -> None:
    np.savez(path, IMAGES)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF  # the archive's own checksum no longer holds
    path.write_bytes(bytes(raw))


def pickled(path: Path) -> None:
    np.savez(path, np.array([{"a": 1}], dtype=object))


def single_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, IMAGES)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("not an archive"),
        lambda path: truncated(path, 30),
        lambda path: truncated(path, 600),
        flipped,
        pickled,
        single_array,
        lambda path: np.savez(path, images=IMAGES),
        lambda path: np.savez(path, IMAGES.astype(np.float32)),
        lambda path: np.savez(path, IMAGES[0]),
        lambda path: np.savez(path, IMAGES[..., :1]),
        lambda path: np.savez(path, IMAGES[:0]),
        lambda path: np.savez(path, IMAGES[:, :4]),
    ],
)
def test_anything_else_is_one_sentence_that_names_the_file(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = tmp_path / "baseball.npz"
    damage(path)
    with pytest.raises(UserError) as caught:
        load_samples(path, image_size=8)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
