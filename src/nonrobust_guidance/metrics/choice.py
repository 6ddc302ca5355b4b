"""At which of its scales a method is compared: the one rule that the report and the comparisons share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import pandas as pd

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import Method
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.statistics.seeds import mean_over_cells, share_over_seeds


class Scored(Protocol):
    """What the rule needs to know."""

    @property
    def accuracy(self) -> Interval:
        """Share that the held-out judge calls the target."""
        ...

    @property
    def distance(self) -> Interval:
        """To real images of the target class."""
        ...


AnyScored = TypeVar("AnyScored", bound=Scored)


class AtScale(NamedTuple):
    """A method at a scale, over all targets and seeds."""

    scale: float
    accuracy: Interval
    distance: Interval


def at_scale(rows: pd.DataFrame, scale: float, distance: str) -> AtScale:
    """Return a method's results at a scale from its rows; ``distance`` names the conditional distance's column."""
    return AtScale(scale, share_over_seeds(rows, "accuracy_heldout"), mean_over_cells(rows, distance))


def best(outcomes: Sequence[AnyScored]) -> AnyScored:
    """Return the outcome to compare a method by.

    Among those whose held-out accuracy cannot be told apart from the highest one's (their intervals overlap), it is the
    one with the lowest conditional distance.

    Raises:
        ValueError: if there are none.
    """
    if not outcomes:
        raise ValueError("There is no best of no outcomes.")
    top = max(outcomes, key=lambda outcome: outcome.accuracy.value)
    level = [outcome for outcome in outcomes if outcome.accuracy.high >= top.accuracy.low]
    return min(level, key=lambda outcome: outcome.distance.value)


def chosen_scale(metrics: pd.DataFrame, method: Method, targets: Sequence[str], distance: str) -> float:
    """Return the scale at which a method is compared: its only one, or else the best over all targets.

    Args:
        metrics: the run's table of scores.
        method: with its scales.
        targets: of the run.
        distance: column of the conditional distance.

    Raises:
        UserError: if the table lacks a scale.
    """
    if len(method.scales) == 1:
        return method.scales[0]
    outcomes = []
    for scale in method.scales:
        rows = metrics[
            (metrics["method"] == method.name) & np.isclose(metrics["scale"], scale) & metrics["target"].isin(targets)
        ]
        if rows.empty:
            raise UserError(
                f"metrics.csv has no row of {method.name} at scale {scale:g}; score this run's samples again"
            )
        outcomes.append(at_scale(rows, scale, distance))
    return best(outcomes).scale
