"""Files of samples: written and merged as numpy writes the whole, read memory-mapped; every bad one is one sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.sampling.files import load_samples, merge_shards, save_samples

IMAGES = np.random.default_rng(0).integers(0, 256, size=(7, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 6]])
def test_parts_make_the_bytes_of_numpys_own_file(tmp_path: Path, cuts: list[int]) -> None:
    save_samples(tmp_path / "ours.npy", np.split(IMAGES, cuts))
    np.save(tmp_path / "numpy.npy", IMAGES)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_shards_merge_into_the_whole(tmp_path: Path) -> None:
    shards = [tmp_path / f"{i}.npy" for i in range(3)]
    for shard, part in zip(shards, np.split(IMAGES, [2, 5]), strict=True):
        np.save(shard, part)
    merge_shards(shards, tmp_path / "merged.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "merged.npy"), IMAGES)


def test_shards_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    np.save(tmp_path / "b.npy", IMAGES[:, :2, :2])
    with pytest.raises(UserError, match=r"b\.npy holds images of another size than .*a\.npy"):
        merge_shards([tmp_path / "a.npy", tmp_path / "b.npy"], tmp_path / "merged.npy")
    assert not (tmp_path / "merged.npy").exists()


def test_images_are_mapped_and_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    images = load_samples(tmp_path / "a.npy", image_size=8)
    assert isinstance(images, np.memmap)
    np.testing.assert_array_equal(images, IMAGES)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_the_archives_of_others_are_read_too(tmp_path: Path, write: Callable[..., None]) -> None:
    write(tmp_path / "a.npz", IMAGES)
    np.testing.assert_array_equal(load_samples(tmp_path / "a.npz", image_size=8), IMAGES)


def save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def truncated(path: Path, drop: int) -> None:
    save(path, IMAGES)
    path.write_bytes(path.read_bytes()[:-drop])


def archive(path: Path, drop: int = 0, **arrays: np.ndarray) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
    path.write_bytes(path.read_bytes()[: -drop or None])


def flipped_archive(path: Path) -> None:
    archive(path, arr_0=IMAGES)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF  # the archive's own checksum no longer holds
    path.write_bytes(bytes(raw))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("not an array"),
        lambda path: truncated(path, 1),
        lambda path: truncated(path, IMAGES.size + 30),
        lambda path: save(path, np.array([{"a": 1}], dtype=object)),
        lambda path: save(path, IMAGES.astype(np.float32)),
        lambda path: save(path, IMAGES[0]),
        lambda path: save(path, IMAGES[..., :1]),
        lambda path: save(path, IMAGES[:0]),
        lambda path: save(path, IMAGES[:, :4]),
        lambda path: archive(path, 30, arr_0=IMAGES),
        lambda path: archive(path, arr_0=np.array([{"a": 1}], dtype=object)),
        lambda path: archive(path, images=IMAGES),
        flipped_archive,
    ],
)
def test_anything_else_is_one_sentence_that_names_the_file(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = tmp_path / "baseball.npy"
    damage(path)
    with pytest.raises(UserError) as caught:
        load_samples(path, image_size=8)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
