"""The Frechet distance against closed forms, clean-fid, and simulation."""

from typing import Any

import numpy as np
import pytest
from cleanfid.fid import fid_from_feats

from nonrobust_guidance.metrics.distances.frechet import (
    Gaussian,
    frechet_distance,
    frechet_interval,
    linear_interval,
    rank_warning,
    real_distance,
)


def test_one_dimension_is_the_squared_distance_of_means_and_deviations() -> None:
    a, b = np.array([[1.0], [3.0], [5.0]]), np.array([[0.0], [10.0]])  # N(3, 4) and N(5, 50)
    expected = (3 - 5) ** 2 + (2 - np.sqrt(50)) ** 2
    assert frechet_distance(Gaussian.fit(a), Gaussian.fit(b)) == pytest.approx(expected)
    # A second dimension that is constant, 1 and 4, adds 3 squared.
    a, b = np.hstack([a, np.full((3, 1), 1.0)]), np.hstack([b, np.full((2, 1), 4.0)])
    assert frechet_distance(Gaussian.fit(a), Gaussian.fit(b)) == pytest.approx(expected + 9)


def test_commuting_covariances_have_a_closed_form() -> None:
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    s, r = rng.uniform(0.5, 3, 6), rng.uniform(0.5, 3, 6)
    rows = whitened(rng, 50, 6) * s @ basis.T + 1.0
    reference = Gaussian(np.zeros(6), (basis * r**2) @ basis.T, 100)
    expected = 6 * 1.0 + np.sum((s - r) ** 2)
    assert frechet_distance(Gaussian.fit(rows), reference) == pytest.approx(expected)


def whitened(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Rows whose sample mean is exactly zero and whose sample covariance is exactly the identity."""
    rows = rng.normal(size=(n, d))
    rows -= rows.mean(axis=0)
    return rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows, rowvar=False))).T


@pytest.mark.parametrize(("n", "d"), [(20, 64), (64, 64), (65, 64), (500, 32), (3, 2)])
def test_both_forms_agree_with_clean_fid(n: int, d: int) -> None:
    rng = np.random.default_rng(n * d)
    reference = np.maximum(rng.normal(size=(700, d)) @ rng.normal(size=(d, d)) * 0.2 + 0.3, 0)
    rows = np.maximum(rng.normal(size=(n, d)) * rng.uniform(0.1, 2, d), 0)
    expected = float(fid_from_feats(rows, reference))
    assert frechet_distance(Gaussian.fit(rows), Gaussian.fit(reference)) == pytest.approx(expected, rel=1e-6)
    # All rows as one draw of real images.
    assert real_distance(rows, Gaussian.fit(reference), n, seed=0) == pytest.approx(expected, rel=1e-6)


def test_identical_rows_have_the_distance_of_a_point() -> None:
    reference = Gaussian.fit(np.random.default_rng(1).normal(size=(300, 8)))
    rows = np.full((64, 8), 2.0)
    expected = np.sum((2 - reference.mean) ** 2) + np.trace(reference.covariance)
    ours = Gaussian.fit(rows)
    distance = frechet_distance(ours, reference)
    assert distance == pytest.approx(expected)
    for interval in (
        frechet_interval(rows, ours, reference, distance, 20, seed=0),
        linear_interval(rows, ours, reference, distance),
    ):
        assert interval == pytest.approx((expected, expected))


def bootstrapped(rows: np.ndarray, reference: Gaussian, estimate: float, seed: int) -> tuple[float, float]:
    return frechet_interval(rows, Gaussian.fit(rows), reference, estimate, 100, seed)


def linearized(rows: np.ndarray, reference: Gaussian, estimate: float, seed: int) -> tuple[float, float]:
    return linear_interval(rows, Gaussian.fit(rows), reference, estimate)


@pytest.mark.parametrize("interval", [bootstrapped, linearized])
@pytest.mark.parametrize(("n", "d"), [(32, 32), (200, 8), (40, 80)])
def test_interval_covers_what_the_estimator_yields_on_average(n: int, d: int, interval: Any) -> None:
    rng = np.random.default_rng(d)
    reference = Gaussian(np.zeros(d), np.diag(1 / np.arange(1, d + 1)), 10_000)
    scale, shift = np.sqrt(1.4 * np.diag(reference.covariance)), 0.4

    def draw() -> np.ndarray:
        return rng.normal(size=(n, d)) * scale + shift

    average = np.mean([frechet_distance(Gaussian.fit(draw()), reference) for _ in range(300)])
    covered = []
    for trial in range(300):
        rows = draw()
        estimate = frechet_distance(Gaussian.fit(rows), reference)
        low, high = interval(rows, reference, estimate, trial)
        assert low <= estimate <= high
        covered.append(low <= average <= high)
    assert np.mean(covered) >= 0.92


def test_a_few_of_many_rows_give_the_interval_of_all() -> None:
    rng = np.random.default_rng(0)
    reference = Gaussian(np.zeros(6), np.eye(6), 10_000)
    rows = rng.normal(size=(20_000, 6)) * 1.3 + 0.2
    ours = Gaussian.fit(rows)
    estimate = frechet_distance(ours, reference)
    few = frechet_interval(rows[:4000], ours, reference, estimate, 100, seed=0)
    low, high = frechet_interval(rows, ours, reference, estimate, 100, seed=0)
    assert few == pytest.approx((low, high), abs=0.15 * (high - low))
    # One dimension by hand: d = m^2 + (s - 1)^2, whose first order is 2 m (x - m) + (1 - 1 / s) (x - m)^2.
    x, one = rows[:, :1], Gaussian(np.zeros(1), np.eye(1), 10_000)
    m, s = x.mean(), x.std(ddof=1)
    deviation = np.std(2 * m * (x - m) + (1 - 1 / s) * (x - m) ** 2, ddof=1) / np.sqrt(len(x))
    low, high = linear_interval(x, Gaussian.fit(x), one, 1.0)
    assert (high - low) / 2 == pytest.approx(1.959964 * deviation, rel=1e-6)


def test_what_real_images_score_is_of_what_there_is() -> None:
    features = np.array([[0.0, 0.0], [2.0, 0.0]])  # mean 1, variance 2
    reference = Gaussian(np.array([4.0, 0.0]), np.diag([8.0, 0.0]), 100)
    assert real_distance(features, reference, 64, 0) == pytest.approx(9 + 2)
    # Drawn by pairs from three points: 1 / 3 of the pairs each have means 1, 2, 3 and variances 2, 8, 2.
    three, mean = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]), Gaussian(np.zeros(2), np.diag([8.0, 0.0]), 9)
    values = {1 + 2.0, 4 + 0.0, 9 + 2.0}
    assert min(values) <= real_distance(three, mean, 2, 0) <= max(values)


def test_two_rows_at_least() -> None:
    with pytest.raises(ValueError, match="two rows"):
        Gaussian.fit(np.zeros((1, 4)))


def test_warning_where_a_covariance_has_no_full_rank() -> None:
    assert rank_warning(65, 5000, 64) == ""
    assert rank_warning(64, 5000, 64).startswith("64 samples for 64 feature dimensions")
    assert rank_warning(64, 20, 64).startswith("64 samples and 20 reference images for 64")
