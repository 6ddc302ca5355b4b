"""Numbers over seeds against scipy's own interval, summed counts, and the samples themselves."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nonrobust_guidance.metrics.statistics.intervals import wilson_interval
from nonrobust_guidance.metrics.statistics.seeds import (
    mean_over_cells,
    mean_over_seeds,
    probability_over_seeds,
    share_over_seeds,
)


def test_several_seeds_add_the_variances_of_their_cells() -> None:
    rows = pd.DataFrame({"fid": [3.0, 5.0], "fid_low": [0.0, 1.0], "fid_high": [15.0, 10.0]})
    # Below 3 and 4 squared are 25, above 12 and 5 squared are 169; the mean of two has half of each root.
    assert mean_over_seeds(rows, "fid") == pytest.approx((4, 4 - 5 / 2, 4 + 13 / 2))


def test_several_seeds_without_intervals_have_students() -> None:
    values = [3.0, 4.0, 8.0]
    rows = pd.DataFrame({"fid": values})
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_over_seeds(rows, "fid") == pytest.approx((5, expected.low, expected.high))


def test_one_seed_has_its_own_interval_or_none() -> None:
    rows = pd.DataFrame({"fid": [3.0], "fid_low": [2.0], "fid_high": [5.0], "recall_judge": [0.5]})
    assert mean_over_seeds(rows, "fid") == (3, 2, 5)
    recall = mean_over_seeds(rows, "recall_judge")
    assert recall.value == 0.5
    assert math.isnan(recall.low)
    assert math.isnan(recall.high)


def test_shares_pool_their_counts() -> None:
    rows = pd.DataFrame({"accuracy": [0.5, 1.0], "n": [10, 30]})
    assert share_over_seeds(rows, "accuracy") == (35 / 40, *wilson_interval(35, 40))


def test_targets_are_averaged_after_seeds() -> None:
    rows = pd.DataFrame(
        {"target": ["a", "a", "b"], "fid": [1.0, 3.0, 10.0], "fid_low": 0.0, "fid_high": [2.0, 6.0, 12.0]}
    )
    value, low, high = mean_over_cells(rows, "fid")
    assert value == 6
    # Of the first target the seeds reach 1 and 3 below themselves, and of the second the only one 10 below and 2 above.
    assert low == pytest.approx(6 - math.hypot(math.hypot(1, 3) / 2, 10) / 2)
    assert high == pytest.approx(6 + math.hypot(math.hypot(1, 3) / 2, 2) / 2)


def test_the_deviation_of_a_probability_is_that_of_all_samples() -> None:
    rng = np.random.default_rng(0)
    cells = [rng.uniform(size=n) for n in (20, 50)]
    rows = pd.DataFrame(
        [{"n": len(p), "probability_self_mean": p.mean(), "probability_self_std": p.std()} for p in cells]
    )
    mean, deviation = probability_over_seeds(rows, "self")
    assert deviation == pytest.approx(np.concatenate(cells).std())
    assert mean.low < mean.value < mean.high
    alone, deviation = probability_over_seeds(rows.iloc[:1], "self")
    assert deviation == pytest.approx(cells[0].std())
    # Wilson's interval at the n at which a share would have this mean's variance.
    m, s = cells[0].mean(), cells[0].std(ddof=1)
    effective = 20 * m * (1 - m) / s**2 * (1.959964 / stats.t.ppf(0.975, 19)) ** 2
    z2 = 1.959964**2
    middle = (m + z2 / (2 * effective)) / (1 + z2 / effective)
    half = math.sqrt(z2 * (m * (1 - m) + z2 / (4 * effective)) / effective) / (1 + z2 / effective)
    assert alone == pytest.approx((m, middle - half, middle + half), rel=1e-4)
