"""Features that pass by in batches, against all of them at once."""

import numpy as np
import pytest

from nonrobust_guidance.metrics.distances.features import Moments, choose_rows, summarize_features


def rows(n: int = 1000, d: int = 5) -> np.ndarray:
    # A mean far from zero, where summed squares would lose all figures.
    return (np.random.default_rng(0).normal(size=(n, d)) * [1, 2, 3, 4, 5] + 1e6).astype(np.float64)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_give_the_mean_and_covariance_of_all(size: int) -> None:
    x = rows()
    moments = Moments()
    for start in range(0, len(x), size):
        moments.add(x[start : start + size])
    gaussian = moments.gaussian()
    assert gaussian.n == 1000
    np.testing.assert_allclose(gaussian.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(gaussian.covariance, np.cov(x - 1e6, rowvar=False), rtol=1e-7, atol=1e-7)


def test_classes_merge_to_the_whole() -> None:
    x, labels = rows(), np.random.default_rng(1).integers(0, 3, 1000)
    whole = Moments()
    for label in range(4):  # the last is empty
        part = Moments()
        part.add(x[labels == label])
        whole.merge(part)
    np.testing.assert_allclose(whole.gaussian().covariance, np.cov(x - 1e6, rowvar=False), rtol=1e-7, atol=1e-7)


def test_one_row_is_no_gaussian() -> None:
    moments = Moments()
    moments.add(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="two rows"):
        moments.gaussian()


def test_the_rows_kept_are_a_fixed_random_few() -> None:
    x = np.arange(1000.0)[:, None]
    few = [summarize_features(np.array_split(x, parts), 1000, 50, seed=3).rows[:, 0] for parts in (1, 13)]
    np.testing.assert_array_equal(few[0], few[1])
    assert len(set(few[0])) == 50
    other = summarize_features([x], 1000, 50, seed=4).rows[:, 0]
    assert set(few[0]) != set(other)
    # Drawn from everywhere: their mean is that of all within five standard errors.
    assert abs(few[0].mean() - 499.5) < 5 * 288.7 / np.sqrt(50)


def test_where_there_are_few_enough_all_are_kept_in_order() -> None:
    x = np.arange(20.0)[:, None]
    summary = summarize_features(np.array_split(x, 3), 20, 20, seed=0)
    np.testing.assert_array_equal(summary.rows, x)
    assert summary.gaussian.n == 20
    assert choose_rows(21, 20, 0).sum() == 20
