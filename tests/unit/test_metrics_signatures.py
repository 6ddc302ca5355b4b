"""The table of failure signatures, where a judge knows the truth of every image that was drawn for it.

It is long because each signature has images made to show it.
"""

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sections import run_of
from torch import Tensor, nn

from nonrobust_guidance.data import Split, SportBalls
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import Cell, guide_of, list_cells
from nonrobust_guidance.metrics.signatures import observed
from nonrobust_guidance.metrics.signatures import table as signatures
from nonrobust_guidance.metrics.signatures.table import measure_signatures
from nonrobust_guidance.models.images import to_uint8
from nonrobust_guidance.models.judge import Judge

BALLS = SportBalls(image_size=24, ball_size=0.6, scale_range=(0.6, 1.0))
SHRUNK, BIAS = 0.1, 0.02
CONFIG: dict[str, Any] = {
    "dataset": {"classes": ["baseball", "basketball", "volleyball", "soccer"]},
    "sampling": {
        "seeds": [0, 1234567],
        "targets": ["basketball", "soccer"],
        "methods": {
            "free": {},
            "shrink": {"classifier": "strong", "at": "xt", "scales": [1]},
            "erase": {"classifier": "weak", "at": "x0", "scales": [0.3, 3]},
        },
    },
    "metrics": {"judge": "judge", "bootstrap": {"resamples": 20, "seed": 0}, "signatures": {"num_rows": 5}},
}


class Oracle(Judge):
    """Knows what it was told of an image, each size off by a bias; anything else is none of the classes."""

    def __init__(self, classes: int, factors: Sequence[str] = (), bias: float = 0.0) -> None:
        super().__init__(classes + 1, factors)
        self.told: dict[bytes, tuple[int, list[float]]] = {}
        self.bias = bias

    def tell(self, image: np.ndarray, label: int, factors: Sequence[float] = ()) -> np.ndarray:
        self.told[image.tobytes()] = (label, list(factors))
        return image

    def judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        nothing = (self.classes.out_features - 1, [0.0] * len(self.factor_names))
        answers = [self.told.get(image.tobytes(), nothing) for image in to_uint8(x)]
        factors = torch.tensor([factors for _, factors in answers]).reshape(len(x), -1)
        if "size" in self.factor_names:
            factors[:, self.factor_names.index("size")] += self.bias
        labels = torch.tensor([label for label, _ in answers])
        return torch.nn.functional.one_hot(labels, self.classes.out_features).float(), factors


class Always(nn.Module):
    """Calls every image the same class."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


def draw(judge: Oracle, indices: range, shrunk: float = 0.0, label: int | None = None) -> Split:
    """Draw balls that the judge knows, smaller than they should be, all of a class if one is given."""
    images, labels, factors = [], [], []
    for example in map(BALLS.example, indices):
        x, y, size, rotation = example.factors.tolist()
        labels.append(example.label if label is None else label)
        factors.append([x, y, size - shrunk, rotation])
        images.append(judge.tell(BALLS.render(labels[-1], *factors[-1]), labels[-1], factors[-1]))
    return Split(np.stack(images), np.array(labels), np.array(factors, np.float32), BALLS.classes, BALLS.factors)


def of_class(split: Split, name: str) -> np.ndarray:
    return np.flatnonzero(split.labels == split.classes.index(name))


class Run:
    """A folder of samples, and everything that is loaded from elsewhere."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.judge = Oracle(4, BALLS.factors, BIAS)
        self.splits = {"train": draw(self.judge, range(80)), "test": draw(self.judge, range(80, 160))}
        # The guides: one says basketball of everything, the other soccer.
        self.networks: dict[str, nn.Module] = {
            "judge": self.judge,
            "strong": Always([0.0, 1.0, 0.0, 0.0]),
            "weak": Always([0.0, 0.0, 0.0, 1.0]),
        }
        monkeypatch.setattr(signatures, "load_split", lambda folder, name: self.splits[name])
        monkeypatch.setattr(signatures, "load_classifier", lambda folder, device: self.networks[folder.name])

    def save(self, cell: Cell, images: np.ndarray) -> None:
        path = cell.path(self.folder / "samples")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, images)

    def measure(self, config: dict[str, Any] = CONFIG) -> tuple[pd.DataFrame, pd.DataFrame]:
        outputs = self.folder / "out" / "signatures.csv", self.folder / "out" / "factors.csv"
        run = run_of(config)
        metrics, places = run.metrics, (self.folder, self.folder, self.folder / "samples", *outputs)
        measure_signatures(run, metrics.judge, metrics.signatures, metrics.bootstrap, *places)
        table, factors = (pd.read_csv(output, keep_default_na=True) for output in outputs)
        return table, factors


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    made = Run(tmp_path, monkeypatch)
    train = made.splits["train"]
    for cell in list_cells(run_of(CONFIG)):
        rows = of_class(train, cell.target)
        if cell.method.name == "free":
            made.save(cell, train.images[:40])
        elif cell.method.name == "shrink":
            smaller = draw(made.judge, range(80), SHRUNK)
            made.save(cell, smaller.images[rows])
        else:
            made.save(cell, np.full((12, 24, 24, 3), 250, dtype=np.uint8))
    return made


def row_of(table: pd.DataFrame, **where: Any) -> pd.Series:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_shrunken_balls_are_found_to_be_as_much_smaller_and_nothing_else(run: Run) -> None:
    table, _ = run.measure()
    assert len(table) == 4 * 2 * 2
    for target in ("basketball", "soccer"):
        row = row_of(table, method="shrink", target=target, seed=0)
        n = len(of_class(run.splits["train"], target))
        assert (row.n, row.accepted_n) == (n, n)
        assert row.size_shift == pytest.approx(-SHRUNK, rel=1e-4)  # the judge's bias is on both sides
        assert row.size_distance == pytest.approx(SHRUNK, rel=1e-4)
        assert row.size_shift_high < -row.size_shift_real < 0
        for name in ("x_shift", "y_shift", "x_distance", "y_distance", "rotation_distance"):
            assert row[name] == pytest.approx(0, abs=1e-6)
        # A smaller ball leaves more white, and the canvas as white as it was.
        assert min(row.red_shift, row.green_shift, row.blue_shift) > 0
        assert row.median_shift == pytest.approx(0)
        assert row.colour_shift_low > row.colour_shift_real > 0


def test_erased_balls_are_blank_and_fool_whoever_calls_them_one(run: Run) -> None:
    table, factors = run.measure()
    row = row_of(table, method="erase", scale=3, target="soccer", seed=0)
    assert (row.fooled_share, row.none_share, row.blank_share) == (1, 1, 1)
    assert (row.fooled_share_real, row.none_share_real) == (0, 0)
    # Wilson's interval of n of n goes down to n / (n + z^2).
    assert (row.fooled_share_low, row.fooled_share_high) == (pytest.approx(12 / (12 + 1.959964**2), rel=1e-5), 1)
    assert row.accepted_n == 0
    assert math.isnan(row.size_shift)
    assert math.isnan(row.rotation_distance_real)
    # Its guide knows no basketball, so nobody is fooled.
    assert row_of(table, method="erase", scale=3, target="basketball", seed=0).fooled_share == 0
    mean = run.splits["train"].images[of_class(run.splits["train"], "soccer")].mean(axis=(0, 1, 2)) / 255
    assert (row.red_shift, row.blue_shift) == pytest.approx(tuple(250 / 255 - mean[[0, 2]]), rel=1e-4)
    listed = factors[(factors.method == "erase") & (factors.target == "soccer") & (factors.scale == 3)]
    assert set(listed.judged) == {"none of these"}
    assert set(listed.accepted) == {0}
    assert set(listed.fooled) == {1}
    assert set(listed.contrast) == {0}


def test_of_unguided_samples_the_colours_are_those_of_the_class(run: Run) -> None:
    table, factors = run.measure()
    train = run.splits["train"]
    for target in ("basketball", "soccer"):
        row = row_of(table, method="free", target=target, seed=0)
        rows = of_class(train, target)
        own = rows[rows < 40]
        assert (row.n, row.accepted_n) == (40, len(own))
        shift = train.images[own].mean(axis=(0, 1, 2)) - train.images[rows].mean(axis=(0, 1, 2))
        assert (row.red_shift, row.green_shift) == pytest.approx(tuple(shift[:2] / 255), rel=1e-4)
        # The first non-robust guide stands in for their own: it calls all of them soccer.
        assert row.fooled_share == pytest.approx((40 - len(own)) / 40 if target == "soccer" else 0)
    listed = factors[(factors.method == "free") & (factors.target == "soccer") & (factors.seed == 0)]
    assert listed.judged.tolist() == [train.classes[label] for label in train.labels[:5]]


def test_single_samples_stand_beside_the_truth_of_real_ones(run: Run) -> None:
    _, factors = run.measure()
    test = run.splits["test"]
    assert list(factors.columns) == [
        *("method", "scale", "target", "seed", "index", "accepted", "judged", "fooled", "colour_shift", "contrast"),
        *BALLS.factors,
    ]
    real, judged = (
        factors[(factors.method == name) & (factors.target == "soccer")].reset_index(drop=True)
        for name in ("real", "real_judged")
    )
    assert real["index"].tolist() == judged["index"].tolist() == of_class(test, "soccer")[:5].tolist()
    np.testing.assert_allclose(real[list(BALLS.factors)], test.factors[real["index"]], rtol=1e-5)
    np.testing.assert_allclose(judged["size"] - real["size"], BIAS, rtol=1e-3)
    np.testing.assert_allclose(judged["x"], real["x"])
    samples = factors[~factors.method.isin(["real", "real_judged"])]
    assert set(samples.groupby(["method", "scale", "target", "seed"]).size()) == {5}
    assert set(samples.seed) == {0, 1234567}


def test_batches_do_not_change_the_tables(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    together = run.measure()
    monkeypatch.setattr(observed, "BATCH_SIZE", 7)
    for before, after in zip(together, run.measure(), strict=True):
        pd.testing.assert_frame_equal(after, before)


def binary(run: Run) -> dict[str, Any]:
    """Make the run one of two classes of flat images without factors, guided through a single logit."""
    run.judge = run.networks["judge"] = Oracle(2)  # type: ignore[assignment]
    run.networks["weak"] = Always([2.0])  # class 1
    images, labels = [], []
    for shade in range(40):
        image = np.full((24, 24, 3), 4 * shade, dtype=np.uint8)
        image[::2] += 60
        images.append(run.judge.tell(image, shade % 2))
        labels.append(shade % 2)
    split = Split(np.stack(images), np.array(labels), np.zeros((40, 0), np.float32), ("dark", "light"), ())
    run.splits = {"train": split, "test": split}
    config = copy.deepcopy(CONFIG)
    config["dataset"]["classes"] = ["dark", "light"]
    config["sampling"] |= {
        "targets": ["light"],
        "methods": {"plain": {"classifier": "weak", "at": "x0", "scales": [1]}},
        "seeds": [0],
    }
    run.save(list_cells(run_of(config))[0], split.images[:10])
    return config


def test_data_without_factors_and_a_guide_with_one_logit(run: Run) -> None:
    table, factors = run.measure(binary(run))
    row = table.iloc[0]
    assert (row.n, row.accepted_n, row.fooled_share, row.none_share) == (10, 5, 0.5, 0)
    assert not [name for name in table.columns if "distance" in name or name.startswith(("x_", "size_"))]
    assert list(factors.columns)[-1] == "contrast"
    assert set(factors.method) == {"real", "real_judged", "plain"}


def test_a_judge_that_calls_no_real_image_the_class_leaves_the_factors_empty(run: Run) -> None:
    run.judge.told.clear()
    table, _ = run.measure()
    assert table.size_distance.isna().all()
    assert set(table.none_share_real) == {1}
    assert table[table.method == "shrink"].colour_shift.notna().all()


@pytest.mark.parametrize("damage", [None, b"", b"PK\x03\x04 and no more"])
def test_missing_and_damaged_samples_are_named_and_nothing_is_written(run: Run, damage: bytes | None) -> None:
    path = run.folder / "samples" / "erase" / "scale-0.3" / "seed-0" / "soccer.npy"
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(UserError) as caught:
        run.measure()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (run.folder / "out").exists()


@pytest.mark.parametrize(
    ("judge", "sentence"),
    [
        (Always([0.0]), "holds no judge"),
        (Oracle(3, BALLS.factors), "knows 3 classes and the factors x, y, size, rotation where the data have 4"),
        (Oracle(4), "knows 4 classes and the factors none where"),
    ],
    ids=["another network", "other classes", "no factors"],
)
def test_a_judge_of_other_data_is_refused(run: Run, judge: nn.Module, sentence: str) -> None:
    run.networks["judge"] = judge
    with pytest.raises(UserError, match=sentence):
        run.measure()


def test_targets_without_images_are_named(run: Run) -> None:
    config = copy.deepcopy(CONFIG)
    config["sampling"]["targets"] = ["spoon"]
    config["dataset"]["classes"].append("spoon")
    with pytest.raises(UserError, match="'spoon'"):
        run.measure(config)
    one = of_class(run.splits["test"], "soccer")[1:]
    run.splits["test"].labels[one] = 0
    with pytest.raises(UserError, match="fewer than two soccer images"):
        run.measure()


def test_who_speaks_for_the_guide() -> None:
    cells = {cell.method.name: cell for cell in list_cells(run_of(CONFIG))}
    assert [guide_of(cells[name], run_of(CONFIG)) for name in ("free", "shrink", "erase")] == ["weak", "strong", "weak"]
    alone = copy.deepcopy(CONFIG)
    del alone["sampling"]["methods"]["erase"]
    assert guide_of(cells["free"], run_of(alone)) == ""


def test_the_judge_says_the_same_classes_with_the_factors_and_without() -> None:
    torch.manual_seed(0)
    judge, x = Judge(5, BALLS.factors).eval(), torch.rand(3, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(judge.judge(x)[0], judge(x))
        assert Judge(3, ()).judge(x)[1].shape == (3, 0)
