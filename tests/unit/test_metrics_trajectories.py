"""Courses of gradients worked by hand, and the tables of real chains."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

import nonrobust_guidance as ng
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import middle_scale
from nonrobust_guidance.metrics.gather import COLUMNS, gather_trajectories
from nonrobust_guidance.metrics.gradients import trajectories
from nonrobust_guidance.metrics.gradients.trajectories import follow, measure_trajectories
from nonrobust_guidance.metrics.settings import Bootstrap, Trajectories
from nonrobust_guidance.sampling.settings import Chain, OneMethod

SCHEDULE = ng.Schedule.linear(400, 1e-4, 0.05)


def image(*values: float) -> Tensor:
    """Return gradients (1, C, 1, 1)."""
    return torch.tensor(values).reshape(1, -1, 1, 1)


def course(gradients: list[Tensor], stabilizer: Any = None, strengths: list[float] | None = None) -> list[Any]:
    """Return what follows from these raw gradients, step by step."""
    stabilizer = stabilizer or ng.Identity()
    state, steps = stabilizer.init(gradients[0]), []
    for k, (g, strength) in enumerate(zip(gradients, strengths or [1.0] * len(gradients), strict=True), start=1):
        state, stabilized = stabilizer.update(state, g)
        steps.append(ng.Step(k, 100 - k, g, g, g, stabilized, torch.zeros(len(g), dtype=torch.bool), strength))
    return [numbers for _, numbers in follow(steps)]


def test_a_constant_gradient_keeps_its_direction_and_loses_nothing() -> None:
    found = course([image(3, 4)] * 4, strengths=[4.0, 3.0, 2.0, 1.0])
    assert math.isnan(found[0]["cosine"][0])
    assert [numbers["cosine"][0] for numbers in found[1:]] == pytest.approx([1, 1, 1])
    assert [numbers["norm"][0] for numbers in found] == pytest.approx([5] * 4)
    assert [numbers["survival"][0] for numbers in found] == pytest.approx([1] * 4)


def test_an_alternating_gradient_by_hand() -> None:
    found = course([image(3, 4), image(-3, -4)] * 2, strengths=[4.0, 3.0, 2.0, 1.0])
    assert [numbers["cosine"][0] for numbers in found[1:]] == pytest.approx([-1, -1, -1])
    # 4; 4 - 3 of 7; 4 - 3 + 2 of 9; 4 - 3 + 2 - 1 of 10
    assert [numbers["survival"][0] for numbers in found] == pytest.approx([1, 1 / 7, 3 / 9, 2 / 10])


def test_an_average_of_right_angles_by_hand() -> None:
    # m: (1/2, 0), then (1/4, 1/2): cosine 1/8 over 1/2 sqrt(5/16); shifts add up to (3/4, 1/2).
    found = course([image(1, 0), image(0, 1)], ng.EMA(0.5))[1]
    assert found["cosine"][0] == pytest.approx(0, abs=1e-12)
    assert found["cosine_stabilized"][0] == pytest.approx(1 / math.sqrt(5))
    assert found["norm_stabilized"][0] == pytest.approx(math.sqrt(5) / 4)
    assert found["survival"][0] == pytest.approx(math.sqrt(13) / 4 / (1 / 2 + math.sqrt(5) / 4))
    assert found["survival_raw"][0] == pytest.approx(math.sqrt(2) / 2)


def test_a_zero_gradient_has_no_direction() -> None:
    found = course([image(0, 0), image(1, 0), image(1, 1)])
    assert math.isnan(found[0]["survival"][0])
    assert math.isnan(found[1]["cosine"][0])
    assert found[2]["cosine"][0] == pytest.approx(math.sqrt(0.5))


def test_gradients_too_small_to_square_have_one() -> None:
    found = course([image(1e-30, 0), image(1e-30, 1e-30)])
    assert found[1]["cosine"][0] == pytest.approx(math.sqrt(0.5))


def test_steps_without_guidance_are_passed_over() -> None:
    idle = ng.Step(1, 9, image(1), image(1), None, None, torch.zeros(1, dtype=torch.bool))
    assert list(follow([idle])) == []


def halve(x_t: Tensor, t: Tensor) -> Tensor:
    return x_t / 2


@pytest.mark.parametrize(("sampler", "eta"), [("ddpm", 0.0), ("ddim", 0.0), ("ddim", 0.7)])
def test_strength_is_how_far_guidance_moves_x(sampler: str, eta: float) -> None:
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double().eval()
    guidance = ng.ClassifierGuidance(classifier, 1, 30.0, at="xt", stabilizer=ng.EMA(0.9))
    options: dict[str, Any] = {"sampler": sampler, "eta": eta, "shape": (3, 2, 2), "clip": False}
    options["dtype"] = torch.float64
    schedule = SCHEDULE.respaced(10)
    guided, free = (
        next(iter(ng.trajectory(halve, schedule, 2, guidance=g, **options))) for g in (guidance, None)
    )  # the first steps start from the same x
    assert free.strength == 0.0
    assert guided.stabilized is not None
    torch.testing.assert_close(guided.x - free.x, guided.strength * guided.stabilized, rtol=1e-9, atol=1e-12)
    if sampler == "ddpm":
        assert guided.strength == pytest.approx(30.0 * next(schedule.transitions()).variance)


@pytest.mark.parametrize(("scales", "middle"), [([3], 3), ([10, 0.3, 1], 1), ([0.3, 1, 3, 10], 1), ([30, 10], 10)])
def test_the_middle_scale(scales: list[float], middle: float) -> None:
    assert middle_scale(scales) == middle


METHOD = OneMethod().choose(
    dict(
        classifier="weak",
        at="x0",
        scales=(30, 3),
        objective="log_prob",
        stabilizer=[{"name": "ema", "beta": 0.9}],
        num_samples=6,
        steps=5,
    )
)


def measure(folder: Path, output: Path, name: str = "weak_ema", batch_size: int = 64, method: Any = METHOD) -> None:
    """Follow the method's first five samples of seed 4 toward class 1, the ball."""
    settings, bootstrap = Trajectories(num_samples=5), Bootstrap(resamples=20, seed=0)
    where = (folder / "unet", folder / "weak", output)
    measure_trajectories(name, method, Chain(), 4, "ball", 1, settings, bootstrap, *where, batch_size=batch_size)


@pytest.fixture
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    ).eval()  # fmt: skip
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(192, 1)).eval()
    monkeypatch.setattr(trajectories, "load_diffusion", lambda folder, device: (unet, SCHEDULE))
    monkeypatch.setattr(trajectories, "load_classifier", lambda folder, device: classifier)
    return unet, classifier


def test_the_table_is_of_the_samples_that_the_run_draws(tiny_networks: Any, tmp_path: Path) -> None:
    unet, classifier = tiny_networks
    measure(tmp_path, tmp_path / "weak_ema.csv")
    table = pd.read_csv(tmp_path / "weak_ema.csv")
    assert list(table.columns) == COLUMNS
    # Four of the five steps are guided: the last adds no noise.
    assert list(table.k) == [1, 2, 3, 4]
    assert list(table.t) == [399, 319, 239, 159]
    assert set(table[["method", "scale", "target", "seed", "n"]].itertuples(index=False, name=None)) == {
        ("weak_ema", 3.0, "ball", 4, 5)
    }
    np.testing.assert_allclose(
        table.noise_level, [math.sqrt(1 - float(SCHEDULE.alpha_bars[t])) for t in table.t], rtol=1e-5
    )
    guidance = ng.ClassifierGuidance(classifier, 1, 3.0, stabilizer=ng.EMA(0.9))
    steps = [s for s in ng.trajectory(unet, SCHEDULE.respaced(5), 5, 4, guidance=guidance) if s.gradient is not None]
    for row, step in zip(table.itertuples(), steps, strict=True):
        assert row.norm == pytest.approx(np.median(step.gradient.flatten(1).norm(dim=1)), rel=1e-4)
        assert row.norm_stabilized == pytest.approx(np.median(step.stabilized.flatten(1).norm(dim=1)), rel=1e-4)
    for row, before, step in zip(list(table.itertuples())[1:], steps[:-1], steps[1:], strict=True):
        both = [step.gradient.flatten(1), before.gradient.flatten(1)]
        directed = torch.stack([g.norm(dim=1) > 0 for g in both]).all(dim=0)
        assert row.cosine_n == int(directed.sum()) > 0
        expected = torch.cosine_similarity(*both)[directed].mean()
        assert row.cosine == pytest.approx(float(expected), rel=1e-4, abs=1e-5)
    shifts = torch.stack([s.strength * s.stabilized for s in steps]).flatten(2)
    survival = (shifts.sum(0).norm(dim=1) / shifts.norm(dim=2).sum(0)).mean()
    assert table.survival.iloc[-1] == pytest.approx(float(survival), rel=1e-4)
    assert table.cosine.isna().tolist() == [True, False, False, False]


def test_guidance_that_is_no_multiple_of_its_gradient_has_no_survival(tiny_networks: Any, tmp_path: Path) -> None:
    common = {"classifier": "weak", "objective": "log_prob", "num_samples": 6, "steps": 5}
    dsg = OneMethod().choose({"guidance": "dsg", "scales": [0.1], **common})
    measure(tmp_path, tmp_path / "dsg.csv", method=dsg)
    table = pd.read_csv(tmp_path / "dsg.csv")
    # The last step adds no noise, so that there is none to turn.
    assert list(table.k) == [1, 2, 3, 4]
    assert table.norm.gt(0).all() and table.cosine[1:].notna().all()
    assert table[["survival", "survival_raw"]].isna().all(axis=None)


def test_of_a_step_that_is_made_twice_the_last_time_counts(tiny_networks: Any, tmp_path: Path) -> None:
    unet, classifier = tiny_networks
    common = {"classifier": "weak", "objective": "log_prob", "num_samples": 6, "steps": 5}
    ugd = OneMethod().choose({"guidance": "ugd", "scales": [0.5], "recurrences": 2, "ascents": 1, **common})
    measure(tmp_path, tmp_path / "ugd.csv", method=ugd)
    table = pd.read_csv(tmp_path / "ugd.csv")
    guidance = ng.UGD(classifier, 1, 0.5, recurrences=2, ascents=1)
    steps = [s for s in ng.trajectory(unet, SCHEDULE.respaced(5), 5, 4, guidance=guidance) if s.gradient is not None]
    assert list(table.k) == [step.k for step in steps]
    expected = [float(step.gradient.flatten(1).norm(dim=1).median()) for step in steps]
    assert list(table.norm) == pytest.approx(expected, rel=1e-4)
    assert table.survival.between(0, 1).all()


def test_the_batch_size_changes_nothing(tiny_networks: Any, tmp_path: Path) -> None:
    for batch_size in (2, 64):
        measure(tmp_path, tmp_path / f"{batch_size}.csv", batch_size=batch_size)
    assert (tmp_path / "2.csv").read_bytes() == (tmp_path / "64.csv").read_bytes()


def test_tables_are_gathered_in_the_order_of_the_methods(tiny_networks: Any, tmp_path: Path) -> None:
    for name in ("again", "weak_ema"):
        measure(tmp_path, tmp_path / "parts" / f"{name}.csv", name)
    gather_trajectories(["weak_ema", "again"], tmp_path / "parts", tmp_path / "all.csv")
    whole = pd.read_csv(tmp_path / "all.csv")
    assert list(dict.fromkeys(whole.method)) == ["weak_ema", "again"]
    parts = [pd.read_csv(tmp_path / "parts" / f"{name}.csv") for name in ("weak_ema", "again")]
    pd.testing.assert_frame_equal(whole, pd.concat(parts, ignore_index=True))


def test_a_run_that_guides_nothing_has_an_empty_table(tmp_path: Path) -> None:
    gather_trajectories([], tmp_path, tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_text() == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n"])
def test_a_missing_or_damaged_part_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "weak_ema.csv").write_text(content)
    with pytest.raises(UserError, match=r"weak_ema\.csv is"):
        gather_trajectories(["weak_ema"], tmp_path, tmp_path / "all.csv")
    assert not (tmp_path / "all.csv").exists()


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        measure(tmp_path, tmp_path / "out.csv")
