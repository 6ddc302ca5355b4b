"""Rows of the table against numbers worked out by hand, with networks that look their answers up."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nonrobust_guidance.data import Split
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics import judging, noise_accuracy, score
from nonrobust_guidance.metrics.cells import list_cells, list_methods
from nonrobust_guidance.metrics.frechet import Gaussian
from nonrobust_guidance.metrics.judging import class_probabilities
from nonrobust_guidance.metrics.score import class_shares, real_distance, score_run
from nonrobust_guidance.schedule import Schedule

CONFIG: dict[str, Any] = {
    "run": "toy",
    "dataset": {"name": "toys"},
    "diffusion": {"name": "diffusion"},
    "classifiers": {"strong": {"noised": True}, "weak": {"noised": False}, "judge": {"noised": False}},
    "sampling": {
        "seeds": [0, 7],
        "targets": ["cup", "ball"],
        "objective": "log_prob",
        "methods": {
            "free": None,
            "strong_xt": {"classifier": "strong", "at": "xt", "scales": [1, 10]},
            "weak_x0": {
                "classifier": "weak",
                "at": "x0",
                "scales": [0.03],
                "objective": "logit",
                "stabilizer": [{"name": "ema", "beta": 0.9}, {"name": "clip_norm", "max_norm": 1.0}],
            },
        },
    },
    "metrics": {
        "judge": "judge",
        "extractor": "judge",
        "bootstrap": {"resamples": 25, "seed": 0},
        "noise_levels": 3,
        "num_noise_images": 6,
    },
}


class Table(nn.Module):
    """Classifies an image by its red value, which is the row of the table; the features are that value and a zero."""

    def __init__(self, probabilities: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).log()

    def features(self, x: Tensor) -> Tensor:
        return torch.cat([(x[:, :1, 0, 0] + 1) * 127.5, torch.zeros(len(x), 1)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[self.features(x)[:, 0].round().long()]


JUDGE = Table([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.3, 0.6]])  # cup, ball, none of these
STRONG = Table([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
WEAK = Table([[0.5, 0.5], [0.2, 0.8], [0.1, 0.9]])
NETWORKS = {"judge": JUDGE, "strong": STRONG, "weak": WEAK}


def images(*values: int) -> np.ndarray:
    return np.broadcast_to(np.array(values, dtype=np.uint8)[:, None, None, None], (len(values), 4, 4, 3)).copy()


def split(values: list[int], labels: list[int]) -> Split:
    return Split(images(*values), np.array(labels), np.zeros((len(values), 0), np.float32), ("cup", "ball"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose every file of samples holds the red values 0, 1, 2, 0, but for one method."""
    splits = {"train": split([0, 1, 2, 2, 0, 2], [0, 0, 0, 1, 1, 1]), "test": split([0, 2, 1, 2], [0, 0, 1, 1])}
    for module in (score, noise_accuracy):
        monkeypatch.setattr(module, "load_split", lambda folder, name: splits[name])
        monkeypatch.setattr(module, "load_classifier", lambda folder: NETWORKS[folder.name])
    for cell in list_cells(CONFIG):
        path = cell.path(tmp_path / "samples")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, images(1, 1, 2) if cell.method.name == "weak_x0" else images(0, 1, 2, 0))
    return tmp_path


def scored(run: Path) -> pd.DataFrame:
    score_run(CONFIG, run, run, run / "samples", run / "out" / "metrics.csv")
    return pd.read_csv(run / "out" / "metrics.csv", keep_default_na=False)


def row_of(table: pd.DataFrame, **where: Any) -> pd.Series:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_cells_are_methods_by_scales_by_seeds_by_targets() -> None:
    cells = list_cells(CONFIG)
    assert len(cells) == (1 + 2 + 1) * 2 * 2
    assert cells[0].path(Path("s")) == cells[1].path(Path("s")) == Path("s/free/scale-0/seed-0/any.npz")
    assert cells[-1].path(Path("s")) == Path("s/weak_x0/scale-0.03/seed-7/ball.npz")
    free, strong, weak = list_methods(CONFIG)
    assert (free.guided, strong.robust, weak.robust) == (False, True, False)
    assert (strong.stabilizer, strong.objective) == ("", "log_prob")
    assert (weak.stabilizer, weak.objective) == ("ema(beta=0.9) + clip_norm(max_norm=1.0)", "logit")


def test_a_row_is_what_one_works_out_by_hand(run: Path) -> None:
    table = scored(run)
    assert len(table) == 16
    row = row_of(table, method="strong_xt", scale=10, target="cup", seed=7)
    assert (row.run, row.dataset, row.classifier, row["at"], row.stabilizer) == ("toy", "toys", "strong", "xt", "")
    assert (row.n, row.accuracy_self, row.accuracy_heldout) == (4, 0.75, 0.5)
    z2 = 1.959963984540054**2
    centre, half = (2 + z2 / 2) / (4 + z2), math.sqrt(z2) / (4 + z2) * math.sqrt(1 + z2 / 4)
    assert (row.accuracy_heldout_low, row.accuracy_heldout_high) == pytest.approx(
        (centre - half, centre + half), rel=1e-5
    )
    assert row.probability_self_mean == pytest.approx((0.9 + 0.4 + 0.8 + 0.9) / 4)
    assert row.probability_heldout_mean == pytest.approx((0.7 + 0.1 + 0.1 + 0.7) / 4)
    assert row.probability_heldout_std == pytest.approx(0.3)
    assert (row.share_cup, row.share_ball, row.none_share, row.accepted_share) == (0.5, 0.25, 0.25, 0.75)
    # The samples have mean 3/4 and variance 11/12, the training images 7/6 and 29/30, the training cups 1 and 1.
    assert row.fd_judge == pytest.approx(
        (3 / 4 - 7 / 6) ** 2 + (math.sqrt(11 / 12) - math.sqrt(29 / 30)) ** 2, rel=1e-4
    )
    assert row.fd_judge_conditional == pytest.approx((1 / 4) ** 2 + (math.sqrt(11 / 12) - 1) ** 2, rel=1e-4)
    assert row.fd_judge_conditional_low <= row.fd_judge_conditional <= row.fd_judge_conditional_high
    assert (row.fd_judge_n, row.fd_judge_reference_n, row.fd_judge_conditional_reference_n) == (4, 6, 3)
    assert row.fd_judge_conditional_real == pytest.approx((math.sqrt(2) - 1) ** 2, rel=1e-4)  # test cups 0, 2
    assert row.warning == ""


def test_unguided_samples_are_judged_against_each_target_by_the_nonrobust_guide(run: Path) -> None:
    table = scored(run)
    cup, ball = (row_of(table, method="free", target=target, seed=0) for target in ("cup", "ball"))
    assert (cup.classifier, cup["at"], cup.objective, cup.scale) == ("", "", "", 0)
    assert cup.accuracy_self == 0.5  # argmax takes the first of two equal ones
    assert ball.accuracy_self == 0.5
    assert (cup.accuracy_heldout, ball.accuracy_heldout) == (0.5, 0.25)
    assert cup.fd_judge == ball.fd_judge


def test_a_run_without_a_nonrobust_guide_leaves_the_unguided_self_accuracy_empty(run: Path) -> None:
    methods = {name: CONFIG["sampling"]["methods"][name] for name in ("free", "strong_xt")}
    config = CONFIG | {"sampling": CONFIG["sampling"] | {"methods": methods}}
    score_run(config, run, run, run / "samples", run / "metrics.csv")
    table = pd.read_csv(run / "metrics.csv")
    assert table[table.method == "free"].accuracy_self.isna().all()
    assert table[table.method != "free"].accuracy_self.notna().all()


def test_batches_do_not_change_a_row(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = scored(run)
    monkeypatch.setattr(judging, "BATCH_SIZE", 3)
    pd.testing.assert_frame_equal(scored(run), together)


@pytest.mark.parametrize(
    ("values", "sentence"), [((0,), "holds a single image"), (None, "is missing"), ("foreign", "no .npz archive")]
)
def test_bad_samples_are_named_and_nothing_is_written(run: Path, values: Any, sentence: str) -> None:
    path = run / "samples" / "weak_x0" / "scale-0.03" / "seed-0" / "ball.npz"
    if values is None:
        path.unlink()
    elif values == "foreign":
        path.write_text("x")
    else:
        np.savez(path, images(*values))
    with pytest.raises(UserError, match=sentence) as caught:
        scored(run)
    assert str(path) in str(caught.value)
    assert not (run / "out").exists()


def test_a_judge_of_other_classes_and_an_unknown_target_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "judge", STRONG)
    with pytest.raises(UserError, match="knows 2 classes where"):
        scored(run)
    monkeypatch.setitem(NETWORKS, "judge", JUDGE)
    config = CONFIG | {"sampling": CONFIG["sampling"] | {"targets": ["spoon"]}}
    with pytest.raises(UserError, match="'spoon'"):
        score_run(config, run, run, run / "samples", run / "metrics.csv")


def test_a_single_logit_is_that_of_class_one() -> None:
    class Binary(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 1), math.log(3.0))

    np.testing.assert_allclose(class_probabilities(Binary(), images(0, 1)), [[0.25, 0.75]] * 2, rtol=1e-6)


def test_shares_sum_to_one() -> None:
    shares = class_shares(np.eye(3)[[0, 0, 1, 2]], ("cup", "ball"))
    assert shares == {"share_cup": 0.5, "share_ball": 0.25, "none_share": 0.25, "accepted_share": 0.75}


def test_a_target_without_enough_images_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": split([0, 1, 2], [0, 0, 1]), "test": split([0, 2, 1, 2], [0, 0, 1, 1])}
    monkeypatch.setattr(score, "load_split", lambda folder, name: splits[name])
    with pytest.raises(UserError, match="fewer than two ball images"):
        scored(run)


def test_real_distance_is_of_what_there_is() -> None:
    features = np.array([[0.0, 0.0], [2.0, 0.0]])  # mean 1, variance 2
    reference = Gaussian(np.array([4.0, 0.0]), np.diag([8.0, 0.0]), 100)
    assert real_distance(features, reference, 64, 0) == pytest.approx(9 + 2)


class Echo(nn.Module):
    """A denoiser that calls all of x_t noise, and more: at alpha_bar = 1/2 its one-step prediction is black."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return (x + 3) / math.sqrt(0.5)


class Sign(nn.Module):
    """Calls an image a ball, with probability 3/4, where its mean is positive."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x.mean(dim=(1, 2, 3), keepdim=False)[:, None] > 0, math.log(3.0), -math.log(3.0))


def test_noise_accuracy_is_what_one_works_out_by_hand(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Schedule(torch.tensor([0.99, 0.9, 0.7, 0.6, 0.5], dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4]))
    bright = Split(
        images(255, 255, 255, 255, 0, 0), np.array([1, 1, 1, 0, 0, 0]), np.zeros((6, 0), np.float32), ("cup", "ball")
    )
    monkeypatch.setattr(noise_accuracy, "load_diffusion", lambda folder: (Echo().eval(), schedule))
    monkeypatch.setattr(noise_accuracy, "load_split", lambda folder, name: bright)
    monkeypatch.setattr(noise_accuracy, "load_classifier", lambda folder: Sign())
    noise_accuracy.measure_noise_accuracy(CONFIG, run, run, run / "noise.csv")
    table = pd.read_csv(run / "noise.csv")
    assert set(table.classifier) == {"strong", "weak"}
    assert sorted(set(table.t)) == [0, 2, 4]
    clean = row_of(table, classifier="weak", at="xt", t=0)
    assert (clean.n, clean.alpha_bar, clean.accuracy) == (6, 0.99, pytest.approx(5 / 6, rel=1e-5))
    assert clean.probability_mean == pytest.approx((5 * 0.75 + 0.25) / 6, rel=1e-5)
    # At the last level the denoiser's answer is black, which is no ball: right for the three cups alone.
    assert row_of(table, classifier="strong", at="x0", t=4).accuracy == 0.5


def test_noise_levels_are_even_and_distinct() -> None:
    assert noise_accuracy.noise_levels(400, 5) == [0, 100, 200, 299, 399]
    assert noise_accuracy.noise_levels(3, 11) == [0, 1, 2]
