"""Score intervals against scipy's Wilson interval and the equations that their ends solve."""

import numpy as np
import pytest
from scipy import stats

from nonrobust_guidance.metrics.statistics.score import correlate, mean_probability, mean_share

Z = 1.959963984540054


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 10), (1, 64), (63, 64), (200, 256)])
def test_one_stratum_has_wilsons_interval(successes: int, n: int) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert mean_share([successes], [n]) == pytest.approx((successes / n, expected.low, expected.high), abs=1e-9)


def test_strata_that_are_alike_are_as_good_as_one() -> None:
    expected = stats.binomtest(12, 40).proportion_ci(0.95, method="wilson")
    assert mean_share([3] * 4, [10] * 4) == pytest.approx((0.3, expected.low, expected.high), abs=1e-9)


def test_an_end_is_z_standard_errors_away_where_the_shares_are_shifted_to_it() -> None:
    found = mean_share([8, 15], [20, 20], weights=[3, 1])
    assert found.value == pytest.approx(0.75 * 0.4 + 0.25 * 0.75)
    for end in found[1:]:
        shift = end - found.value
        p, q = 0.4 + shift, 0.75 + shift
        assert shift**2 == pytest.approx(Z**2 * (9 * p * (1 - p) + q * (1 - q)) / 16 / 20)


def test_strata_that_err_together_are_as_good_as_one_of_them() -> None:
    one = mean_share([8], [20])
    assert mean_share([8, 8], [20, 20], correlations=np.ones((2, 2))) == pytest.approx(one, abs=1e-9)
    assert mean_share([8, 8], [20, 20], correlations=np.array([[1.0, -1.0], [-1.0, 1.0]])) == (0.4, 0.4, 0.4)


def test_zeros_and_ones_have_wilsons_interval_with_students_quantile() -> None:
    found = mean_probability(0.75, np.sqrt(0.75 * 0.25), 16)
    quantile = stats.t.ppf(0.975, 15)
    for end in found[1:]:
        assert (0.75 - end) ** 2 == pytest.approx(quantile**2 * end * (1 - end) / 15)
    # Half the deviation is worth four times as many numbers.
    closer = mean_probability(0.75, np.sqrt(0.75 * 0.25) / 2, 16)
    for end in closer[1:]:
        assert (0.75 - end) ** 2 == pytest.approx(quantile**2 * end * (1 - end) / 60)
    assert mean_probability(0.5, 0.0, 9) == (0.5, 0.5, 0.5)
    assert mean_probability(1.0, 0.0, 9) == pytest.approx((1, 8 / (8 + stats.t.ppf(0.975, 8) ** 2), 1))


def test_correlations_are_numpys_and_none_of_what_does_not_vary() -> None:
    values = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    found = correlate(values)
    assert found[:2, :2] == pytest.approx(np.corrcoef(values[:2]))
    assert found[2].tolist() == [0.0, 0.0, 1.0]


def test_impossible_counts_are_refused() -> None:
    for successes, n in (([3], [2]), ([-1], [2]), ([0], [0]), ([1, 1], [2])):
        with pytest.raises(ValueError, match="no interval"):
            mean_share(successes, n)
    with pytest.raises(ValueError, match="do not fit"):
        mean_share([], [])
    with pytest.raises(ValueError, match="do not fit"):
        mean_share([1, 1], [2, 2], weights=[1.0, 0.0])
    for mean, n in ((0.5, 1), (1.5, 4)):
        with pytest.raises(ValueError, match="no interval"):
            mean_probability(mean, 0.1, n)
