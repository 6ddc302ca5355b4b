"""The section ``metrics``: what is measured of the samples, and by whom."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import Field

from nonrobust_guidance.models.settings import Models
from nonrobust_guidance.sampling.settings import Plan
from nonrobust_guidance.settings import Settings, absent
from nonrobust_guidance.settings.types import DIFFERENT, Length, Number, Seed, Several, Words


class Bootstrap(Settings):
    """How the intervals of the distances are resampled."""

    resamples: Annotated[int, Number(whole=True, least=2, most=100_000)] = 200
    seed: Seed = 0


class Sensitivity(Settings):
    """Sensitivity of logits and gradients to a step along the forward process."""

    levels: Length = 21
    """Pairs of neighbouring noise levels to report."""
    num_images: Several = 64
    """Each costs as much as a guided sample."""


class Trajectories(Settings):
    """Trajectories of the gradients along the sampling of every guided method.

    They are followed at the middle one of its scales, toward the first target, with the first seed.
    """

    num_samples: Several = 32


class Signatures(Settings):
    """Signatures of failing guidance."""

    num_rows: Length = 1000
    """Samples of a cell listed in factors.csv."""


class Cost(Settings):
    """Measuring what a method's samples cost.

    Whole chains are timed. A chain of 400 steps takes minutes for 64 images, so one round may be enough for a run with
    many of them.
    """

    rounds: Annotated[int, Number(whole=True, least=1, most=1000)] = 3
    """In each of them every method draws one batch."""
    batch_size: Annotated[int, Number(whole=True, least=1, most=10_000)] = 64
    """Images in a batch; four times as many where images that are not accepted are drawn again. A multiple of what the
    networks see at a time (32 images of 32 x 32) wastes no passes."""


class GroundTruth(Settings):
    """The page on data whose conditional distribution is known."""

    num_samples: Annotated[int, Number(whole=True, least=2, most=10_000)] = 1000
    """Samples of each method at each scale; the distance is over all pairs of them."""
    num_steps: Annotated[int, Number(whole=True, least=50, most=2000)] = 100
    """Steps of the chain."""


class Scoring(Settings):
    """How the samples of a cell are scored."""

    judge: Words
    """The held-out classifier; no method may be guided by it."""
    extractors: Annotated[
        tuple[Literal["judge", "inception", "torchvision_inception"], ...], Field(min_length=1), DIFFERENT
    ] = ("judge",)
    """Whose features distances are measured in: those of the judge, of Inception as clean-fid uses it (FID), or of
    torchvision's Inception (the paper's FID). Each has columns of its own; the first one is the report's distance."""
    feature_rows: Several = 10_000
    """Rows of features to keep of each class and of each cell, for kernel distances and neighbours."""
    neighbours: Length = 5
    """Nearest neighbours for precision, recall, density and coverage."""
    bootstrap: Bootstrap = Bootstrap()


class NoiseAccuracy(Settings):
    """How the classifiers' accuracy is measured over the noise levels."""

    noise_levels: Annotated[int, Number(whole=True, least=2, most=100_000)] = 11
    """Steps at which accuracy is measured."""
    num_noise_images: Length = 500


class Metrics(NoiseAccuracy, Scoring):
    """What is measured."""

    sensitivity: Sensitivity = Sensitivity()
    trajectories: Trajectories = Trajectories()
    signatures: Signatures = Signatures()
    cost: Cost | None = absent("What the samples of each method cost; left out, it is not measured.")


class Measured(Models, Plan, Protocol):
    """The parts of a run that measuring and reporting read; `config.Run` has them."""

    @property
    def run(self) -> str:
        """Name of the folder under results/."""
        ...

    @property
    def device(self) -> Literal["auto", "cuda", "mps", "cpu"]:
        """Where networks run."""
        ...

    @property
    def metrics(self) -> Metrics:
        """What is measured."""
        ...

    def resolved(self) -> dict[str, Any]:
        """Return all of it as YAML values."""
        ...

    @classmethod
    def model_validate(cls, obj: Any, /) -> Self:
        """Return the run that such values describe, once it is checked."""
        ...
