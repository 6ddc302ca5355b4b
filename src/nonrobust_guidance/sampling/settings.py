"""The section ``sampling``: what is drawn, how, and by which methods.

It is long because it is a single section: its keys are checked together, and most lines describe them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, Self, cast

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from nonrobust_guidance.guidance import METHODS, ClassifierGuidance
from nonrobust_guidance.guidance.method import Guidance
from nonrobust_guidance.guidance.objectives import OBJECTIVES
from nonrobust_guidance.guidance.stabilizers import STABILIZERS, Stabilizer, chain
from nonrobust_guidance.models.settings import Classifier
from nonrobust_guidance.sampling.samplers import SAMPLERS
from nonrobust_guidance.sampling.samplers.sampler import Sampler
from nonrobust_guidance.settings import CARRIED_OUT, Choice, OneOf, SettingError, Settings, absent, instead, sentence_of
from nonrobust_guidance.settings.base import FROM_RUN
from nonrobust_guidance.settings.files import USES, USES_SHA256
from nonrobust_guidance.settings.kinds import (
    dump_choice,
    load_for_setting,
    schema_of_file,
    schema_of_kind,
    section_of,
    unusable,
)
from nonrobust_guidance.settings.mistakes import WrongTypeError, shown
from nonrobust_guidance.settings.types import (
    DIFFERENT,
    ONE_OR_SEVERAL,
    OR_NULL,
    Count,
    Fraction,
    Identifier,
    NameOf,
    Number,
    Positive,
    Range,
    Seed,
    Several,
    Words,
)

if TYPE_CHECKING:
    from nonrobust_guidance.schedule import Schedule

_MOST_SHARDS = 10_000
# Beside the methods' samples, factors.csv lists real images under these names.
_NAMES_OF_REAL_IMAGES = ("real", "real_judged")

Objective = Annotated[str, NameOf(OBJECTIVES)]
Precision = Literal["fp32", "bf16", "fp16"]


Stabilizers = Annotated[tuple[Annotated[Choice, OneOf(STABILIZERS, needs=("init", "update"))], ...], ONE_OR_SEVERAL]


SAMPLER = OneOf(SAMPLERS, bare=True, needs=("init", "step", "noise_std", "reference_std", "score_weight", "x0_weight"))
_PER_METHOD = ("classifier", "target", "objective", "stabilizer", "interval", "on_nonfinite", "trust_radius")
"""Fields of every guidance that come from the run, or are declared in `Guided`."""


class Entry(Settings):
    """Keys of every method."""

    sampler: Annotated[Choice | None, SAMPLER] = absent("Instead of the run's, with fields of its own beside its name.")
    num_samples: Annotated[Count, FROM_RUN]
    """Instead of the run's."""
    steps: Annotated[Count, FROM_RUN]
    """Instead of the run's."""
    spacing_power: Annotated[float, Number(least=1, most=10)] | None = absent(
        "Spaces the steps down from the noisiest level, above 1 closer together at the clean end."
    )

    def levels_of(self, schedule: Schedule) -> Schedule:
        """Return the levels of a schedule that the method's steps start from, see `Schedule.respaced`."""
        if self.spacing_power is None:
            return schedule.respaced(self.steps)
        return schedule.respaced(self.steps, "trailing", self.spacing_power)


class Unguided(Entry):
    """A method that no classifier guides."""

    classifier: None = None

    @property
    def drawn_scales(self) -> tuple[float, ...]:
        """The scales at which samples are drawn: 0 alone."""
        return (0,)


class Acceptance(Settings):
    """Which attempts at a sample are kept."""

    threshold: Fraction = 0.5
    """Least probability that the classifier gives the target."""
    max_draws: Count = 100
    """Most attempts at a sample; if none of them is accepted, the best one is kept."""


class Reject(Acceptance):
    """Which unguided samples are kept."""

    classifier: Words
    """Name of the classifier that accepts them."""


class Rejected(Entry):
    """A method that draws unguided samples until a classifier accepts one, see `Rejection`."""

    reject: Reject

    @property
    def classifier(self) -> str:
        """Name of the classifier."""
        return self.reject.classifier

    @property
    def drawn_scales(self) -> tuple[float, ...]:
        """The scales at which samples are drawn: 0 alone."""
        return (0,)


class Guided(Entry):
    """A method that a classifier guides; a section that extends this one has the fields of its guidance too."""

    classifier: Words
    """Name of the classifier."""
    guidance: Words | None = absent("How it guides: classifier if left out, or the name of another guidance.")
    uses: Words | None = absent("path/to/file.py:Class, a guidance of one's own; its fields stand beside.")
    uses_sha256: Words | None = absent("Of that file; written when the run is read.")
    scales: Annotated[tuple[Positive, ...], Field(min_length=1), DIFFERENT]
    """Strengths of the guidance, one for each cell: its scale, for dsg its rate (from 0 to 1), for tfg its rho."""
    objective: Annotated[Objective, FROM_RUN]
    """What is differentiated, the log-probability of the target or its raw logit."""
    stabilizer: Stabilizers = ()
    """One, or a list of them applied from left to right; the arguments are given beside the name."""
    interval: Range = (0.0, 1.0)
    """Noise levels sqrt(1 - alpha_bar_t), lowest and highest, in which guidance acts."""
    on_nonfinite: Literal["raise", "skip"] = "raise"
    """Whether a gradient with a NaN or an infinity stops the job or counts as zero."""
    trust_radius: Positive | None = absent("Bounds how far guidance moves x in a step, in units of the step's noise.")
    reject: Acceptance | None = absent("Draws again what the guide itself does not accept, see `Rejection`.")
    vary: dict[Words, Annotated[tuple[Any, ...], Field(min_length=1), DIFFERENT]] | None = absent(
        "Further keys of the method to choose by sampling.search, each with the values to try."
    )

    kind: ClassVar[type[Guidance]] = ClassifierGuidance
    """The class that guides."""

    @property
    def drawn_scales(self) -> tuple[float, ...]:
        """The scales at which samples are drawn."""
        return self.scales

    @property
    def varied(self) -> list[dict[str, Any]]:
        """Each choice of values for the keys that it varies; one empty choice where it varies none."""
        vary = self.vary or {}
        return [dict(zip(vary, values, strict=True)) for values in product(*vary.values())]

    @property
    def label(self) -> str:
        """The guidance's name for tables and figures: of a class from a file, that of the class."""
        return self.uses.rpartition(":")[2] if self.uses else self.guidance or "classifier"

    @property
    def own(self) -> dict[str, Any]:
        """The fields of the guidance's class that the run file may give, by name."""
        return {name: getattr(self, name) for name in type(self).model_fields if name not in Guided.model_fields}

    def make(self, classifier: Callable[..., Any], target: int, scale: float) -> Guidance:
        """Return the guidance toward a class, at a scale.

        Raises:
            ValueError: if its class refuses a value.
        """
        return self.kind(
            classifier,
            target,
            **{self.kind.strength_field: scale},
            **self.own,
            objective=self.objective,
            stabilizer=chain_of_stabilizers(self.stabilizer),
            interval=(self.interval[0], self.interval[1]),
            on_nonfinite=self.on_nonfinite,
            trust_radius=self.trust_radius,
        )

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

    @model_validator(mode="after")
    def _require_accepted(self) -> Self:
        if "kind" in vars(type(self)):  # the class itself knows what its values may be
            try:
                self.make(lambda images: images, 0, self.scales[0])
            except ValueError as error:
                raise SettingError(f"is refused: {str(error).rstrip('.')}") from None
            except Exception as error:  # whatever the user's code raises
                if self.uses is None:
                    raise
                raise unusable(error, self.uses) from None
        return self


def cell_folder(method: str, scale: float, seed: int) -> str:
    """Return where a cell's samples lie, within the folder of samples or of shards."""
    return f"{method}/scale-{scale:g}/seed-{seed}"


def chain_of_stabilizers(chosen: Iterable[Choice]) -> Stabilizer:
    """Return the stabilizers that a method names, one after the other."""
    return chain(*(choice.make() for choice in chosen))


@cache
def section_of_guidance(kind: type) -> type[Guided]:
    """Return the section of a method that guides by this class.

    Raises:
        SettingError: if a field of the class has a type that a run file cannot give.
    """
    guidance = cast(type[Guidance], kind)
    section = cast(type[Guided], section_of(kind, (*_PER_METHOD, guidance.strength_field), Guided))
    section.kind = guidance
    return section


def _require_method(kind: type[Guidance], where: str) -> None:
    """Raise a SettingError unless a subclass of `Guidance` defines what it has to."""
    fields, strength = {field.name for field in dataclasses.fields(kind)}, kind.strength_field
    undone = [name for name in ("move", "reach") if getattr(kind, name) is getattr(Guidance, name)]
    taken = sorted(fields & Guided.model_fields.keys() - {*_PER_METHOD})
    lacking = None
    if undone:
        lacking = f"has no method {undone[0]}; add it"
    elif "__dataclass_params__" not in vars(kind) and vars(kind).get("__annotations__"):
        lacking = "is no dataclass; write @dataclass(frozen=True, eq=False) above it"
    elif strength not in fields:
        lacking = f"has no field {strength} for the scales; add it, or name another one as its strength_field"
    elif taken:
        lacking = f"has a field {taken[0]}, which is a key of every method; give it another name"
    if lacking:
        raise SettingError(f"cannot be used: {kind.__name__} in {where.rpartition(':')[0]} {lacking}", USES)


class OneMethod:
    """Marks a field whose value is a method: unguided, rejection, or guided by one of `METHODS` or a file's class."""

    def choose(self, raw: Any) -> Method:
        """Return the section.

        Raises:
            SettingError: if the guidance is unknown, or a file of one's own cannot be used.
            pydantic.ValidationError: if a key is unknown or missing, or a value is wrong.
        """
        if isinstance(raw, Guided | Unguided | Rejected):
            return raw
        if not isinstance(raw, Mapping):
            raise WrongTypeError(raw, "a mapping")
        if "reject" in raw and raw.get("classifier") is None:
            return Rejected.model_validate(raw)
        if raw.get("classifier") is None:
            for key in raw:
                if key in _keys_of_guided() and key not in Unguided.model_fields:
                    raise SettingError(
                        f"needs a classifier that guides; add {{section}}.classifier, or remove {key}", key
                    )
            return Unguided.model_validate(raw)
        if raw.get(USES) is not None:
            if "guidance" in raw:
                raise SettingError("says what {section}.uses says; remove one", "guidance")
            found = load_for_setting(raw, (), Guidance)
            _require_method(found.cls, raw[USES])
            return section_of_guidance(found.cls).model_validate({**raw, USES_SHA256: found.sha256})
        name = raw.get("guidance", "classifier")
        if not isinstance(name, str):
            raise SettingError(str(WrongTypeError(name, "a text")), "guidance")
        if name not in METHODS:
            raise SettingError(f"is {shown(name)}, which is unknown; {instead(name, list(METHODS))}", "guidance")
        return section_of_guidance(METHODS[name]).model_validate(raw)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check with `choose` alone."""
        dump = core_schema.plain_serializer_function_ser_schema(dump_choice, info_arg=True)
        return core_schema.no_info_plain_validator_function(self.choose, serialization=dump)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe each kind of method."""
        kinds = [schema_of_kind(section, {}, handler) for section in (Unguided, Rejected)]
        for name, kind in METHODS.items():
            named = {"guidance": name} if name != "classifier" else {}
            kinds.append(schema_of_kind(section_of_guidance(kind), named, handler))
        return {"anyOf": [*kinds, schema_of_file()]}


@cache
def _keys_of_guided() -> frozenset[str]:
    return frozenset(key for kind in METHODS.values() for key in section_of_guidance(kind).model_fields)


Method = Guided | Unguided | Rejected


def acceptance_of(method: Method) -> Acceptance | None:
    """Return which of a method's attempts are kept; None where each sample is drawn once."""
    return None if isinstance(method, Unguided) else method.reject


class Chain(Settings):
    """The reverse chain of every method."""

    sampler: Annotated[Choice, SAMPLER] = Field(default_factory=lambda: SAMPLER.choose("ddpm"))
    """For methods without one of their own: its name, or the name with its fields beside it."""
    eta: Fraction = 0.0
    """Share of the ancestral noise that ddim keeps."""
    precision: Precision = "fp32"
    """Precision of the U-Net's arithmetic; the state of the chain is float32 in any case."""

    def sampler_of(self, method: Method) -> Sampler:
        """Return the sampler of a method: its own, or else this one."""
        if method.sampler is not None:
            return cast(Sampler, method.sampler.make())
        return cast(Sampler, self.sampler.make(**({"eta": self.eta} if self.eta else {})))

    @model_validator(mode="after")
    def _require_noise_of_ddim(self) -> Self:
        if self.eta != 0 and self.sampler.name != "ddim":
            raise SettingError("is for ddim alone; remove it, or set {section}.sampler to ddim", "eta")
        if self.eta != 0 and "eta" in self.sampler.arguments:
            raise SettingError("says what {section}.sampler says; remove one", "eta")
        return self


class Search(Settings):
    """How a method's scale and the keys that it varies are chosen: on few samples, by a seed that confirms nothing."""

    num_samples: Several = 32
    """Samples of each candidate, for each target."""
    seed: Seed = 1000
    """Seed of the screening's noise, which must not be one of the run's seeds."""


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
    trust_radius: Positive | None = absent("Of the methods that name none themselves.")
    search: Search | None = absent(
        "Screens every scale of a method, and what it varies, on few samples; one goes on to fresh ones."
    )
    methods: Annotated[dict[Identifier, Annotated[Method, OneMethod()]], Field(min_length=1)]
    """By name, which is also that of the samples' folder."""

    @property
    def guided(self) -> dict[str, Guided]:
        """The methods that a classifier guides, by name."""
        return {name: method for name, method in self.methods.items() if isinstance(method, Guided)}

    @model_validator(mode="before")
    @classmethod
    def _complete_methods(cls, raw: Any) -> Any:
        """Copy into every method the keys it takes from the run, so that nobody has to look in two places."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("methods"), Mapping):
            return raw
        common = {key: raw[key] for key in ("num_samples", "steps") if key in raw}
        guided = {"objective": raw.get("objective", "log_prob")}
        guided |= {key: raw[key] for key in ("trust_radius",) if key in raw}
        methods = {
            name: {**common, **(guided if method.get("classifier") is not None else {}), **method}
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

    @model_validator(mode="after")
    def _require_variants(self) -> Self:
        """Check the search: its seed is none of the reported ones, and every variant is a valid method."""
        if self.search and self.search.seed in self.seeds:
            raise SettingError("is one of {section}.seeds, whose samples no choice may have seen", "search", "seed")
        for name, method in self.guided.items():
            if method.vary is None:
                continue
            where = ("methods", name, "vary")
            if self.search is None:
                raise SettingError("needs {section}.search, which chooses; add it, or remove vary", *where)
            plain = {key: value for key, value in method.resolved().items() if key != "vary"}
            for key in method.vary:
                if key in ("scales", "num_samples", "vary"):
                    raise SettingError(f"has {key}, which is no key to try values of; remove it", *where)
            for changes in method.varied:
                try:
                    OneMethod().choose({**plain, **changes})
                except ValidationError as error:
                    raise SettingError(f"has a value that cannot be used: {sentence_of(error)}", *where) from None
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
