"""Which models a run trains and which it fetches, each with everything that it depends on."""

from __future__ import annotations

from typing import Self

from nonrobust_guidance.models.settings import Classifier, Diffusion, Models, NoiseSchedule, Training, UNet
from nonrobust_guidance.models.sources import ClassifierSource, Source
from nonrobust_guidance.settings import absent


class TrainedClassifier(Classifier):
    """What the training of a classifier depends on: its section, and the schedule where its images are noised."""

    training: Training
    schedule: NoiseSchedule | None = absent()

    @classmethod
    def of(cls, classifier: Classifier, schedule: NoiseSchedule) -> Self:
        """Return a classifier of a run, which is trained there, with the run's schedule if it needs that."""
        noise = {"schedule": schedule} if classifier.noised else {}
        return cls.model_validate({**classifier.resolved(), **noise})


class TrainedDiffusion(Diffusion):
    """What the training of the diffusion model depends on: its section."""

    unet: UNet
    training: Training


class FetchedClassifier(Classifier):
    """A classifier with published weights."""

    source: ClassifierSource


class FetchedDiffusion(Diffusion):
    """A published diffusion model."""

    source: Source


def trained_models(run: Models) -> dict[str, TrainedDiffusion | TrainedClassifier]:
    """Return, for each model that the run trains, what its card must say of its settings."""
    models: dict[str, TrainedDiffusion | TrainedClassifier] = {}
    if run.diffusion.source is None:
        models[run.diffusion.name] = TrainedDiffusion.model_validate(run.diffusion.resolved())
    for name, classifier in run.classifiers.items():
        if classifier.source is None:
            models[name] = TrainedClassifier.of(classifier, run.diffusion.schedule)
    return models


def fetched_models(run: Models) -> dict[str, FetchedDiffusion | FetchedClassifier]:
    """Return the models whose weights are fetched, by name."""
    models: dict[str, FetchedDiffusion | FetchedClassifier] = {}
    if run.diffusion.source is not None:
        models[run.diffusion.name] = FetchedDiffusion.model_validate(run.diffusion.resolved())
    for name, classifier in run.classifiers.items():
        if classifier.source is not None:
            models[name] = FetchedClassifier.model_validate(classifier.resolved())
    return models
