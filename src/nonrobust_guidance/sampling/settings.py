"""The section ``sampling``: what is drawn, how, and by which methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import BeforeValidator, Field, model_validator

from nonrobust_guidance.guidance.stabilizers import STABILIZERS
from nonrobust_guidance.models.settings import Classifier
from nonrobust_guidance.settings import CARRIED_OUT, Choice, OneOf, SettingError, Settings
from nonrobust_guidance.settings.base import FROM_RUN
from nonrobust_guidance.settings.mistakes import WrongTypeError
from nonrobust_guidance.settings.types import (
    DIFFERENT,
    ONE_OR_SEVERAL,
    OR_NULL,
    Count,
    Fraction,
    Identifier,
    Positive,
    Range,
    Seed,
    Words,
)

_MOST_SHARDS = 10_000
# Beside the methods' samples, factors.csv lists real images under these names.
_NAMES_OF_REAL_IMAGES = ("real", "real_judged")

Objective = Literal["log_prob", "logit"]
Precision = Literal["fp32", "bf16", "fp16"]


Stabilizers = Annotated[tuple[Annotated[Choice, OneOf(STABILIZERS, needs=("init", "update"))], ...], ONE_OR_SEVERAL]


class Unguided(Settings):
    """A method that no classifier guides."""

    classifier: None = None
    num_samples: Annotated[Count, FROM_RUN]
    """Instead of the run's."""
    steps: Annotated[Count, FROM_RUN]
    """Instead of the run's."""

    @property
    def drawn_scales(self) -> tuple[float, ...]:
        """The scales at which samples are drawn: 0 alone."""
        return (0,)


class Guided(Settings):
    """A method that a classifier guides."""

    classifier: Words
    """Name of the classifier."""
    at: Literal["xt", "x0", "x0_detached"]
    """What the classifier sees."""
    scales: Annotated[tuple[Positive, ...], Field(min_length=1), DIFFERENT]
    """Of the guidance."""
    objective: Annotated[Objective, FROM_RUN]
    """What is differentiated, the log-probability of the target or its raw logit."""
    stabilizer: Stabilizers = ()
    """One, or a list of them applied from left to right; its arguments stand beside its name."""
    interval: Range = (0.0, 1.0)
    """Noise levels sqrt(1 - alpha_bar_t), lowest and highest, in which guidance acts."""
    on_nonfinite: Literal["raise", "skip"] = "raise"
    """Whether a gradient with a NaN or an infinity stops the job or counts as zero."""
    num_samples: Annotated[Count, FROM_RUN]
    """Instead of the run's."""
    steps: Annotated[Count, FROM_RUN]
    """Instead of the run's."""

    @property
    def drawn_scales(self) -> tuple[float, ...]:
        """The scales at which samples are drawn."""
        return self.scales

    @model_validator(mode="after")
    def _require_folders(self) -> Self:
        low, high = self.interval
        if low >= high:
            raise SettingError(f"goes from {low} to {high}; give the lower end first", "interval")
        for scale in self.scales:
            if float(f"{scale:g}") != scale:
                raise SettingError(
                    f"has {scale!r}, but its folder would be named {scale:g}; round it to six digits", "scales"
                )
        return self


def _guided_or_not(raw: Any) -> Any:
    if isinstance(raw, Guided | Unguided):
        return raw
    if not isinstance(raw, Mapping):
        raise WrongTypeError(raw, "a mapping")
    if raw.get("classifier") is not None:
        return Guided.model_validate(raw)
    for key in raw:
        if key in Guided.model_fields and key not in Unguided.model_fields:
            raise SettingError(f"needs a classifier that guides; add {{section}}.classifier, or remove {key}", key)
    return Unguided.model_validate(raw)


Method = Guided | Unguided


class Chain(Settings):
    """The reverse chain of every method."""

    sampler: Literal["ddpm", "ddim"] = "ddpm"
    eta: Fraction = 0.0
    """Share of the ancestral noise that ddim keeps."""
    precision: Precision = "fp32"
    """Of the U-Net's arithmetic; the state of the chain is float32 in any case."""

    @model_validator(mode="after")
    def _require_noise_of_ddim(self) -> Self:
        if self.eta != 0 and self.sampler != "ddim":
            raise SettingError("is for ddim alone; remove it, or set {section}.sampler to ddim", "eta")
        return self


class Sampling(Chain):
    """What is drawn."""

    steps: Count
    """Reverse steps, spaced over the schedule's."""
    num_samples: Count
    """Samples of a cell (method x scale x target x seed)."""
    batch_size: Annotated[Count, CARRIED_OUT] = 64
    shard_size: Annotated[Count | None, OR_NULL, CARRIED_OUT] = None
    """Samples that a job draws; a bigger cell is drawn by several jobs and merged, to the same bytes. Null draws each
    cell in one job."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), DIFFERENT]
    targets: Annotated[tuple[Words, ...], Field(min_length=1), DIFFERENT]
    objective: Objective = "log_prob"
    """What is differentiated, the log-probability of the target or its raw logit."""
    methods: Annotated[dict[Identifier, Annotated[Method, BeforeValidator(_guided_or_not)]], Field(min_length=1)]
    """By name; the name is the samples' folder too."""

    @property
    def guided(self) -> dict[str, Guided]:
        """The methods that a classifier guides, by name."""
        return {name: method for name, method in self.methods.items() if isinstance(method, Guided)}

    @model_validator(mode="before")
    @classmethod
    def _complete_methods(cls, raw: Any) -> Any:
        """Give every method its own copy of what it may leave to the run, so that nobody has to look in two places."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("methods"), Mapping):
            return raw
        common = {key: raw[key] for key in ("num_samples", "steps") if key in raw}
        objective = {"objective": raw.get("objective", "log_prob")}
        methods = {
            name: {**common, **(objective if method.get("classifier") is not None else {}), **method}
            if isinstance(method, Mapping)
            else method
            for name, method in raw["methods"].items()
        }
        return {**raw, "methods": methods}

    @model_validator(mode="after")
    def _require_samples(self) -> Self:
        for key, entry in [((), self), *((("methods", name), method) for name, method in self.methods.items())]:
            if entry.steps < 2:
                words = "is 1, and gradients are compared from one step to the next; give 2 or more"
                raise SettingError(words, *key, "steps")
            if entry.num_samples < 2:
                raise SettingError("is 1, and a distance needs two samples; give 2 or more", *key, "num_samples")
        for name, method in self.methods.items():
            if name in _NAMES_OF_REAL_IMAGES:
                raise SettingError(
                    "has a name that real images have in factors.csv; rename the method", "methods", name
                )
            if self.shard_size is not None and method.num_samples > self.shard_size * _MOST_SHARDS:
                raise SettingError(
                    f"is {self.shard_size}, which makes more than {_MOST_SHARDS} jobs of each cell of "
                    f"{{section}}.methods.{name}; give a greater one",
                    "shard_size",
                )
        return self


class Plan(Protocol):
    """What a run draws, and which classifiers its methods may name."""

    @property
    def sampling(self) -> Sampling:
        """What is drawn."""
        ...

    @property
    def classifiers(self) -> Mapping[str, Classifier]:
        """The classifiers by name."""
        ...
