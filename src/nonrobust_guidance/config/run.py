"""A run, composed of the sections that the stages own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from nonrobust_guidance.config.together import check_models, check_run
from nonrobust_guidance.data.datasets import DATASETS
from nonrobust_guidance.data.settings import Dataset, OfDataset
from nonrobust_guidance.metrics.settings import Metrics
from nonrobust_guidance.models.settings import Classifier, Diffusion
from nonrobust_guidance.report.settings import Report
from nonrobust_guidance.sampling.settings import Sampling
from nonrobust_guidance.settings import CARRIED_OUT, OneOf, Settings
from nonrobust_guidance.settings.types import Identifier, Name

Fidelity = Literal["corrected", "paper"]
Device = Literal["auto", "cuda", "mps", "cpu"]


class Models(Settings):
    """All that the data and the checkpoints are made from; runs of the same dataset may share them."""

    fidelity: Fidelity = "corrected"
    """Defaults of some keys: corrected, or paper, which draws SportBalls as the original code does (the class leaks
    into the geometry) and follows the raw logit where there are more than two classes."""
    device: Annotated[Device, CARRIED_OUT] = "auto"
    """Where networks run; auto is the first of cuda, mps and cpu that is available, but never the cpu for a job that
    was given a GPU. No sample or score is made again when it changes."""
    dataset: Annotated[
        Dataset,
        OneOf(DATASETS, key="kind", needs=("classes", "image_size", "num_images", "open"), base=OfDataset),
    ]
    diffusion: Diffusion
    classifiers: Annotated[dict[Identifier, Classifier], Field(min_length=1)]
    """By name, which is also that of the checkpoint's folder."""

    @model_validator(mode="before")
    @classmethod
    def _follow_fidelity(cls, raw: Any) -> Any:
        return _with_fidelity(raw)

    @model_validator(mode="after")
    def _require_models_that_fit(self) -> Self:
        check_models(self)
        return self


class Run(Models):
    """A run: one file describes it completely."""

    run: Name
    """Name of the folder under results/."""
    sampling: Sampling
    metrics: Metrics
    report: Report = Report()

    def resolved(self) -> dict[str, Any]:
        """Return all settings of the run, its name first."""
        return {"run": self.run, **super().resolved()}

    @model_validator(mode="after")
    def _require_sections_that_fit(self) -> Self:
        check_run(self, self.report)
        return self


def _with_fidelity(raw: Any) -> Any:
    """Return the configuration with the original code's choices if it has ``fidelity: paper``.

    With these, SportBalls draws its factors from one number, and guidance toward one of more than two classes follows
    the raw logit. Keys that the run file sets itself stay as they are.
    """
    if not isinstance(raw, Mapping) or raw.get("fidelity") != "paper" or not isinstance(raw.get("dataset"), Mapping):
        return raw
    paper, dataset, sampling = {}, raw["dataset"], raw.get("sampling")
    if dataset.get("kind") == "sportballs":
        paper["dataset"] = {"independent_draws": False, **dataset}
    classes = dataset.get("classes")  # by default the four balls
    if isinstance(sampling, Mapping) and (classes is None or len(classes) > 2):
        paper["sampling"] = {"objective": "logit", **sampling}
    return {**raw, **paper}
