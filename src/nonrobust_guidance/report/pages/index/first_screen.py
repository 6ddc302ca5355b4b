"""The first figure of the report: a row of dots with intervals for each method at its best scale, and its images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from nonrobust_guidance.metrics.choice import best
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.tables import COST
from nonrobust_guidance.report.palette import method_colours
from nonrobust_guidance.report.pictures import Strip, shown
from nonrobust_guidance.report.results import ALL_TARGETS, Results, read_table
from nonrobust_guidance.report.wording import decimals_of, method_labels, number, percent

IMAGES = 6
LOG_FROM = 20.0
"""A column has a log scale if its largest number is more than this many times its smallest."""


class Dot(NamedTuple):
    """A number, short and with its interval, and its positions in percent of the column's width."""

    short: str
    text: str
    at: str
    low: str
    width: str


class Axis(NamedTuple):
    """The scale of a column of dots, from its left to its right end."""

    left: float
    right: float
    log: bool = False

    @classmethod
    def of(cls, values: Sequence[Interval]) -> Axis:
        """Return the scale for these non-negative numbers: from 0, or a log one for a wide range."""
        ends = [end for value in values for end in value if math.isfinite(end)]
        points = [value.value for value in values if math.isfinite(value.value)]
        right = max(ends, default=1.0) or 1.0
        if points and min(points) > 0 and max(points) > LOG_FROM * min(points):
            return cls(min(points) / 1.5, right * 1.1, log=True)
        return cls(0.0, right * 1.05)

    def place(self, value: float) -> float:
        """Return where a number lies, in percent of the width; numbers outside are put at the nearer end."""
        inside = min(max(value, self.left), self.right)
        if self.log:
            share = math.log(inside / self.left) / math.log(self.right / self.left)
        else:
            share = (inside - self.left) / (self.right - self.left)
        return 100 * share

    def dot(self, value: Interval, text: str) -> Dot:
        """Return a number's dot; without an interval it has no arms."""
        at = self.place(value.value)
        low, high = (self.place(end) if math.isfinite(end) else at for end in value[1:])
        return Dot(text.partition(" ")[0], text, f"{at:.2f}", f"{low:.2f}", f"{high - low:.2f}")

    def noted(self, words: str) -> str:
        """Return words about a column, with a note on its scale."""
        return f"{words}, log scale" if self.log else words


def first_screen(results: Results) -> dict[str, Any]:
    """Return what the template shows: column names, and a row per method at its best scale over all targets.

    The images are the first ones toward the last target. There is a column for the cost if the run has measured it.

    Raises:
        UserError: if a file of samples or the table of the cost is missing or damaged.
    """
    labels, colours, target = method_labels(results.run), method_colours(results.methods), results.targets[-1]
    outcomes = results.outcomes_of(ALL_TARGETS)
    chosen = [best([o for o in outcomes if o.method.name == method.name]) for method in results.methods]
    accuracy, distance = Axis(0.0, 1.0), Axis.of([outcome.distance for outcome in chosen])
    columns = [("held-out accuracy", "more is better"), ("distance to real images", distance.noted("less is better"))]
    costs = costs_of(results)
    if costs is not None:
        seconds = Axis.of(list(costs.values()))
        columns.append(("seconds for 64 images", seconds.noted("less is better")))
    rows = []
    for outcome in chosen:
        name = outcome.method.name
        dots = [
            accuracy.dot(outcome.accuracy, percent(outcome.accuracy)),
            distance.dot(outcome.distance, number(outcome.distance)),
        ]
        if costs is not None:
            cost = costs[name].value
            dots.append(seconds.dot(costs[name], f"{cost:.{decimals_of(cost)}f}"))
        note = f"scale {outcome.scale:g}" if outcome.method.guided else ""
        images = results.samples_of(outcome, target)[:IMAGES]
        rows.append({"strip": shown(Strip(labels[name], note, colours[name], images)), "dots": dots})
    return {"columns": columns, "rows": rows, "target": target}


def costs_of(results: Results) -> dict[str, Interval] | None:
    """Return the seconds of each method with the least and the most; None where the run has no such table for all.

    Raises:
        UserError: if the file is not such a table.
    """
    path = results.folder / COST.name
    if not path.is_file():
        return None
    table: pd.DataFrame = read_table(path, COST.columns)
    found = {
        row["method"]: Interval(row["seconds"], row["seconds_least"], row["seconds_most"])
        for row in table.to_dict("records")
    }
    return found if all(method.name in found for method in results.methods) else None
