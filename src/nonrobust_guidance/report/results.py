"""The results of a run as the report reads them: outcomes pooled over seeds, and over targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonrobust_guidance.csv_files import read_numbers
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import Cell, Method, list_methods
from nonrobust_guidance.metrics.choice import best
from nonrobust_guidance.metrics.distances.spaces import list_spaces
from nonrobust_guidance.metrics.screening import FOLDER, screening_of, variants
from nonrobust_guidance.metrics.selection import confirmed
from nonrobust_guidance.metrics.settings import Measured, Scoring
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.statistics.seeds import mean_over_cells, share_over_seeds
from nonrobust_guidance.metrics.tables import (
    ALL_TARGETS,
    COMPARISONS,
    FACTORS,
    METRICS,
    NOISE_ACCURACY,
    SELECTION,
    SENSITIVITY,
    SIGNATURES,
    TRAJECTORIES,
    ResultFile,
    with_ends,
)
from nonrobust_guidance.report.comparisons import Pair, find_pair
from nonrobust_guidance.sampling.files import load_samples


@dataclass(frozen=True)
class Outcome:
    """The result of a method at a scale for one target, or for all, over every seed.

    Attributes:
        method: the method.
        scale: of the guidance.
        target: a class name, or ``ALL_TARGETS``.
        n: samples in all.
        cell_n: samples per cell, on which the bias of a distance depends.
        accuracy_self: share that the guide itself calls the target; None where the run has no guide to ask.
        accuracy: share that the held-out judge calls the target.
        distance: to real images of the target class, mean over seeds, and over targets.
        real_distance: that of as many real held-out images.
    """

    method: Method
    scale: float
    target: str
    n: int
    cell_n: int
    accuracy_self: Interval | None
    accuracy: Interval
    distance: Interval
    real_distance: float


@dataclass(frozen=True, eq=False)
class Results:
    """A run's configuration, its tables and its samples; two of the tables are in every run."""

    run: Measured
    folder: Path
    metrics: pd.DataFrame
    noise: pd.DataFrame
    screening: Results | None = None
    """Results of the candidates among which each method's was chosen; None where there was nothing to choose."""

    @classmethod
    def read(cls, run: Measured, folder: Path) -> Results:
        """Read the tables of a results folder, and those of its screening if the run has one.

        Raises:
            UserError: if one is missing, is not such a table, or lacks a cell of the configuration.
        """
        noise = read_table(folder / NOISE_ACCURACY.name, NOISE_ACCURACY.columns)
        if not variants(run):
            return cls._read(run, folder, noise)
        screening = cls._read(screening_of(run), folder / FOLDER, noise)
        return cls._read(confirmed(run, folder / SELECTION.name), folder, noise, screening)

    @classmethod
    def _read(cls, run: Measured, folder: Path, noise: pd.DataFrame, screening: Results | None = None) -> Results:
        distances = [column for space in list_spaces(run.metrics) for column in space.columns]
        metrics = read_table(folder / METRICS.name, [*METRICS.columns, *distances])
        results = cls(run, folder, metrics, noise, screening)
        _ = results.outcomes  # so that a missing cell is noticed here
        return results

    @property
    def over_scales(self) -> Results:
        """The results with every scale of each method: the screening's, or without one these."""
        return self.screening or self

    @cached_property
    def methods(self) -> list[Method]:
        """The run's methods in the order of the configuration."""
        return list_methods(self.run)

    @property
    def unguided(self) -> list[Method]:
        """The methods in which no classifier has a part."""
        return [method for method in self.methods if method.unguided]

    @property
    def targets(self) -> list[str]:
        """The target classes."""
        return list(self.run.sampling.targets)

    @property
    def classes(self) -> list[str]:
        """All classes of the data set, in label order."""
        return [name.removeprefix("share_") for name in self.metrics.columns if name.startswith("share_")]

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Every method at every scale for every target, and where there are several, for all of them."""
        groups = [(target, [target]) for target in self.targets]
        if len(self.targets) > 1:
            groups.append((ALL_TARGETS, self.targets))
        return [
            self._pool(method, scale, name, targets)
            for name, targets in groups
            for method in self.methods
            for scale in method.scales
        ]

    def outcomes_of(self, target: str) -> list[Outcome]:
        """Return the outcomes for one target, or for ``ALL_TARGETS``; with a single target those are its own."""
        wanted = self.targets[0] if target == ALL_TARGETS and len(self.targets) == 1 else target
        return [outcome for outcome in self.outcomes if outcome.target == wanted]

    @cached_property
    def sensitivity(self) -> pd.DataFrame | None:
        """How much logits and gradients change along the forward process; None where the run has no such table."""
        return self._read_further(SENSITIVITY)

    @cached_property
    def trajectories(self) -> pd.DataFrame | None:
        """How the gradient moves along guided trajectories; None where the run has no such table."""
        return self._read_further(TRAJECTORIES)

    @cached_property
    def signatures(self) -> pd.DataFrame | None:
        """What guidance did wrong, cell by cell; None where the run has no such table."""
        return self._read_further(SIGNATURES)

    @cached_property
    def factors(self) -> pd.DataFrame | None:
        """The factors of single samples and of real images; None where the run has no such table."""
        return self._read_further(FACTORS)

    @cached_property
    def comparisons(self) -> pd.DataFrame | None:
        """Every pair of methods, sample by sample; None where the run has no such table."""
        distances = [space.conditional for space in list_spaces(self.run.metrics)]
        compared = [f"{distance}_{name}" for distance in distances for name in ("one", "other", "difference")]
        return self._read_further(COMPARISONS, with_ends(*compared))

    def compare(self, one: Outcome, other: Outcome) -> Pair | None:
        """Return the pair of two methods for the target of an outcome; None where the run has not compared them."""
        return find_pair(self.comparisons, one.method.name, other.method.name, one.target)

    @cached_property
    def chosen(self) -> dict[str, float]:
        """The scale at which each method is compared, by the method's name."""
        outcomes = self.outcomes_of(ALL_TARGETS)
        return {m.name: best([o for o in outcomes if o.method.name == m.name]).scale for m in self.methods}

    def select(self, table: pd.DataFrame, method: Method, scale: float, targets: Sequence[str]) -> pd.DataFrame:
        """Return a table's rows of a method at a scale, toward any of the targets."""
        chosen = (table["method"] == method.name) & np.isclose(table["scale"], scale) & table["target"].isin(targets)
        return table[chosen]

    def _read_further(self, file: ResultFile, columns: Sequence[str] = ()) -> pd.DataFrame | None:
        path = self.folder / file.name
        table = read_columns(path, [*file.columns, *columns]) if path.is_file() else None
        return None if table is None or table.empty else table

    def samples_of(self, outcome: Outcome, target: str) -> NDArray[np.uint8]:
        """Return the outcome's samples toward a target with the first seed, uint8 (N, H, W, 3).

        Raises:
            UserError: if the file is missing, truncated or of another kind.
        """
        seed = self.run.sampling.seeds[0]
        return load_samples(Cell(outcome.method, outcome.scale, seed, target).path(self.folder / "samples"))

    def _pool(self, method: Method, scale: float, name: str, targets: Sequence[str]) -> Outcome:
        rows = self.select(self.metrics, method, scale, targets)
        if rows.empty:
            cell = f"{method.name} at scale {scale:g} for {' or '.join(targets)}"
            raise UserError(f"{self.folder / METRICS.name} has no row of {cell}; score this run's samples again")
        column = conditional_distance(self.run.metrics)
        return Outcome(
            method=method,
            scale=scale,
            target=name,
            n=int(rows["n"].sum()),
            cell_n=int(rows["n"].min()),
            accuracy_self=None if rows["accuracy_self"].isna().any() else share_over_seeds(rows, "accuracy_self"),
            accuracy=share_over_seeds(rows, "accuracy_heldout"),
            distance=mean_over_cells(rows, column),
            real_distance=float(rows[f"{column}_real"].mean()),
        )


def conditional_distance(scoring: Scoring) -> str:
    """Return the column that holds the report's distance to real images of the target class."""
    return list_spaces(scoring)[0].conditional


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table of the run: the columns of `csv_files.TEXT_COLUMNS` as texts, all others as numbers.

    Raises:
        UserError: if it is missing, not a table, or empty, or lacks one of the columns.
    """
    table = read_columns(path, columns)
    if table.empty:
        raise UserError(f"{path} is empty; delete it and make it again")
    return table


def read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table in the same way, but allow one without rows.

    Raises:
        UserError: if it is missing, not a table, or lacks one of the columns.
    """
    table = read_numbers(path, "run the step that writes it")
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise UserError(f"{path} lacks the column {absent[0]}; delete it and make it again")
    return table
