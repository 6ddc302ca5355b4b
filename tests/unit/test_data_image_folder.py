"""Folders of images as users have them, and what becomes of odd ones."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from nonrobust_guidance.data import load_split, prepare_data
from nonrobust_guidance.data.pictures import decode_picture, limit_splits
from nonrobust_guidance.errors import UserError


def settings(root, **changes):
    return {
        "name": "mine",
        "kind": "folder",
        "seed": 0,
        "root": str(root),
        "classes": ["cat", "dog"],
        "split": {"validation": 0.1, "test": 0.2},
        "center_crop": True,
        "image_size": 16,
    } | changes


def encoded(picture, form="PNG", **options):
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


def noise(width=24, height=24, mode="RGB", seed=0):
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, *channels), np.uint8), mode)


def fill(folder, count, shade):
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (20, 20), (shade, i, 0)).save(folder / f"{i:03d}.png")


@pytest.fixture
def flat(tmp_path):
    fill(tmp_path / "raw" / "cat", 30, 10)
    fill(tmp_path / "raw" / "dog" / "deep" / "er", 20, 200)
    fill(tmp_path / "raw" / "emu", 3, 90)
    (tmp_path / "raw" / "cat" / "Thumbs.db").write_bytes(b"no image")
    return tmp_path / "raw"


def test_each_class_is_split_by_its_share_and_nothing_is_lost(flat, tmp_path):
    prepare_data(settings(flat), tmp_path / "data")
    seen = []
    for split, counts in (("train", (21, 14)), ("validation", (3, 2)), ("test", (6, 4))):
        images, labels, factors, *_ = load_split(tmp_path / "data", split)
        assert (np.sum(labels == 0), np.sum(labels == 1)) == counts
        assert factors.shape == (len(labels), 0)
        np.testing.assert_array_equal(images[:, 0, 0, 0] == 200, labels == 1)
        seen += [tuple(image[0, 0, :2]) for image in images]
    assert sorted(seen) == sorted([(10, i) for i in range(30)] + [(200, i) for i in range(20)])


def test_the_seed_decides_and_the_order_of_labels_is_the_configurations(flat, tmp_path):
    for name, changes in (("a", {}), ("b", {}), ("c", {"seed": 1}), ("d", {"classes": ["dog", "cat"]})):
        prepare_data(settings(flat, **changes), tmp_path / name)
    a, b, c, d = (load_split(tmp_path / name, "train") for name in "abcd")
    np.testing.assert_array_equal(a.images, b.images)
    assert not np.array_equal(a.images, c.images)
    np.testing.assert_array_equal(d.images[:, 0, 0, 0] == 200, d.labels == 0)


def test_folders_of_splits_are_kept(tmp_path):
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        fill(tmp_path / "raw" / split / "cat", count, 10)
        fill(tmp_path / "raw" / split / "dog", count + 1, 200)
    prepare_data(settings(tmp_path / "raw"), tmp_path / "data")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    counts = [entry["class_counts"] for entry in manifest["splits"].values()]
    assert counts == [{"cat": 6, "dog": 7}, {"cat": 3, "dog": 4}, {"cat": 2, "dog": 3}]
    assert manifest["source"]["images"] == 25
    before = manifest["source"]["sha256_of_images"]
    Image.new("RGB", (20, 20), "red").save(tmp_path / "raw" / "train" / "cat" / "000.png")
    prepare_data(settings(tmp_path / "raw"), tmp_path / "data")
    assert json.loads((tmp_path / "data" / "manifest.json").read_text())["source"]["sha256_of_images"] != before


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: root.rename(root.with_name("away")), "is no folder; name one"),
        (lambda root: (root / "dog").rename(root / "wolf"), r"dog is missing; add it, or correct dataset\.classes"),
        (lambda root: [p.unlink() for p in (root / "cat").glob("*.png")], r"cat has no images \(\.bmp, .*add some"),
        (lambda root: fill(root / "train" / "cat", 2, 0), "has a folder train and none named|dog is missing"),
        (lambda root: (root / "cat" / "007.png").write_bytes(b""), r"cat/007\.png cannot be used as an image"),
    ],
)
def test_unusable_folders_are_named(flat, tmp_path, spoil, sentence):
    spoil(flat)
    with pytest.raises(UserError, match=sentence) as raised:
        prepare_data(settings(flat), tmp_path / "data")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_a_split_that_comes_out_empty_is_named(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "raw" / name, 4, 10)
    with pytest.raises(UserError, match="mine has no images for validation; add some"):
        prepare_data(settings(tmp_path / "raw", split={"validation": 0.1, "test": 0.5}), tmp_path / "data")


def test_the_middle_is_cropped_or_the_whole_is_squeezed():
    picture = noise(40, 24)
    cropped = decode_picture(encoded(picture), "x", 24, crop=True)
    np.testing.assert_array_equal(cropped, np.asarray(picture)[:, 8:32])
    squeezed = decode_picture(encoded(picture), "x", 12)
    np.testing.assert_array_equal(squeezed, np.asarray(v2.Resize((12, 12))(picture)))


def test_images_of_other_modes_become_rgb():
    grey = noise(mode="L")
    np.testing.assert_array_equal(decode_picture(encoded(grey), "x", 24), np.asarray(grey)[..., None].repeat(3, 2))
    transparent = noise(mode="RGBA")
    colour, alpha = np.asarray(transparent)[..., :3] / 255.0, np.asarray(transparent)[..., 3:] / 255.0
    on_white = 255 * (colour * alpha + 1 - alpha)
    assert np.abs(decode_picture(encoded(transparent), "x", 24) - on_white).max() <= 1
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise shows it upright
    turned = decode_picture(encoded(noise(), "TIFF", exif=exif), "x", 24)
    np.testing.assert_array_equal(turned, np.rot90(np.asarray(noise()), -1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a",
        encoded(noise())[:200],
        encoded(noise(), "JPEG")[:300],
        encoded(Image.fromarray(np.zeros((9, 9), np.uint16))),
        encoded(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"),
    ],
)
def test_unusable_images_are_named(content):
    with pytest.raises(UserError, match=r"^a/b\.png cannot be used as an image \(.*\); replace it, or remove it$"):
        decode_picture(content, "a/b.png", 16)


def test_limits_nest_and_leave_smaller_splits_alone():
    splits = {"train": range(100), "validation": range(100, 110), "test": range(110, 120)}
    limited = limit_splits(splits, {"train": 7, "test": 50}, seed=3)
    assert len(set(limited["train"])) == 7
    assert set(limited["train"]) < set(limit_splits(splits, {"train": 30}, seed=3)["train"]) < set(range(100))
    assert (limited["validation"], limited["test"]) == (range(100, 110), range(110, 120))
    assert limit_splits(splits, None, 0) == splits
