"""The signatures of failing guidance: colours that shift, features that are lost, factors that move.

Every number of a cell stands beside the same number of as many real test images (``_real``), which is what a perfect
generator would get. Colours are compared with the training images of the target class. Factors are compared with those
of the training images, as the judge sees them on both sides, so that its own error is in both and cancels. Only images
that it calls the class are compared, because for any other image its factors mean nothing.
"""

from __future__ import annotations

import math
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
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.cells import REAL, REAL_JUDGED, Cell, guide_of, list_cells
from nonrobust_guidance.metrics.judging import class_probabilities, device_of
from nonrobust_guidance.metrics.settings import Bootstrap, Signatures
from nonrobust_guidance.metrics.signatures.colours import colour_distance
from nonrobust_guidance.metrics.signatures.observed import Observed, RealClass, colours_of, require_judge
from nonrobust_guidance.metrics.signatures.shifts import compare_colours, compare_factors, share
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.models.judge import Judge
from nonrobust_guidance.sampling.files import load_samples
from nonrobust_guidance.sampling.settings import Plan

NONE = "none of these"
# The contrast of one ball is proportional to its diameter: less than half of nearly the smallest counts as blank.
BLANK_QUANTILE, BLANK_FACTOR = 0.01, 0.5

Row = dict[str, Any]


def measure_signatures(
    plan: Plan,
    judge: str,
    settings: Signatures,
    bootstrap: Bootstrap,
    data_folder: Path,
    checkpoints: Path,
    samples_folder: Path,
    output_csv: Path,
    factors_csv: Path,
    *,
    device: str = "auto",
) -> None:
    """Measure the failure signatures of every cell of the run, and list what is seen in single samples.

    ``factors_csv`` lists the first ``metrics.signatures.num_rows`` samples of each cell, and as many real test images
    of each target: with their true factors under the method ``real``, as the judge sees them under ``real_judged``.

    Args:
        plan: the run's methods and classifiers.
        judge: name of the held-out classifier.
        settings: how many samples are listed.
        bootstrap: of the intervals.
        data_folder: the prepared data set.
        checkpoints: a folder for each model.
        samples_folder: holds ``<method>/scale-<scale>/seed-<seed>/<target>.npy``.
        output_csv: written atomically, a row a cell.
        factors_csv: written atomically.
        device: as `choose_device` takes it.

    Raises:
        UserError: if a file is missing, truncated or of another kind.
    """
    train, test = load_split(data_folder, "train"), load_split(data_folder, "test")
    folder = checkpoints / judge
    network = load_classifier(folder, choose_device(device))
    judging = require_judge(network, str(folder), train.classes, train.factor_names)
    meter = SignatureMeter(plan, settings, bootstrap, train, test, judging, checkpoints)
    rows, listed = [], [meter.list_real(target) for target in plan.sampling.targets]
    for cell in tqdm(list_cells(plan), desc="measure signatures", unit="cell"):
        row, samples = meter.measure(cell, samples_folder)
        rows.append(row)
        listed.append(samples)
    # Keep seeds as integers although real images have none: of floats only six digits are written.
    single = pd.concat(listed, ignore_index=True).astype({"seed": "Int64"})
    for path, table in ((output_csv, pd.DataFrame(rows)), (factors_csv, single)):
        write_table(path, table)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically."""
    write_atomically(path, lambda temporary: table.to_csv(temporary, index=False, float_format="%.6g"))


class SignatureMeter:
    """What every cell is compared with, made once: the real images of each target, and the networks."""

    def __init__(
        self,
        plan: Plan,
        settings: Signatures,
        bootstrap: Bootstrap,
        train: Split,
        test: Split,
        judge: Judge,
        checkpoints: Path,
    ) -> None:
        """Observe the real images.

        Raises:
            UserError: if a target is not a class of the data, or there are too few images of it.
        """
        self.plan, self.bootstrap, self.judge, self.checkpoints = plan, bootstrap, judge, checkpoints
        self.classes, self.factor_names = train.classes, train.factor_names
        self.image_size, self.num_rows = train.images.shape[1], settings.num_rows
        self.guides: dict[str, nn.Module] = {}
        self.real: dict[str, RealClass] = {}
        for target in plan.sampling.targets:
            if target not in self.classes:
                raise UserError(
                    f"sampling.targets names '{target}', which is no class of the prepared data; prepare them again"
                )
            self.real[target] = RealClass.of(judge, train, test, self.classes.index(target))
        self.test_images = test.images
        everything = colours_of(train.images, np.arange(len(train.images)))
        self.blank_contrast = BLANK_FACTOR * float(np.quantile(everything.contrast, BLANK_QUANTILE))
        self._observed: tuple[Path, NDArray[np.uint8], Observed] | None = None
        self._fooled_real: dict[tuple[str, str], NDArray[np.bool_]] = {}

    def measure(self, cell: Cell, samples_folder: Path) -> tuple[Row, pd.DataFrame]:
        """Return the row of one cell, and the table of its first samples.

        Unguided samples need not be of the target class, so their colours are measured only on those that the judge
        calls it.

        Raises:
            UserError: if its samples or its classifier are missing, truncated or of another kind.
        """
        images, samples = self._observe(cell.path(samples_folder))
        label, real = self.classes.index(cell.target), self.real[cell.target]
        guide, bootstrap, test = guide_of(cell, self.plan), self.bootstrap, real.test
        fooled = self._fooled(guide, images, samples, label)
        accepted = samples.called_class(label)
        row = identify(cell) | {"n": len(images), "accepted_n": len(accepted.called)}
        coloured = accepted if cell.method.unguided else samples
        row |= compare_colours(coloured.colours, test.colours, real.colours, bootstrap)
        none, limit = len(self.classes), self.blank_contrast
        row |= share("fooled_share", fooled, self._fooled_of_real(guide, cell.target))
        row |= share("none_share", samples.called == none, test.called == none)
        row |= share("blank_share", samples.colours.contrast < limit, test.colours.contrast < limit)
        test_factors = test.called_class(label).factors
        row |= compare_factors(accepted.factors, test_factors, real.factors, self.factor_names, bootstrap)
        listed = samples.take(np.arange(min(self.num_rows, len(images))))
        return row, self._list(identify(cell), listed, np.arange(len(images)), fooled, cell.target, listed.factors)

    def list_real(self, target: str) -> pd.DataFrame:
        """Return the rows of the first test images of a target: their true factors, then those that the judge sees."""
        real = self.real[target]
        shown = real.test.take(np.arange(min(self.num_rows, len(real.rows))))
        tables = []
        for name, factors in ((REAL, real.truth), (REAL_JUDGED, shown.factors)):
            where = {"method": name, "scale": math.nan, "target": target, "seed": math.nan}
            nobody = np.zeros(0, dtype=bool)
            tables.append(self._list(where, shown, real.rows, nobody, target, factors[: len(shown.called)]))
        return pd.concat(tables, ignore_index=True)

    def _list(
        self,
        where: Row,
        seen: Observed,
        index: NDArray[np.int64],
        fooled: NDArray[np.bool_],
        target: str,
        factors: NDArray[np.floating[Any]],
    ) -> pd.DataFrame:
        n, names = len(seen.called), [*self.classes, NONE]
        mean = self.real[target].colours.mean.mean(axis=0)
        columns = where | {"index": index[:n], "accepted": (seen.called == self.classes.index(target)).astype(int)}
        columns |= {"judged": [names[called] for called in seen.called]}
        columns |= {"fooled": fooled[:n].astype(int) if len(fooled) else math.nan}
        columns |= {"colour_shift": colour_distance(seen.colours.mean, mean), "contrast": seen.colours.contrast}
        columns |= {name: factors[:, column] for column, name in enumerate(self.factor_names)}
        return pd.DataFrame(columns, index=range(n))

    def _observe(self, path: Path) -> tuple[NDArray[np.uint8], Observed]:
        # Unguided samples are the same file for every target, and these cells come one after the other.
        if self._observed is None or self._observed[0] != path:
            self._observed = None  # a file may take half a gigabyte
            images = load_samples(path, self.image_size)
            self._observed = (path, images, Observed.of(self.judge, images))
        return self._observed[1:]

    def _fooled(self, guide: str, images: NDArray[np.uint8], seen: Observed, label: int) -> NDArray[np.bool_]:
        """Return which images (N,) the guide calls the class and the judge does not; (0,) where there is no guide."""
        if not guide:
            return np.zeros(0, dtype=bool)
        if guide not in self.guides:
            self.guides[guide] = load_classifier(self.checkpoints / guide, device_of(self.judge))
        called = class_probabilities(self.guides[guide], images).argmax(axis=1)
        return (called == label) & (seen.called != label)

    def _fooled_of_real(self, guide: str, target: str) -> NDArray[np.bool_]:
        if (guide, target) not in self._fooled_real:
            real, label = self.real[target], self.classes.index(target)
            self._fooled_real[guide, target] = self._fooled(guide, self.test_images[real.rows], real.test, label)
        return self._fooled_real[guide, target]


def identify(cell: Cell) -> Row:
    """Return the columns that name a cell."""
    return {"method": cell.method.name, "scale": cell.scale, "target": cell.target, "seed": cell.seed}
