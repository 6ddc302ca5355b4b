"""P-values, Holm's correction, seeds as clusters, medians of few and the n that is needed, by hand and by scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.statistics.medians import median_interval
from nonrobust_guidance.metrics.statistics.needed import samples_needed
from nonrobust_guidance.metrics.statistics.several import Side, holm, over_seeds, p_value

Z = 1.959963984540054


def normal(value: float, error: float) -> Interval:
    return Interval(value, value - Z * error, value + Z * error)


@pytest.mark.parametrize("z", [-3.0, -1.0, 0.0, 0.5, 2.5])
def test_p_values_of_normal_intervals_are_scipys(z: float) -> None:
    found = normal(4 + 2 * z, 2.0)
    assert p_value(found, 4) == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert p_value(found, 4, Side.ABOVE) == pytest.approx(stats.norm.sf(z))
    assert p_value(found, 4, Side.BELOW) == pytest.approx(stats.norm.cdf(z))


def test_the_end_that_faces_the_threshold_decides() -> None:
    lopsided = Interval(0.5, 0.4, 0.8)
    assert p_value(lopsided, 0.4) == pytest.approx(0.05)
    assert p_value(lopsided, 0.8) == pytest.approx(0.05)
    assert p_value(lopsided, 0.4, Side.ABOVE) == pytest.approx(0.025)
    assert p_value(lopsided, 0.8, Side.BELOW) == pytest.approx(0.025)
    point = Interval(0.5, 0.5, 0.5)
    assert [p_value(point, threshold) for threshold in (0.4, 0.5, 0.6)] == [0, 1, 0]
    assert math.isnan(p_value(Interval(0.5, math.nan, math.nan), 0.4))


def test_holms_steps_by_hand() -> None:
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04 that may not fall below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.6]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
    for wrong in (math.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match="P-values"):
            holm([0.1, wrong])


def test_seeds_further_apart_than_their_intervals_have_students_interval() -> None:
    values = [3.0, 4.0, 8.0, 2.0, 6.0]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert over_seeds([[normal(x, 0.01) for x in values]]) == pytest.approx((4.6, expected.low, expected.high))
    two = stats.ttest_1samp(values[:2], 0).confidence_interval(0.95)
    assert over_seeds([[normal(x, 9.0) for x in values[:2]]]) == pytest.approx((3.5, two.low, two.high))


def test_seeds_that_agree_have_no_narrower_interval_than_their_samples_allow() -> None:
    # Four targets of two seeds: the variance of the mean is (4 + 1) / 2 over 8.
    targets = [[normal(5.0, 2.0), normal(5.0, 1.0)]] * 4
    half = Z * math.sqrt(2.5 / 8)
    assert over_seeds(targets) == pytest.approx((5, 5 - half, 5 + half))


def test_targets_add_their_degrees_of_freedom() -> None:
    # Two seeds two apart have the variance 2, and their mean 1; that of four such targets is a quarter of it.
    targets = [[normal(x - 1, 0.1), normal(x + 1, 0.1)] for x in (1.0, 2.0, 3.0, 4.0)]
    half = stats.t.ppf(0.975, 4) * math.sqrt(1 / 4)
    assert over_seeds(targets) == pytest.approx((2.5, 2.5 - half, 2.5 + half))
    with pytest.raises(ValueError, match="two seeds of every target"):
        over_seeds([targets[0], targets[1][:1]])
    with pytest.raises(ValueError, match="two seeds of every target"):
        over_seeds([])


def test_the_median_of_six_values_by_hand() -> None:
    # All six enclose it with 1 - 2/64 and the inner four with 1 - 14/64: 0.1 of the way in level, 0.5/1.4 in values.
    found = median_interval(np.array([4.0, 1.0, 6.0, 3.0, 5.0, 2.0, math.nan]))
    assert found == pytest.approx((3.5, 1 + 0.5 / 1.4, 6 - 0.5 / 1.4))
    few = median_interval(np.arange(5.0))
    assert few.value == 2
    assert math.isnan(few.low)
    assert math.isnan(median_interval(np.array([])).value)


def test_the_median_of_many_values_is_between_their_binomial_ranks() -> None:
    found = median_interval(np.arange(1.0, 1002.0))
    assert found.value == 501
    assert found.high - found.low == pytest.approx(2 * Z * math.sqrt(1001) / 2, rel=0.01)


def test_connors_n_by_hand() -> None:
    # (1.95996 sqrt(0.3) + 0.84162 sqrt(0.29))^2 / 0.01 = 233.1
    assert samples_needed(0.1, 0.3) == 234
    # (1.95996 sqrt(0.4) + 1.28155 sqrt(0.36))^2 / 0.04 = 100.8
    assert samples_needed(-0.2, 0.4, power=0.9) == 101
    assert samples_needed(0.1, 0.3, targets=4) == 59


@pytest.mark.parametrize(("difference", "discordant", "targets"), [(0.0, 0.3, 1), (0.4, 0.3, 1), (0.1, 1.2, 1)])
def test_no_n_is_needed_for_what_cannot_be(difference: float, discordant: float, targets: int) -> None:
    with pytest.raises(ValueError, match="No n decides"):
        samples_needed(difference, discordant, targets)
    with pytest.raises(ValueError, match="at least one target"):
        samples_needed(0.1, 0.3, 0)
