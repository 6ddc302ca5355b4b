"""Rows of the table against numbers worked out by hand, with networks that look their answers up.

It is long because all of it scores one small run.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sections import run_of
from torch import Tensor, nn

from nonrobust_guidance.data import Example, Split, write_dataset
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics import judging, score, scores
from nonrobust_guidance.metrics.cells import guide_of, list_cells, list_methods
from nonrobust_guidance.metrics.distances import extractors, references
from nonrobust_guidance.metrics.distances.extractors import Extractor, load_extractor
from nonrobust_guidance.metrics.distances.frechet import Gaussian
from nonrobust_guidance.metrics.distances.references import measure_references
from nonrobust_guidance.metrics.gather import gather_scores
from nonrobust_guidance.metrics.gradients import noise_accuracy
from nonrobust_guidance.metrics.judging import class_probabilities
from nonrobust_guidance.metrics.score import score_method
from nonrobust_guidance.metrics.scores import JudgedCell, class_shares
from nonrobust_guidance.metrics.settings import Bootstrap, NoiseAccuracy, Scoring
from nonrobust_guidance.schedule import Schedule

CONFIG: dict[str, Any] = {
    "run": "toy",
    "dataset": {"classes": ["cup", "ball"]},
    "classifiers": {"strong": {"noised": True}, "weak": {"noised": False}, "judge": {"noised": False}},
    "sampling": {
        "seeds": [0, 7],
        "targets": ["cup", "ball"],
        "objective": "log_prob",
        "methods": {
            "free": {},
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
        "extractors": ["judge"],
        "feature_rows": 100,
        "neighbours": 1,
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


def write_data(folder: Path, train: list[tuple[int, int]], test: list[tuple[int, int]]) -> None:
    """Write a dataset of images by red value and label, and measure its references."""
    examples = [Example(images(value)[0], label, np.zeros(0, np.float32)) for value, label in train + test]
    settings = {"kind": "toys", "name": "toys", "image_size": 4}
    splits = {"train": range(len(train)), "test": range(len(train), len(examples))}
    write_dataset(folder, settings, ["cup", "ball"], [], splits, lambda i: examples[i])
    measure_references("judge", folder, folder / "judge", 100, folder / "references" / "judge")


TRAIN = [(0, 0), (1, 0), (2, 0), (2, 1), (0, 1), (2, 1)]
TEST = [(0, 0), (2, 0), (1, 1), (2, 1)]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose every file of samples holds the red values 0, 1, 2, 0, but for one method."""
    for module in (score, extractors, noise_accuracy):
        monkeypatch.setattr(module, "load_classifier", lambda folder, device: NETWORKS[folder.name])
    for name in NETWORKS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"looked up")
    write_data(tmp_path, TRAIN, TEST)
    for cell in list_cells(run_of(CONFIG)):
        path = cell.path(tmp_path / "samples")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, images(1, 1, 2) if cell.method.name == "weak_x0" else images(0, 1, 2, 0))
    return tmp_path


def scored(run: Path, config: dict[str, Any] = CONFIG) -> pd.DataFrame:
    asked = run_of(config)
    names = {"run": asked.run, "dataset": asked.dataset.name}
    for method in asked.sampling.methods:
        table = run / "out" / f"{method}.csv"
        cells = [cell for cell in list_cells(asked) if cell.method.name == method]
        guide, places = guide_of(cells[0], asked), (run, run, run / "weights", run / "samples", table)
        score_method(cells, asked.metrics.part(Scoring), guide, *places, names=names)
    gather_scores(asked.sampling.methods, run / "out", run / "out" / "metrics.csv")
    return pd.read_csv(run / "out" / "metrics.csv", keep_default_na=False)


def row_of(table: pd.DataFrame, **where: Any) -> pd.Series:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_cells_are_methods_by_scales_by_seeds_by_targets() -> None:
    cells = list_cells(run_of(CONFIG))
    assert len(cells) == (1 + 2 + 1) * 2 * 2
    assert cells[0].path(Path("s")) == cells[1].path(Path("s")) == Path("s/free/scale-0/seed-0/any.npy")
    assert cells[-1].path(Path("s")) == Path("s/weak_x0/scale-0.03/seed-7/ball.npy")
    free, strong, weak = list_methods(run_of(CONFIG))
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
    # Kernel (xy / 2 + 1)^3 over 0, 1, 2, 0 and over the cups 0, 1, 2, pairs of a row with itself left out.
    among, within = (4 * 1 + 8 + 1) / 6, (1 + 1 + 8) / 3
    across = (2 * 3 + (1 + 1.5**3 + 2**3) + (1 + 2**3 + 3**3)) / 12
    assert row.kd_judge_conditional == pytest.approx(among + within - 2 * across, rel=1e-4)
    assert row.kd_judge_conditional_low <= row.kd_judge_conditional <= row.kd_judge_conditional_high
    # With one neighbour each cup's ball has radius 1; those of the samples 0, 1, 2, 0 have 0, 1, 1, 0.
    assert (row.precision_judge, row.recall_judge, row.coverage_judge) == (1, 1, 1)
    assert row.density_judge == (2 + 3 + 2 + 2) / 4
    assert row.warning == ""


def test_each_feature_space_has_its_own_columns(run: Path, detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_fewer(name: str, weights: Path, device: torch.device | str = "cpu") -> Extractor:
        """Take every 256th feature of Inception, for a matrix of all 2048 takes seconds to decompose."""
        extractor = load_extractor(name, weights, device)
        return replace(extractor, embed=lambda x: extractor.embed(x)[:, ::256]) if name == "inception" else extractor

    for module in (score, references):
        monkeypatch.setattr(module, "load_extractor", load_fewer)
    measure_references("inception", run, detector, 100, run / "references" / "inception")
    (run / "weights").mkdir()
    detector.rename(run / "weights" / detector.name)
    both = CONFIG | {"metrics": CONFIG["metrics"] | {"extractors": ["inception", "judge"]}}
    row = row_of(scored(run, both), method="strong_xt", scale=1, target="cup", seed=0)
    alone = row_of(scored(run), method="strong_xt", scale=1, target="cup", seed=0)
    assert list(alone.index) == [
        name for name in row.index if "inception" not in name and name[:3] not in ("fid", "kid")
    ]
    assert (row[alone.index[:-1]] == alone[alone.index[:-1]]).all()
    # Features of one-coloured images are straight lines of the colour, cut off at zero.
    extractor = load_fewer("inception", run / "weights" / detector.name)
    ours, cups = (Gaussian.fit(extractor.embed(images(*values))) for values in ((0, 1, 2, 0), (0, 1, 2)))
    shift, spread = ours.mean - cups.mean, np.sqrt(np.trace(ours.covariance)) - np.sqrt(np.trace(cups.covariance))
    assert row.fid_conditional == pytest.approx(shift @ shift + spread**2, rel=1e-2)
    assert {"fid", "fid_low", "fid_conditional_real", "kid_conditional_high", "coverage_inception"} <= set(row.index)
    assert row.warning.startswith("fid: 4 samples and 3 reference images for 8 feature dimensions")
    assert "fd_judge" not in row.warning


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
    scored(run, CONFIG | {"sampling": CONFIG["sampling"] | {"methods": methods}})
    table = pd.read_csv(run / "out" / "metrics.csv")
    assert table[table.method == "free"].accuracy_self.isna().all()
    assert table[table.method != "free"].accuracy_self.notna().all()


def test_the_table_has_the_order_of_the_configuration_and_the_texts_of_its_parts(run: Path) -> None:
    table = scored(run)
    assert list(dict.fromkeys(table.method)) == ["free", "strong_xt", "weak_x0"]
    header, *lines = (run / "out" / "metrics.csv").read_text().splitlines()
    parts = [(run / "out" / f"{name}.csv").read_text().splitlines() for name in ("free", "strong_xt", "weak_x0")]
    assert all(part[0] == header for part in parts)
    assert lines == [line for part in parts for line in part[1:]]


@pytest.mark.parametrize(("content", "sentence"), [(None, "is missing"), ("", "cannot be read"), ("a\n1\n", "other")])
def test_a_part_that_cannot_be_gathered_is_named(run: Path, content: str | None, sentence: str) -> None:
    scored(run)
    path = run / "out" / "weak_x0.csv"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match=sentence) as caught:
        gather_scores(CONFIG["sampling"]["methods"], run / "out", run / "again.csv")
    assert str(path) in str(caught.value)
    assert not (run / "again.csv").exists()


def test_many_samples_keep_few_rows_and_the_gaussian_of_all(run: Path) -> None:
    few = CONFIG | {"metrics": CONFIG["metrics"] | {"feature_rows": 3}}
    exact, sparse = (
        row_of(scored(run, config), method="strong_xt", scale=1, target="cup", seed=0) for config in (CONFIG, few)
    )
    assert sparse.fd_judge_conditional == exact.fd_judge_conditional
    assert sparse.fd_judge_conditional_n == 4
    assert sparse.fd_judge_conditional_low <= sparse.fd_judge_conditional <= sparse.fd_judge_conditional_high


def test_batches_do_not_change_a_row(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = scored(run)
    monkeypatch.setattr(judging, "BATCH_SIZE", 3)
    monkeypatch.setattr(extractors, "BATCH_SIZE", 3)
    pd.testing.assert_frame_equal(scored(run), together)


@pytest.mark.parametrize(
    ("values", "sentence"), [((0,), "holds a single image"), (None, "is missing"), ("foreign", "no array of numbers")]
)
def test_bad_samples_are_named_and_nothing_is_written(run: Path, values: Any, sentence: str) -> None:
    path = run / "samples" / "weak_x0" / "scale-0.03" / "seed-0" / "ball.npy"
    if values is None:
        path.unlink()
    elif values == "foreign":
        path.write_text("x")
    else:
        np.save(path, images(*values))
    with pytest.raises(UserError, match=sentence) as caught:
        scored(run)
    assert str(path) in str(caught.value)
    assert not (run / "out" / "weak_x0.csv").exists()


def test_a_judge_of_other_classes_and_an_unknown_target_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "judge", STRONG)
    with pytest.raises(UserError, match="knows 2 classes where"):
        scored(run)
    monkeypatch.setitem(NETWORKS, "judge", JUDGE)
    config = CONFIG | {"sampling": CONFIG["sampling"] | {"targets": ["spoon"]}}
    config |= {"dataset": {"classes": ["cup", "ball", "spoon"]}}
    with pytest.raises(UserError, match="'spoon'"):
        scored(run, config)


def test_a_single_logit_is_that_of_class_one() -> None:
    class Binary(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 1), math.log(3.0))

    np.testing.assert_allclose(class_probabilities(Binary(), images(0, 1)), [[0.25, 0.75]] * 2, rtol=1e-6)


def test_shares_sum_to_one() -> None:
    cell = JudgedCell(images(0, 0, 1, 2), "cup", ("cup", "ball"), by_judge=np.eye(3)[[0, 0, 1, 2]])
    shares = class_shares(cell)
    assert shares == {"share_cup": 0.5, "share_ball": 0.25, "none_share": 0.25, "accepted_share": 0.75}


def redness(cell: JudgedCell) -> dict[str, Any]:
    return {"redness": cell.images[..., 0].mean()}


def test_a_score_of_the_list_is_a_column_of_the_table(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = scored(run)
    monkeypatch.setattr(scores, "SCORES", (*scores.SCORES, redness))
    after = scored(run)
    pd.testing.assert_frame_equal(after.drop(columns="redness"), before)
    assert list(after.columns) == [*before.columns, "redness"]
    assert row_of(after, method="free", target="cup", seed=0)["redness"] == 0.75  # of 0, 1, 2, 0
    assert row_of(after, method="weak_x0", target="ball", seed=7)["redness"] == pytest.approx(4 / 3, rel=1e-5)


def test_two_scores_with_one_column_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "SCORES", (redness, *scores.SCORES, redness))
    with pytest.raises(ValueError, match="redness returns the column redness of another score; rename it"):
        scored(run)


def test_a_class_without_enough_images_is_named(run: Path) -> None:
    with pytest.raises(UserError, match="fewer than two ball images to train on"):
        write_data(run, [(0, 0), (1, 0), (2, 1)], TEST)
    write_data(run, TRAIN, [(0, 0), (2, 0), (1, 1)])
    with pytest.raises(UserError, match="fewer than two ball images to test on"):
        scored(run)


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
    monkeypatch.setattr(noise_accuracy, "load_diffusion", lambda folder, device: (Echo().eval(), schedule))
    monkeypatch.setattr(noise_accuracy, "load_split", lambda folder, name: bright)
    monkeypatch.setattr(noise_accuracy, "load_classifier", lambda folder, device: Sign())
    settings = NoiseAccuracy(noise_levels=3, num_noise_images=6)
    guides = {name: run / name for name in ("strong", "weak")}
    bootstrap = Bootstrap(resamples=25, seed=0)
    noise_accuracy.measure_noise_accuracy(settings, bootstrap, run / "diffusion", guides, run, run / "noise.csv")
    table = pd.read_csv(run / "noise.csv")
    assert set(table.classifier) == {"strong", "weak"}
    assert sorted(set(table.t)) == [0, 2, 4]
    clean = row_of(table, classifier="weak", at="xt", t=0)
    assert (clean.n, clean.alpha_bar, clean.accuracy) == (6, 0.99, pytest.approx(5 / 6, rel=1e-5))
    assert clean.probability_mean == pytest.approx((5 * 0.75 + 0.25) / 6, rel=1e-5)
    # Between all six wrong and all six right, and around the mean.
    assert 0.25 <= clean.probability_low <= clean.probability_mean <= clean.probability_high <= 0.75
    # At the last level the denoiser's answer is black, which is no ball: right for the three cups alone.
    assert row_of(table, classifier="strong", at="x0", t=4).accuracy == 0.5


def test_noise_levels_are_even_and_distinct() -> None:
    assert noise_accuracy.noise_levels(400, 5) == [0, 100, 200, 299, 399]
    assert noise_accuracy.noise_levels(3, 11) == [0, 1, 2]
