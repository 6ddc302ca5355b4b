"""A dataset from a user's own file is prepared like those of the package, and known by the file's content."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sections import run_of

from nonrobust_guidance import cli
from nonrobust_guidance.config import parse_config, parse_models
from nonrobust_guidance.data import load_split, prepare_data
from nonrobust_guidance.errors import UserError

MINE = '''
import numpy as np
from nonrobust_guidance.data import Example
from nonrobust_guidance.data.settings import NumImages, OfDataset
from nonrobust_guidance.settings import absent

class Stripes(OfDataset):
    """Stripes across or along."""

    image_size: int = 8
    width: int = 1
    classes: tuple[str, ...] = ("across", "along")
    num_images: NumImages | None = absent()

    def open(self, folder):
        return Drawn(self)

class Drawn:
    factors = ("phase",)

    def __init__(self, settings):
        self.settings = settings
        self.splits = {"train": range(6), "validation": range(6, 8), "test": range(8, 12)}

    def example(self, index):
        size, width, label = self.settings.image_size, self.settings.width, index % 2
        stripes = (np.arange(size) + index // 2) // width % 2 * 255
        image = np.broadcast_to(stripes[:, None, None] if label == 0 else stripes[None, :, None], (size, size, 3))
        return Example(image.astype(np.uint8), label, np.array([index // 2], np.float32))

    def describe(self):
        return {"source": {"drawn": "stripes"}, "preprocessing": "none"}

class Plain:
    pass

class Closed(OfDataset):
    classes: tuple[str, ...] = ("across", "along")
    image_size: int = 8
    num_images: None = None
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "my_data.py"
    file.write_text(MINE)
    return file


def section(file: Path, **fields: Any) -> dict[str, Any]:
    return {"name": "mine", "uses": f"{file}:Stripes", **fields}


def run_on(dataset: dict[str, Any]) -> dict[str, Any]:
    """Return a run of the two classes on these data."""
    raw = run_of({"dataset": {"classes": ["across", "along"]}, "sampling": {"methods": {"free": {}}}}).resolved()
    return {**raw, "dataset": dataset}


def test_it_is_prepared_by_the_command(tmp_path: Path, file: Path) -> None:
    config, folder = tmp_path / "run.json", tmp_path / "data"
    config.write_text(json.dumps(run_on(section(file, width=2, num_images={"train": 4}))))
    assert cli.main(["prepare-data", "--config", str(config), "--output", str(folder)]) == 0
    split = load_split(folder, "train")
    assert (split.classes, split.factor_names, len(split.images)) == (("across", "along"), ("phase",), 4)
    # The third image begins one pixel later, and its bands are two pixels wide.
    across = load_split(folder, "test")
    assert across.images[0, :, 0, 0].tolist() == [0, 0, 255, 255, 0, 0, 255, 255]
    assert across.labels.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(across.images[3], across.images[2].transpose(1, 0, 2))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["kind"], manifest["name"], manifest["source"]) == ("Stripes", "mine", {"drawn": "stripes"})
    assert manifest["settings"] == {
        "name": "mine",
        "kind": "Stripes",
        "seed": 0,
        "image_size": 8,
        "width": 2,
        "classes": ["across", "along"],
        "num_images": {"train": 4},
        "uses": f"{file}:Stripes",
        "uses_sha256": hashlib.sha256(MINE.encode()).hexdigest(),
    }


def test_what_is_written_for_the_jobs_is_the_same_run_until_the_file_changes(file: Path) -> None:
    run = parse_config(run_on(section(file)), "mine.yaml")
    assert parse_config(run.resolved(), "mine.yaml") == run
    file.write_text(MINE + "\n")
    with pytest.raises(UserError, match=r"dataset\.uses cannot be used: .*my_data\.py was changed since the run began"):
        parse_config(run.resolved(), "mine.yaml")
    changed = parse_config(run_on(section(file)), "mine.yaml")
    assert changed.dataset.recorded() != run.dataset.recorded()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"uses": "FILE:Stripe"}, "mine.yaml: dataset.uses cannot be used: FILE has no class Stripe; correct the name"),
        ({"uses": "FILE:Plain"}, "dataset.uses cannot be used: Plain in FILE does not extend OfDataset; import that "),
        ({"uses": "FILE:Closed"}, "dataset.uses cannot be used: Closed in FILE has no open; add it"),
        ({"kind": "sportballs"}, "dataset.kind is 'sportballs', which is unknown; use Stripes"),
        ({"widht": 2}, "dataset.widht is an unknown key; did you mean width?"),
        ({"name": "a b"}, "dataset.name is 'a b'; use only letters"),
        ({"classes": ["across", "a/b"]}, "dataset.classes[1] is 'a/b', and names of classes become names of files"),
        ({"classes": ["across"]}, "dataset.classes names 1 classes in 1 entries; give two or more, each once"),
    ],
)
def test_a_mistake_is_one_sentence(file: Path, fields: dict[str, Any], sentence: str) -> None:
    asked = {key: value.replace("FILE", str(file)) if key == "uses" else value for key, value in fields.items()}
    raw = {key: run_on(section(file))[key] for key in ("diffusion", "classifiers")}
    with pytest.raises(UserError) as error:
        parse_models({**raw, "dataset": section(file, **asked)}, "mine.yaml")
    assert sentence.replace("FILE", str(file)) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("is_relative", [False, True])
def test_the_line_of_a_file_that_fails_is_named(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, is_relative: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    file.write_text("import numpy\nimport nunpy\n")
    named = Path("my_data.py") if is_relative else file
    with pytest.raises(UserError, match=rf"dataset\.uses cannot be used: {named} fails at line 2 \(ModuleNotFound"):
        parse_config(run_on(section(named)), "mine.yaml")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("(image / 255, label", r"gives an image float64 \(8, 8, 3\) where uint8 \(8, 8, 3\) is needed"),
        ("(image[:1].astype(np.uint8), label", r"gives an image uint8 \(1, 8, 3\) where uint8 \(8, 8, 3\) is needed"),
        ("(image.astype(np.uint8), 2", "gives the label 2, and its 2 classes are 0 to 1"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(tmp_path: Path, file: Path, wrong: str, sentence: str) -> None:
    file.write_text(MINE.replace("(image.astype(np.uint8), label", wrong))
    run = parse_config(run_on(section(file)), "mine.yaml")
    with pytest.raises(UserError, match=sentence):
        prepare_data(run.dataset, tmp_path / "data")
