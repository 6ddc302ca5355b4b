"""What is measured of each image: its colours, and the class and factors that the held-out judge sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nonrobust_guidance.data import Split
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.judging import device_of
from nonrobust_guidance.metrics.signatures.colours import Colours
from nonrobust_guidance.models.images import to_unit_range
from nonrobust_guidance.models.judge import Judge

BATCH_SIZE = 256
Rows = NDArray[np.int64]


class Observed(NamedTuple):
    """Colours of N images, the class (N,) that the judge calls each, and the factors (N, F) that it sees."""

    colours: Colours
    called: NDArray[np.int64]
    factors: NDArray[np.float64]

    @classmethod
    def of(cls, judge: Judge, images: NDArray[np.uint8], rows: Rows | None = None) -> Observed:
        """Observe the images uint8 (N, H, W, 3) at these rows, or all; they may be memory-mapped."""
        rows = np.arange(len(images)) if rows is None else rows
        parts = [_judge(judge, images[rows[i : i + BATCH_SIZE]]) for i in range(0, len(rows), BATCH_SIZE)]
        called, factors = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(colours_of(images, rows), called, factors)

    def take(self, rows: Rows | NDArray[np.bool_]) -> Observed:
        """Return what is observed of some of the images."""
        return Observed(self.colours.take(rows), self.called[rows], self.factors[rows])

    def called_class(self, label: int) -> Observed:
        """Return what is observed of the images that the judge calls this class."""
        return self.take(self.called == label)


class RealClass(NamedTuple):
    """The real images of one class: training images to compare with, and test images to show how real ones score.

    Attributes:
        colours: of the training images.
        factors: (m, F), as the judge sees them, of those training images that it calls the class.
        test: the test images.
        rows: where in the test split they are.
        truth: (n, F), their true factors.
    """

    colours: Colours
    factors: NDArray[np.float64]
    test: Observed
    rows: Rows
    truth: NDArray[np.float32]

    @classmethod
    def of(cls, judge: Judge, train: Split, test: Split, label: int) -> RealClass:
        """Observe the images of the class with this label, at least two in each split.

        Raises:
            UserError: if there are fewer.
        """
        training, held_out = (np.flatnonzero(split.labels == label) for split in (train, test))
        if min(len(training), len(held_out)) < 2:
            raise UserError(
                f"the data have fewer than two {train.classes[label]} images to train or to test on; "
                "prepare them again with more"
            )
        factors = np.zeros((0, 0))
        if train.factor_names:
            factors = Observed.of(judge, train.images, training).called_class(label).factors
        test_class = Observed.of(judge, test.images, held_out)
        return cls(colours_of(train.images, training), factors, test_class, held_out, test.factors[held_out])


def colours_of(images: NDArray[np.uint8], rows: Rows) -> Colours:
    """Return the colours of the images at these rows, with only a part of them in memory at a time."""
    return Colours.join([Colours.of(images[rows[i : i + BATCH_SIZE]]) for i in range(0, len(rows), BATCH_SIZE)])


def require_judge(judge: object, folder: str, classes: Sequence[str], factors: Sequence[str]) -> Judge:
    """Return the judge if it was made for these classes and these factors.

    Raises:
        UserError: if it is not a judge, or is one for other data.
    """
    if not isinstance(judge, Judge):
        raise UserError(f"{folder} holds no judge; name a classifier of the architecture judge_cnn in metrics.judge")
    known = judge.classes.out_features - 1
    if known != len(classes) or judge.factor_names != tuple(factors):
        raise UserError(
            f"{folder} knows {known} classes and the factors {', '.join(judge.factor_names) or 'none'} where the data "
            f"have {len(classes)} and {', '.join(factors) or 'none'}; train it again on these data"
        )
    return judge


@torch.no_grad()
def _judge(judge: Judge, images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    logits, factors = judge.judge(to_unit_range(images).to(device_of(judge)))
    return logits.argmax(dim=1).cpu().numpy(), factors.cpu().double().numpy()
