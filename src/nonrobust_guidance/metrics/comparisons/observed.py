"""What is kept of a method's samples to compare it with others: who calls them the target, how distances vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonrobust_guidance.metrics.cells import Cell, Method
from nonrobust_guidance.metrics.distances.columns import Yardstick
from nonrobust_guidance.metrics.distances.features import summarize_features
from nonrobust_guidance.metrics.distances.frechet import estimate_distance
from nonrobust_guidance.metrics.judging import class_probabilities
from nonrobust_guidance.metrics.score import Scorer
from nonrobust_guidance.metrics.statistics.estimates import Estimate
from nonrobust_guidance.metrics.statistics.paired import Outcomes
from nonrobust_guidance.sampling.files import load_samples

CellKey = tuple[str, int]
"""A target and a seed."""


@dataclass(frozen=True, eq=False)
class Observed:
    """A method at one scale.

    Attributes:
        method: the method.
        scale: of its guidance.
        guide: name of the guiding classifier, whose opinion is recorded too; empty if there is none.
        by_judge: for each target and seed, which of its samples (N,) the held-out judge calls the target.
        by_guide: the same for the guide; empty where there is none.
        distances: by space, number of samples, target and seed.
    """

    method: Method
    scale: float
    guide: str
    by_judge: dict[CellKey, Outcomes] = field(default_factory=dict)
    by_guide: dict[CellKey, Outcomes] = field(default_factory=dict)
    distances: dict[tuple[str, int, str, int], Estimate] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Samples per cell; if cells differ, the fewest."""
        return min(len(outcomes) for outcomes in self.by_judge.values())


def observe(
    cells: Sequence[Cell],
    guide: str,
    sizes: Sequence[int],
    scorer: Scorer,
    yardsticks: Sequence[Yardstick],
    samples_folder: Path,
) -> Observed:
    """Look at the cells of one method at one scale; the samples themselves are not kept.

    Args:
        cells: one for each target and seed; those that share a file follow one another.
        guide: name of the scorer's guide.
        sizes: for how many of the first samples to measure distances; more than there are counts as all.
        scorer: the judge, and the guide where there is one.
        yardsticks: the real images in each feature space.
        samples_folder: holds ``<method>/scale-<scale>/seed-<seed>/<target>.npy``.

    Raises:
        UserError: if samples are missing, truncated or of another kind.
    """
    observed = Observed(cells[0].method, cells[0].scale, guide)
    by_file: dict[Path, list[Cell]] = {}
    for cell in cells:
        by_file.setdefault(cell.path(samples_folder), []).append(cell)
    for path, of_file in by_file.items():
        images = load_samples(path, scorer.image_size)
        called = class_probabilities(scorer.judge, images).argmax(axis=1)
        by_guide = None if scorer.guide is None else class_probabilities(scorer.guide, images).argmax(axis=1)
        for cell in of_file:
            label, key = scorer.classes.index(cell.target), (cell.target, cell.seed)
            observed.by_judge[key] = called == label
            if by_guide is not None:
                observed.by_guide[key] = by_guide == label
        targets = {cell.target: cell.seed for cell in of_file}
        for yardstick in yardsticks:
            for n in {min(size, len(images)) for size in sizes}:
                observed.distances.update(_distances(yardstick, images[:n], targets))
    return observed


def _distances(
    yardstick: Yardstick, images: NDArray[np.uint8], seeds: Mapping[str, int]
) -> dict[tuple[str, int, str, int], Estimate]:
    n = len(images)
    features = summarize_features(yardstick.extractor.stream(images), n, yardstick.num_rows, yardstick.seed)
    return {
        (yardstick.space.name, n, target, seed): estimate_distance(
            features.rows,
            features.gaussian,
            yardstick.references[target].gaussian,
            yardstick.resamples,
            # The same resamples for every method and target of a seed, so that what they share cancels.
            np.random.default_rng([yardstick.seed, seed, n]),
        )
        for target, seed in seeds.items()
    }
