"""The scores of a cell's samples: each is a function from the judged cell to its columns of metrics.csv.

To add a score, write a function here, or in a file of its own, and add a line to `SCORES`; gathering, audits and the
report's table accept any columns. `tables.METRICS` lists the columns that the report itself relies on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonrobust_guidance.metrics.distances.columns import SampleDistances
from nonrobust_guidance.metrics.judging import summarize_probabilities


@dataclass(frozen=True, eq=False)
class JudgedCell:
    """A cell's samples, and what all scores need to know of them, computed once.

    Attributes:
        images: uint8 (N, H, W, 3), N at least 2.
        target: the class that they should show, or are compared with.
        classes: K names in label order, the target among them.
        by_judge: the judge's probabilities (N, K + 1), "none of these" last.
        by_guide: the guide's (N, K), None where there is no guide.
        distances: how far the images are from real ones, for each feature space of the run.
    """

    images: NDArray[np.uint8]
    target: str
    classes: tuple[str, ...]
    by_judge: NDArray[np.float64]
    by_guide: NDArray[np.float64] | None = None
    distances: Sequence[SampleDistances] = ()

    @property
    def label(self) -> int:
        """The target's number."""
        return self.classes.index(self.target)


Score = Callable[[JudgedCell], dict[str, Any]]
"""The columns' values are numbers, NaN where there is none; ``<name>_low`` and ``<name>_high`` end an interval."""


def guide_opinion(cell: JudgedCell) -> dict[str, Any]:
    """Return accuracy and probability of the target by the guide, NaN where there is no guide."""
    if cell.by_guide is not None:
        return summarize_probabilities(cell.by_guide, cell.label, "self")
    return dict.fromkeys(summarize_probabilities(np.ones((1, 1)), 0, "self"), float("nan"))


def judge_opinion(cell: JudgedCell) -> dict[str, Any]:
    """Return accuracy and probability of the target by the judge."""
    return summarize_probabilities(cell.by_judge, cell.label, "heldout")


def class_shares(cell: JudgedCell) -> dict[str, Any]:
    """Return the share of images that the judge calls each class, none of these, and any class at all.

    The columns of the classes are ``share_<name>``.
    """
    counts = np.bincount(cell.by_judge.argmax(axis=1), minlength=len(cell.classes) + 1)
    *shares, none = (counts / len(cell.by_judge)).tolist()
    named = {f"share_{name}": share for name, share in zip(cell.classes, shares, strict=True)}
    return named | {"none_share": none, "accepted_share": 1 - none}


def distances_to_real(cell: JudgedCell) -> dict[str, Any]:
    """Return distances, fidelity and diversity in every feature space; see `SampleDistances.to_target`."""
    return {name: value for space in cell.distances for name, value in space.to_target(cell.target).items()}


def warnings(cell: JudgedCell) -> dict[str, Any]:
    """Return a sentence for each feature space with too few images for it."""
    return {"warning": "; ".join(filter(None, (space.warning(cell.target) for space in cell.distances)))}


SCORES: tuple[Score, ...] = (guide_opinion, judge_opinion, class_shares, distances_to_real, warnings)
"""In the order of their columns, which follow those that name the cell."""


def columns_of(cell: JudgedCell) -> dict[str, Any]:
    """Return the columns of all scores.

    Raises:
        ValueError: if two of them have a column of the same name.
    """
    row: dict[str, Any] = {}
    for score in SCORES:
        columns = score(cell)
        twice = sorted(row.keys() & columns)
        if twice:
            raise ValueError(f"{score.__name__} returns the column {twice[0]} of another score; rename it.")
        row |= columns
    return row
