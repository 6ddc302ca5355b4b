"""The base of every section: frozen, without unknown keys, and dumped as it was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializationInfo,
    model_serializer,
    model_validator,
)
from pydantic import SerializerFunctionWrapHandler as Dumper
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from nonrobust_guidance.settings.mistakes import SettingError, UnknownKeyError, WrongTypeError

CARRIED_OUT = object()
"""Marks a field that says how something is done without changing any result, so that no card records it."""
FROM_RUN = object()
"""Marks a field that a section of a run file may take from the section around it; it is filled in when it is read."""


S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """A section of a run file.

    Raises:
        pydantic.ValidationError: if a key is unknown or missing, or a value is wrong; `sentence_of` puts it in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def resolved(self) -> dict[str, Any]:
        """Return the whole section as JSON values, defaults filled in; numbers stay as written."""
        return self.model_dump(mode="json")

    def part(self, kind: type[S]) -> S:
        """Return the fields that come from a class that this one extends, as a value of that class."""
        return kind(**{name: getattr(self, name) for name in kind.model_fields})

    def recorded(self) -> dict[str, Any]:
        """Return what results depend on, for cards and for Snakemake: `resolved` without `CARRIED_OUT` fields."""
        return self.model_dump(mode="json", context={"recorded": True})

    @model_validator(mode="before")
    @classmethod
    def _require_known_keys(cls, raw: Any) -> Any:
        if isinstance(raw, cls):
            return raw
        if not isinstance(raw, Mapping):
            raise WrongTypeError(raw, "a mapping")
        for key, value in raw.items():
            if key not in cls.model_fields:
                raise UnknownKeyError(str(key), list(cls.model_fields))
            if value is None and cls.model_fields[key].exclude_if is _is_none:
                raise SettingError("is empty; give it a value, or remove it", key)
        return raw

    @model_serializer(mode="wrap")
    def _leave_out(self, dump: Dumper, info: SerializationInfo) -> dict[str, Any]:
        dumped: dict[str, Any] = dump(self)
        if info.context and info.context.get("recorded"):
            for name, field in type(self).model_fields.items():
                if CARRIED_OUT in field.metadata:
                    dumped.pop(name, None)
        return dumped

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the section as a user may write it: no null for missing fields, and nothing the run gives."""
        schema = handler(core)
        as_written(cls, handler.resolve_ref_schema(schema))
        return schema


def as_written(cls: type[Settings], section: JsonSchemaValue) -> None:
    """Change a section's JSON schema to what a user may write: no null for missing fields, nothing the run gives."""
    required = [name for name in section.get("required", []) if FROM_RUN not in cls.model_fields[name].metadata]
    section.pop("required", None)
    if required:
        section["required"] = required
    for name, field in cls.model_fields.items():
        if field.exclude_if is _is_none:
            part = section["properties"][name]
            part.pop("default", None)
            choices = [choice for choice in part.pop("anyOf", []) if choice != {"type": "null"}]
            part |= choices[0] if len(choices) == 1 else {"anyOf": choices} if choices else {}


def absent(description: str | None = None) -> Any:
    """Return the default of a field that is None where the section lacks it, and is then left out of dumps."""
    return Field(default=None, exclude_if=_is_none, description=description)


def _is_none(value: Any) -> bool:
    return value is None
