"""CelebA from files in torchvision's true layout, with the checksums of these files in place of the true ones."""

import hashlib
import io
import json
import zipfile
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from sections import dataset_of, prepare
from torchvision.datasets import CelebA
from torchvision.transforms import v2

from nonrobust_guidance.data import load_split, verify_dataset
from nonrobust_guidance.data.celeba import Attribute, CelebAFaces
from nonrobust_guidance.errors import UserError

ATTRIBUTES = get_args(Attribute)
# Of each image its split and whether it is male.
PEOPLE = [(0, 1), (0, 0), (0, 0), (0, 1), (0, 1), (1, 0), (1, 1), (2, 1), (2, 0)]


def settings(root, **changes):
    return {
        "name": "faces",
        "kind": "celeba",
        "seed": 0,
        "root": str(root),
        "attribute": "Male",
        "classes": ["female", "male"],
        "image_size": 64,
    } | changes


def face(number):
    """Return a picture of 178 x 218 pixels, a gradient in the number's own colours."""
    y, x = np.mgrid[:218, :178]
    channels = [(x + 20 * number) % 256, (y + 30 * number) % 256, (x + y) % 256]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def write_lists(root):
    names = [f"{i + 1:06d}.jpg" for i in range(len(PEOPLE))]
    attributes = [f"{len(names)}", " ".join(ATTRIBUTES) + " "]
    for i, (name, (_, male)) in enumerate(zip(names, PEOPLE, strict=True)):
        values = [1 if (male if a == "Male" else (i + j) % 3 == 0) else -1 for j, a in enumerate(ATTRIBUTES)]
        attributes.append(f"{name} " + " ".join(f"{value:2d}" for value in values))
    points = ["lefteye", "righteye", "nose", "leftmouth", "rightmouth"]
    columns = " ".join(f"{point}_{axis}" for point in points for axis in "xy")
    texts = {
        "list_attr_celeba.txt": attributes,
        "list_eval_partition.txt": [f"{name} {split}" for name, (split, _) in zip(names, PEOPLE, strict=True)],
        "identity_CelebA.txt": [f"{name} {2880 + i}" for i, name in enumerate(names)],
        "list_bbox_celeba.txt": [f"{len(names)}", "image_id x_1 y_1 width height"]
        + [f"{name}    95  71 226 313" for name in names],
        "list_landmarks_align_celeba.txt": [f"{len(names)}", columns]
        + [f"{name} 69  109  106  113   77  142   73  152  108  154" for name in names],
    }
    for name, lines in texts.items():
        (root / name).write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder with the archive and the lists as they are downloaded, and nothing unpacked."""
    folder = tmp_path / "raw"
    folder.mkdir()
    write_lists(folder)
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for i in range(len(PEOPLE)):
            content = io.BytesIO()
            face(i).save(content, "JPEG", quality=95)
            archive.writestr(f"img_align_celeba/{i + 1:06d}.jpg", content.getvalue())
    digests = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert sorted(digests) == sorted(name for _, _, name in CelebA.file_list)
    monkeypatch.setattr(CelebA, "file_list", [(key, digests[name], name) for key, _, name in CelebA.file_list])
    monkeypatch.setattr("gdown.download", no_network)
    return folder


def no_network(**_arguments):
    raise ConnectionError("Name or service not known\nand more")


def test_splits_and_labels_are_those_of_the_lists(root, tmp_path):
    prepare(settings(root), tmp_path / "data")
    verify_dataset(tmp_path / "data")
    for number, split in enumerate(("train", "validation", "test")):
        images, labels, factors, classes, factor_names = load_split(tmp_path / "data", split)
        assert labels.tolist() == [male for part, male in PEOPLE if part == number]
        assert (images.shape[1:], factors.shape, classes) == ((64, 64, 3), (len(labels), 0), ("female", "male"))
        assert factor_names == ()


def test_images_are_resized_straight_as_torchvision_resizes_them(root, tmp_path):
    prepare(settings(root), tmp_path / "data")
    images = load_split(tmp_path / "data", "validation").images
    for image, i in zip(images, [i for i, (part, _) in enumerate(PEOPLE) if part == 1], strict=True):
        with Image.open(root / "img_align_celeba" / f"{i + 1:06d}.jpg") as picture:
            assert picture.size == (178, 218)
            np.testing.assert_array_equal(image, np.asarray(v2.Resize((64, 64))(picture)))


def test_the_manifest_names_the_source(root, tmp_path):
    prepare(settings(root), tmp_path / "data")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["splits"]["train"]["class_counts"] == {"female": 2, "male": 3}
    source = manifest["source"]
    assert source["attribute"] == "Male"
    for name, digest in source["sha256"].items():
        assert hashlib.sha256((root / name).read_bytes()).hexdigest() == digest
    lines = [
        f"{hashlib.sha256((root / 'img_align_celeba' / name).read_bytes()).hexdigest()}  {name}\n"
        for name in (f"{i + 1:06d}.jpg" for i in range(len(PEOPLE)))
    ]
    assert source["sha256_of_images"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert "64 x 64" in manifest["preprocessing"]


def test_another_attribute_and_fewer_images(root, tmp_path):
    changes = {"attribute": "Young", "classes": ["old", "young"], "num_images": {"train": 3}}
    prepare(settings(root, **changes), tmp_path / "data")
    train, test = (load_split(tmp_path / "data", split) for split in ("train", "test"))
    assert (len(train.labels), len(test.labels)) == (3, 2)
    young = [1 if (i + ATTRIBUTES.index("Young")) % 3 == 0 else 0 for i in range(len(PEOPLE))]
    assert test.labels.tolist() == young[7:]


def test_an_unknown_attribute_is_named(root, tmp_path):
    with pytest.raises(UserError, match=r"dataset\.attribute is 'Mael', which CelebA does not have; use one of 5_o"):
        CelebAFaces(root, "Mael", 64)


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_without_the_network_what_is_missing_is_named_and_where_to_put_it(root, tmp_path, damage):
    path = root / "list_attr_celeba.txt"
    if damage == "missing":
        path.unlink()
    else:
        path.write_text(path.read_text() + " ")
    with pytest.raises(UserError) as raised:
        prepare(settings(root), tmp_path / "data")
    assert str(raised.value) == (
        f"CelebA cannot be completed in {root} (Name or service not known): missing or damaged are "
        "list_attr_celeba.txt; download them from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and put them there"
    )


def test_images_that_are_unpacked_need_no_archive(root, tmp_path):
    prepare(settings(root), tmp_path / "data")
    (root / "img_align_celeba.zip").unlink()
    prepare(settings(root), tmp_path / "again")
    first, second = ((tmp_path / name / "manifest.json").read_bytes() for name in ("data", "again"))
    assert first == second


def test_a_missing_or_damaged_image_is_named(root, tmp_path):
    prepare(settings(root), tmp_path / "data")
    path = root / "img_align_celeba" / "000002.jpg"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"000002\.jpg cannot be used as an image \(damaged"):
        prepare(settings(root), tmp_path / "data")
    path.unlink()
    with pytest.raises(UserError, match=r"000002\.jpg cannot be read \(No such file or directory\); put it"):
        prepare(settings(root), tmp_path / "data")
    verify_dataset(tmp_path / "data")


def test_the_disk_is_looked_at_before_anything_is_unpacked(root, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**9}))
    with pytest.raises(UserError, match=r"needs 3\.10 GB, and 1\.00 GB are free"):
        prepare(settings(root), tmp_path / "data")
    assert not (root / "img_align_celeba").exists()


def test_defaults_are_the_papers():
    assert dataset_of({"name": "faces", "kind": "celeba"}).resolved() == {
        "name": "faces",
        "kind": "celeba",
        "seed": 0,
        "root": "data/raw/celeba",
        "attribute": "Male",
        "classes": ["female", "male"],
        "image_size": 64,
    }
    assert len(ATTRIBUTES) == 40
    assert ATTRIBUTES[20] == "Male"


@pytest.fixture
def kaggles(root, tmp_path):
    """What Kaggle's archive unpacks to: lists as CSV with a header, and images one folder deeper."""
    folder = tmp_path / "kaggle"
    images = folder / "img_align_celeba" / "img_align_celeba"
    images.mkdir(parents=True)
    with zipfile.ZipFile(root / "img_align_celeba.zip") as archive:
        for name in archive.namelist():
            (images / name.split("/")[1]).write_bytes(archive.read(name))
    _, header, *lines = (root / "list_attr_celeba.txt").read_text().splitlines()
    attributes = [",".join(["image_id", *header.split()])] + [",".join(line.split()) for line in lines]
    partition = [line.replace(" ", ",") for line in (root / "list_eval_partition.txt").read_text().splitlines()]
    (folder / "list_attr_celeba.csv").write_text("\n".join(attributes) + "\n")
    (folder / "list_eval_partition.csv").write_text("\n".join(["image_id,partition", *partition]) + "\n")
    (folder / "list_bbox_celeba.csv").write_text("image_id,x_1,y_1,width,height\n000001.jpg,95,71,226,313\n")
    return folder


@pytest.mark.parametrize("changes", [{}, {"attribute": "Young", "classes": ["old", "young"]}])
def test_kaggles_layout_gives_the_arrays_that_torchvisions_gives(root, kaggles, tmp_path, changes):
    prepare(settings(root, **changes), tmp_path / "theirs")
    prepare(settings(kaggles, **changes), tmp_path / "data")
    theirs, ours = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("theirs", "data"))
    assert ours["splits"] == theirs["splits"]
    assert ours["source"]["sha256_of_images"] == theirs["source"]["sha256_of_images"]
    assert ours["source"]["page"] == "https://www.kaggle.com/datasets/jessicali9530/celeba-dataset"
    assert ours["source"]["sha256"] == {
        name: hashlib.sha256((kaggles / name).read_bytes()).hexdigest()
        for name in ("list_attr_celeba.csv", "list_eval_partition.csv")
    }


def test_kaggles_images_may_lie_where_torchvisions_do_and_its_lists_as_a_windows_program_saves_them(kaggles, tmp_path):
    prepare(settings(kaggles), tmp_path / "data")
    (kaggles / "img_align_celeba" / "img_align_celeba").rename(kaggles / "images")
    (kaggles / "img_align_celeba").rmdir()
    (kaggles / "images").rename(kaggles / "img_align_celeba")
    for path in kaggles.glob("*.csv"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    prepare(settings(kaggles), tmp_path / "again")
    first, second = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("data", "again"))
    assert first["splits"] == second["splits"]


def rewritten(name, edit):
    return lambda folder: (folder / name).write_text(edit((folder / name).read_text()))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "list_eval_partition.csv").unlink(), r"partition\.csv cannot be read \(No such file"),
        (lambda folder: (folder / "img_align_celeba").rename(folder / "x"), r"has Kaggle's lists and no folder img_"),
        (rewritten("list_attr_celeba.csv", lambda text: text.replace("Male", "Mael")), r"list of Male at line 1; get"),
        (rewritten("list_attr_celeba.csv", lambda text: text.replace(",1", ",0")), r"list of Male at line 2; get"),
        (rewritten("list_eval_partition.csv", lambda text: text[:-2] + "9\n"), r"list of partition at line 10; get"),
        (rewritten("list_eval_partition.csv", lambda text: text + "000009.jpg,1\n"), r"list of partition at line 11;"),
        (rewritten("list_eval_partition.csv", lambda text: text[:-13]), r"000009\.jpg is in one of .* alone; get both"),
        (rewritten("list_attr_celeba.csv", lambda text: ""), r"list of Male at line 0; get it again from https"),
    ],
)
def test_foreign_lists_of_kaggle_are_named(kaggles, tmp_path, spoil, sentence):
    spoil(kaggles)
    with pytest.raises(UserError, match=sentence):
        prepare(settings(kaggles), tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()
