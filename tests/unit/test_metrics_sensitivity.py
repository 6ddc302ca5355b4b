"""Sensitivity against closed forms: linear logits, a quadratic log-probability, stabilizers by recursion."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import UNet2DModel
from sections import run_of
from torch import Tensor, nn

import nonrobust_guidance as ng
from nonrobust_guidance.data import Split
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.guidance.stabilizers import StabilizerStep, chain
from nonrobust_guidance.metrics.gradients import sensitivity
from nonrobust_guidance.metrics.gradients.sensitivity import list_observers, measure_sensitivity, stabilizers_of, walk
from nonrobust_guidance.sampling.noise import SampleNoise

SHAPE = (1, 2, 2)
SCHEDULE = ng.Schedule.linear(6, 0.05, 0.3)
ROOTS = [math.sqrt(float(abar)) for abar in SCHEDULE.alpha_bars]
X_0 = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, *SHAPE)
EPS = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WEIGHT = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 1.0, -1.0]], dtype=torch.float64)


def x_at(level: int) -> np.ndarray:
    """Return x_t (3, 4) by the formula of the forward process."""
    return (ROOTS[level] * X_0 + math.sqrt(1 - ROOTS[level] ** 2) * EPS).flatten(1).numpy()


def norms(x: np.ndarray) -> np.ndarray:
    return np.sqrt((x**2).sum(axis=1))


def linear(x: Tensor) -> Tensor:
    return x.flatten(1) @ WEIGHT.T.to(x.dtype)


def quadratic(x: Tensor) -> Tensor:
    """A classifier whose log-probability of class 0 is -|x|^2 / 100, so its gradient is -x / 50."""
    log_p = -x.square().flatten(1).sum(1) / 100 - 1e-3
    return torch.stack([log_p, torch.log1p(-log_p.exp())], dim=1)


def halve(x_t: Tensor, t: Tensor) -> Tensor:
    return x_t / 2


def walked(classifier: Any, denoiser: Any = halve, labels: tuple[int, ...] = (0, 0, 0), **stabilizers: Any) -> Any:
    observers = list_observers(denoiser, SCHEDULE, {"c": classifier}, torch.tensor(labels), SHAPE, stabilizers)
    return list(walk(observers, SCHEDULE, X_0, EPS))


def test_logits_of_a_linear_classifier_by_hand() -> None:
    found = walked(linear)
    assert [transition.t for transition, _ in found] == [5, 4, 3, 2, 1]
    for transition, changes in found:
        step = x_at(transition.t) - x_at(transition.t - 1)
        ratio, _ = changes["c", "xt"]["logits", ""]
        np.testing.assert_allclose(ratio, norms(step @ WEIGHT.numpy().T) / norms(step), rtol=1e-9)
        assert (ratio <= np.linalg.norm(WEIGHT.numpy(), 2)).all()


def test_logits_of_the_denoised_image_by_hand() -> None:
    # eps_hat = x_t / 2 makes x0_hat = x_t (1 - b / 2) / a before the clamp, with each point's own a and b.
    def denoised(level: int) -> np.ndarray:
        a = ROOTS[level]
        return np.clip(x_at(level) * (1 - math.sqrt(1 - a**2) / 2) / a, -1, 1)

    for transition, changes in walked(linear):
        t = transition.t
        expected = norms((denoised(t) - denoised(t - 1)) @ WEIGHT.numpy().T) / norms(x_at(t) - x_at(t - 1))
        np.testing.assert_allclose(changes["c", "x0"]["logits", ""][0], expected, rtol=1e-9)


def test_gradients_of_a_quadratic_have_a_constant_quotient() -> None:
    for transition, changes in walked(quadratic):
        ratio, relative = changes["c", "xt"]["gradient", ""]
        np.testing.assert_allclose(ratio, 1 / 50, rtol=1e-6)
        x, y = x_at(transition.t), x_at(transition.t - 1)
        np.testing.assert_allclose(relative, norms(x - y) / ((norms(x) + norms(y)) / 2), rtol=1e-6)


def test_a_stabilizer_goes_from_the_noisiest_level_down() -> None:
    mean, means = np.zeros((3, 4)), {}
    for level in (5, 4, 3, 2, 1, 0):
        mean = 0.9 * mean + 0.1 * x_at(level) / -50
        means[level] = mean
    for transition, changes in walked(quadratic, ema=ng.EMA(0.9)):
        t = transition.t
        expected = norms(means[t] - means[t - 1]) / norms(x_at(t) - x_at(t - 1))
        np.testing.assert_allclose(changes["c", "xt"]["gradient", "ema"][0], expected, rtol=1e-6)
        # The stabilizer changes nothing of what is raw.
        np.testing.assert_allclose(changes["c", "xt"]["gradient", ""][0], 1 / 50, rtol=1e-6)


@dataclass(frozen=True)
class Fading:
    """Each gradient times the noise level, the step's variance and the weight of a gradient at scale 1."""

    def init(self, x: Tensor) -> None:
        pass

    def update(self, state: None, g: Tensor, step: StabilizerStep) -> tuple[None, Tensor]:
        return None, step.noise_level * step.noise_std**2 * step.strength * g


def test_a_stabilizer_that_asks_is_told_of_the_ancestral_step_at_scale_1() -> None:
    alone = [1 - ROOTS[level] ** 2 for level in range(6)]
    # Sigma_t = beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) of the posterior, 0 at the last step.
    ratios = [ROOTS[level] ** 2 / (ROOTS[level - 1] ** 2 if level else 1.0) for level in range(6)]
    variances = [(1 - ratios[level]) * (alone[level - 1] if level else 0.0) / alone[level] for level in range(6)]
    faded = {level: math.sqrt(alone[level]) * variances[level] ** 2 * x_at(level) / -50 for level in range(6)}
    for transition, changes in walked(quadratic, fading=chain(Fading())):
        t = transition.t
        expected = norms(faded[t] - faded[t - 1]) / norms(x_at(t) - x_at(t - 1))
        np.testing.assert_allclose(changes["c", "xt"]["gradient", "fading"][0], expected, rtol=1e-5)


def test_each_point_is_denoised_with_its_own_timestep_and_the_same_noise() -> None:
    seen: dict[int, Tensor] = {}

    def spy(x_t: Tensor, t: Tensor) -> Tensor:
        assert len(set(t.tolist())) == 1
        assert int(t[0]) not in seen, "a level is denoised once"
        seen[int(t[0])] = x_t.detach().clone()
        return x_t / 2

    walked(linear, spy)
    assert list(seen) == [5, 4, 3, 2, 1, 0]
    for level, x_t in seen.items():
        np.testing.assert_allclose(x_t.flatten(1).numpy(), x_at(level), rtol=1e-12)


def test_zero_gradients_have_no_relative_change() -> None:
    def constant(x: Tensor) -> Tensor:
        return torch.zeros(len(x), 2, dtype=x.dtype) + 0 * linear(x)

    ratio, relative = walked(constant)[0][1]["c", "xt"]["gradient", ""]
    assert (ratio == 0).all()
    assert np.isnan(relative).all()


def test_an_image_counts_the_same_among_few_and_many() -> None:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    ).eval()  # fmt: skip
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval()
    schedule = ng.Schedule.linear(400, 1e-4, 0.05).respaced(3)

    def measured(count: int) -> Any:
        x_0 = torch.linspace(-1, 1, 40)[:count, None, None, None].expand(count, 3, 8, 8).contiguous()
        labels = torch.arange(count) % 4
        observers = list_observers(unet, schedule, {"c": classifier}, labels, (3, 8, 8), {"ema": ng.EMA(0.9)})
        return list(walk(observers, schedule, x_0, SampleNoise(1, range(count), (3, 8, 8))(0)))

    for (_, few), (_, many) in zip(measured(3), measured(40), strict=True):
        for key, changes in few.items():
            for kind, pair in changes.items():
                for a, b in zip(pair, many[key][kind], strict=True):
                    np.testing.assert_array_equal(a, b[:3])


CONFIG: dict[str, Any] = {
    "diffusion": {"name": "unet"},
    "classifiers": {"strong": {"noised": True}, "weak": {"noised": False}, "judge": {"noised": False}},
    "sampling": {
        "steps": 6,
        "methods": {
            "free": {"classifier": None},
            "a": {"classifier": "weak", "at": "xt", "scales": [1], "stabilizer": []},
            "b": {"classifier": "weak", "at": "xt", "scales": [1], "stabilizer": [{"name": "ema", "beta": 0.9}]},
            "c": {"classifier": "strong", "at": "x0", "scales": [1], "stabilizer": [{"name": "ema", "beta": 0.9}]},
        },
    },
    "metrics": {
        "judge": "judge",
        "bootstrap": {"resamples": 20, "seed": 3},
        "sensitivity": {"levels": 3, "num_images": 4},
    },
}


def measure(folder: Path, output: Path) -> None:
    """Measure as the command does."""
    run = run_of(CONFIG)
    guides, metrics, stabilizers = (
        {name: folder / name for name in ("strong", "weak")},
        run.metrics,
        stabilizers_of(run),
    )
    measure_sensitivity(
        metrics.sensitivity, metrics.bootstrap, 6, stabilizers, folder / "diffusion", guides, folder, output
    )


def test_stabilizers_are_those_of_the_methods_each_once() -> None:
    assert list(stabilizers_of(run_of(CONFIG))) == ["ema(beta=0.9)"]


class Quadratic(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return quadratic(x)


def test_the_table_has_a_row_for_each_pair_and_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.arange(9 * 12, dtype=np.uint8).reshape(9, 2, 2, 3)
    split = Split(images, np.zeros(9, np.int64), np.zeros((9, 0), np.float32), ("cup", "ball"))
    monkeypatch.setattr(sensitivity, "load_diffusion", lambda folder, device: (halve, SCHEDULE))
    monkeypatch.setattr(sensitivity, "load_classifier", lambda folder, device: Quadratic().eval())
    monkeypatch.setattr(sensitivity, "load_split", lambda folder, name: split)
    measure(tmp_path, tmp_path / "sensitivity.csv")
    table = pd.read_csv(tmp_path / "sensitivity.csv", keep_default_na=False)
    keys = ["classifier", "at", "quantity", "stabilizer", "t", "alpha_bar", "n"]
    numbers = [f"{name}{end}" for name in ("ratio", "relative_change") for end in ("", "_low", "_high")]
    assert list(table.columns) == keys + numbers
    # Of the pairs 5-4, 4-3, 3-2, 2-1 and 1-0 the first, middle and last; two classifiers at two inputs.
    assert sorted(set(table.t)) == [1, 3, 5]
    assert len(table) == 3 * 2 * 2 * 3
    assert set(table.classifier) == {"strong", "weak"}
    assert set(table.n) == {4}
    raw = table[(table["at"] == "xt") & (table.quantity == "gradient") & (table.stabilizer == "")]
    for column in numbers[:3]:
        np.testing.assert_allclose(raw[column], 0.02, rtol=1e-4)
    assert (table.ratio_low <= table.ratio).all() and (table.ratio <= table.ratio_high).all()


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        measure(tmp_path, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
