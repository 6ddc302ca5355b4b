"""Rows of the metrics table that differ in the seed alone, as one number each with its interval."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pandas as pd
from scipy.stats import t as student

from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval, mean_of, wilson_interval


def share_over_seeds(rows: pd.DataFrame, column: str) -> Interval:
    """Return a share over all samples of the rows, with its Wilson interval from the summed counts."""
    n = int(rows["n"].sum())
    successes = round(float((rows[column] * rows["n"]).sum()))
    return Interval(successes / n, *wilson_interval(successes, n))


def mean_over_seeds(rows: pd.DataFrame, column: str) -> Interval:
    """Return the mean of a column over rows of one cell with several seeds, and its interval.

    With several seeds it is Student's t interval of their mean, which knows nothing of the cells' own intervals. With
    one seed it is the cell's own, from ``<column>_low`` and ``<column>_high``; where the table has none, its ends are
    not numbers.
    """
    values = rows[column].to_numpy(dtype=float)
    if len(values) == 1:
        low, high = (
            float(rows[column + end].iloc[0]) if column + end in rows else math.nan for end in ("_low", "_high")
        )
        return Interval(float(values[0]), low, high)
    half = student.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def mean_over_cells(rows: pd.DataFrame, column: str) -> Interval:
    """Return the mean over targets of the means over seeds, the targets taken as independent."""
    return mean_of([mean_over_seeds(of_target, column) for _, of_target in rows.groupby("target", sort=False)])


def probability_over_seeds(rows: pd.DataFrame, judge: str) -> tuple[Interval, float]:
    """Return the mean of the target's probability with its interval, and its standard deviation over all samples.

    With one seed the interval is the normal one of a mean of n samples.

    Args:
        rows: of one cell with several seeds.
        judge: self or heldout.
    """
    mean, deviation = f"probability_{judge}_mean", f"probability_{judge}_std"
    weights = rows["n"] / rows["n"].sum()
    centre = float((weights * rows[mean]).sum())
    spread = math.sqrt(float((weights * (rows[deviation] ** 2 + (rows[mean] - centre) ** 2)).sum()))
    if len(rows) > 1:
        return mean_over_seeds(rows, mean), spread
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * spread / np.sqrt(float(rows["n"].sum()))
    return Interval(centre, max(0.0, centre - half), min(1.0, centre + half)), spread
