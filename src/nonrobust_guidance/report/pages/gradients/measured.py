"""What a run measured of its gradients, as the report reads it, summarized per method and per classifier."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from nonrobust_guidance.metrics.cells import Method, list_methods
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.metrics.statistics.intervals import Interval, difference
from nonrobust_guidance.metrics.tables import ENDS, NOISE_ACCURACY, SENSITIVITY, TRAJECTORIES
from nonrobust_guidance.report.results import read_table


class FollowedMethod(NamedTuple):
    """How the gradients of a method behave along its sampling."""

    method: Method
    rows: pd.DataFrame
    """Rows of the table, in the order of the steps."""
    cosine: Interval
    """Cosine between successive raw gradients, mean over the steps."""
    cosine_stabilized: Interval
    survival_raw: Interval
    """At the end of the chain."""
    survival: Interval


class Change(NamedTuple):
    """How much the gradients of a classifier at an input change along the forward process, with one stabilizer."""

    classifier: str
    at: str
    stabilizer: str
    """Its name as in the table; empty for the raw gradient."""
    rows: pd.DataFrame
    """Rows of the table, from the cleanest level on."""
    relative: Interval
    """Relative change, mean over the levels."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """A run's configuration and its three tables on gradients."""

    run: Measured
    noise: pd.DataFrame
    sensitivity: pd.DataFrame
    trajectories: pd.DataFrame

    @classmethod
    def read(cls, run: Measured, folder: Path) -> Gradients:
        """Read noise_accuracy.csv, sensitivity.csv and, if the run guides at all, trajectories.csv.

        Raises:
            UserError: if one is missing, or is not such a table.
        """
        noise = read_table(folder / NOISE_ACCURACY.name, NOISE_ACCURACY.columns)
        sensitivity = read_table(folder / SENSITIVITY.name, SENSITIVITY.columns)
        guided, columns = any(method.guided for method in list_methods(run)), TRAJECTORIES.columns
        trajectories = read_table(folder / TRAJECTORIES.name, columns) if guided else pd.DataFrame(columns=columns)
        return cls(run, noise, sensitivity, trajectories)

    @cached_property
    def methods(self) -> list[Method]:
        """All methods of the run."""
        return list_methods(self.run)

    @cached_property
    def followed(self) -> list[FollowedMethod]:
        """Each guided method, in the order of the configuration, without those whose interval contains no step."""
        followed = [self._follow(method) for method in self.methods if method.guided]
        return [one for one in followed if len(one.rows)]

    @cached_property
    def changes(self) -> list[Change]:
        """The changes for each classifier, input and stabilizer, in the order of the table."""
        table = self.sensitivity[self.sensitivity["quantity"] == "gradient"]
        found = []
        for key, group in table.groupby(["classifier", "at", "stabilizer"], sort=False):
            classifier, at, stabilizer = map(str, key)
            rows = group.sort_values("t")
            found.append(Change(classifier, at, stabilizer, rows, average(rows, "relative_change")))
        return found

    def raw_of(self, change: Change) -> Change:
        """Return the same change without its stabilizer."""
        return next(c for c in self.changes if (c.classifier, c.at, c.stabilizer) == (change.classifier, change.at, ""))

    def _follow(self, method: Method) -> FollowedMethod:
        rows = self.trajectories[self.trajectories["method"] == method.name].sort_values("k")
        return FollowedMethod(
            method,
            rows,
            cosine=average(rows, "cosine"),
            cosine_stabilized=average(rows, "cosine_stabilized"),
            survival_raw=last(rows, "survival_raw"),
            survival=last(rows, "survival"),
        )


def average(rows: pd.DataFrame, column: str) -> Interval:
    """Return the mean of a column over rows that have one, and the means of the ends of its intervals.

    Rows of one table come from the same images, so the interval is as wide as if they all erred together.
    """
    return Interval(*(float(rows[f"{column}{end}"].mean()) for end in ENDS))


def last(rows: pd.DataFrame, column: str) -> Interval:
    """Return a column's last number with its interval; NaN without rows."""
    return Interval(*(float(rows[f"{column}{end}"].iloc[-1]) if len(rows) else math.nan for end in ENDS))


def factor(a: Interval, b: Interval) -> Interval:
    """Return a over b, both positive, with the interval that follows from theirs as if they were independent."""
    logarithms = (Interval(*(math.log(end) if end > 0 else math.nan for end in part)) for part in (a, b))
    return Interval(*map(math.exp, difference(*logarithms)))


def count_levels(stabilized: pd.DataFrame, raw: pd.DataFrame, column: str) -> tuple[int, int, int]:
    """Return at how many levels a column is lower when stabilized, higher, and not told apart by its intervals."""
    both = stabilized.merge(raw, on="t", suffixes=("", "_raw"))
    lower = int((both[f"{column}_high"] < both[f"{column}_low_raw"]).sum())
    higher = int((both[f"{column}_low"] > both[f"{column}_high_raw"]).sum())
    return lower, higher, len(both) - lower - higher
