"""What a run measured where the right answer is known, as its page reads it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.tables import ENDS, GROUND_TRUTH, GROUND_TRUTH_DRAWN
from nonrobust_guidance.report.palette import COLOURS, MARKERS, UNGUIDED, LineStyle
from nonrobust_guidance.report.results import read_table
from nonrobust_guidance.report.wording import X0_HAT, X_T

DELIVERS = 0.9
"""A method delivers the class from this share of samples of it on."""
EXACT_SAMPLES = "exact_samples"
READINGS = {
    "exact": f"exact, told the noise, at {X_T}",
    "xt": f"clean-time, at {X_T}",
    "x0": f"clean-time, at {X0_HAT}",
}
"""Each posterior at each input that it sees, and what the reader is told it is."""
_INPUTS = {("exact", "xt"): "exact", ("clean_time", "xt"): "xt", ("clean_time", "x0"): "x0"}


def _style(label: str, place: int) -> LineStyle:
    return LineStyle(label, COLOURS[place], MARKERS[place])


# Colours and markers are those of the same methods on the page "sampling".
FREE, ROBUST, AT_XT, AT_X0, DETACHED = (
    "unguided",
    "robust_xt",
    "nonrobust_xt",
    "nonrobust_x0",
    "nonrobust_x0_detached",
)
STABILIZED = ("nonrobust_x0_ema09", "nonrobust_x0_ema099", "nonrobust_x0_adam")
STYLES = {
    FREE: LineStyle("unguided", UNGUIDED, "*"),
    ROBUST: _style(f"robust, {X_T}", 0),
    AT_XT: _style(f"non-robust, {X_T}", 2),
    AT_X0: _style(f"non-robust, {X0_HAT}", 3),
    STABILIZED[0]: _style(f"non-robust, {X0_HAT} + EMA 0.9", 4),
    STABILIZED[1]: _style(f"non-robust, {X0_HAT} + EMA 0.99", 5),
    STABILIZED[2]: _style(f"non-robust, {X0_HAT} + Adam", 6),
    DETACHED: _style(f"non-robust, {X0_HAT} detached", 7),
}
GUIDED = tuple(name for name in STYLES if name != FREE)
STYLE_OF_READING = {"exact": STYLES[ROBUST], "xt": STYLES[AT_XT], "x0": STYLES[AT_X0]}


class Outcome(NamedTuple):
    """The result of a method at a scale."""

    method: str
    scale: float
    distance: Interval
    """Energy distance to the exact conditional."""
    class_share: Interval
    """Share whose exact class is the target."""
    fullest_share: float
    """Largest share of one component among the samples of the target class."""
    variance_kept: Interval
    """Trace of the covariance of the samples of the target class, over the exact one's."""
    variance_within: Interval
    """The same within components."""

    @property
    def style(self) -> LineStyle:
        """The method's name in words, and how it is drawn."""
        return STYLES[self.method]


class Accuracy(NamedTuple):
    """How often a posterior at an input names the right class at one noise level."""

    reading: str
    t: int
    noise_level: float
    accuracy: Interval


@dataclass(frozen=True, eq=False)
class Mixture:
    """All that was measured on one mixture: its rows of the table, and the arrays whose names begin with its name."""

    name: str
    table: pd.DataFrame
    arrays: dict[str, NDArray[np.float64]]

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Every method at each of its scales, the unguided chain first."""
        rows = self.table[self.table["method"].isin(list(STYLES)) & (self.table["quantity"] != "chain_error")]
        rows = rows[rows["levels"] == "linear"]
        return [
            Outcome(
                str(method),
                float(str(scale)),
                number_of(part, "distance"),
                number_of(part, "class_share"),
                number_of(part, "fullest_share").value,
                number_of(part, "variance_kept"),
                number_of(part, "variance_within"),
            )
            for (method, scale), part in rows.groupby(["method", "scale"], sort=False)
        ]

    @cached_property
    def floor(self) -> Interval:
        """Distance of as many exact samples, and the range that holds 95% of such distances."""
        return number_of(self.table[self.table["method"] == EXACT_SAMPLES], "distance")

    @cached_property
    def under_noise(self) -> list[Accuracy]:
        """How often each posterior is right, over the noise levels."""
        rows = self.table[self.table["quantity"] == "accuracy"]
        return [
            Accuracy(_INPUTS[row["classifier"], row["at"]], int(row["t"]), float(row["noise_level"]), interval_of(row))
            for _, row in rows.iterrows()
        ]

    @cached_property
    def convergence(self) -> list[tuple[int, Interval, Interval]]:
        """For growing numbers of steps, the errors of exact guidance at scale 1 and of the unguided chain."""
        rows = self.table[self.table["quantity"] == "chain_error"]
        return [
            (
                int(str(steps)),
                number_of(part[part["method"] == ROBUST], "chain_error"),
                number_of(part[part["method"] == FREE], "chain_error"),
            )
            for steps, part in rows.groupby("steps")
        ]

    @property
    def telling_level(self) -> int:
        """The level at which the clean-time posterior at x_t is furthest behind the exact one."""
        return int(self.array("telling_level"))

    @property
    def size(self) -> str:
        """How many samples, steps and which seed, in words."""
        first = self.table.iloc[0]
        return (
            f"{int(first['n'])} samples of each method and scale, {int(first['steps'])} steps, seed "
            f"{int(first['seed'])}."
        )

    def points(self, outcome: Outcome) -> NDArray[np.float64]:
        """Return the samples of an outcome that are drawn (N, 2)."""
        return self.array(f"{outcome.method}_{outcome.scale:g}")

    def array(self, name: str) -> NDArray[np.float64]:
        """Return one of its arrays."""
        return self.arrays[f"{self.name}_{name}"]

    def of(self, *methods: str) -> list[Outcome]:
        """Return the outcomes of these methods."""
        return [outcome for outcome in self.outcomes if outcome.method in methods]

    def best(self, *methods: str) -> Outcome:
        """Return the outcome of these methods that is closest to the exact conditional."""
        return min(self.of(*methods), key=lambda outcome: outcome.distance.value)

    def delivering(self, method: str) -> Outcome:
        """Return the method's closest outcome that delivers the class; if none does, that with the largest share."""
        found = [outcome for outcome in self.of(method) if outcome.class_share.value >= DELIVERS]
        by_class = max(self.of(method), key=lambda outcome: outcome.class_share.value)
        return min(found, key=lambda outcome: outcome.distance.value, default=by_class)


def read_mixtures(folder: Path) -> list[Mixture]:
    """Read ground_truth.csv and ground_truth.npz of a results folder, one mixture after the other.

    Raises:
        UserError: if one is missing, or not what measure-ground-truth writes.
    """
    table = read_table(folder / GROUND_TRUTH.name, [*GROUND_TRUTH.columns, "seed"])
    path = folder / GROUND_TRUTH_DRAWN.name
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run the step that writes it first") from None
    except Exception as error:  # a damaged zip file raises many kinds
        raise UserError(f"{path} cannot be read as arrays; delete it and make it again") from error
    return [Mixture(str(name), rows, arrays) for name, rows in table.groupby("mixture", sort=False)]


def number_of(rows: pd.DataFrame, quantity: str) -> Interval:
    """Return the one number of a quantity among these rows, with its interval."""
    (row,) = (row for _, row in rows[rows["quantity"] == quantity].iterrows())
    return interval_of(row)


def interval_of(row: pd.Series) -> Interval:
    """Return a row's number with its interval."""
    return Interval(*(float(row[f"value{end}"]) for end in ENDS))
