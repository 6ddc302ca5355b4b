"""Rows of the metrics table that differ only in the seed, combined into one number with its interval."""

from __future__ import annotations

import math

import pandas as pd
from scipy.stats import t as student

from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval, mean_of, wilson_interval
from nonrobust_guidance.metrics.statistics.score import mean_probability


def share_over_seeds(rows: pd.DataFrame, column: str) -> Interval:
    """Return a share over all samples of the rows, with its Wilson interval from the summed counts."""
    n = int(rows["n"].sum())
    successes = round(float((rows[column] * rows["n"]).sum()))
    return Interval(successes / n, *wilson_interval(successes, n))


def mean_over_seeds(rows: pd.DataFrame, column: str) -> Interval:
    """Return the mean of a column over rows of one cell with several seeds, and its interval.

    It follows from the cells' own intervals, ``<column>_low`` and ``<column>_high``, by the square-and-add rule,
    because samples of different seeds are independent. Where the table has no intervals, several seeds have Student's t
    interval of their mean, and the ends for a single one are NaN.
    """
    if {f"{column}_low", f"{column}_high"} <= set(rows.columns):
        ends = rows[[column, f"{column}_low", f"{column}_high"]].to_numpy(dtype=float)
        return mean_of([Interval(*cell) for cell in ends.tolist()])
    values = rows[column].to_numpy(dtype=float)
    if len(values) == 1:
        return Interval(float(values[0]), math.nan, math.nan)
    half = student.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def mean_over_cells(rows: pd.DataFrame, column: str) -> Interval:
    """Return the mean over targets of the means over seeds, the targets taken as independent."""
    return mean_of([mean_over_seeds(of_target, column) for _, of_target in rows.groupby("target", sort=False)])


def probability_over_seeds(rows: pd.DataFrame, judge: str) -> tuple[Interval, float]:
    """Return the mean of the target's probability with its interval, and its standard deviation over all samples.

    The interval is that of `mean_probability`, over the samples of all seeds; NaN where there is no such judge.

    Args:
        rows: of one cell with several seeds.
        judge: self or heldout.
    """
    mean, deviation = f"probability_{judge}_mean", f"probability_{judge}_std"
    weights = rows["n"] / rows["n"].sum()
    centre = float((weights * rows[mean]).sum())
    spread = math.sqrt(float((weights * (rows[deviation] ** 2 + (rows[mean] - centre) ** 2)).sum()))
    if math.isnan(centre):
        return Interval(centre, math.nan, math.nan), spread
    return mean_probability(centre, spread, int(rows["n"].sum())), spread
