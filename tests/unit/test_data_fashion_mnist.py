"""Fashion-MNIST from small files of the true layout, with their shapes and checksums in place of the true ones."""

import gzip
import hashlib
import json
import struct
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from sections import dataset_of, prepare
from torchvision.datasets import FashionMNIST
from torchvision.transforms import v2

from nonrobust_guidance.config import parse_models
from nonrobust_guidance.data import fashion_mnist, load_split, verify_dataset
from nonrobust_guidance.data.fashion_mnist import ARTICLES, PUBLISHED, Published
from nonrobust_guidance.errors import UserError

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = PUBLISHED
PAGE = "https://github.com/zalandoresearch/fashion-mnist"
# Ten of each class to train on, of which a tenth is for validation, and two to test on.
NUM_TRAIN, NUM_TEST = 100, 20


def label_of(index):
    return 3 * index % 10


def pixel(index, y, x):
    return (7 * index + 5 * y + x) % 256


def true_image(index):
    """Return an image (28, 28), pixel by pixel; test images come after those for training."""
    return np.array([[pixel(index, y, x) for x in range(28)] for y in range(28)], dtype=np.uint8)


def idx(*shape, values):
    """Return a file of bytes in the IDX format: two zeros, the type 8, the number of sides, the sides, the values."""
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(values)


def contents():
    files = {}
    for start, count, images, labels in (
        (0, NUM_TRAIN, TRAIN_IMAGES, TRAIN_LABELS),
        (NUM_TRAIN, NUM_TEST, TEST_IMAGES, TEST_LABELS),
    ):
        pixels = [pixel(start + i, y, x) for i in range(count) for y in range(28) for x in range(28)]
        files[images] = idx(count, 28, 28, values=pixels)
        files[labels] = idx(count, values=[label_of(start + i) for i in range(count)])
    return files


FILES = contents()


def write_packed(folder):
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))


def write_plain(folder):
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)


@pytest.fixture(autouse=True)
def nothing_elsewhere(tmp_path, monkeypatch):
    """Neither a network nor Debian's package, whatever there is where the tests run."""
    monkeypatch.setattr(fashion_mnist, "_DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    sides = {TRAIN_IMAGES: (NUM_TRAIN, 28, 28), TRAIN_LABELS: (NUM_TRAIN,)}
    sides |= {TEST_IMAGES: (NUM_TEST, 28, 28), TEST_LABELS: (NUM_TEST,)}
    small = {name: Published(sides[name], hashlib.sha256(content).hexdigest()) for name, content in FILES.items()}
    monkeypatch.setattr(fashion_mnist, "PUBLISHED", small)


@pytest.fixture
def root(tmp_path):
    """A folder with the four files as they are published."""
    write_packed(tmp_path / "raw")
    return tmp_path / "raw"


def settings(root, **changes):
    return {"name": "fashion", "kind": "fashion_mnist", "root": str(root), **changes}


def indices_of(split):
    """Return which of the images these are, by their first pixel, which is 7 times the index."""
    first = split.images[:, -28 - 2, 2, 0].astype(int)
    return [int(value) * pow(7, -1, 256) % 256 for value in first]


def test_images_and_labels_are_those_of_the_files(root, tmp_path):
    prepare(settings(root), tmp_path / "data")
    verify_dataset(tmp_path / "data")
    seen = []
    for split in ("train", "validation", "test"):
        found = load_split(tmp_path / "data", split)
        assert (found.classes, found.factors.shape, found.factor_names) == (ARTICLES, (len(found.labels), 0), ())
        assert found.images.shape[1:] == (32, 32, 3)
        indices = indices_of(found)
        for image, label, index in zip(found.images, found.labels, indices, strict=True):
            assert label == label_of(index)
            expected = np.zeros((32, 32), dtype=np.uint8)
            expected[2:30, 2:30] = true_image(index)
            for channel in range(3):
                np.testing.assert_array_equal(image[..., channel], expected)
        assert indices == sorted(indices)
        seen.append(indices)
    train, validation, test = seen
    assert sorted(train + validation) == list(range(NUM_TRAIN))
    assert test == list(range(NUM_TRAIN, NUM_TRAIN + NUM_TEST))
    assert sorted(map(label_of, validation)) == list(range(10))


def test_another_seed_draws_other_images_for_validation(root, tmp_path):
    drawn = []
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        prepare(settings(root, seed=seed), tmp_path / name)
        drawn.append(indices_of(load_split(tmp_path / name, "validation")))
    assert drawn[0] == drawn[1] != drawn[2]


def test_some_classes_keep_the_draw_of_all(root, tmp_path):
    prepare(settings(root), tmp_path / "all")
    prepare(settings(root, classes=["bag", "t-shirt"]), tmp_path / "two")
    for split in ("train", "validation", "test"):
        everything, two = (load_split(tmp_path / name, split) for name in ("all", "two"))
        assert indices_of(two) == [i for i in indices_of(everything) if label_of(i) in (8, 0)]
        assert two.labels.tolist() == [{8: 0, 0: 1}[label_of(i)] for i in indices_of(two)]


def test_num_images_bounds_a_split(root, tmp_path):
    prepare(settings(root, num_images={"train": 30, "test": 5}), tmp_path / "data")
    counts = [len(load_split(tmp_path / "data", split).labels) for split in ("train", "validation", "test")]
    assert counts == [30, 10, 5]


@pytest.mark.parametrize("size", [28, 16, 48, 64])
def test_other_sizes_are_those_of_torchvision(root, tmp_path, size):
    prepare(settings(root, image_size=size), tmp_path / "data")
    test = load_split(tmp_path / "data", "test")
    change = v2.Identity() if size == 28 else v2.Compose([v2.Pad(2), v2.Resize((size, size))])
    for i, image in enumerate(test.images):
        expected = np.asarray(change(Image.fromarray(true_image(NUM_TRAIN + i))).convert("RGB"))
        np.testing.assert_array_equal(image, expected)
    words = json.loads((tmp_path / "data" / "manifest.json").read_text())["preprocessing"]
    assert ("black frame of 2 pixels" in words, f"{size} x {size}" in words) == (size != 28, size != 28)


LAYOUTS = {
    "packed": lambda folder: write_packed(folder / "raw"),
    "plain": lambda folder: write_plain(folder / "raw"),
    "torchvision": lambda folder: write_plain(folder / "raw" / "FashionMNIST" / "raw"),
    "torchvision, packed": lambda folder: write_packed(folder / "raw" / "FashionMNIST" / "raw"),
    "debian": lambda folder: write_packed(folder / "debian"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_dataset_is_the_same_wherever_the_files_lie(tmp_path, layout):
    write_packed(tmp_path / "first")
    prepare(settings(tmp_path / "first"), tmp_path / "expected")
    LAYOUTS[layout](tmp_path)
    prepare(settings(tmp_path / "raw"), tmp_path / "data")
    found, expected = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("data", "expected"))
    assert found == expected
    assert found["source"] == {
        "name": "Fashion-MNIST",
        "page": PAGE,
        "license": "MIT",
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()},
    }


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder that torchvision downloads from over HTTP, with the checksums of what is there."""
    folder = tmp_path / "mirror"
    write_packed(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    digests = [(path, hashlib.md5((folder / path).read_bytes()).hexdigest()) for path, _ in FashionMNIST.resources]
    monkeypatch.setattr(FashionMNIST, "resources", digests)
    yield folder
    server.shutdown()
    server.server_close()


def test_torchvision_downloads_what_is_nowhere_and_only_once(mirror, tmp_path):
    prepare(settings(tmp_path / "raw"), tmp_path / "data")
    for path in mirror.iterdir():
        path.unlink()
    prepare(settings(tmp_path / "raw"), tmp_path / "again")
    assert indices_of(load_split(tmp_path / "again", "test")) == list(range(NUM_TRAIN, NUM_TRAIN + NUM_TEST))


def test_a_download_is_held_to_torchvisions_checksums(mirror, tmp_path):
    (mirror / f"{TEST_LABELS}.gz").write_bytes(gzip.compress(idx(NUM_TEST, values=[0] * NUM_TEST)))
    with pytest.raises(UserError, match=rf"or corrupted.*: missing or damaged are {TEST_LABELS}\.gz; put them there"):
        prepare(settings(tmp_path / "raw"), tmp_path / "data")


def test_without_the_network_what_is_missing_is_named_and_where_to_get_it(root, tmp_path):
    (root / f"{TEST_IMAGES}.gz").unlink()
    with pytest.raises(UserError) as raised:
        prepare(settings(root), tmp_path / "data")
    start, end = str(raised.value).split(" (Error downloading train-images-idx3-ubyte.gz: ")
    assert start == f"Fashion-MNIST cannot be completed in {root}"
    assert "Connection refused" in end
    assert end.endswith(
        f"): missing or damaged are t10k-images-idx3-ubyte.gz; put them there, from {PAGE}, or install Debian's "
        "package dataset-fashion-mnist"
    )


def test_files_may_lie_in_several_of_the_places(root, tmp_path):
    prepare(settings(root), tmp_path / "first")
    for folder, name in ((tmp_path / "debian", TRAIN_LABELS), (root / "FashionMNIST" / "raw", TEST_IMAGES)):
        folder.mkdir(parents=True)
        (root / f"{name}.gz").rename(folder / f"{name}.gz")
    prepare(settings(root), tmp_path / "again")
    first, again = ((tmp_path / name / "manifest.json").read_bytes() for name in ("first", "again"))
    assert first == again


def test_the_disk_is_looked_at_before_the_download(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**7}))
    with pytest.raises(UserError, match=r"Fashion-MNIST in .*raw needs 0\.09 GB, and 0\.01 GB are free"):
        prepare(settings(tmp_path / "raw"), tmp_path / "data")


def test_a_folder_that_cannot_be_written_to_is_named(mirror, tmp_path):
    (tmp_path / "raw").write_text("a file in its place")
    with pytest.raises(UserError, match=r"raw cannot be written \(.*\); remove what is in its way"):
        prepare(settings(tmp_path / "raw"), tmp_path / "data")


AGAIN = f"; remove it, and get it again, from {PAGE} for instance"
SHAPES = "holds {} values where Fashion-MNIST's has {}" + AGAIN
NO_IDX = "is cut short, or no IDX file of such values" + AGAIN


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (TRAIN_IMAGES, FILES[TRAIN_IMAGES][:-1], NO_IDX),
        (TRAIN_IMAGES, FILES[TRAIN_IMAGES] + b"\0", NO_IDX),
        (TEST_LABELS, b"", NO_IDX),
        (TEST_LABELS, b"<html>not found</html>", NO_IDX),
        (TRAIN_IMAGES, FILES[TRAIN_LABELS], NO_IDX),
        (TRAIN_IMAGES, FILES[TEST_IMAGES], SHAPES.format("20 x 28 x 28", "100 x 28 x 28")),
        (TRAIN_LABELS, idx(99, values=[0] * 99), SHAPES.format("99", "100")),
        (TEST_IMAGES, idx(20, 32, 32, values=[0] * 20480), SHAPES.format("20 x 32 x 32", "20 x 28 x 28")),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_and_foreign_files_are_named(root, tmp_path, name, content, words, packed):
    path = root / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(UserError) as raised:
        prepare(settings(root), tmp_path / "data")
    assert str(raised.value) == f"{path} {words}"
    assert not (tmp_path / "data" / "manifest.json").exists()


@pytest.mark.parametrize("content", [gzip.compress(FILES[TEST_IMAGES])[:-100], b"no gzip", b"", b"\x1f\x8b\x08" * 9])
def test_a_damaged_archive_is_named(root, tmp_path, content):
    path = root / f"{TEST_IMAGES}.gz"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        prepare(settings(root), tmp_path / "data")
    expected = NO_IDX if content == b"" else f"is cut short, or no gzip file{AGAIN}"
    assert str(raised.value) == f"{path} {expected}"


@pytest.mark.parametrize("label", [9, 10])
def test_the_files_of_another_data_set_with_the_same_names_are_refused(root, tmp_path, label):
    """MNIST's have the same names and sizes."""
    path, content = root / f"{TEST_LABELS}.gz", idx(NUM_TEST, values=[label] * NUM_TEST)
    path.write_bytes(gzip.compress(content))
    found, expected = (hashlib.sha256(one).hexdigest() for one in (content, FILES[TEST_LABELS]))
    with pytest.raises(UserError) as raised:
        prepare(settings(root), tmp_path / "data")
    assert str(raised.value) == (
        f"{path} has, unpacked, the SHA-256 {found} where Fashion-MNIST's has {expected}, so that it is damaged or of "
        f"another data set{AGAIN}"
    )


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_cannot_be_read_is_named(root, tmp_path, monkeypatch, packed):
    def refuse(path, *_arguments):
        raise PermissionError(13, "Permission denied", str(path))

    if not packed:
        (root / TRAIN_IMAGES).write_bytes(FILES[TRAIN_IMAGES])
    monkeypatch.setattr(*(("gzip.open", refuse) if packed else ("torchvision.datasets.mnist.read_image_file", refuse)))
    with pytest.raises(UserError, match=rf"{TRAIN_IMAGES}(\.gz)? cannot be (read|used) \(Permission denied\); "):
        prepare(settings(root), tmp_path / "data")


def test_a_damaged_file_that_is_removed_gives_way_to_its_archive(root, tmp_path):
    (root / TRAIN_IMAGES).write_bytes(FILES[TRAIN_IMAGES][:100])
    with pytest.raises(UserError, match="remove it"):
        prepare(settings(root), tmp_path / "data")
    (root / TRAIN_IMAGES).unlink()
    prepare(settings(root), tmp_path / "data")


def test_defaults_and_that_the_place_is_not_recorded():
    dataset = dataset_of({"name": "fashion", "kind": "fashion_mnist"})
    recorded = {
        "name": "fashion",
        "kind": "fashion_mnist",
        "seed": 0,
        "classes": [
            "t-shirt",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle-boot",
        ],
        "image_size": 32,
    }
    assert dataset.recorded() == recorded
    assert dataset.resolved() == recorded | {"root": "data/raw/fashion-mnist"}
    assert [name.partition("/")[0].lower().replace(" ", "-") for name in FashionMNIST.classes] == list(ARTICLES)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": ["bag", "boot"]}, "dataset.classes[1] is 'boot', which is unknown; "),
        ({"classes": ["bag", "bag"]}, "dataset.classes lists a value twice; remove one"),
        ({"classes": ["bag"]}, "dataset.classes has 1 entr"),
        ({"image_size": 4}, "dataset.image_size is 4; give a number at least 8"),
        ({"root": 3}, "dataset.root is 3; give a text"),
    ],
)
def test_mistakes_in_a_run_file_are_named(changes, sentence):
    with pytest.raises(UserError) as raised:
        parse_models({"dataset": settings("raw") | changes, "diffusion": {}, "classifiers": {}}, "mine.yaml")
    assert str(raised.value).startswith(f"mine.yaml: {sentence}")


@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="needs dataset-fashion-mnist")
def test_debians_files_are_the_published_ones():
    folder = Path("/usr/share/datasets/fashion-mnist")
    labels = fashion_mnist.read_values(folder / f"{TEST_LABELS}.gz", PUBLISHED[TEST_LABELS])
    assert np.bincount(labels).tolist() == [1000] * 10
    assert fashion_mnist.read_values(folder / f"{TEST_IMAGES}.gz", PUBLISHED[TEST_IMAGES]).shape == (10000, 28, 28)
