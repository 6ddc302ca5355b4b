"""Scoring a run: one row for each cell, judged by its own guide and by a judge that never guides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from nonrobust_guidance.data import Split, load_split
from nonrobust_guidance.devices import choose_device
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import sha256_of
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.cells import Cell
from nonrobust_guidance.metrics.distances.columns import SampleDistances, Yardstick
from nonrobust_guidance.metrics.distances.extractors import load_extractor
from nonrobust_guidance.metrics.distances.inception_weights import INCEPTION_WEIGHTS
from nonrobust_guidance.metrics.judging import class_probabilities
from nonrobust_guidance.metrics.scores import JudgedCell, columns_of
from nonrobust_guidance.metrics.settings import Scoring
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.records.cards import weights_hash, write_card
from nonrobust_guidance.sampling.files import load_samples


def score_method(
    cells: Sequence[Cell],
    scoring: Scoring,
    guide: str,
    data_folder: Path,
    checkpoints: Path,
    weights: Path,
    samples_folder: Path,
    output_csv: Path,
    *,
    names: Mapping[str, str],
    device: str = "auto",
) -> None:
    """Score the cells of one method and write a table with a row for each; accuracies and distances have 95% intervals.

    The judged images are those of the files, rounded to 8 bits. Distances are to all training images of the data set
    and, with names that end in ``_conditional``, to those of the target class, in every space of
    ``metrics.extractors``.

    Args:
        cells: all of the method.
        scoring: by whom, and in which feature spaces.
        guide: name of the guiding classifier, whose opinion is recorded too; empty if there is none.
        data_folder: the prepared data set, with ``references/<extractor>/`` in it.
        checkpoints: a folder for each model.
        weights: the folder of the Inception weights; without such an extractor it may be missing.
        samples_folder: holds ``<method>/scale-<scale>/seed-<seed>/<target>.npy``.
        output_csv: written atomically; beside it, with the suffix ``.json``, its card.
        names: columns that every row begins with, such as the run's name.
        device: as `choose_device` takes it.

    Raises:
        UserError: if a file is missing, truncated or of another kind.
    """
    where, method = choose_device(device), cells[0].method.name
    scorer = Scorer.load(checkpoints, scoring.judge, guide, load_split(data_folder, "train"), where)
    targets_of_all = list(dict.fromkeys(cell.target for cell in cells))
    scorer.require_classes(targets_of_all)
    yardsticks = list(open_yardsticks(scoring, targets_of_all, data_folder, checkpoints, weights, where))
    rows: list[dict[str, Any]] = []
    with tqdm(total=len(cells), desc=f"score {method}", unit="cell") as bar:
        for path, of_file in groupby(cells, lambda cell: cell.path(samples_folder)):
            targets = list(of_file)
            rows += ({**names, **row} for row in scorer.score(path, targets, yardsticks))
            bar.update(len(targets))
    table = pd.DataFrame(rows)
    write_atomically(output_csv, lambda file: table.to_csv(file, index=False, float_format="%.6g"))
    write_score_card(cells, scoring, guide, data_folder, checkpoints, samples_folder, output_csv)


def write_score_card(
    cells: Sequence[Cell],
    scoring: Scoring,
    guide: str,
    data_folder: Path,
    checkpoints: Path,
    samples_folder: Path,
    output_csv: Path,
) -> None:
    """Write the card beside a method's table: which samples were scored, by which models, and against which data."""
    inputs = {"data": sha256_of(data_folder / "manifest.json")}
    inputs["judge"] = weights_hash(checkpoints / scoring.judge)
    if guide:
        inputs["guide"] = weights_hash(checkpoints / guide)
    for path in dict.fromkeys(cell.path(samples_folder) for cell in cells):
        inputs[path.relative_to(samples_folder).as_posix()] = sha256_of(path)
    write_card(output_csv.with_suffix(".json"), scoring.recorded(), inputs, [output_csv.name])


def open_yardsticks(
    scoring: Scoring,
    targets: Sequence[str],
    data_folder: Path,
    checkpoints: Path,
    weights: Path,
    device: torch.device,
) -> Iterator[Yardstick]:
    """Yield the real images of the targets in each feature space.

    Raises:
        UserError: if weights or references are missing or not the right ones.
    """
    for name in scoring.extractors:
        file = weights / INCEPTION_WEIGHTS[name].name if name in INCEPTION_WEIGHTS else checkpoints / scoring.judge
        yield Yardstick(load_extractor(name, file, device), data_folder, targets, scoring)


class Scorer:
    """The classifiers that look at the samples of a method: the judge, and the guide where there is one."""

    def __init__(self, judge: nn.Module, guide: nn.Module | None, classes: Sequence[str], image_size: int) -> None:
        """Take the classifiers, and the classes and the size of the images that they were made for."""
        self.judge, self.guide, self.classes, self.image_size = judge, guide, tuple(classes), image_size

    @classmethod
    def load(cls, checkpoints: Path, judge: str, guide: str, train: Split, device: torch.device) -> Scorer:
        """Read the judge, and the guide unless its name is empty.

        Raises:
            UserError: if a checkpoint is missing or damaged, or the judge does not have the data's classes and one
                more.
        """
        network = load_classifier(checkpoints / judge, device)
        num_classes = class_probabilities(network, train.images[:1]).shape[1]
        if num_classes != len(train.classes) + 1:
            raise UserError(
                f"{checkpoints / judge} knows {num_classes} classes where those of the data and 'none of these' are "
                f"{len(train.classes) + 1}; train it again on these data"
            )
        guiding = load_classifier(checkpoints / guide, device) if guide else None
        return cls(network, guiding, train.classes, train.images.shape[1])

    def require_classes(self, targets: Iterable[str]) -> None:
        """Raise a UserError unless all targets are classes of the data."""
        for target in targets:
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
        by_judge = class_probabilities(self.judge, images)
        by_guide = None if self.guide is None else class_probabilities(self.guide, images)
        measured = [SampleDistances(yardstick, images) for yardstick in yardsticks]
        for cell in cells:
            method = cell.method
            row: dict[str, Any] = {"method": method.name, "classifier": method.classifier, "at": method.at}
            row |= {"stabilizer": method.stabilizer, "objective": method.objective, "scale": cell.scale}
            row |= {"target": cell.target, "seed": cell.seed, "n": len(images)}
            yield row | columns_of(JudgedCell(images, cell.target, self.classes, by_judge, by_guide, measured))
