"""Experiments with a known answer: the distance against other ways to compute it, and what guidance must do.

It is long because both experiments are held to closed forms of their own.
"""

import io
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
from nonrobust_guidance.metrics.ground_truth.comparison import CONTENDERS, TRUST_RADIUS, Comparison, even_log_snr
from nonrobust_guidance.metrics.ground_truth.mixtures import (
    METHODS,
    ROBUST,
    TARGET,
    UNGUIDED,
    Experiment,
    ring,
    scattered,
)
from nonrobust_guidance.metrics.ground_truth.table import COLUMNS, rows_of
from nonrobust_guidance.metrics.ground_truth.variance import total_variance, variance_kept
from nonrobust_guidance.metrics.statistics.intervals import resample_counts
from nonrobust_guidance.metrics.tables import GROUND_TRUTH, GROUND_TRUTH_DRAWN

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


def test_replicates_in_one_product_are_those_one_after_the_other() -> None:
    exact = EnergyDistance(ng.GaussianMixture([[0.0, 0.0], [1.0, 0.5]], [0.04, 0.2]))
    points, rng = np.random.default_rng(3).normal(0.3, 0.4, (40, 2)), np.random.default_rng(7)
    counts = np.array([np.bincount(rng.integers(40, size=40), minlength=40) for _ in range(50)], dtype=float)
    np.testing.assert_allclose(exact.measure_resampled(points, counts), exact.measure(points, 50, seed=7), rtol=1e-9)


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


def test_variance_kept_is_a_quotient_of_traces() -> None:
    # Two components of the class, of standard deviations 0.1 and 0.2, and samples right at known offsets from them.
    mixture = ng.GaussianMixture([[0.0, 0.0], [2.0, 0.0], [0.0, 9.0]], [0.01, 0.04, 0.01], labels=[0, 0, 1])
    offsets = np.array([[0.1, 0.0], [-0.1, 0.0], [0.0, 0.1], [0.0, -0.1]])
    x = np.concatenate([offsets, 2 * offsets + np.array([2.0, 0.0]), offsets + np.array([0.0, 9.0])])
    found = variance_kept(mixture, 0, torch.from_numpy(x), np.ones((3, 12)))
    own = x[:8]
    assert total_variance(mixture.conditional(0)) == pytest.approx(1.0 + (0.02 + 0.08) / 2)
    assert found.total.value == pytest.approx(np.trace(np.cov(own.T)) / 1.05)
    # Squares sum to 4 * 0.01 and 4 * 0.04 over 8 - 2 degrees of freedom; exact is the mean of 2 * 0.01 and 2 * 0.04.
    assert found.within.value == pytest.approx((0.04 + 0.16) / 6 / 0.05)
    assert found.total.low == pytest.approx(found.total.high)  # replicates that draw each sample once


def test_variance_of_a_lost_component_and_of_no_samples() -> None:
    mixture = ng.GaussianMixture([[-1.0, 0.0], [1.0, 0.0], [0.0, 5.0]], 0.01, labels=[0, 0, 1])
    counts = resample_counts(2000, 20, 0)
    lost = variance_kept(mixture, 0, ng.GaussianMixture([[1.0, 0.0]], 0.01).sample(2000), counts)
    assert lost.within.value == pytest.approx(1.0, abs=0.07)
    assert lost.total.value == pytest.approx(0.02 / 1.02, rel=0.07)  # of 0.02 within and 1 between, the second is gone
    assert all(math.isnan(found.value) for found in variance_kept(mixture, 1, torch.zeros(2000, 2), counts))


def test_the_interval_of_variance_kept_is_that_of_chi_square() -> None:
    # The trace over the exact one is chi-square of 2 (n - 1) degrees of freedom, over that number.
    law, n = ng.GaussianMixture([[0.3, -0.2]], 0.04), 1500
    found = variance_kept(law, 0, law.sample(n, seed=4), resample_counts(n, 1000, 0)).total
    low, high = stats.chi2.ppf([0.025, 0.975], 2 * (n - 1)) / (2 * (n - 1))
    assert found.high - found.low == pytest.approx(high - low, rel=0.15)


@pytest.mark.parametrize("mixture", [ring(), scattered()], ids=["ring", "scattered"])
def test_exact_samples_keep_all_variance(mixture: ng.GaussianMixture) -> None:
    for kept in variance_kept(mixture, TARGET, mixture.sample(3000, 5, TARGET), resample_counts(3000, 200, 0)):
        assert kept.low < 1.0 < kept.high
        assert kept.high - kept.low < 0.12


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_the_variance_kept_of_a_guided_gaussian_follows_its_recursion(scale: float) -> None:
    # With log p(y | x) = -a |x - c|^2 / 2 a step is x -> A x + b + sigma z, so its variance goes v -> A^2 v + sigma^2.
    s2, a, n = 0.04, 3.0, 6000
    law, schedule = ng.GaussianMixture([[0.2, -0.1]], s2), ng.Schedule.linear(100, 0.001, 0.2)
    abar = schedule.alpha_bars.numpy()

    def quadratic(x: torch.Tensor) -> torch.Tensor:
        logit = -0.5 * a * (x - 0.5).square().flatten(1).sum(1)
        return torch.stack([logit, torch.zeros_like(logit)], dim=1)

    v = 1.0
    for k in reversed(range(100)):
        before = abar[k - 1] if k else 1.0
        beta = 1 - abar[k] / before
        sigma2 = beta * (1 - before) / (1 - abar[k])
        gain = math.sqrt(abar[k]) * s2 / (abar[k] * s2 + 1 - abar[k])
        A = math.sqrt(before) * beta / (1 - abar[k]) * gain + math.sqrt(1 - beta) * (1 - before) / (1 - abar[k])
        v = (A - scale * sigma2 * a) ** 2 * v + sigma2
    rng = np.random.default_rng(0)
    x = ng.sample(
        law.denoiser(schedule), schedule, n, shape=law.shape, clip=False, dtype=torch.float64,
        noise=lambda k: torch.from_numpy(rng.standard_normal((n, 2, 1, 1))),
        guidance=ng.ClassifierGuidance(quadratic, 0, scale, "xt", objective="logit"),
    )  # fmt: skip
    kept = variance_kept(law, 0, x, resample_counts(n, 200, 0))
    assert kept.total == kept.within
    assert kept.total.value == pytest.approx(v / s2, rel=0.04)  # three standard deviations


def test_levels_are_even_in_log_snr_between_their_ends() -> None:
    noise_levels = (1 - even_log_snr(25).alpha_bars).sqrt()
    assert noise_levels[[0, -1]].tolist() == pytest.approx([0.005, 0.99998])
    log_snr = torch.logit(even_log_snr(25).alpha_bars)
    torch.testing.assert_close(log_snr.diff(), (log_snr[1] - log_snr[0]).expand(24))


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return Comparison(Experiment("scattered", scattered(), num_samples=1000, num_steps=100))


def test_rejection_keeps_all_variance_at_the_price_of_its_draws(comparison: Comparison) -> None:
    found = comparison.rejection()
    for kept in found.variance:
        assert kept.low < 1.0 < kept.high
    assert found.class_share.value == 1.0
    # Four of nine components, each as likely as the other, are of the class: 9 / 4 draws, give or take chance.
    assert found.denoiser_passes == pytest.approx(9 / 4, abs=0.25)


def test_exact_guidance_keeps_variance_and_too_much_of_it_does_not(comparison: Comparison) -> None:
    robust = next(contender for contender in CONTENDERS if contender.name == "robust_xt")
    right, strong = (comparison.trial(robust, "sde-dpmsolver++", scale) for scale in (1.0, 10.0))
    assert right.variance.total.low < 1.0 < right.variance.total.high
    assert strong.variance.total.high < 0.5
    assert min(right.class_share.value, strong.class_share.value) > 0.95


def test_a_trust_region_bounds_how_far_a_method_goes(comparison: Comparison) -> None:
    few = Comparison(replace(comparison.experiment, num_samples=100))
    blind = next(contender for contender in CONTENDERS if contender.name == "nonrobust_xt")
    free, bounded = (few.trial(blind, "sde-dpmsolver++", 0.1, radius) for radius in (None, TRUST_RADIUS))
    assert free.class_share.value < 0.1  # it diverged
    assert bounded.class_share.value > 0.9


def test_passes_are_those_of_the_algorithms(comparison: Comparison) -> None:
    # The denoiser: forward, and back unless the gradient is at xt or detached. The classifier: forward and back for
    # each gradient; LGD has four draws, UGD one ascent more, and TFG four, the first from the gradient that it has.
    few = Comparison(replace(comparison.experiment, num_samples=3))
    by_name = {contender.name: contender for contender in CONTENDERS}
    expected = {
        "robust_xt": (1, 2),
        "nonrobust_xt": (1, 2),
        "nonrobust_x0": (2, 2),
        "nonrobust_x0_detached": (1, 2),
        "dps": (2, 2),
        "lgd": (2, 8),
        "freedom": (2, 2),
        "mpgd": (1, 2),
        "dsg": (2, 2),
        "ugd": (2, 4),
        "tfg": (2, 8),
    }
    for name, passes in expected.items():
        found = few.trial(by_name[name], "sde-dpmsolver++", by_name[name].scales[0])
        assert (found.denoiser_passes, found.classifier_passes) == passes, name
    assert few.trial(None, "ddpm", 0.0)[-2:] == (1, 0)


def test_the_table_has_a_row_for_each_number_and_the_arrays_what_is_drawn(known_answers: Path) -> None:
    table = pd.read_csv(known_answers / GROUND_TRUTH.name, keep_default_na=False)
    assert not table.duplicated(list(GROUND_TRUTH.key)).any()
    assert set(table["levels"]) == {"linear", "log_snr"}
    # 40 pairs of method and scale; exact samples; three readings; exact guidance and none with four numbers of steps.
    counts = table[table["mixture"] == "ring"]["quantity"].value_counts()
    levels = table[(table["mixture"] == "ring") & (table["quantity"] == "accuracy")]["t"].nunique()
    assert counts.to_dict() == {
        "distance": 41,
        "class_share": 40,
        "fullest_share": 40,
        "variance_kept": 41,
        "variance_within": 41,
        "accuracy": 3 * levels,
        "chain_error": 8,
    }
    assert sorted(set(table[table["quantity"] == "chain_error"]["steps"])) == [25, 50, 100, 200]
    with np.load(known_answers / GROUND_TRUTH_DRAWN.name) as arrays:
        # Distances in the table are those of the points beside it, here all of them, by another way to take the mean.
        mixture = ring().conditional(TARGET)
        points = arrays["ring_robust_xt_1"]
        assert points.shape == (20, 2)
        row = table[(table["mixture"] == "ring") & (table["method"] == "robust_xt") & (table["scale"] == "1.0")]
        value = float(row[row["quantity"] == "distance"]["value"].iloc[0])
        assert value == pytest.approx(EnergyDistance(mixture).measure(points).value, rel=1e-5)
        # A density integrates to one over the plane that is drawn, which holds nearly all of it.
        cell = (2.2 / 219) ** 2
        for name in ("ring_density_asked_for", "scattered_density_asked_for"):
            assert arrays[name].sum() * cell == pytest.approx(1, abs=1e-3)
        assert np.array_equal(arrays["ring_asked_for"], [True, False] * 4)


def test_a_mixtures_rows_are_the_same_whenever_they_are_measured(known_answers: Path) -> None:
    written = pd.read_csv(known_answers / GROUND_TRUTH.name, dtype=str, keep_default_na=False)
    experiment = Experiment("ring", ring(), num_samples=20, num_steps=50)
    again = pd.DataFrame(rows_of(experiment), columns=COLUMNS).astype({"t": "Int64"}).to_csv(index=False)
    pd.testing.assert_frame_equal(
        pd.read_csv(io.StringIO(again), dtype=str, keep_default_na=False), written[written["mixture"] == "ring"]
    )
