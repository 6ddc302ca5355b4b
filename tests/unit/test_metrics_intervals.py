"""Intervals against scipy, published worked cases and coverage in simulation."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from nonrobust_guidance.metrics.statistics.intervals import (
    Interval,
    bootstrap_interval,
    difference,
    mean_of,
    resampled_interval,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 64), (64, 64), (1, 64), (63, 64), (7, 10), (481, 512)]
)
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilsons_ends_are_the_shares_at_which_the_score_test_just_accepts(successes: int, n: int, level: float) -> None:
    z, share = NormalDist().inv_cdf((1 + level) / 2), successes / n
    for end in wilson_interval(successes, n, level):
        assert (share - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / n, abs=1e-12)
    low, high = wilson_interval(successes, n, level)
    assert 0 <= low <= share <= high <= 1
    assert low < high


def test_wilson_of_all_successes_is_a_closed_form() -> None:
    z2 = 1.959963984540054**2
    low, high = wilson_interval(64, 64)
    assert low == pytest.approx(64 / (64 + z2))
    assert high == 1.0


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 4), (5, 4)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no interval"):
        wilson_interval(successes, n)


def share(successes: int, n: int) -> Interval:
    return Interval(successes / n, *wilson_interval(successes, n))


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),  # Newcombe 1998, table II, method 10, contrasts (a) to (h)
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_difference_of_shares_is_newcombes(a: tuple[int, int], b: tuple[int, int], low: float, high: float) -> None:
    found = difference(share(*a), share(*b))
    assert found.value == pytest.approx(a[0] / a[1] - b[0] / b[1])
    assert found[1:] == pytest.approx((low, high), abs=6e-5)


def test_mean_of_normal_intervals_shrinks_with_the_root() -> None:
    mean = mean_of([Interval(1.0, 0.4, 1.6), Interval(3.0, 2.2, 3.8)])
    assert mean == pytest.approx((2.0, 2.0 - math.hypot(0.6, 0.8) / 2, 2.5))
    with pytest.raises(ValueError, match="no numbers"):
        mean_of([])


def test_bootstrap_of_a_mean_has_the_normal_width_and_holds_the_estimate() -> None:
    rows = np.random.default_rng(3).normal(5, 2, size=400)
    low, high = bootstrap_interval(rows.mean(), lambda i: float(rows[i].mean()), 400, resamples=2000, seed=0)
    assert low < rows.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * rows.std() / 20, rel=0.08)


def test_bootstrap_is_seeded_and_never_below_zero() -> None:
    rows = np.array([0.0, 0.0, 0.0, 10.0])
    arguments = (0.1, lambda i: float(rows[i].mean()), 4, 50)
    assert bootstrap_interval(*arguments, seed=1) == bootstrap_interval(*arguments, seed=1)
    assert bootstrap_interval(*arguments, seed=1) != bootstrap_interval(*arguments, seed=2)
    assert bootstrap_interval(*arguments, seed=1)[0] == 0.0


# The standard errors of mean and median of n normal values are 1 and sqrt(pi / 2) over the root of n.
@pytest.mark.parametrize(("statistic", "error"), [(np.mean, 1.0), (np.median, math.sqrt(math.pi / 2))])
def test_resampled_intervals_are_as_wide_as_theory_says(statistic: Any, error: float) -> None:
    values = NormalDist().inv_cdf
    points = np.array([values((i + 0.5) / 2000) for i in range(2000)])  # the normal's own quantiles: no chance in them
    found = resampled_interval(points, statistic, 2000, 0)
    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error / math.sqrt(2000), rel=0.1)
    assert resampled_interval(np.append(points, [math.nan, math.inf]), statistic, 2000, 0) == found


def test_resampled_intervals_of_few_values() -> None:
    assert resampled_interval(np.full(4, 2.0), np.median, 20, 0) == Interval(2.0, 2.0, 2.0)
    one, none = (resampled_interval(np.array(values), np.mean, 20, 0) for values in ([3.0, math.nan], [math.nan]))
    assert one.value == 3.0
    assert all(math.isnan(end) for end in (one.low, one.high, *none))
