"""Shards merged against one file as numpy writes it."""

from pathlib import Path

import numpy as np
import pytest

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.sampling.files import load_samples
from nonrobust_guidance.sampling.shards import merge_shards, save_samples

IMAGES = np.random.default_rng(0).integers(0, 256, size=(7, 4, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 6]])
def test_parts_make_the_bytes_of_numpys_own_file(tmp_path: Path, cuts: list[int]) -> None:
    save_samples(tmp_path / "ours.npz", np.split(IMAGES, cuts))
    np.savez(tmp_path / "numpy.npz", IMAGES)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpy.npz").read_bytes()


def test_shards_merge_into_the_whole(tmp_path: Path) -> None:
    shards = [tmp_path / f"{i}.npz" for i in range(3)]
    for shard, part in zip(shards, np.split(IMAGES, [2, 5]), strict=True):
        np.savez(shard, part)
    merge_shards(shards, tmp_path / "merged.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "merged.npz")["arr_0"], IMAGES)


def test_samples_are_mapped_and_not_read(tmp_path: Path) -> None:
    save_samples(tmp_path / "a.npz", [IMAGES])
    assert isinstance(load_samples(tmp_path / "a.npz"), np.memmap)


def test_shards_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", IMAGES)
    np.savez(tmp_path / "b.npz", IMAGES[:, :2, :2])
    with pytest.raises(UserError, match=r"b\.npz holds images of another size than .*a\.npz"):
        merge_shards([tmp_path / "a.npz", tmp_path / "b.npz"], tmp_path / "merged.npz")
    assert not (tmp_path / "merged.npz").exists()
