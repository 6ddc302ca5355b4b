"""The sections ``diffusion`` and ``classifiers``: models that are trained here, or published ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    SerializationInfo,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic import SerializerFunctionWrapHandler as Dumper
from pydantic.functional_validators import PlainValidator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from nonrobust_guidance.data.settings import Dataset
from nonrobust_guidance.models.networks import (
    ARCHITECTURES,
    FROM_FILE,
    JUDGE,
    NETWORK,
    Architecture,
    choose_network,
    either_schema,
)
from nonrobust_guidance.models.sources import ClassifierSource, Source
from nonrobust_guidance.settings import CARRIED_OUT, Choice, SettingError, Settings, absent
from nonrobust_guidance.settings.files import USES
from nonrobust_guidance.settings.mistakes import WrongTypeError, shown
from nonrobust_guidance.settings.types import (
    DIFFERENT,
    OR_NULL,
    Count,
    Flag,
    Fraction,
    Identifier,
    Number,
    Positive,
    Seed,
    Share,
)

if TYPE_CHECKING:
    from nonrobust_guidance.schedule import Schedule

_LEAST_ALPHA_BAR = 1e-60
# Fields of a section here, and of the same one with the schedule that noises its images; see
# `origins.TrainedClassifier`.
_KEYS_OF_CLASSIFIERS = ("architecture", "input_size", "noised", "training", "source", "schedule")


ChannelCount = Annotated[int, Number(whole=True, least=1, most=8192)]
# Any closer to 1, float32 may round it to 1, and nothing is left of the image.
Beta = Annotated[float, Number(above=0, least=1e-8, below=1, most=0.999)]


class NoiseSchedule(Settings):
    """Variances of the forward process, linear from beta_start to beta_end."""

    num_steps: Annotated[int, Number(whole=True, least=2, most=100_000)]
    beta_start: Beta
    beta_end: Beta

    @model_validator(mode="after")
    def _require_signal(self) -> Self:
        """Check that the last step leaves enough of the image for float32 to divide by its amplitude."""
        steps, start, end = self.num_steps, self.beta_start, self.beta_end
        if start > end:
            raise SettingError("is greater than beta_end; give the smaller one first", "beta_start")
        logarithm = sum(math.log1p(-(start + (end - start) * i / (steps - 1))) for i in range(steps))
        if logarithm <= math.log(_LEAST_ALPHA_BAR):
            raise SettingError(
                f"leaves less than {_LEAST_ALPHA_BAR:g} of the image's variance at its last step; give fewer steps or "
                "smaller betas"
            )
        return self

    def make(self) -> Schedule:
        """Return the schedule in numbers."""
        # Imported only here, because the workflow reads the settings without torch.
        from nonrobust_guidance.schedule import Schedule

        return Schedule.linear(self.num_steps, self.beta_start, self.beta_end)


class UNet(Settings):
    """The network that predicts the noise."""

    block_out_channels: Annotated[tuple[ChannelCount, ...], Field(min_length=1, max_length=10)]
    layers_per_block: Annotated[int, Number(whole=True, least=1, most=32)] = 2
    attention_levels: Annotated[tuple[Annotated[int, Number(whole=True, least=0)], ...], DIFFERENT] = ()
    """Levels with self-attention; 0 is the finest."""
    attention_head_dim: ChannelCount = 8
    """Channels of an attention head."""
    norm_num_groups: ChannelCount = 32
    """Groups of the group normalization."""

    @model_validator(mode="after")
    def _require_channels(self) -> Self:
        channels, groups = self.block_out_channels, self.norm_num_groups
        if any(channel % groups for channel in channels):
            raise SettingError(
                f"is {list(channels)}; give multiples of norm_num_groups, {groups}", "block_out_channels"
            )
        if groups >= min(channels):
            raise SettingError(
                f"is {groups}; give fewer groups than channels, for groups of one channel normalize the brightness "
                "away",
                "norm_num_groups",
            )
        if any(level >= len(channels) for level in self.attention_levels):
            raise SettingError(
                f"goes beyond the last level, {len(channels) - 1}; remove what is beyond", "attention_levels"
            )
        # The middle of the U-Net has attention whatever the levels have.
        narrowest = min(channels[level] for level in (-1, *self.attention_levels))
        if self.attention_head_dim > narrowest:
            raise SettingError(
                f"is {self.attention_head_dim}; give at most {narrowest}, the fewest channels of a level with "
                "attention, of which the last is one",
                "attention_head_dim",
            )
        return self


def _check_processes(value: Any) -> int | str:
    if isinstance(value, str):
        if value != "auto":
            raise SettingError(f"is {shown(value)}, which is unknown; use auto")
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongTypeError(value, "a whole number", "a text")
    return int(Number(whole=True, least=1, most=1024).check(value))


Processes = Annotated[
    int | Literal["auto"],
    PlainValidator(_check_processes),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 1024}, {"const": "auto"}]}),
]


class EarlyStopping(Settings):
    """For a guiding classifier; null trains to the end.

    After more than min_epochs, the training ends with the first epoch that adds less than min_gain to the accuracy on
    the validation split.
    """

    min_epochs: Count
    min_gain: Fraction


class Training(Settings):
    """How a model is trained."""

    seed: Seed
    steps: Count
    batch_size: Count
    """Images in a step, over all processes and parts together."""
    accumulation: Annotated[Count, CARRIED_OUT] = 1
    """Parts in which each process takes its share of a batch, if the whole share does not fit into memory."""
    learning_rate: Annotated[float, Number(above=0, least=1e-12, most=1)]
    """Reached after the warm-up; a cosine takes it to zero."""
    warmup_steps: Annotated[int, Number(whole=True, least=0, most=100_000_000)] = 0
    weight_decay: Annotated[float, Number(least=0, most=10)] = 0.01
    gradient_clip: Positive = 1.0
    ema_decay: Annotated[Share | None, OR_NULL] = None
    """Decay of the averaged weights, which are the ones saved; null saves the last weights."""
    processes: Annotated[Processes, CARRIED_OUT] = "auto"
    """For the diffusion model only: how many processes train it, each on a device of its own and on its share of every
    batch; auto is one for each GPU of the job."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """Precision of the network's arithmetic; auto is bf16 where the device computes in it."""
    checkpoint_every: Annotated[Count, CARRIED_OUT] = 500
    """Steps between saved states; a kill costs at most this many."""
    early_stopping: Annotated[EarlyStopping | None, OR_NULL] = None


class Diffusion(Settings):
    """Trained here, with unet and training, or published, with source."""

    name: Identifier = "diffusion"
    """Name of the checkpoint's folder."""
    schedule: NoiseSchedule
    unet: UNet | None = absent()
    training: Training | None = absent()
    source: Source | None = absent()

    @model_validator(mode="after")
    def _require_origin(self) -> Self:
        _require_one_origin(self.source, unet=self.unet, training=self.training)
        if self.training is not None and self.training.early_stopping is not None:
            raise SettingError("is for guiding classifiers alone; remove it", "training", "early_stopping")
        return self


class Classifier(Settings):
    """Trained here, with training, or published, with source."""

    architecture: Literal[
        "judge_cnn", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "resnet18", "resnet34", "resnet50",
        "convnext_tiny", "densenet121", "vgg11_bn",
    ] | None = absent()  # fmt: skip
    """A torchvision network, or judge_cnn, which judges and never guides."""
    uses: Annotated[Choice | None, NETWORK] = absent()
    """In place of architecture: path/to/file.py:Class, a dataclass with build(num_classes); its fields are given beside
    it."""
    input_size: Annotated[Annotated[int, Number(whole=True, least=8, most=4096)] | None, OR_NULL] = None
    """Side in pixels to which images are resized first; null leaves them as they are."""
    noised: Flag
    """Whether it is trained on images noised to uniformly drawn steps (a robust classifier)."""
    training: Training | None = absent()
    source: ClassifierSource | None = absent()

    @property
    def is_judge(self) -> bool:
        """Whether it judges, and so must never guide."""
        return self.architecture == JUDGE

    @property
    def network(self) -> str:
        """The architecture, or the name of the class in its place."""
        return self.uses.label if self.uses is not None else str(self.architecture)

    @property
    def traits(self) -> Architecture:
        """What its network needs of its images."""
        return FROM_FILE if self.architecture is None else ARCHITECTURES[self.architecture]

    @model_validator(mode="before")
    @classmethod
    def _choose_network(cls, raw: Any) -> Any:
        """Take the keys beside ``uses`` that are not a classifier's own as the fields of the class that it names."""
        if not isinstance(raw, Mapping) or USES not in raw or isinstance(raw[USES], Choice):
            return raw
        if "architecture" in raw:
            raise SettingError("stands beside {section}.uses; remove one", "architecture")
        return choose_network(raw, cls.model_fields, _KEYS_OF_CLASSIFIERS)

    @model_serializer(mode="wrap")
    def _put_fields_beside(self, dump: Dumper, info: SerializationInfo) -> dict[str, Any]:
        dumped = self._leave_out(dump, info)
        return {**dumped.pop(USES), **dumped} if USES in dumped else dumped

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe both kinds, of an architecture and of a class in a file."""
        reference = super().__get_pydantic_json_schema__(core, handler)
        either_schema(handler.resolve_ref_schema(reference))
        return reference

    @model_validator(mode="after")
    def _require_origin(self) -> Self:
        if self.architecture is None and self.uses is None:
            raise SettingError("is missing; add it, or uses with a class of yours", "architecture")
        _require_one_origin(self.source, training=self.training)
        if self.source is not None and self.uses is not None:
            raise SettingError(f"is for classifiers of torchvision; give {self.network} its training", "source")
        if self.source is not None and self.is_judge:
            raise SettingError(f"is for classifiers of torchvision; give a {JUDGE} its training", "source")
        if self.is_judge and self.training is not None and self.training.early_stopping is not None:
            raise SettingError("is for guiding classifiers alone; remove it", "training", "early_stopping")
        return self


class Models(Protocol):
    """The parts of a run that its data and models are made from."""

    @property
    def dataset(self) -> Dataset:
        """The data."""
        ...

    @property
    def diffusion(self) -> Diffusion:
        """The diffusion model."""
        ...

    @property
    def classifiers(self) -> Mapping[str, Classifier]:
        """The classifiers by name."""
        ...


def _require_one_origin(source: Source | None, **trained_by: Settings | None) -> None:
    """Check that a model is either trained or fetched."""
    for key, section in trained_by.items():
        if source is None and section is None:
            raise SettingError("is missing; add it, or a source of published weights", key)
        if source is not None and section is not None:
            raise SettingError(f"has both source and {key}; remove one")
