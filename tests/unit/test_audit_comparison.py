"""The audit's four answers, on tables made by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from nonrobust_guidance.audit.comparison import Agreement, compare_tables, count_intervals, widening_for
from nonrobust_guidance.metrics.statistics.intervals import wilson_interval

KEY = {"method": "ema", "scale": "3", "target": "ball", "seed": "0"}
ROW = KEY | {
    "n": "100",
    "accuracy": "0.8",
    "accuracy_low": "0.7",
    "accuracy_high": "0.9",
    "density": "0.5",
    "none_share": "0.1",
    "warning": "",
}


def table(*rows: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, dtype=str)


def agreement(column: str, fresh: str, before: dict[str, str] | None = None, widening: float = 1.0) -> Agreement:
    before = before or ROW
    (compared,) = compare_tables("metrics.csv", table(before), table(before | {column: fresh}), widening)
    assert compared.column == (column if fresh != before[column] else "")
    return compared.agreement


@pytest.mark.parametrize(
    ("column", "fresh", "expected"),
    [
        ("accuracy", "0.8", Agreement.BIT_EQUAL),
        # The same number in another text is not the same bits, but it is the same number.
        ("accuracy", "0.80", Agreement.ROUNDING),
        # Half the interval is 0.1, so rounding may move it by 0.005.
        ("accuracy", "0.8049", Agreement.ROUNDING),
        ("accuracy", "0.8051", Agreement.INTERVAL),
        # Both move by themselves: the interval of the difference is 0.1 * sqrt(2) to either side.
        ("accuracy", "0.941", Agreement.INTERVAL),
        ("accuracy", "0.943", Agreement.DIFFERENT),
        ("accuracy", "0.657", Agreement.DIFFERENT),
        ("accuracy", "", Agreement.DIFFERENT),
        ("accuracy", "nan", Agreement.DIFFERENT),
        # A thousandth of the number, where there is no interval; further away it is no reason to fail.
        ("density", "0.5004", Agreement.ROUNDING),
        ("density", "0.9", Agreement.INTERVAL),
        # Shares have Wilson's interval: 10 of 100 is no 12, may be 15, and cannot be 60.
        ("none_share", "0.15", Agreement.INTERVAL),
        ("none_share", "0.6", Agreement.DIFFERENT),
        ("n", "101", Agreement.DIFFERENT),
        ("warning", "few", Agreement.DIFFERENT),
    ],
)
def test_a_column_decides_how_far_a_row_agrees(column, fresh, expected):
    moved = dict(ROW)
    if column == "accuracy" and fresh not in ("", "nan"):
        # Its interval moves with it.
        by = float(fresh) - 0.8
        moved |= {"accuracy_low": f"{0.7 + by}", "accuracy_high": f"{0.9 + by}"}
    (compared,) = compare_tables("metrics.csv", table(ROW), table(moved | {column: fresh}))
    assert compared.agreement is expected


def test_the_worst_column_is_named_with_both_numbers():
    fresh = ROW | {"density": "0.9", "n": "7"}
    (compared,) = compare_tables("metrics.csv", table(ROW), table(fresh))
    assert (compared.column, compared.published, compared.fresh) == ("n", "100", "7")
    assert compared.key == ("ema", "3", "ball", "0")


def test_a_row_or_a_column_on_one_side_alone_is_different():
    other = ROW | {"method": "adam"}
    found = compare_tables("metrics.csv", table(ROW), table(other))
    assert [(row.key[0], row.published, row.fresh) for row in found] == [
        ("ema", "present", ""),
        ("adam", "", "present"),
    ]
    assert {row.agreement for row in found} == {Agreement.DIFFERENT}
    (compared,) = compare_tables("metrics.csv", table(ROW), table(ROW | {"more": "1"}))
    assert (compared.agreement, compared.column) == (Agreement.DIFFERENT, "more")


def test_a_number_far_outside_its_own_interval_is_not_excused_by_it():
    # The interval, 0.2 wide, stays; the fresh number is believed by 0.2, the published one by 0.1 on that side.
    assert agreement("accuracy", "1.02") is Agreement.INTERVAL
    assert agreement("accuracy", "1.03") is Agreement.DIFFERENT
    assert agreement("accuracy", "9000") is Agreement.DIFFERENT


def test_a_bound_that_was_doctored_is_no_longer_equal():
    assert agreement("accuracy_low", "0.75") is Agreement.INTERVAL


def test_many_comparisons_widen_the_intervals():
    # Of one comparison 95% stays 95%; of 100 each holds at 1 - 0.05 / 100, whose quantile is 3.4808 where 95% has 1.96.
    assert widening_for(1) == pytest.approx(1)
    assert widening_for(100) == pytest.approx(3.4808 / 1.95996, rel=1e-4)
    assert count_intervals([table(ROW, ROW | {"seed": "1"}), table(KEY)]) == 2
    moved = ROW | {"accuracy": "0.95", "accuracy_low": "0.85", "accuracy_high": "1"}
    assert compare_tables("metrics.csv", table(ROW), table(moved))[0].agreement is Agreement.DIFFERENT
    assert compare_tables("metrics.csv", table(ROW), table(moved), widening=2)[0].agreement is Agreement.INTERVAL


def test_independent_draws_are_rarely_called_different():
    # 2000 pairs of the same share, 50 of 100, each with its Wilson interval: 5% of honest pairs at most, give or take.
    rng = np.random.default_rng(0)
    rows = []
    for draws in rng.binomial(100, 0.5, size=(2, 2000)):
        cells = []
        for seed, right in enumerate(draws):
            low, high = wilson_interval(int(right), 100)
            cells.append(
                {**KEY, "seed": str(seed), "n": "100", "a": f"{right / 100}", "a_low": str(low), "a_high": str(high)}
            )
        rows.append(table(*cells))
    different = [row.agreement for row in compare_tables("metrics.csv", *rows)].count(Agreement.DIFFERENT)
    assert different / 2000 == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 2000))
    together = compare_tables("metrics.csv", *rows, widening=widening_for(2000))
    assert Agreement.DIFFERENT not in {row.agreement for row in together}
