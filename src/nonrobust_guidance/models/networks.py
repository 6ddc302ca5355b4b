"""What a classifier's network may be: one that is known by its name, or one of the user's own.

For the latter, a run file gives ``uses`` in place of ``architecture``, and the fields of its class beside it: a
dataclass with ``build(num_classes)``, which returns an untrained network from images (B, 3, H, W) in [-1, 1] to logits
(B, num_classes), or (B, 1) for two classes. Importing this does not import torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic.json_schema import JsonSchemaValue

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.settings import Choice, OneOf, SettingError, sentence_of
from nonrobust_guidance.settings.files import USES
from nonrobust_guidance.settings.kinds import file_schema

JUDGE = "judge_cnn"


class Architecture(NamedTuple):
    """A classifier's network.

    Attributes:
        smallest_input: side in pixels; smaller images shrink to nothing before the last layer.
        normalizes_batches: whether its training needs two images at a time.
    """

    smallest_input: int = 8
    normalizes_batches: bool = True


ARCHITECTURES = {
    JUDGE: Architecture(normalizes_batches=False),
    "mobilenet_v3_small": Architecture(),
    "mobilenet_v3_large": Architecture(),
    "efficientnet_b0": Architecture(),
    "resnet18": Architecture(),
    "resnet34": Architecture(),
    "resnet50": Architecture(),
    "convnext_tiny": Architecture(smallest_input=32, normalizes_batches=False),
    "densenet121": Architecture(smallest_input=29),
    "vgg11_bn": Architecture(smallest_input=32),
}
# Of their own networks, users know the limits themselves.
FROM_FILE = Architecture(normalizes_batches=False)
NETWORK = OneOf({}, needs=("build",), beside=("input_size", "noised", "training"))


def choose_network(raw: Mapping[str, Any], keys: Collection[str], reserved: Collection[str]) -> dict[str, Any]:
    """Return a section in which ``uses`` and all keys that are not the section's own are replaced by the chosen class.

    Args:
        raw: the section, with ``uses``.
        keys: of the section.
        reserved: names that the fields of the class must not have.

    Raises:
        SettingError: if the class cannot be used, or refuses a value.
        pydantic.ValidationError: if a key is unknown or missing, or a value of another type.
    """
    common = {key: value for key, value in raw.items() if key in keys and key != USES}
    chosen = NETWORK.choose({key: value for key, value in raw.items() if key not in common})
    clash = [field.name for field in dataclasses.fields(chosen.cls) if field.name in reserved]
    if clash:
        words = f"names {chosen.label} with a field {clash[0]}, which is a key of every classifier; rename the field"
        raise SettingError(words, USES)
    return {**common, USES: chosen}


def network_again(written: Mapping[str, Any], source: str) -> Choice:
    """Return the choice that was written down, from the very file that it was made from.

    Args:
        written: `Choice.written`.
        source: where it was written down, for messages.

    Raises:
        UserError: if the file is missing or has changed.
    """
    try:
        chosen: Choice = NETWORK.choose(written)
    except ValidationError as error:
        raise UserError(f"{source}: {sentence_of(error)}") from None
    except SettingError as mistake:
        raise UserError(f"{source}: {'.'.join(map(str, mistake.key))} {mistake.words}") from None
    return chosen


def either_schema(section: JsonSchemaValue) -> None:
    """Turn a section's JSON Schema into two: one with an architecture, and an open one with a class and its fields."""
    parts, required = section.pop("properties"), section.pop("required")
    of_all = {key: part for key, part in parts.items() if key not in ("architecture", USES)}
    architecture, uses = {"architecture": parts["architecture"]}, {USES: file_schema(NETWORK.base)}
    section.pop("additionalProperties")
    section["oneOf"] = [
        {
            "additionalProperties": False,
            "properties": architecture | of_all,
            "required": [*architecture, *required],
        },
        {"properties": uses | of_all, "required": [*uses, *required]},
    ]
