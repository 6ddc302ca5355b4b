"""Pairs of methods from the table of comparisons, whichever of the two it names first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nonrobust_guidance.metrics.statistics.estimates import combine
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.tables import ENDS


@dataclass(frozen=True, eq=False)
class Pair:
    """Two methods, each at its chosen scale, for one target or for all.

    Attributes:
        one: name of the method that is compared.
        other: name of the one that it is compared with.
        row: of the table.
        reversed: whether the table has the other first.
    """

    one: str
    other: str
    row: Mapping[str, Any]
    reversed: bool = False

    @property
    def n(self) -> int:
        """Pairs of samples in all."""
        return int(self.row["n"])

    @property
    def seeds(self) -> int:
        """Seeds of these samples."""
        return int(self.row["seeds"])

    def difference(self, name: str) -> Interval:
        """Return the one's number minus the other's, from the columns whose names begin so."""
        found = self._read(f"{name}_difference")
        return Interval(-found.value, -found.high, -found.low) if self.reversed else found

    def p(self, name: str) -> float:
        """Return the two-sided p-value of there being no difference."""
        return float(self.row[f"{name}_p"])

    def discordant(self, judge: str = "heldout") -> float:
        """Return the share of pairs in which exactly one method delivered the target."""
        return float(self.row[f"one_{judge}"] + self.row[f"other_{judge}"]) / self.n

    def distances(self, column: str) -> tuple[Interval, Interval]:
        """Return the distance of either, at the n of the pair."""
        found = self._read(f"{column}_one"), self._read(f"{column}_other")
        return found[::-1] if self.reversed else found

    def excess(self, column: str, factor: float) -> Interval:
        """Return by how much the one's distance exceeds a factor times the other's, both relative to real images'."""
        one, other = self.distances(column)
        value, low, high = combine(one, other, self.difference(column), factor)
        counted = (1 - factor) * float(self.row[f"{column}_real"])
        return Interval(value - counted, low - counted, high - counted)

    def _read(self, name: str) -> Interval:
        return Interval(*(float(self.row[f"{name}{end}"]) for end in ENDS))


def find_pair(table: pd.DataFrame | None, one: str, other: str, target: str) -> Pair | None:
    """Return a pair for a target, or for all; None where the table does not have it, or there is none."""
    if table is None:
        return None
    for first, second in ((one, other), (other, one)):
        rows = table[(table["one"] == first) & (table["other"] == second) & (table["target"] == target)]
        if len(rows):
            return Pair(one, other, {str(name): value for name, value in rows.iloc[0].items()}, first != one)
    return None


def distance_columns(table: pd.DataFrame) -> list[str]:
    """Return the conditional distances that pairs are compared in, one for each feature space."""
    ending = "_conditional_difference"
    names = [name.removesuffix("_difference") for name in table.columns if name.endswith(ending)]
    return [name for name in names if table[f"{name}_difference"].notna().all()]
