"""Folders of images as users have them, and what becomes of odd ones.

It is long because every kind of folder that users have is one case.
"""

import io
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import unicodedata
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from sections import models_of, prepare
from torchvision.transforms import v2

from nonrobust_guidance.config import parse_models, write_config
from nonrobust_guidance.data import load_split
from nonrobust_guidance.data.pictures import decode_picture, limit_splits, picture_suffixes
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
    prepare(settings(flat), tmp_path / "data")
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
        prepare(settings(flat, **changes), tmp_path / name)
    a, b, c, d = (load_split(tmp_path / name, "train") for name in "abcd")
    np.testing.assert_array_equal(a.images, b.images)
    assert not np.array_equal(a.images, c.images)
    np.testing.assert_array_equal(d.images[:, 0, 0, 0] == 200, d.labels == 0)


def test_folders_of_splits_are_kept(tmp_path):
    for shade, (split, count) in enumerate((("train", 6), ("val", 3), ("test", 2))):
        fill(tmp_path / "raw" / split / "cat", count, 10 + shade)
        fill(tmp_path / "raw" / split / "dog", count + 1, 200 + shade)
    prepare(settings(tmp_path / "raw"), tmp_path / "data")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    counts = [entry["class_counts"] for entry in manifest["splits"].values()]
    assert counts == [{"cat": 6, "dog": 7}, {"cat": 3, "dog": 4}, {"cat": 2, "dog": 3}]
    assert manifest["source"]["images"] == 25
    before = manifest["source"]["sha256_of_images"]
    Image.new("RGB", (20, 20), "red").save(tmp_path / "raw" / "train" / "cat" / "000.png")
    prepare(settings(tmp_path / "raw"), tmp_path / "data")
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
        prepare(settings(flat), tmp_path / "data")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_a_split_that_comes_out_empty_is_named(tmp_path):
    for shade, name in enumerate(("cat", "dog")):
        fill(tmp_path / "raw" / name, 4, 10 + shade)
    with pytest.raises(UserError, match="mine has no images for validation; add some"):
        prepare(settings(tmp_path / "raw", split={"validation": 0.1, "test": 0.5}), tmp_path / "data")


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


def prepared(root, folder, **changes):
    """Prepare a folder and return its manifest and, by split, the colour of each image's first pixel."""
    prepare(settings(root, **changes), folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    colours = {
        split: [tuple(image[0, 0].tolist()) for image in load_split(folder, split).images]
        for split in ("train", "validation", "test")
    }
    return manifest, colours


def passed_over(manifest):
    return {reason: entry["names"] for reason, entry in manifest["source"]["passed_over"].items()}


LEFT_BEHIND = [
    ".ipynb_checkpoints/000-checkpoint.png",
    "._000.png",
    ".DS_Store",
    ".Trash-1000/files/000.png",
    "__MACOSX/._000.png",
    "__MACOSX/cat/000.png",
    "@eaDir/000.png/SYNOPHOTO_THUMB_M.jpg",
    "$RECYCLE.BIN/S-1-5-21/000.png",
    "lost+found/000.png",
    "#recycle/000.png",
    "System Volume Information/000.png",
    "THUMBS.DB",
    "desktop.ini",
]


def test_what_programs_leave_behind_is_passed_over_and_named(flat, tmp_path, capsys):
    before, _ = prepared(flat, tmp_path / "before")
    for name in LEFT_BEHIND:
        (flat / "cat" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (1, 2, 3)).save(flat / "cat" / name, "PNG")
    after, colours = prepared(flat, tmp_path / "after")
    assert [entry["sha256"] for entry in after["splits"].values()] == [
        entry["sha256"] for entry in before["splits"].values()
    ]
    named = passed_over(after)["hidden, or of the operating system"]
    assert {f"cat/{name.split('/')[0]}" for name in LEFT_BEHIND} == {name.rstrip("/") for name in named} - {
        "cat/Thumbs.db"
    }
    assert not [colour for split in colours.values() for colour in split if colour == (1, 2, 3)]
    assert (
        f"passed over, hidden, or of the operating system: {', '.join(sorted(named)[:3])} and"
        in capsys.readouterr().err
    )
    assert passed_over(after)["in no class's folder"] == ["emu/"]


def test_copies_stand_on_one_side_alone_whatever_they_are_called(flat, tmp_path):
    """Each of 50 images is there twice: drawn by themselves, nearly all of 15 held-out ones would be trained on."""
    before, expected = prepared(flat, tmp_path / "before")
    for path in list(flat.rglob("*.png")):
        if "emu" not in path.parts:
            copy = flat / path.relative_to(flat).parts[0] / "z copies" / f"copy of {path.stem}.PNG"
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(path, copy)
    manifest, colours = prepared(flat, tmp_path / "data")
    assert colours == expected
    assert manifest["source"]["images"] == 50
    assert manifest["source"]["sha256_of_images"] == before["source"]["sha256_of_images"]
    copies = manifest["source"]["passed_over"]["copies of an image that is used"]
    assert (copies["count"], copies["names"][0]) == (50, "cat/z copies/copy of 000.PNG")


def test_the_same_picture_in_another_format_leaves_the_later_split(tmp_path, capsys):
    for split, numbers in (("train", range(6)), ("val", range(6, 9)), ("test", range(9, 12))):
        for name, shade in (("cat", 10), ("dog", 200)):
            (tmp_path / "raw" / split / name).mkdir(parents=True)
            for i in numbers:
                Image.new("RGB", (20, 20), (shade, i, 0)).save(tmp_path / "raw" / split / name / f"{i}.png")
    # Of the training images one more in test as BMP, one in validation with a comment; of validation one in test.
    Image.new("RGB", (20, 20), (10, 2, 0)).save(tmp_path / "raw" / "test" / "cat" / "other.bmp")
    comment = PngImagePlugin.PngInfo()
    comment.add_text("Comment", "no other picture")
    Image.new("RGB", (20, 20), (200, 5, 0)).save(tmp_path / "raw" / "val" / "dog" / "other.png", pnginfo=comment)
    Image.new("RGB", (20, 20), (200, 7, 0)).save(tmp_path / "raw" / "test" / "dog" / "another.tif")
    shutil.copy(tmp_path / "raw" / "train" / "cat" / "3.png", tmp_path / "raw" / "test" / "cat" / "3.png")
    manifest, colours = prepared(tmp_path / "raw", tmp_path / "data")
    for split, numbers in (("train", range(6)), ("validation", range(6, 9)), ("test", range(9, 12))):
        assert sorted(colours[split]) == [(shade, i, 0) for shade in (10, 200) for i in numbers]
        assert manifest["splits"][split]["count"] == len(colours[split])
    assert passed_over(manifest) == {
        "copies of an image that is used": ["test/cat/3.png"],
        "the same picture, in other bytes, as one of an earlier split": [
            "val/dog/other.png",
            "test/cat/other.bmp",
            "test/dog/another.tif",
        ],
    }
    assert "as one of an earlier split: val/dog/other.png, test/cat/other.bmp, test/dog/another.tif (3 in all)" in (
        capsys.readouterr().err
    )


def test_an_image_in_two_classes_is_of_neither(flat, tmp_path):
    shutil.copy(flat / "cat" / "004.png", flat / "dog" / "surely a dog.png")
    manifest, colours = prepared(flat, tmp_path / "data")
    assert (10, 4, 0) not in [colour for split in colours.values() for colour in split]
    assert passed_over(manifest)["the same image in several classes"] == ["cat/004.png", "dog/surely a dog.png"]
    assert manifest["source"]["images"] == 49


def test_links_are_followed_but_neither_around_nor_out_to_the_other_classes(flat, tmp_path):
    fill(tmp_path / "elsewhere" / "deep", 4, 77)
    (flat / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "around").symlink_to(tmp_path / "elsewhere")
    (flat / "cat" / "self").symlink_to("self")
    (flat / "cat" / "up").symlink_to("..")
    (flat / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (flat / "wolf").symlink_to(tmp_path / "elsewhere" / "wolves")
    fill(tmp_path / "elsewhere" / "wolves", 20, 99)
    (tmp_path / "elsewhere" / "wolves").rename(tmp_path / "wolves")
    (flat / "wolf").unlink()
    (flat / "wolf").symlink_to(tmp_path / "wolves")
    manifest, colours = prepared(flat, tmp_path / "data", classes=["cat", "dog", "wolf"])
    shades = [colour[0] for split in colours.values() for colour in split]
    assert {shade: shades.count(shade) for shade in set(shades)} == {10: 30, 77: 4, 99: 20, 200: 20}
    assert passed_over(manifest)["links to nothing"] == ["cat/gone.png", "cat/self"]
    assert passed_over(manifest)["folders that were read under another name, or that they lie in"] == [
        "cat/up/",
        "cat/more/deep/around/",
    ]


def test_a_link_from_class_to_class_makes_no_image_count_for_both(flat, tmp_path):
    (flat / "cat" / "dogs too").symlink_to(flat / "dog")
    with pytest.raises(UserError, match=r"too few images of dog \(0 for train, 0 for validation, 0 for test\)"):
        prepare(settings(flat), tmp_path / "data")


def test_other_files_are_named_and_pipes_never_opened(flat, tmp_path, monkeypatch):
    (flat / "cat" / "labels.csv").write_text("a,b")
    (flat / "cat" / "IMG_1.HEIC").write_bytes(b"x")
    (flat / "README").write_text("pets")
    os.mkfifo(flat / "cat" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(flat / "cat")  # a socket's address is short
        server.bind("s.png")
        manifest, _ = prepared(flat, tmp_path / "data")
    assert passed_over(manifest)["with a suffix of no picture"] == ["cat/IMG_1.HEIC", "cat/labels.csv"]
    assert passed_over(manifest)["neither files nor folders"] == ["cat/pipe.png", "cat/s.png"]
    assert passed_over(manifest)["in no class's folder"] == ["README", "emu/"]


def test_a_class_of_unknown_files_says_so(flat, tmp_path):
    for path in (flat / "cat").glob("*.png"):
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(UserError, match=r"cat has no images \(.*\), but 31 files or folders of other kinds; add some"):
        prepare(settings(flat), tmp_path / "data")


def test_all_suffixes_of_formats_that_pillow_decodes_are_read(tmp_path):
    assert {".jfif", ".jpe", ".jpg", ".dib", ".tga", ".pbm", ".pnm", ".qoi", ".jp2", ".apng", ".ico", ".psd"} <= (
        picture_suffixes()
    )
    assert not {".pdf", ".eps", ".ps", ".mpg", ".mpeg", ".h5", ".wmf", ".csv", ".svg"} & picture_suffixes()
    forms = {".jfif": "JPEG", ".JPE": "JPEG", ".dib": "DIB", ".tga": "TGA", ".pnm": "PPM", ".jp2": "JPEG2000"}
    for shade, name in ((10, "cat"), (200, "dog")):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for i in range(6):
            for k, (suffix, form) in enumerate(forms.items()):
                Image.new("RGB", (16, 16), (shade, 40 * i, 40 * k)).save(tmp_path / "raw" / name / f"{i}{suffix}", form)
    manifest, _ = prepared(tmp_path / "raw", tmp_path / "data")
    assert manifest["source"]["images"] == 2 * 6 * len(forms)
    assert manifest["source"]["passed_over"] == {}


def test_a_class_with_too_few_images_is_refused_with_the_counts(tmp_path):
    fill(tmp_path / "raw" / "cat", 30, 10)
    fill(tmp_path / "raw" / "dog", 1, 200)
    with pytest.raises(UserError) as raised:
        prepare(settings(tmp_path / "raw"), tmp_path / "data")
    assert str(raised.value) == (
        f"{tmp_path / 'raw'} has too few images of dog (1 for train, 0 for validation, 0 for test), and every class "
        "needs at least 2 for train and 2 for test; add some, or raise dataset.split"
    )
    assert not (tmp_path / "data").exists()
    # 0.2 of 8 images, rounded, are 2.
    shutil.rmtree(tmp_path / "raw" / "dog")
    fill(tmp_path / "raw" / "dog", 8, 200)
    prepare(settings(tmp_path / "raw"), tmp_path / "data")
    with pytest.raises(
        UserError, match=r"test\), and every .* add some, or raise dataset\.split or dataset\.num_images"
    ):
        prepare(settings(tmp_path / "raw", num_images={"test": 3}), tmp_path / "data")


def test_one_test_image_of_a_class_is_too_few_and_no_share_helps_folders_of_splits(tmp_path):
    for shade, (split, count) in enumerate((("train", 6), ("val", 3), ("test", 1))):
        fill(tmp_path / "raw" / split / "cat", count, 10 + shade)
        fill(tmp_path / "raw" / split / "dog", count + 1, 200 + shade)
    with pytest.raises(UserError, match=r"of cat \(6 for train, 3 for validation, 1 for test\), .* add some$"):
        prepare(settings(tmp_path / "raw"), tmp_path / "data")
    # Two again, but one of them is a training image.
    Image.new("RGB", (20, 20), (10, 0, 0)).save(tmp_path / "raw" / "test" / "cat" / "x.bmp")
    with pytest.raises(UserError, match=r"of cat \(6 for train, 3 for validation, 1 for test\)"):
        prepare(settings(tmp_path / "raw"), tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


NAMES = [
    b"new\nline.png",
    b"bytes \xff\xfe.png",
    b"-rf.png",
    b"'quotes\" and `ticks`.png",
    b" spaces  .png",
    b"back\\slash.png",
    b"\x1b[31mred.png",
    "\u202eright to left.png".encode(),
    "café.png".encode(),
    unicodedata.normalize("NFD", "café.png").encode(),
    "蛇🐍.png".encode(),
    b"x" * 251 + b".png",
    b"%s {name} $HOME ~.png",
]


def test_any_name_that_the_file_system_holds_is_read(flat, tmp_path):
    for i, name in enumerate(NAMES):
        with open(os.path.join(os.fsencode(flat / "cat"), name), "wb") as file:
            Image.new("RGB", (20, 20), (10, 100 + i, 9)).save(file, "PNG")
        (flat / "cat" / os.fsdecode(name + b".txt")[-200:]).write_text("passed over")
    manifest, colours = prepared(flat, tmp_path / "data")
    found = [colour for split in colours.values() for colour in split]
    assert {(10, 100 + i, 9) for i in range(len(NAMES))} <= set(found)
    names = passed_over(manifest)["with a suffix of no picture"]
    assert len(names) == len(NAMES)
    assert all(name.isprintable() for name in names)
    (tmp_path / "data" / "manifest.json").read_bytes().decode("utf-8")
    json.dumps(manifest, ensure_ascii=False).encode("utf-8")


def test_any_name_of_an_unusable_image_is_told_on_one_line_of_any_terminal(flat, tmp_path):
    for name in NAMES:
        path = os.path.join(os.fsencode(flat / "cat"), name)
        with open(path, "wb") as file:
            file.write(b"no image")
        with pytest.raises(
            UserError, match=r"cannot be used as an image \(damaged, .*\); replace it, or remove it$"
        ) as raised:
            prepare(settings(flat), tmp_path / "data")
        os.remove(path)
        assert str(raised.value).isprintable()
        for encoding in ("utf-8", "ascii", "latin-1"):
            terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
            print(raised.value, file=terminal, flush=True)
            assert terminal.buffer.getvalue().count(b"\n") == 1


def test_the_command_names_such_a_file_in_a_locale_without_letters_for_it(flat, tmp_path):
    (flat / "cat" / os.fsdecode("bad \n é \udcff.png".encode("utf-8", "surrogateescape"))).write_bytes(b"no image")
    write_config(models_of(dataset=settings(flat)), tmp_path / "run.yaml")
    arguments = ["prepare-data", "--config", str(tmp_path / "run.yaml"), "--output", str(tmp_path / "data")]
    script = ["import sys", "from nonrobust_guidance import cli", f"sys.exit(cli.main({arguments!r}))"]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"}
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(script)], capture_output=True, env={**environment, "PYTHONUTF8": "1"}
    )
    assert run.returncode == 1
    assert (
        run.stderr.splitlines()[-1]
        == (
            f"error: {flat}/cat/bad \\n \\xe9 \\udcff.png cannot be used as an image "
            "(damaged, or of an unknown format); replace it, or remove it"
        ).encode()
    )
    assert b"Traceback" not in run.stderr


def test_folders_of_any_name_are_classes_under_names_of_their_own(tmp_path):
    accented = unicodedata.normalize("NFD", "Kätzchen klein")
    fill(tmp_path / "raw" / "001.Black_footed_Albatross", 20, 10)
    fill(tmp_path / "raw" / accented, 20, 200)
    given = {"albatross": "001.Black_footed_Albatross", "kitten": unicodedata.normalize("NFC", "Kätzchen klein")}
    config = parse_models(of_folder(tmp_path / "raw", given), "mine.yaml").resolved()
    assert config["dataset"]["classes"] == ["albatross", "kitten"]
    assert config["dataset"]["folders"] == given
    assert parse_models(config, "mine.yaml").resolved() == config
    prepare({**config["dataset"], "image_size": 16}, tmp_path / "data")
    train = load_split(tmp_path / "data", "train")
    assert train.classes == ("albatross", "kitten")
    np.testing.assert_array_equal(train.images[:, 0, 0, 0] == 200, train.labels == 1)


def of_folder(root, classes, **changes):
    model = {"source": {"folder": "somewhere"}}
    return {
        "dataset": {"name": "pets", "kind": "folder", "root": str(root), "classes": classes} | changes,
        "diffusion": {"schedule": {"num_steps": 400, "beta_start": 1e-4, "beta_end": 0.02}, **model},
        "classifiers": {"c": {"architecture": "resnet18", "noised": True, **model}},
    }


@pytest.mark.parametrize(
    ("classes", "changes", "sentence"),
    [
        (
            ["cat", "001.Black_footed_Albatross"],
            {},
            "dataset.classes[1] is '001.Black_footed_Albatross', and names of classes become names of files; give it "
            "another name with classes: {001_Black_footed_Albatross: '001.Black_footed_Albatross', ...}, of letters, "
            "digits, - and _ before the colon",
        ),
        (["Kätzchen", "dog"], {}, "dataset.classes[0] is 'Kätzchen', and names of classes become"),
        (["cat", "../dog"], {}, "dataset.classes[1] is '../dog', and names of classes become"),
        ({"a.b": "x", "dog": "y"}, {}, "dataset.classes has the name 'a.b'; use only letters, digits, - and _"),
        ({"cat": "/x", "dog": "y"}, {}, "dataset.classes.cat is '/x'; give the name of a folder in dataset.root"),
        ({"cat": "../x", "dog": "y"}, {}, "dataset.classes.cat is '../x'; give the name of a folder in dataset.root"),
        ({"cat": "x", "dog": "x"}, {}, "dataset.classes.cat has the folder of another class, x; remove one"),
        ({"cat": "x"}, {}, "dataset.classes has 1 entries; give at least 2"),
        ({"cat": 1, "dog": "y"}, {}, "dataset.classes.cat is 1; give a text"),
        ("cat", {}, "dataset.classes is 'cat'; give a list or a mapping"),
        (["cat", "dog"], {"folders": {"dgo": "x"}}, "dataset.folders.dgo is of no class; did you mean dog?"),
        (
            {"cat": "x", "dog": "y"},
            {"folders": {"cat": "z"}},
            "dataset.classes is a mapping and says what",
        ),
    ],
)
def test_classes_that_cannot_be_used_are_named(classes, changes, sentence):
    with pytest.raises(UserError) as raised:
        parse_models(of_folder("raw", classes, **changes), "mine.yaml")
    assert str(raised.value).startswith(f"mine.yaml: {sentence}")


def test_the_root_may_be_in_the_home_folder_or_in_a_variable(flat, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PETS", str(flat))
    expected, _ = prepared(flat, tmp_path / "plain")
    for name, root in (("home", "~/raw"), ("variable", "${PETS}")):
        manifest, _ = prepared(root, tmp_path / name)
        assert manifest["splits"] == expected["splits"]
        assert manifest["settings"]["root"] == root
    monkeypatch.delenv("PETS")
    with pytest.raises(UserError, match=r"dataset\.root is \$PETS, and there is no variable \$PETS in the environment"):
        prepare(settings("$PETS"), tmp_path / "data")


def png_of(mode_bits, colour, row):
    """Return a PNG of one pixel with any depth, written by hand: Pillow writes 16 bits in grey alone."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 1, 1, mode_bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )


def deep_jpeg2000():
    content = bytearray(encoded(noise(), "JPEG2000"))
    for channel in range(3):
        content[content.find(b"\xff\x4f\xff\x51") + 42 + 3 * channel] = 15
    return bytes(content)


DEEP = {
    "grey PNG": png_of(16, 0, b"\x01\x02"),
    "grey and alpha PNG": png_of(16, 4, b"\x01\x02\xff\xff"),
    "colour PNG": png_of(16, 2, b"\x01\x02" * 3),
    "colour and alpha PNG": png_of(16, 6, b"\x01\x02" * 4),
    "grey PGM": b"P5 1 1 65535\n\x01\x02",
    "colour PPM": b"P6 1 1 65535\n" + b"\x01\x02" * 3,
    "colour PPM of 12 bits": b"P6 1 1 4095\n" + b"\x01\x02" * 3,
    "plain PPM": b"P3 1 1 1023\n1000 2 3\n",
    "float TIFF": encoded(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"),
    "integer TIFF": encoded(Image.fromarray(np.zeros((9, 9), np.int32)), "TIFF"),
    "grey JPEG 2000": encoded(Image.fromarray(np.zeros((9, 9), np.uint16)), "JPEG2000"),
    "colour JPEG 2000": deep_jpeg2000(),
}


def test_more_than_8_bits_a_channel_are_refused_in_colour_as_in_grey_and_16_a_pixel_are_not():
    for content in DEEP.values():
        with pytest.raises(
            UserError, match=r"^x cannot be used as an image \(more than 8 bits a channel\); replace it"
        ):
            decode_picture(content, "x", 4)
    for content in (png_of(8, 2, b"\x01\x02\x03"), png_of(1, 0, b"\x80"), b"P6 1 1 15\n\x0f\x00\x07"):
        assert decode_picture(content, "x", 4).shape == (4, 4, 3)
    np.testing.assert_array_equal(decode_picture(b"P6 1 1 15\n\x0f\x00\x00", "x", 1), [[[255, 0, 0]]])
    bmp = struct.pack("<2sIHHI IiiHHIIiiII", b"BM", 74, 0, 0, 70, 40, 1, 1, 1, 16, 3, 4, 0, 0, 0, 0)
    packed = bmp + struct.pack("<IIII", 0xF800, 0x07E0, 0x001F, 0) + b"\x00\xf8\0\0"
    np.testing.assert_array_equal(decode_picture(packed, "x", 1), [[[255, 0, 0]]])


def test_a_turned_picture_with_broken_exif_data_is_turned():
    """Their rational -1/0 can be read, and not written again."""
    picture, entries = noise(), 2
    tiff = b"II*\0" + struct.pack("<IH", 8, entries)
    tiff += struct.pack("<HHII", 0x0112, 3, 1, 6)
    tiff += (
        struct.pack("<HHII", 0x011A, 10, 1, 8 + 2 + 12 * entries + 4) + struct.pack("<I", 0) + struct.pack("<iI", -1, 0)
    )
    content = encoded(picture, "JPEG", quality=95, exif=b"Exif\0\0" + tiff)
    plain = encoded(picture, "JPEG", quality=95)
    np.testing.assert_array_equal(decode_picture(content, "x", 24), np.rot90(decode_picture(plain, "x", 24), -1))
    for broken in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0" + tiff[:20]):
        content = encoded(picture, "JPEG", quality=95, exif=broken)
        np.testing.assert_array_equal(decode_picture(content, "x", 24), decode_picture(plain, "x", 24))


def test_a_picture_of_too_many_pixels_is_called_that():
    small, length = png_of(8, 0, b"\0"), len(b"\x89PNG\r\n\x1a\n") + 4
    header = b"IHDR" + struct.pack(">II", 20_000, 10_000) + small[length + 12 : length + 17]
    content = small[:length] + header + struct.pack(">I", zlib.crc32(header)) + small[length + 21 :]
    with pytest.raises(UserError) as raised:
        decode_picture(content, "big.png", 16)
    assert str(raised.value) == (
        "big.png cannot be used as an image (too large: Image size (200000000 pixels) exceeds limit of 178956970 "
        "pixels); replace it, or remove it"
    )


SEEDS = {
    form: encoded(noise(), form)
    for form in (
        "PNG",
        "JPEG",
        "GIF",
        "WEBP",
        "TIFF",
        "BMP",
        "JPEG2000",
        "TGA",
        "PCX",
        "ICO",
        "PPM",
        "SGI",
        "QOI",
    )
}


def bomb_of_text():
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 70_000_000, zip=True)
    return encoded(noise(), "PNG", pnginfo=info)


NO_PICTURES = [
    b"",
    b"\0" * 1000,
    b"<html>",
    b"%PDF-1.4",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    bomb_of_text(),
]


@pytest.mark.parametrize("form", SEEDS)
def test_whatever_happened_to_a_file_it_is_a_picture_or_a_sentence(form):
    """Cut off, or with bytes that are others: struct, index, key and zlib errors, and more, come out of decoders."""
    chance, content = random.Random(form), SEEDS[form]
    spoilt = NO_PICTURES + [content[: chance.randrange(len(content))] for _ in range(20)]
    for _ in range(150):
        wrong = bytearray(content)
        for _ in range(chance.choice((1, 3, 20))):
            wrong[chance.randrange(min(len(wrong), chance.choice((32, 200, 10**6))))] = chance.randrange(256)
        spoilt.append(bytes(wrong))
    with warnings.catch_warnings(action="error"):
        for bad in spoilt:
            try:
                assert decode_picture(bad, "a\nb", 8).shape == (8, 8, 3)
            except UserError as error:
                assert str(error).startswith("a\\nb cannot be used as an image (")
                assert str(error).isprintable()


def test_broken_profiles_and_descriptions_do_not_matter():
    expected = np.asarray(noise())
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta tiff:Orientation=")
    for content in (
        encoded(noise(), "PNG", icc_profile=b"no profile"),
        encoded(noise(), "PNG", pnginfo=info),
        encoded(noise(), "PNG", exif=b"Exif\0\0no"),
        encoded(noise(), "TIFF", icc_profile=b"no profile"),
    ):
        np.testing.assert_array_equal(decode_picture(content, "x", 24), expected)
