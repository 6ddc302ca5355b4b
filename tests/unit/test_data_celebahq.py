"""CelebA-HQ from Parquet files with the columns of the hub's data set."""

import hashlib
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sections import prepare

from nonrobust_guidance.data import load_split, verify_dataset
from nonrobust_guidance.data.celebahq import CelebAHQFaces, fetch_celebahq, label_names
from nonrobust_guidance.errors import UserError

REPOSITORY = "korexyz/celeba-hq-256x256"
NAMES = [
    "data/train-00000-of-00002-0123abcd.parquet",
    "data/train-00001-of-00002-4567cdef.parquet",
    "data/validation-00000-of-00001.parquet",
]
COUNTS = [20, 13, 9]


def shade(row):
    """Return the grey of a row: it tells rows apart."""
    return 5 * row


def parquet(first, count, names=("female", "male"), columns=("image", "label")):
    rows = []
    for row in range(first, first + count):
        content = io.BytesIO()
        Image.new("RGB", (256, 256), (shade(row),) * 3).save(content, "PNG")
        rows.append({"bytes": content.getvalue(), "path": f"{row}.png"})
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    labels = pa.array([row % 3 % 2 for row in range(first, first + count)], pa.int64())
    table = pa.Table.from_arrays([pa.array(rows, struct), labels], names=list(columns))
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    content = io.BytesIO()
    pq.write_table(table, content, row_group_size=7)
    return content.getvalue()


@pytest.fixture(scope="module")
def files():
    starts = np.cumsum([0, *COUNTS])
    contents = {name: parquet(int(s), n) for name, s, n in zip(NAMES, starts, COUNTS, strict=False)}
    return contents | {"README.md": b"# Faces"}


def settings(root, **changes):
    return {
        "name": "hq",
        "kind": "celebahq",
        "seed": 4,
        "root": str(root),
        "repository": REPOSITORY,
        "revision": None,
        "classes": ["female", "male"],
        "image_size": 32,
    } | changes


def put(root, files, folder="data"):
    for name, content in files.items():
        path = root / name.replace("data/", f"{folder}/" if folder else "")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def rows_of(folder, split):
    return (load_split(folder, split).images[:, 0, 0, 0] // 5).tolist()


def test_every_row_of_the_hub_comes_once_with_its_label(hub, files, tmp_path):
    commit = hub.add("dataset", REPOSITORY, files)
    prepare(settings(tmp_path / "raw"), tmp_path / "data")
    verify_dataset(tmp_path / "data")
    assert rows_of(tmp_path / "data", "train") == list(range(33))
    validation, test = (rows_of(tmp_path / "data", split) for split in ("validation", "test"))
    assert (len(validation), len(test)) == (4, 5)
    assert sorted(validation + test) == list(range(33, 42))
    for split in ("train", "validation", "test"):
        images, labels, factors, *_ = load_split(tmp_path / "data", split)
        assert images.shape[1:] == (32, 32, 3)
        assert labels.tolist() == [row % 3 % 2 for row in rows_of(tmp_path / "data", split)]
        assert factors.shape == (len(labels), 0)
    source = json.loads((tmp_path / "data" / "manifest.json").read_text())["source"]
    assert (source["repository"], source["revision"]) == (REPOSITORY, commit)
    assert source["sha256"] == {name: hashlib.sha256(files[name]).hexdigest() for name in NAMES}
    assert not (tmp_path / "raw" / "README.md").exists()


def test_the_seed_halves_validation(hub, files, tmp_path):
    hub.add("dataset", REPOSITORY, files)
    for name, seed in (("a", 4), ("b", 4), ("c", 6)):
        prepare(settings(tmp_path / "raw", seed=seed), tmp_path / name)
    assert rows_of(tmp_path / "a", "test") == rows_of(tmp_path / "b", "test") != rows_of(tmp_path / "c", "test")


def test_the_revision_of_the_first_time_is_held_to(hub, files, tmp_path, capsys):
    first = hub.add("dataset", REPOSITORY, files)
    prepare(settings(tmp_path / "raw"), tmp_path / "data")
    assert "recorded, and later fetches are held to it" in capsys.readouterr().err
    second = hub.add("dataset", REPOSITORY, files | {NAMES[2]: parquet(43, 9)})
    for path in (tmp_path / "raw" / "data").iterdir():
        path.unlink()
    prepare(settings(tmp_path / "raw"), tmp_path / "data")
    assert json.loads((tmp_path / "data" / "source.json").read_text())["revision"] == first
    prepare(settings(tmp_path / "raw", revision=second), tmp_path / "data")
    assert json.loads((tmp_path / "data" / "source.json").read_text())["revision"] == second
    held_out = rows_of(tmp_path / "data", "validation") + rows_of(tmp_path / "data", "test")
    assert sorted(held_out) == list(range(43, 52))


def test_what_has_been_fetched_needs_no_network(hub, files, tmp_path, monkeypatch):
    hub.add("dataset", REPOSITORY, files)
    prepare(settings(tmp_path / "raw"), tmp_path / "data")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    prepare(settings(tmp_path / "raw", image_size=16), tmp_path / "data")
    assert load_split(tmp_path / "data", "train").images.shape == (33, 16, 16, 3)
    damaged = tmp_path / "raw" / NAMES[0]
    damaged.write_bytes(parquet(0, 20, names=("male", "female")))
    with pytest.raises(UserError, match=r"0123abcd\.parquet is not the file that .*source\.json recorded"):
        prepare(settings(tmp_path / "raw"), tmp_path / "data")


def test_without_the_network_the_sentence_says_where_to_put_what(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError) as raised:
        prepare(settings(tmp_path / "raw"), tmp_path / "data")
    sentence = str(raised.value)
    assert sentence.startswith(f"http://127.0.0.1:9/datasets/{REPOSITORY} cannot be fetched (")
    assert f"put its data/*.parquet into {tmp_path}/raw/data by hand, and set dataset.repository to null" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("folder", ["data", ""])
def test_files_put_there_by_hand(files, tmp_path, folder):
    put(tmp_path / "raw", files, folder)
    prepare(settings(tmp_path / "raw", repository=None), tmp_path / "data")
    assert rows_of(tmp_path / "data", "train") == list(range(33))
    source = json.loads((tmp_path / "data" / "manifest.json").read_text())["source"]
    assert source["root"] == str(tmp_path / "raw")
    assert len(source["sha256"]) == 3


def test_rows_are_skipped_where_fewer_are_wanted(files, tmp_path):
    put(tmp_path / "raw", files)
    limit = {"train": 5, "test": 2}
    prepare(settings(tmp_path / "raw", repository=None, num_images=limit), tmp_path / "few")
    prepare(settings(tmp_path / "raw", repository=None, num_images={"train": 9}), tmp_path / "more")
    few, more = (rows_of(tmp_path / name, "train") for name in ("few", "more"))
    assert (len(few), len(more), len(rows_of(tmp_path / "few", "test"))) == (5, 9, 2)
    assert few == sorted(few)
    assert set(few) < set(more)


def test_a_missing_shard_is_named(files, tmp_path):
    put(tmp_path / "raw", {name: content for name, content in files.items() if name != NAMES[1]})
    with pytest.raises(UserError, match=r"has no file such as data/train-00001-of-00002\.parquet; put it there"):
        prepare(settings(tmp_path / "raw", repository=None), tmp_path / "data")
    with pytest.raises(UserError, match=r"has no file such as data/train-00000-of-00001\.parquet"):
        prepare(settings(tmp_path / "nowhere", repository=None), tmp_path / "data")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PAR1", r"4567cdef\.parquet cannot be read as a Parquet file; fetch it again"),
        (
            parquet(0, 3, columns=("picture", "label")),
            r"has the columns picture, label, and image and label are",
        ),
        (
            parquet(0, 3, names=("male", "female")),
            r"labels male, female; write dataset\.classes: \[male, female",
        ),
    ],
)
def test_other_files_are_named(files, tmp_path, content, sentence):
    put(tmp_path / "raw", files | {NAMES[1]: content})
    with pytest.raises(UserError, match=sentence):
        prepare(settings(tmp_path / "raw", repository=None), tmp_path / "data")


def test_files_without_names_of_labels_are_taken_as_they_are():
    assert label_names({}) == label_names({b"huggingface": b"{}"}) == []


def test_memory_does_not_grow_with_the_file(tmp_path):
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)).save(content, "PNG")
    rows = [{"bytes": content.getvalue(), "path": "x"}] * 300
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.Table.from_arrays([pa.array(rows, struct), pa.array([0] * 300)], names=["image", "label"])
    for split in ("train", "validation"):
        # One row group; a page is cut after so many rows.
        options = {"write_batch_size": 16, "use_dictionary": False, "compression": "none"}
        pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet", **options)
    size = (tmp_path / "train-00000-of-00001.parquet").stat().st_size
    del rows, table
    origin = fetch_celebahq(tmp_path, None, None, tmp_path / "source.json")
    faces = CelebAHQFaces(tmp_path, origin, ["female", "male"], 16, seed=0)
    before = pa.total_allocated_bytes()
    most = 0
    for index in faces.splits["train"]:
        faces.example(index)
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < size / 3
