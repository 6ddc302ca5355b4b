"""Estimates that move together, against the same bootstrap done otherwise, and against normal theory."""

import math

import numpy as np
import pytest
from scipy import stats

from nonrobust_guidance.metrics.distances.frechet import Gaussian, estimate_distance, frechet_distance, frechet_interval
from nonrobust_guidance.metrics.statistics.estimates import (
    Estimate,
    combine,
    mean_of_independent,
    mean_of_same_noise,
)
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.statistics.needed import samples_for_share, samples_to_tell
from nonrobust_guidance.metrics.statistics.paired import Pairs, compare, share_difference, share_difference_statistic
from nonrobust_guidance.metrics.statistics.resampled import of_rows

Z = 1.959963984540054


def test_pairs_of_estimates_compare_as_two_statistics_do() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.normal(shift, 1, size=(40, 3)) for shift in (0.5, 0.8)]
    reference = Gaussian(np.zeros(3), np.eye(3), 1000)

    def distance(x: np.ndarray) -> float:
        return frechet_distance(Gaussian.fit(x), reference)

    expected = compare(*(of_rows(x, distance) for x in rows), 40, 50, seed=7)
    one, other = (estimate_distance(x, Gaussian.fit(x), reference, 50, np.random.default_rng(7)) for x in rows)
    found = one.compare(other)
    assert found.difference == pytest.approx(expected.difference, rel=1e-6)
    assert found.ratio == pytest.approx(expected.ratio, rel=1e-6)


def test_many_rows_move_by_their_influence() -> None:
    x, reference = np.random.default_rng(1).normal(0.3, 1.2, size=(300, 260)), Gaussian(np.zeros(260), np.eye(260), 900)
    fit = Gaussian.fit(x)
    found = estimate_distance(x, fit, reference, 50, np.random.default_rng(0))
    assert len(found.deviations) == 300
    assert found.interval[1:] == pytest.approx(frechet_interval(x, fit, reference, found.value, 50, 0))
    assert found.compare(found).difference == pytest.approx((0, 0, 0), abs=1e-9)


def test_means_over_what_shares_noise_and_what_does_not() -> None:
    a, b = (Estimate(value, np.array(moved)) for value, moved in ((1.0, [3.0, 0.0]), (5.0, [3.0, 4.0])))
    # Shared: deviations (3, 2), whose length is sqrt(13). Independent: halves 3 and 5 add to sqrt(34) / 2.
    assert mean_of_same_noise([a, b]).interval == pytest.approx((3, 3 - math.sqrt(13), 3 + math.sqrt(13)))
    half = math.sqrt(34) / 2
    assert mean_of_independent([a, b]).interval == pytest.approx((3, 3 - half, 3 + half))


def test_a_multiple_is_subtracted_by_way_of_the_difference() -> None:
    rng = np.random.default_rng(2)
    a, b = (Estimate(float(rng.normal()), rng.normal(size=9)) for _ in range(2))
    found = combine(a.interval, b.interval, a.compare(b).difference, 1.5)
    assert found == pytest.approx(Estimate(a.value - 1.5 * b.value, a.deviations - 1.5 * b.deviations).interval)
    alone = Interval(2.0, 1.0, 3.0)
    assert combine(alone, alone, Interval(0.0, 0.0, 0.0), 1.0) == pytest.approx((0, 0, 0))


def test_the_statistic_of_one_stratum_is_mcnemars() -> None:
    assert share_difference_statistic([Pairs(5, 9, 3, 7)]) == pytest.approx(6 / math.sqrt(12))
    assert share_difference_statistic([Pairs(5, 3, 9, 7)]) == pytest.approx(-6 / math.sqrt(12))
    assert share_difference_statistic([Pairs(5, 0, 0, 7)]) == 0.0


@pytest.mark.parametrize("strata", [[Pairs(30, 12, 3, 19)], [Pairs(30, 9, 3, 22), Pairs(10, 12, 4, 38)]])
def test_the_statistic_is_beyond_z_where_the_interval_leaves_out_zero(strata: list[Pairs]) -> None:
    z = share_difference_statistic(strata)
    level = 1 - 2 * float(stats.norm.sf(abs(z)))
    assert share_difference(strata, level=level).low == pytest.approx(0, abs=1e-9)


def test_the_n_of_a_share_is_that_of_the_normal_test() -> None:
    n = samples_for_share(0.6, 0.5)
    error, spread = math.sqrt(0.25 / n), math.sqrt(0.24 / n)
    assert stats.norm.sf((0.5 + Z * error - 0.6) / spread) == pytest.approx(0.8, abs=0.002)
    with pytest.raises(ValueError, match=r"tells a share of 0\.5"):
        samples_for_share(0.5, 0.5)


def test_the_n_of_a_width_makes_a_normal_number_told_in_four_of_five_runs() -> None:
    # Half-width 1.96 at n = 100 is a deviation of 10 a sample.
    n = samples_to_tell(Z, 100, 2.0)
    assert stats.norm.sf(Z - 2.0 / (10 / math.sqrt(n))) == pytest.approx(0.8, abs=0.002)
    with pytest.raises(ValueError, match="No n tells"):
        samples_to_tell(math.inf, 100, 2.0)
