"""The results of a run as a report reads them: outcomes pooled over seeds, and over targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import Cell, Method, list_methods
from nonrobust_guidance.metrics.intervals import Interval, mean_of, wilson_interval
from nonrobust_guidance.metrics.samples import load_samples

ALL_TARGETS = "all targets"
TEXT_COLUMNS = frozenset(
    ["run", "dataset", "method", "classifier", "at", "stabilizer", "objective", "target", "warning"]
)


@dataclass(frozen=True)
class Outcome:
    """What a method at a scale came to for one target, or for all: every seed is in it.

    Attributes:
        method: the method.
        scale: of the guidance.
        target: a class name, or ``ALL_TARGETS``.
        n: samples in all.
        cell_n: samples a cell, on which the bias of a distance depends.
        accuracy_self: share that the guide itself calls the target; None where the run has no guide to ask.
        accuracy: share that the held-out judge calls the target.
        distance: to real images of the target class, mean over seeds and targets.
        real_distance: what as many real held-out images score.
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
    """A run's configuration, its two tables and its samples."""

    config: Mapping[str, Any]
    folder: Path
    metrics: pd.DataFrame
    noise: pd.DataFrame

    @classmethod
    def read(cls, config: Mapping[str, Any], folder: Path) -> Results:
        """Read the tables of a results folder.

        Raises:
            UserError: if one is missing, no such table, or lacks a cell of the configuration.
        """
        distance = conditional_distance(config)
        cell = ["method", "scale", "target", "seed", "n", "accuracy_self", "accuracy_heldout", "none_share", "warning"]
        distances = [f"{distance}{end}" for end in ("", "_low", "_high", "_real")]
        level = ["classifier", "at", "t", "n", "accuracy", "accuracy_low", "accuracy_high"]
        metrics = _read_table(folder / "metrics.csv", [*cell, *distances])
        noise = _read_table(folder / "noise_accuracy.csv", level)
        results = cls(config, folder, metrics, noise)
        _ = results.outcomes  # so that what is missing is missed here
        return results

    @cached_property
    def methods(self) -> list[Method]:
        """The run's methods in the order of the configuration."""
        return list_methods(self.config)

    @property
    def unguided(self) -> list[Method]:
        """The methods that no classifier guides."""
        return [method for method in self.methods if not method.guided]

    @property
    def targets(self) -> list[str]:
        """The target classes."""
        return list(self.config["sampling"]["targets"])

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

    def samples_of(self, outcome: Outcome, target: str) -> NDArray[np.uint8]:
        """Return the outcome's samples toward a target with the first seed, uint8 (N, H, W, 3).

        Raises:
            UserError: if the file is missing, truncated or of another kind.
        """
        seed = self.config["sampling"]["seeds"][0]
        return load_samples(Cell(outcome.method, outcome.scale, seed, target).path(self.folder / "samples"))

    def _pool(self, method: Method, scale: float, name: str, targets: Sequence[str]) -> Outcome:
        table = self.metrics
        rows = table[
            (table["method"] == method.name) & np.isclose(table["scale"], scale) & table["target"].isin(targets)
        ]
        if rows.empty:
            cell = f"{method.name} at scale {scale:g} for {name}"
            raise UserError(f"{self.folder / 'metrics.csv'} has no row of {cell}; score this run's samples again")
        column = conditional_distance(self.config)
        distances = rows[[column, f"{column}_low", f"{column}_high"]].itertuples(index=False)
        return Outcome(
            method=method,
            scale=scale,
            target=name,
            n=int(rows["n"].sum()),
            cell_n=int(rows["n"].min()),
            accuracy_self=None if rows["accuracy_self"].isna().any() else share_of(rows, "accuracy_self"),
            accuracy=share_of(rows, "accuracy_heldout"),
            distance=mean_of([Interval(*map(float, distance)) for distance in distances]),
            real_distance=float(rows[f"{column}_real"].mean()),
        )


def conditional_distance(config: Mapping[str, Any]) -> str:
    """Return the name of the column that holds the distance to real images of the target class."""
    return f"fd_{config['metrics']['extractor']}_conditional"


def share_of(rows: pd.DataFrame, column: str) -> Interval:
    """Return a share over all samples of the rows, with its Wilson interval from the summed counts."""
    n = int(rows["n"].sum())
    successes = round(float((rows[column] * rows["n"]).sum()))
    return Interval(successes / n, *wilson_interval(successes, n))


def best(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome to compare a method by.

    Of those whose held-out accuracy is not told apart from the highest one's (its interval reaches into that one's),
    the one with the lowest conditional distance.

    Raises:
        ValueError: if there are none.
    """
    if not outcomes:
        raise ValueError("There is no best of no outcomes.")
    top = max(outcomes, key=lambda outcome: outcome.accuracy.value)
    level = [outcome for outcome in outcomes if outcome.accuracy.high >= top.accuracy.low]
    return min(level, key=lambda outcome: outcome.distance.value)


def _read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        # Texts stay as they are: an empty one is no missing number, and a class may be called "None".
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for column in set(table.columns) - TEXT_COLUMNS:
            table[column] = pd.to_numeric(table[column])
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run the step that writes it first") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as a table; delete it and make it again") from error
    absent = [column for column in columns if column not in table.columns]
    if absent or table.empty:
        raise UserError(f"{path} is empty or lacks the column {(absent or ['?'])[0]}; delete it and make it again")
    return table
