"""The failure signatures of a run as a report reads them: pooled over seeds and targets, and over the scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import REAL_JUDGED, Cell, Method
from nonrobust_guidance.metrics.choice import best
from nonrobust_guidance.metrics.statistics.intervals import Interval, difference, mean_of
from nonrobust_guidance.metrics.statistics.seeds import share_over_seeds
from nonrobust_guidance.metrics.tables import ENDS, FACTORS, SIGNATURES
from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results, read_table
from nonrobust_guidance.report.wording import method_labels
from nonrobust_guidance.sampling.files import load_samples

FIRST = 64
"""The pictures are chosen from this many first samples."""


class Signature(NamedTuple):
    """A column of signatures.csv: its name, its label, and how its numbers are read and drawn."""

    column: str
    title: str
    is_share: bool = False
    signed: bool = False
    degrees: bool = False
    log: bool = False


COLOUR = Signature("colour_shift", "colour shift", log=True)
MEDIAN = Signature("median_shift", "background shift", log=True)
SATURATION = Signature("saturation_shift", "saturation shift", signed=True)
FOOLED = Signature("fooled_share", "guide fooled", is_share=True)
NONE = Signature("none_share", "none of the classes", is_share=True)
BLANK = Signature("blank_share", "blank", is_share=True)


class Measured(NamedTuple):
    """A signature of a method at a scale for one target, or for all, over every seed."""

    method: Method
    scale: float
    value: Interval
    real: float

    @property
    def apart(self) -> int:
        """Whether it differs from real images' number: 1 where it is more, -1 where less (signed: below 0), else 0.

        A distance does if its interval lies above that of as many real images.
        """
        return 1 if self.value.low > self.real else -1 if self.value.high < -self.real else 0


@dataclass(frozen=True, eq=False)
class Signatures:
    """A run's results, and the two tables of its failure signatures."""

    results: Results
    table: pd.DataFrame
    samples: pd.DataFrame
    _measured: dict[tuple[Signature, str], list[Measured]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, results: Results) -> Signatures:
        """Read signatures.csv and factors.csv beside the other results.

        Raises:
            UserError: if one is missing, is not such a table, or lacks a cell of the configuration.
        """
        table = read_table(results.folder / SIGNATURES.name, SIGNATURES.columns)
        samples = read_table(results.folder / FACTORS.name, FACTORS.columns)
        for outcome in results.outcomes_of(ALL_TARGETS):
            if table[_is_cell(table, outcome.method, outcome.scale)].empty:
                name = f"{outcome.method.name} at scale {outcome.scale:g}"
                raise UserError(
                    f"{results.folder / SIGNATURES.name} has no row of {name}; measure this run's signatures again"
                )
        return cls(results, table, samples)

    @cached_property
    def labels(self) -> dict[str, str]:
        """The label of each method, by its name."""
        return method_labels(self.results.run)

    @property
    def factors(self) -> list[str]:
        """The names of the factors that the data set knows; none for most."""
        columns = [name for name in self.table.columns if name.endswith("_distance")]
        return [name.removesuffix("_distance") for name in columns]

    @property
    def circular(self) -> list[str]:
        """The factors that are angles."""
        return [name for name in self.factors if f"{name}_shift" not in self.table.columns]

    def of(self, signature: Signature, target: str) -> list[Measured]:
        """Return a signature of every method at every scale, rising, for a target or ``ALL_TARGETS``.

        Cells without the number are left out: too few of their samples are of the class.
        """
        if (signature, target) not in self._measured:
            self._measured[signature, target] = self._measure(signature, target)
        return self._measured[signature, target]

    def _measure(self, signature: Signature, target: str) -> list[Measured]:
        targets = self.results.targets if target == ALL_TARGETS else [target]
        pairs = [(method, scale) for method in self.results.methods for scale in sorted(method.scales)]
        measured = [self._pool(signature, method, scale, targets) for method, scale in pairs]
        return [one for one in measured if one is not None]

    def trend(self, signature: Signature, target: str, method: Method) -> Interval | None:
        """Return by how much a signature changes from the smallest to the largest scale; None for a single one.

        The cells are taken as independent. Those of one seed share their noise, so the interval is too wide rather than
        too narrow.
        """
        own = [one for one in self.of(signature, target) if one.method == method]
        return difference(own[-1].value, own[0].value) if len(own) > 1 else None

    def largest(self, signature: Signature, target: str, method: Method) -> Measured | None:
        """Return a signature of a method at its largest scale."""
        found = [one for one in self.of(signature, target) if one.method == method]
        return found[-1] if found and found[-1].scale == max(method.scales) else None

    def at_best(self, signature: Signature, target: str, method: Method) -> Measured | None:
        """Return a signature of a method at its best scale (`results.best`)."""
        scale = self.best_outcome(target, method).scale
        return next((m for m in self.of(signature, target) if (m.method, m.scale) == (method, scale)), None)

    def best_outcome(self, target: str, method: Method) -> Outcome:
        """Return the outcome of a method at its best scale."""
        return best([outcome for outcome in self.results.outcomes_of(target) if outcome.method == method])

    def samples_at(self, method: Method, scale: float, target: str, first: int = FIRST) -> pd.DataFrame:
        """Return the rows of factors.csv of a cell's first samples with the first seed."""
        table, seed = self.samples, self.results.run.sampling.seeds[0]
        chosen = _is_cell(table, method, scale) & (table["target"] == target) & (table["seed"] == seed)
        return table[chosen & (table["index"] < first)]

    def factors_at(self, scale: float, method: Method, target: str) -> pd.DataFrame:
        """Return the rows of factors.csv of a method's samples, of every seed, that the judge calls the target."""
        table = self.samples
        return table[_is_cell(table, method, scale) & (table["target"] == target) & (table["accepted"] == 1)]

    def factors_of_real(self, target: str) -> pd.DataFrame:
        """Return the rows of real test images that the judge calls the target, with the factors that it sees."""
        table = self.samples
        return table[(table["method"] == REAL_JUDGED) & (table["target"] == target) & (table["accepted"] == 1)]

    def images_of(self, method: Method, scale: float, target: str, rows: pd.DataFrame) -> NDArray[np.uint8]:
        """Return the images uint8 (N, H, W, 3) of these rows of factors.csv of a cell with the first seed.

        Raises:
            UserError: if the file of samples is missing, truncated or of another kind, or holds fewer.
        """
        seed = self.results.run.sampling.seeds[0]
        path = Cell(method, scale, seed, target).path(self.results.folder / "samples")
        images, index = load_samples(path), rows["index"].to_numpy(dtype=int)
        if len(index) and index.max() >= len(images):
            raise UserError(
                f"{path} holds {len(images)} samples where factors.csv lists one with the index {index.max()}; measure "
                "this run's signatures again"
            )
        return images[index]

    def _pool(self, signature: Signature, method: Method, scale: float, targets: Sequence[str]) -> Measured | None:
        rows = self.table[_is_cell(self.table, method, scale) & self.table["target"].isin(targets)]
        rows = rows[rows[signature.column].notna()]
        if rows.empty or set(rows["target"]) != set(targets):
            return None
        columns = [f"{signature.column}{end}" for end in ENDS]
        if signature.is_share:
            value = share_over_seeds(rows, signature.column)
        else:
            value = mean_of([Interval(*map(float, row)) for row in rows[columns].itertuples(index=False)])
        return Measured(method, scale, value, float(rows[f"{signature.column}_real"].mean()))


def factor_signatures(signatures: Signatures) -> list[Signature]:
    """Return what is drawn for the factors: the shift of the size, and the distances of all others."""
    others = [name for name in signatures.factors if name != "size"]
    shown = [shift_signature("size")] if "size" in signatures.factors else []
    return shown + [distance_signature(name, degrees=name in signatures.circular) for name in others]


def best_scales(signatures: Signatures, target: str) -> dict[str, float]:
    """Return each method's best scale for a target, by its name."""
    return {method.name: signatures.best_outcome(target, method).scale for method in signatures.results.methods}


def largest_scales(signatures: Signatures) -> dict[str, float]:
    """Return each method's largest scale, by its name."""
    return {method.name: max(method.scales) for method in signatures.results.methods}


def shift_signature(factor: str) -> Signature:
    """Return the signature that says in which direction a factor has moved."""
    return Signature(f"{factor}_shift", f"shift of {factor}", signed=True)


def distance_signature(factor: str, *, degrees: bool = False) -> Signature:
    """Return the signature that says how far a factor's distribution has moved."""
    return Signature(f"{factor}_distance", f"distance in {factor}", degrees=degrees)


def _is_cell(table: pd.DataFrame, method: Method, scale: float) -> pd.Series:
    return (table["method"] == method.name) & np.isclose(table["scale"], scale)
