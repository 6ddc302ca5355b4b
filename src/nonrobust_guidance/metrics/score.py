"""Scoring a run: one row for each cell, judged by its own guide and by a judge that never guides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from nonrobust_guidance.data import Split, load_split
from nonrobust_guidance.devices import choose_device
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import sha256_of
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.cells import Cell, guide_of, list_cells
from nonrobust_guidance.metrics.distances.columns import SampleDistances, Yardstick
from nonrobust_guidance.metrics.distances.extractors import load_extractor
from nonrobust_guidance.metrics.distances.inception_weights import INCEPTION_WEIGHTS
from nonrobust_guidance.metrics.judging import class_probabilities, device_of, summarize_probabilities
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.records.cards import weights_hash, write_card
from nonrobust_guidance.sampling.files import load_samples


def score_method(
    config: Mapping[str, Any],
    method: str,
    data_folder: Path,
    checkpoints: Path,
    weights: Path,
    samples_folder: Path,
    output_csv: Path,
) -> None:
    """Score every cell of one method and write the table, a row each; accuracies and distances have 95% intervals.

    The judged images are those of the files, rounded to 8 bits. Distances are to all training images of the data set
    and, with names that end in ``_conditional``, to those of the target class, in every space of
    ``metrics.extractors``.

    Args:
        config: the run's validated configuration.
        method: a key of ``sampling.methods``.
        data_folder: the prepared data set, with ``references/<extractor>/`` in it.
        checkpoints: a folder for each model.
        weights: the folder of the Inception weights; without such an extractor it may be missing.
        samples_folder: holds ``<method>/scale-<scale>/seed-<seed>/<target>.npy``.
        output_csv: written atomically; beside it, with the suffix ``.json``, its card.

    Raises:
        UserError: if a file is missing, truncated or of another kind.
    """
    judge = load_classifier(checkpoints / config["metrics"]["judge"], choose_device(config.get("device", "auto")))
    scorer = Scorer(config, load_split(data_folder, "train"), judge, checkpoints)
    yardsticks = list(open_yardsticks(config, data_folder, checkpoints, weights))
    cells = [cell for cell in list_cells(config) if cell.method.name == method]
    rows: list[dict[str, Any]] = []
    with tqdm(total=len(cells), desc=f"score {method}", unit="cell") as bar:
        for path, of_file in groupby(cells, lambda cell: cell.path(samples_folder)):
            targets = list(of_file)
            rows += scorer.score(path, targets, yardsticks)
            bar.update(len(targets))
    table = pd.DataFrame(rows)
    write_atomically(output_csv, lambda file: table.to_csv(file, index=False, float_format="%.6g"))
    write_score_card(config, method, data_folder, checkpoints, samples_folder, output_csv)


def write_score_card(
    config: Mapping[str, Any],
    method: str,
    data_folder: Path,
    checkpoints: Path,
    samples_folder: Path,
    output_csv: Path,
) -> None:
    """Write beside a method's table the card that says which samples were scored by whom, and against which data."""
    cells = [cell for cell in list_cells(config) if cell.method.name == method]
    inputs = {"data": sha256_of(data_folder / "manifest.json")}
    inputs["judge"] = weights_hash(checkpoints / config["metrics"]["judge"])
    guide = guide_of(cells[0], config)
    if guide:
        inputs["guide"] = weights_hash(checkpoints / guide)
    for path in dict.fromkeys(cell.path(samples_folder) for cell in cells):
        inputs[path.relative_to(samples_folder).as_posix()] = sha256_of(path)
    keys = ("judge", "extractors", "feature_rows", "neighbours", "bootstrap")
    settings = {key: config["metrics"][key] for key in keys if key in config["metrics"]}
    write_card(output_csv.with_suffix(".json"), settings, inputs, [output_csv.name])


def open_yardsticks(
    config: Mapping[str, Any], data_folder: Path, checkpoints: Path, weights: Path
) -> Iterator[Yardstick]:
    """Yield the real images in each of the run's feature spaces.

    Raises:
        UserError: if weights or references are missing or not the right ones.
    """
    metrics, device = config["metrics"], choose_device(config.get("device", "auto"))
    for name in metrics["extractors"]:
        file = weights / INCEPTION_WEIGHTS[name].name if name in INCEPTION_WEIGHTS else checkpoints / metrics["judge"]
        extractor = load_extractor(name, file, device)
        yield Yardstick(extractor, data_folder, config["sampling"]["targets"], metrics)


class Scorer:
    """Whom every cell is judged by: the judge, and the guides, each read once."""

    def __init__(self, config: Mapping[str, Any], train: Split, judge: nn.Module, checkpoints: Path) -> None:
        """Take the judge.

        Raises:
            UserError: if it was not made for the data's classes and one more, or a target is none of them.
        """
        self.config, self.classes, self.judge, self.checkpoints = config, train.classes, judge, checkpoints
        self.image_size = train.images.shape[1]
        self.guides: dict[str, nn.Module] = {}
        num_classes = class_probabilities(judge, train.images[:1]).shape[1]
        if num_classes != len(self.classes) + 1:
            raise UserError(
                f"{checkpoints / config['metrics']['judge']} knows {num_classes} classes where those of the data and "
                f"'none of these' are {len(self.classes) + 1}; train it again on these data"
            )
        for target in config["sampling"]["targets"]:
            if target not in self.classes:
                raise UserError(
                    f"sampling.targets names '{target}', which is no class of the prepared data; prepare them again"
                )

    def score(self, path: Path, cells: Sequence[Cell], yardsticks: Sequence[Yardstick]) -> Iterator[dict[str, Any]]:
        """Yield the rows of the cells that share a file of samples.

        Raises:
            UserError: if the samples or their classifier are missing, truncated or of another kind.
        """
        images = load_samples(path, self.image_size)
        if len(images) < 2:
            raise UserError(f"{path} holds a single image, and a distance needs two; set num_samples to 2 or more")
        by_judge, by_guide = class_probabilities(self.judge, images), self.judge_by_guide(cells[0], images)
        measured = [SampleDistances(yardstick, images) for yardstick in yardsticks]
        for cell in cells:
            label, method = self.classes.index(cell.target), cell.method
            row: dict[str, Any] = {"run": self.config["run"], "dataset": self.config["dataset"]["name"]}
            row |= {"method": method.name, "classifier": method.classifier, "at": method.at}
            row |= {"stabilizer": method.stabilizer, "objective": method.objective, "scale": cell.scale}
            row |= {"target": cell.target, "seed": cell.seed, "n": len(images)}
            row |= summarize_guide(by_guide, label)
            row |= summarize_probabilities(by_judge, label, "heldout")
            row |= class_shares(by_judge, self.classes)
            for distances in measured:
                row |= distances.to_target(cell.target)
            warnings = [distances.warning(cell.target) for distances in measured]
            yield row | {"warning": "; ".join(filter(None, warnings))}

    def judge_by_guide(self, cell: Cell, images: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        """Return the probabilities (N, K) that the cell's own classifier gives; None where the run has none to ask."""
        name = guide_of(cell, self.config)
        if not name:
            return None
        if name not in self.guides:
            self.guides[name] = load_classifier(self.checkpoints / name, device_of(self.judge))
        return class_probabilities(self.guides[name], images)


def summarize_guide(probabilities: NDArray[np.float64] | None, label: int) -> dict[str, Any]:
    """Return the columns on the guide's opinion, not numbers where there is none."""
    if probabilities is not None:
        return summarize_probabilities(probabilities, label, "self")
    return dict.fromkeys(summarize_probabilities(np.ones((1, 1)), 0, "self"), float("nan"))


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
