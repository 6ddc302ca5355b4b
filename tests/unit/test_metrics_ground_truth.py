"""Experiments with a known answer: the distance against other ways to compute it, and what guidance must do."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import nonrobust_guidance as ng
from nonrobust_guidance.metrics.distances.energy import EnergyDistance, mean_distance
from nonrobust_guidance.metrics.ground_truth.mixtures import METHODS, ROBUST, TARGET, UNGUIDED, Experiment, ring
from nonrobust_guidance.metrics.ground_truth.table import measure_ground_truth
from nonrobust_guidance.metrics.settings import GroundTruth
from nonrobust_guidance.metrics.tables import GROUND_TRUTH

AT_XT, AT_X0 = METHODS["nonrobust_xt"], METHODS["nonrobust_x0"]


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return Experiment("ring", ring(), num_samples=300, num_steps=100)


def test_mean_distances_are_those_of_rices_distribution() -> None:
    offset, variance = np.array([0.1, 0.3, 2.0]), np.array([0.25, 0.04, 1.0])
    expected = stats.rice.mean(offset / np.sqrt(variance), scale=np.sqrt(variance))
    np.testing.assert_allclose(mean_distance(offset, variance), expected, rtol=1e-9)
    assert mean_distance(np.array([40.0]), np.array([0.01])) == pytest.approx(40.0, rel=1e-4)  # the offset alone


def test_distance_is_that_of_two_samples_in_the_limit() -> None:
    law = ng.GaussianMixture([[0.0, 0.0], [1.0, 0.5]], [0.04, 0.2], [0.3, 0.7])
    rng = np.random.default_rng(0)
    x = rng.normal([0.5, -0.2], 0.4, (1500, 2))
    y = law.sample(1500, seed=1).reshape(-1, 2).numpy()

    def mean_norm(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.hypot(*(a[:, None] - b).transpose(2, 0, 1)).mean())

    from_samples = math.sqrt(2 * mean_norm(x, y) - mean_norm(x, x) - mean_norm(y, y))
    assert EnergyDistance(law).measure(x).value == pytest.approx(from_samples, abs=0.02)


def test_distance_of_a_point_to_a_gaussian_has_a_known_value() -> None:
    # E|X - Y| is sigma sqrt(pi / 2) at the centre, and E|Y - Y'| the same with the variance doubled.
    sigma = 0.3
    expected = math.sqrt(2 * sigma * math.sqrt(math.pi / 2) - math.sqrt(2) * sigma * math.sqrt(math.pi / 2))
    found = EnergyDistance(ng.GaussianMixture([[0.2, 0.1]], sigma**2)).measure(np.array([[0.2, 0.1]]))
    assert found.value == pytest.approx(expected)


def test_floor_falls_as_one_over_the_root_of_n() -> None:
    exact = EnergyDistance(ng.GaussianMixture([[0.0, 0.0]], 0.25))
    small, large = exact.floor(50, 60, 0), exact.floor(800, 60, 0)
    assert small.low < small.value < small.high
    assert small.value / large.value == pytest.approx(4.0, rel=0.2)
    # The mean of the squares is E|Y - Y'| / n = sqrt(pi) / 2 / n, and the mean of the roots lies a little below.
    assert large.value == pytest.approx(math.sqrt(math.sqrt(math.pi) / 2 / 800), rel=0.15)


@pytest.mark.parametrize(
    "mixture",
    [ng.GaussianMixture([[0.0]], 1.0), ng.GaussianMixture([[0.0, 0.0]], torch.diag(torch.tensor([1.0, 2.0]))[None])],
    ids=["line", "ellipse"],
)
def test_distance_refuses_what_it_has_no_formula_for(mixture: ng.GaussianMixture) -> None:
    with pytest.raises(ValueError, match="round components in two dimensions"):
        EnergyDistance(mixture)


def test_exact_guidance_comes_closer_and_clean_time_guidance_can_diverge(experiment: Experiment) -> None:
    free, robust = experiment.outcome(UNGUIDED, 0.0), experiment.outcome(ROBUST, 1.0)
    diverged = experiment.outcome(AT_XT, 0.3)
    assert robust.distance.high < free.distance.value
    assert robust.class_share.low > free.class_share.high
    # Half of the mixture is of the class asked for; beyond 2 / (scale Sigma_t / 0.05^2) a step overshoots and grows.
    assert free.class_share.low < 0.5 < free.class_share.high
    assert diverged.distance.value > 3 * free.distance.value


def test_noise_is_what_the_library_draws_itself(experiment: Experiment) -> None:
    few = replace(experiment, num_samples=5)
    expected = ng.sample(
        few.mixture.denoiser(few.schedule), few.schedule, 5, seed=0, shape=few.mixture.shape, dtype=torch.float64
    )
    torch.testing.assert_close(few.draw(UNGUIDED, 0.0), expected, rtol=0, atol=0)


def test_the_seed_determines_everything(experiment: Experiment) -> None:
    few = [replace(experiment, num_samples=30, num_steps=25, seed=seed) for seed in (1, 1, 2)]
    one, same, other = (e.outcome(AT_X0, 0.1) for e in few)
    np.testing.assert_array_equal(one.points, same.points)
    assert one[3:] == same[3:]
    assert not np.array_equal(one.points, other.points)
    assert few[0].under_noise == few[1].under_noise


def test_the_exact_posterior_is_the_best_reader_of_noise(experiment: Experiment) -> None:
    shares = {(a.reading, a.t): a.accuracy for a in replace(experiment, num_samples=2000).accuracies(6)}
    for (_, t), accuracy in shares.items():
        assert accuracy.low <= shares["exact", t].high
    assert min(shares[reading, 0].value for reading in ("exact", "xt", "x0")) > 0.95


def test_the_exact_gradient_is_that_of_the_noisy_densities(experiment: Experiment) -> None:
    points, level, h = torch.tensor([[0.3, -0.2], [0.7, 0.1]], dtype=torch.float64), 20, 1e-5
    alpha_bar = float(experiment.schedule.alpha_bars[level])

    def log_posterior(x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(-1, 2, 1, 1)
        own, all_of_it = experiment.mixture.conditional(TARGET), experiment.mixture
        return own.log_prob(x, alpha_bar) - all_of_it.log_prob(x, alpha_bar)

    steps = h * torch.eye(2, dtype=torch.float64)
    expected = torch.stack([(log_posterior(points + e) - log_posterior(points - e)) / (2 * h) for e in steps], dim=1)
    found = experiment.gradients(ROBUST, points.reshape(-1, 2, 1, 1), level)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_the_table_has_a_row_for_each_number_and_the_arrays_what_is_drawn(tmp_path: Path) -> None:
    paths = [(tmp_path / f"{turn}.csv", tmp_path / f"{turn}.npz") for turn in "ab"]
    for csv, npz in paths:
        measure_ground_truth(GroundTruth(num_samples=30, num_steps=50), csv, npz)
    assert paths[0][0].read_bytes() == paths[1][0].read_bytes()
    table = pd.read_csv(paths[0][0], keep_default_na=False)
    assert not table.duplicated(list(GROUND_TRUTH.key)).any()
    # 40 pairs of method and scale; exact samples; three readings; exact guidance and none with four numbers of steps.
    counts = table[table["mixture"] == "ring"]["quantity"].value_counts()
    levels = table[(table["mixture"] == "ring") & (table["quantity"] == "accuracy")]["t"].nunique()
    assert counts.to_dict() == {
        "distance": 41,
        "class_share": 40,
        "fullest_share": 40,
        "accuracy": 3 * levels,
        "chain_error": 8,
    }
    assert sorted(set(table[table["quantity"] == "chain_error"]["steps"])) == [25, 50, 100, 200]
    with np.load(paths[0][1]) as arrays:
        # Distances in the table are those of the points beside it, here all of them, by another way to take the mean.
        mixture = ring().conditional(TARGET)
        points = arrays["ring_robust_xt_1"]
        assert points.shape == (30, 2)
        row = table[(table["mixture"] == "ring") & (table["method"] == "robust_xt") & (table["scale"] == "1.0")]
        value = float(row[row["quantity"] == "distance"]["value"].iloc[0])
        assert value == pytest.approx(EnergyDistance(mixture).measure(points).value, rel=1e-5)
        # A density integrates to one over the plane that is drawn, which holds nearly all of it.
        cell = (2.2 / 219) ** 2
        for name in ("ring_density_asked_for", "scattered_density_asked_for"):
            assert arrays[name].sum() * cell == pytest.approx(1, abs=1e-3)
        assert np.array_equal(arrays["ring_asked_for"], [True, False] * 4)
