"""Two tables of the same run, made at different times or places, cell by cell.

Numbers from another kind of processor differ in their last digits, and a chain of denoising steps passes differences
on. So there are four answers, from the strictest to the weakest: the same text; equal within rounding; within the
interval, as another draw of the same samples would be; different.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from statistics import NormalDist

import pandas as pd

from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval, difference, wilson_interval
from nonrobust_guidance.metrics.tables import COMPARED, UNDECIDED

EXACT = ("n", "reference_n")
"""Counts that are determined by the configuration and the data."""
DECIDED_BY = ("test", "one", "other", "verdict")
"""Columns of the claims that say which number decided, and how."""
OPEN_ENDS = {"inf", "-inf"}
ROUNDING_OF_INTERVAL = 0.05
ROUNDING_OF_NUMBER = 1e-3


class Agreement(IntEnum):
    """How far two numbers agree; larger values mean less agreement."""

    BIT_EQUAL = 0
    ROUNDING = 1
    INTERVAL = 2
    DIFFERENT = 3

    def __str__(self) -> str:
        """Say it in words."""
        return ("bit-equal", "equal within rounding", "within the interval", "different")[self]


@dataclass(frozen=True)
class Compared:
    """A row of two tables.

    Attributes:
        table: name of the file.
        key: the texts that identify the row.
        agreement: of the column that agrees least.
        column: that column; empty where all are bit-equal.
        published: its text in the published table; empty where the row is missing there.
        fresh: its text in the other table; empty where the row is missing there.
    """

    table: str
    key: tuple[str, ...]
    agreement: Agreement
    column: str = ""
    published: str = ""
    fresh: str = ""


def compare_tables(name: str, published: pd.DataFrame, fresh: pd.DataFrame, widening: float = 1.0) -> list[Compared]:
    """Return a comparison for each row of either table, in the order of the published one.

    Args:
        name: of the table, a key of `COMPARED`.
        published: all columns as texts.
        fresh: the same for the other table.
        widening: factor by which an interval is widened before a number counts as outside; see `widening_for`.
    """
    key = list(COMPARED[name].key)
    before, after = ({tuple(row[part] for part in key): row for row in rows(table)} for table in (published, fresh))
    compared = []
    for names in dict.fromkeys([*before, *after]):
        if names not in before or names not in after:
            where = ("row", "", "present") if names not in before else ("row", "present", "")
            compared.append(Compared(name, names, Agreement.DIFFERENT, *where))
        else:
            compared.append(compare_rows(name, names, before[names], after[names], widening))
    return compared


def rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return the rows of a table of texts."""
    return [{str(column): str(text) for column, text in row.items()} for row in table.to_dict("records")]


def compare_rows(
    name: str, key: tuple[str, ...], published: Mapping[str, str], fresh: Mapping[str, str], widening: float
) -> Compared:
    """Return the comparison of a row: that of the column that agrees least, the first one if there are several.

    For claims whose verdicts differ, or rest on different numbers, it is that of the verdicts.
    """
    if "verdict" in published and any(published.get(column) != fresh.get(column) for column in DECIDED_BY):
        # A different number decides, or in a different way: only the verdicts of the two rows can be compared.
        agreement = max(Agreement.INTERVAL, compare_verdicts(published["verdict"], fresh.get("verdict", "")))
        return Compared(name, key, agreement, "verdict", published["verdict"], fresh.get("verdict", ""))
    worst = Compared(name, key, Agreement.BIT_EQUAL)
    for column in dict.fromkeys([*published, *fresh]):
        agreement = compare_column(column, published, fresh, widening)
        if agreement > worst.agreement:
            worst = Compared(name, key, agreement, column, published.get(column, ""), fresh.get(column, ""))
    return worst


def compare_verdicts(published: str, fresh: str) -> Agreement:
    """Return how far two verdicts agree: what one draw decides, another of as many samples may well leave undecided."""
    if published == fresh:
        return Agreement.BIT_EQUAL
    return Agreement.INTERVAL if UNDECIDED in (published, fresh) else Agreement.DIFFERENT


def compare_column(
    column: str, published: Mapping[str, str], fresh: Mapping[str, str], widening: float = 1.0
) -> Agreement:
    """Return how far a column of two rows agrees.

    A number is equal within rounding if it moved by no more than a twentieth of half its interval, or by a thousandth
    of itself. It is different if the widened interval of the difference of independent draws excludes zero. A number
    that has no interval, and is not a share from which one follows, never makes a row different; texts and fixed counts
    do if they are not the same.
    """
    before, after = published.get(column), fresh.get(column)
    if before is None or after is None:
        return Agreement.DIFFERENT
    if before == after:
        return Agreement.BIT_EQUAL
    if column.endswith(("_low", "_high")) and {before, after} & OPEN_ENDS:
        # A ratio whose denominator is barely, or barely not, distinguishable from zero: its value is still compared.
        return Agreement.INTERVAL
    a, b = number(before), number(after)
    if a is None or b is None or column in EXACT or column.endswith(tuple(f"_{count}" for count in EXACT[1:])):
        return Agreement.DIFFERENT
    base = column.removesuffix("_low").removesuffix("_high")
    ours, theirs = interval_of(base, published), interval_of(base, fresh)
    half = (ours.high - ours.low) / 2 if ours else 0.0
    if abs(a - b) <= max(ROUNDING_OF_INTERVAL * half, ROUNDING_OF_NUMBER * abs(a)):
        return Agreement.ROUNDING
    if base != column or ours is None or theirs is None:
        return Agreement.INTERVAL
    apart = difference(ours, theirs)
    low, high = apart.value - widening * (apart.value - apart.low), apart.value + widening * (apart.high - apart.value)
    return Agreement.INTERVAL if low <= 0 <= high else Agreement.DIFFERENT


def number(text: str) -> float | None:
    """Return the finite number in a text, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def interval_of(column: str, row: Mapping[str, str]) -> Interval | None:
    """Return a number with its interval (Wilson's for a share without one); None where it has no interval.

    A number may lie outside its interval, as with a biased bootstrap, but that does not earn it more tolerance: neither
    arm is longer than the interval.
    """
    value, low, high = (number(row.get(name, "")) for name in (column, f"{column}_low", f"{column}_high"))
    if value is not None and low is not None and high is not None:
        width = high - low
        return Interval(value, value - min(max(value - low, 0), width), value + min(max(high - value, 0), width))
    n = number(row.get("n", ""))
    is_share = column.startswith("share_") or column.endswith("_share")
    if value is not None and n and is_share and 0 <= value <= 1:
        return Interval(value, *wilson_interval(round(value * n), int(n)))
    return None


def widening_for(comparisons: int) -> float:
    """Return the factor that widens 95% intervals so that all of an audit's comparisons together hold at 95%.

    Bonferroni's rule in units of the normal distribution: if hundreds of correct cells are drawn again, some will lie
    outside their own intervals, and that must not make a cell different.
    """
    z = NormalDist()
    return z.inv_cdf(1 - (1 - LEVEL) / (2 * max(comparisons, 1))) / z.inv_cdf((1 + LEVEL) / 2)


def count_intervals(tables: Iterable[pd.DataFrame]) -> int:
    """Return how many numbers with an interval these tables have."""
    return sum(len(table) * sum(f"{column}_low" in table.columns for column in table.columns) for table in tables)
