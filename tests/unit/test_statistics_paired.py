"""Paired comparisons against published intervals, McNemar's test, a constrained likelihood, and scipy's paired t."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from nonrobust_guidance.metrics.statistics.paired import Pairs, compare, fieller, pool, share_difference
from nonrobust_guidance.metrics.statistics.resampled import of_rows, replicate, standard_interval

Z = 1.959963984540054


def test_airway_reactivity_before_and_after_transplantation() -> None:
    """Fagerland, Lydersen and Laake (2014), Statistics in Medicine 33:2850: Tango's interval is -0.517 to -0.026."""
    found = share_difference([Pairs(both=1, one=1, other=7, neither=12)])
    assert found == pytest.approx((-6 / 21, -0.517, -0.026), abs=5e-4)


def test_no_discordant_pair_is_a_closed_form() -> None:
    end = Z**2 / (44 + Z**2)
    assert share_difference([Pairs(40, 0, 0, 4)]) == pytest.approx((0, -end, end))


def test_zero_is_excluded_where_mcnemars_test_rejects() -> None:
    for one, other in itertools.product(range(0, 15), repeat=2):
        if one + other:
            found = share_difference([Pairs(5, one, other, 3)])
            rejected = (one - other) ** 2 / (one + other) > stats.chi2.ppf(0.95, 1)
            assert (found.low > 0 or found.high < 0) == rejected, (one, other)


@pytest.mark.parametrize("cell", [(1, 1, 7, 12), (30, 9, 2, 23), (0, 5, 0, 3)])
def test_ends_are_differences_that_the_likeliest_table_just_accepts(cell: tuple[int, int, int, int]) -> None:
    pairs = Pairs(*cell)
    rest = pairs.both + pairs.neither
    for delta in share_difference([pairs])[1:]:

        def unlikely(q: float, delta: float = delta) -> float:
            p = q + delta, q, 1 - 2 * q - delta
            counts = pairs.one, pairs.other, rest
            return -sum(k * math.log(max(x, 1e-300)) for k, x in zip(counts, p, strict=True) if k)

        bounds = max(0.0, -delta), (1 - delta) / 2
        q = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        error = math.sqrt((2 * q + delta - delta**2) / pairs.n)
        assert abs(pairs.difference - delta) / error == pytest.approx(Z, rel=1e-4)


def test_targets_alike_are_as_good_as_one_and_swapping_turns_the_sign() -> None:
    one = share_difference([Pairs(40, 16, 4, 20)])
    four = share_difference([Pairs(10, 4, 1, 5)] * 4)
    assert four == pytest.approx(one, abs=1e-9)
    swapped = share_difference([Pairs(10, 1, 4, 5)] * 4)
    assert swapped == pytest.approx((-one.value, -one.high, -one.low), abs=1e-9)
    assert share_difference([Pairs(0, 9, 0, 0)] * 2).high == 1.0
    opposed = share_difference([Pairs(0, 9, 0, 0), Pairs(0, 0, 9, 0)])
    assert opposed.value == 0
    assert opposed.low == pytest.approx(-opposed.high)


def test_weights_are_relative() -> None:
    strata = [Pairs(10, 4, 1, 5), Pairs(2, 9, 3, 6)]
    assert share_difference(strata, [2, 6]).value == pytest.approx(0.25 * 3 / 20 + 0.75 * 6 / 20)
    assert share_difference(strata, [2, 6]) == pytest.approx(share_difference(strata, [1, 3]))


def test_pairs_are_counted_and_pooled() -> None:
    one, other = np.array([True, True, False, False, True]), np.array([True, False, True, False, False])
    counted = Pairs.count(one, other)
    assert counted == Pairs(both=1, one=2, other=1, neither=1)
    assert (counted.n, counted.difference, counted.discordant) == (5, 0.2, 0.6)
    assert pool([counted, Pairs(1, 0, 0, 2)]) == Pairs(2, 2, 1, 3)
    with pytest.raises(ValueError, match="make no pairs"):
        Pairs.count(one, other[:4])
    for counts in ((0, 0, 0, 0), (1, -1, 0, 0)):
        with pytest.raises(ValueError, match="no counts"):
            Pairs(*counts)


def test_means_of_pairs_have_students_paired_interval() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(5, 2, size=40)
    b = 0.8 * a + rng.normal(0, 1, size=40)
    one, other = ((lambda i, x=x: x[i].mean(axis=1)) for x in (a, b))
    found = compare(one, other, 40, 20_000, seed=0)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.difference == pytest.approx((a.mean() - b.mean(), expected.low, expected.high), abs=0.02)
    # Fieller: the ratio's ends are those at which the paired test of a - r b just accepts.
    for end in found.ratio[1:]:
        assert stats.ttest_1samp(a - end * b, 0).pvalue == pytest.approx(0.05, abs=0.004)


def test_fiellers_ends_by_hand() -> None:
    # (10 - 5 r)^2 = 4 + r^2 is 24 r^2 - 100 r + 96 = 0.
    assert fieller(10.0, 5.0, np.diag([4.0, 1.0])) == pytest.approx((2, 1.5, 8 / 3))
    assert fieller(10.0, 5.0, np.diag([4.0, 25.0]))[1:] == (-math.inf, math.inf)
    assert math.isnan(fieller(1.0, 0.0, np.eye(2)).value)


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.35, 0.5, 1.0])
def test_the_ratio_excludes_one_where_the_difference_excludes_zero(shift: float) -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(3, 1, size=30)
    b = a + rng.normal(shift, 1, size=30)
    one, other = ((lambda i, x=x: x[i].mean(axis=1)) for x in (a, b))
    found = compare(one, other, 30, 200, seed=0)
    assert (found.difference.low > 0 or found.difference.high < 0) == (found.ratio.low > 1 or found.ratio.high < 1)


def test_both_sides_are_resampled_alike() -> None:
    rows = np.random.default_rng(2).normal(size=(20, 3))
    norm = of_rows(rows, lambda chosen: float(np.linalg.norm(chosen.mean(axis=0))))
    found = compare(norm, norm, 20, 50, seed=0)
    assert found.difference == (0, 0, 0)
    assert found.ratio == pytest.approx((1, 1, 1), abs=1e-6)
    values, replicates = replicate([norm, norm], 20, 50, seed=0)
    assert values[0] == pytest.approx(np.linalg.norm(rows.mean(axis=0)))
    assert (replicates[0] == replicates[1]).all()
    assert len(set(replicates[0])) == 50


def test_a_mean_has_students_interval() -> None:
    x = np.random.default_rng(3).exponential(size=12)
    found = standard_interval(lambda i: x[i].mean(axis=1), 12, 20_000, seed=0)
    expected = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    assert found == pytest.approx((x.mean(), expected.low, expected.high), abs=0.02)
    for n, resamples in ((1, 10), (10, 1)):
        with pytest.raises(ValueError, match="two rows and two resamples"):
            standard_interval(lambda i: x[i].mean(axis=1), n, resamples, seed=0)
