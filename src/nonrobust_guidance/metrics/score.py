"""Scoring a run: one row for each cell, judged by its own guide and by a judge that never guides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from nonrobust_guidance.data import Split, load_split
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.cells import Cell, list_cells, list_methods
from nonrobust_guidance.metrics.frechet import (
    Gaussian,
    fast_frechet_distance,
    frechet_distance,
    frechet_interval,
    rank_warning,
)
from nonrobust_guidance.metrics.judging import class_probabilities, extract_features, summarize_probabilities
from nonrobust_guidance.metrics.samples import load_samples
from nonrobust_guidance.models import load_classifier

REAL_DRAWS = 20


def score_run(
    config: Mapping[str, Any], data_folder: Path, checkpoints: Path, samples_folder: Path, output_csv: Path
) -> None:
    """Score every cell of the run and write the table, a row each; accuracies and distances have 95% intervals.

    The judged images are those of the files, rounded to 8 bits. Distances are to all training images
    (``fd_<extractor>``) and to all training images of the target class (``fd_<extractor>_conditional``).

    Args:
        config: the run's validated configuration.
        data_folder: the prepared data set.
        checkpoints: a folder for each model.
        samples_folder: holds ``<method>/scale-<scale>/seed-<seed>/<target>.npz``.
        output_csv: written atomically.

    Raises:
        UserError: if a file is missing, truncated or of another kind.
    """
    judge = load_classifier(checkpoints / config["metrics"]["judge"])
    scorer = Scorer(config, load_split(data_folder, "train"), load_split(data_folder, "test"), judge, checkpoints)
    cells = list_cells(config)
    rows = [scorer.score(cell, samples_folder) for cell in tqdm(cells, desc="score samples", unit="cell")]
    table = pd.DataFrame(rows)
    write_atomically(output_csv, lambda path: table.to_csv(path, index=False, float_format="%.6g"))


class Scorer:
    """What every cell is judged by: the judge, the guides, and the reference statistics, each made once."""

    def __init__(
        self, config: Mapping[str, Any], train: Split, test: Split, judge: nn.Module, checkpoints: Path
    ) -> None:
        """Take the networks and compute the features of the real images.

        Raises:
            UserError: if the judge was not made for the data's classes and one more, a target is none of them, or
                there are too few images of it.
        """
        self.config, self.classes, self.judge, self.checkpoints = config, train.classes, judge, checkpoints
        self.image_size = train.images.shape[1]
        self.extractor = config["metrics"]["extractor"]
        self.guides: dict[str, nn.Module] = {}
        num_classes = class_probabilities(judge, train.images[:1]).shape[1]
        if num_classes != len(self.classes) + 1:
            raise UserError(
                f"{checkpoints / config['metrics']['judge']} knows {num_classes} classes where those of the data and "
                f"'none of these' are {len(self.classes) + 1}; train it again on these data"
            )
        features = extract_features(self.extractor, judge, train.images)
        self.references = {"": Gaussian.fit(features)}
        self.real: dict[str, NDArray[np.float64]] = {}
        for target in config["sampling"]["targets"]:
            if target not in self.classes:
                raise UserError(
                    f"sampling.targets names '{target}', which is no class of the prepared data; prepare them again"
                )
            label = self.classes.index(target)
            if min(np.sum(split.labels == label) for split in (train, test)) < 2:
                raise UserError(
                    f"the data have fewer than two {target} images to train or to test on; raise dataset.num_images"
                )
            self.references[target] = Gaussian.fit(features[train.labels == label])
            self.real[target] = extract_features(self.extractor, judge, test.images[test.labels == label])

    def score(self, cell: Cell, samples_folder: Path) -> dict[str, Any]:
        """Return the row of one cell.

        Raises:
            UserError: if its samples or its classifier are missing, truncated or of another kind.
        """
        path = cell.path(samples_folder)
        images = load_samples(path, self.image_size)
        if len(images) < 2:
            raise UserError(f"{path} holds a single image, and a distance needs two; set num_samples to 2 or more")
        label = self.classes.index(cell.target)
        method, held_out = cell.method, class_probabilities(self.judge, images)
        row: dict[str, Any] = {"run": self.config["run"], "dataset": self.config["dataset"]["name"]}
        row |= {"method": method.name, "classifier": method.classifier, "at": method.at}
        row |= {"stabilizer": method.stabilizer, "objective": method.objective, "scale": cell.scale}
        row |= {"target": cell.target, "seed": cell.seed, "n": len(images)}
        row |= self.judge_by_guide(cell, images, label)
        row |= summarize_probabilities(held_out, label, "heldout")
        row |= class_shares(held_out, self.classes)
        return row | self.measure_distances(cell.target, extract_features(self.extractor, self.judge, images))

    def judge_by_guide(self, cell: Cell, images: NDArray[np.uint8], label: int) -> dict[str, Any]:
        """Return what the cell's own classifier says; unguided samples go to the run's first non-robust one."""
        name = cell.method.classifier or next(
            (method.classifier for method in list_methods(self.config) if method.guided and not method.robust), ""
        )
        if not name:
            nothing = summarize_probabilities(np.ones((1, 1)), 0, "self")
            return dict.fromkeys(nothing, float("nan"))
        if name not in self.guides:
            self.guides[name] = load_classifier(self.checkpoints / name)
        return summarize_probabilities(class_probabilities(self.guides[name], images), label, "self")

    def measure_distances(self, target: str, features: NDArray[np.float64]) -> dict[str, Any]:
        """Return both distances of features (N, D) with intervals, counts and warnings."""
        bootstrap, n = self.config["metrics"]["bootstrap"], len(features)
        row: dict[str, Any] = {}
        for name, reference in self.named_references(target):
            distance = frechet_distance(features, reference)
            low, high = frechet_interval(features, reference, distance, bootstrap["resamples"], bootstrap["seed"])
            row |= {name: distance, f"{name}_low": low, f"{name}_high": high}
            row |= {f"{name}_n": n, f"{name}_reference_n": reference.n}
        real = real_distance(self.real[target], self.references[target], n, bootstrap["seed"])
        row[f"fd_{self.extractor}_conditional_real"] = real
        return row | {"warning": rank_warning(n, self.references[target].n, features.shape[1])}

    def named_references(self, target: str) -> Iterator[tuple[str, Gaussian]]:
        """Yield the columns' names and what they are distances to."""
        yield f"fd_{self.extractor}", self.references[""]
        yield f"fd_{self.extractor}_conditional", self.references[target]


def class_shares(probabilities: NDArray[np.float64], classes: tuple[str, ...]) -> dict[str, float]:
    """Return the share of images that the judge calls each class, none of these, and any class at all.

    Args:
        probabilities: (N, K + 1), "none of these" last.
        classes: K names; their columns are ``share_<name>``.
    """
    counts = np.bincount(probabilities.argmax(axis=1), minlength=len(classes) + 1)
    *shares, none = (counts / len(probabilities)).tolist()
    named = {f"share_{name}": share for name, share in zip(classes, shares, strict=True)}
    return named | {"none_share": none, "accepted_share": 1 - none}


def real_distance(features: NDArray[np.float64], reference: Gaussian, n: int, seed: int) -> float:
    """Return the mean distance of n real held-out images, what a perfect generator would score at this n.

    Drawn without replacement from features (M, D), M and n at least 2; where M is less than n, it is of all M.
    """
    size = min(n, len(features))
    rng = np.random.default_rng(seed)
    draws = 1 if size == len(features) else REAL_DRAWS
    subsets = [rng.choice(len(features), size, replace=False) for _ in range(draws)]
    return float(np.mean([fast_frechet_distance(features[subset], reference) for subset in subsets]))
