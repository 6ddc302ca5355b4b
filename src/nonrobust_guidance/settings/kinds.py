"""A value of one of several kinds, each a class whose fields are its keys in the run file.

``{name: ema, beta: 0.9}`` picks a class from a list by its name, ``{uses: "mine.py:Mine", beta: 0.9}`` one from a file
of the user's. The other keys are checked by the class: by the types of its fields, and by what it raises when it is
made.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence, Set
from functools import cache
from types import SimpleNamespace
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.settings.base import Settings, as_written
from nonrobust_guidance.settings.files import USES, USES_SHA256, Found, failure, load_class
from nonrobust_guidance.settings.mistakes import SettingError, UnknownKeyError, WrongTypeError, instead, shown
from nonrobust_guidance.settings.types import Digest, Flag, Number, Words

# Tables keep whole numbers up to this exactly; other numbers stay in float32, with room for a product and a square.
_WHOLE = Annotated[int, Number(whole=True, least=-9007199254740991, most=9007199254740991)]
_REAL = Annotated[float, Number(least=-1e12, most=1e12, finest=1e-12)]
_CHECKED = {int: _WHOLE, float: _REAL, bool: Flag, str: Words}


@dataclasses.dataclass(frozen=True)
class Choice:
    """A class that a run file chose, and the values that it gave for its fields."""

    name: str
    """Its name in the run file."""
    cls: type = dataclasses.field(repr=False)
    arguments: Mapping[str, Any]
    """Values of the fields that were given, checked; the class has defaults for the others."""
    written: Any = dataclasses.field(repr=False)
    """The same as JSON values, as cards record it."""

    @property
    def label(self) -> str:
        """The name for tables and figures; for a class from a file, the name of the class."""
        return self.name.rpartition(":")[2]

    def make(self, **given: Any) -> Any:
        """Return the instance, from the values of the file and those that the run gives."""
        return self.cls(**{**self.arguments, **given})


@dataclasses.dataclass(frozen=True)
class OneOf:
    """Marks a field whose value is of one of these classes.

    For a class of `Settings` the value is its instance, for a dataclass a `Choice` that can make it.

    Attributes:
        classes: by the name that a run file gives them.
        key: the key of the name.
        given: fields that come from the run rather than the file.
        bare: whether the name alone means a class with its defaults.
        needs: what a class from a user's file must have, as `load_class` takes it; empty allows no such class.
        base: what such a class must extend; None requires a dataclass.
        beside: keys of the surrounding section that are given beside the class's own, for suggestions in messages.
    """

    classes: Mapping[str, type]
    key: str = "name"
    given: tuple[str, ...] = ()
    bare: bool = False
    needs: tuple[str, ...] = ()
    base: type | None = None
    beside: tuple[str, ...] = ()

    def __hash__(self) -> int:
        """Hash by identity, because pydantic keeps markers in sets."""
        return id(self)

    def choose(self, raw: Any) -> Any:
        """Return the chosen value.

        Raises:
            SettingError: if the name is unknown, or the class refuses a value.
            pydantic.ValidationError: if a key is unknown or missing, or a value of another type.
        """
        if isinstance(raw, Choice | Settings):
            return raw
        if self.bare and isinstance(raw, str):
            raw = {self.key: raw}
        if not isinstance(raw, Mapping):
            raise WrongTypeError(raw, *(["a text"] if self.bare else []), "a mapping")
        if self.needs and USES in raw:
            return self._from_file(raw)
        if self.key not in raw:
            raise SettingError("is missing; add it", self.key)
        name = raw[self.key]
        if not isinstance(name, str):
            raise SettingError(str(WrongTypeError(name, "a text")), self.key)
        if name not in self.classes:
            raise SettingError(f"is {shown(name)}, which is unknown; {instead(name, list(self.classes))}", self.key)
        cls = self.classes[name]
        if issubclass(cls, Settings):
            return cls.model_validate(raw)
        return self._choose(name, cls, {key: value for key, value in raw.items() if key != self.key}, {self.key: name})

    def _from_file(self, raw: Mapping[str, Any]) -> Any:
        found, where = load_for_setting(raw, self.needs, self.base), raw[USES]
        if issubclass(found.cls, Settings):
            named = {self.key: found.cls.__name__, **raw, USES_SHA256: found.sha256}
            return from_file(found.cls, self.key).model_validate(named)
        arguments = {key: value for key, value in raw.items() if key not in (USES, USES_SHA256)}
        return self._choose(where, found.cls, arguments, {USES: where, USES_SHA256: found.sha256})

    def _choose(self, name: str, cls: type, raw: Mapping[str, Any], head: dict[str, Any]) -> Choice:
        fields = section_of(cls, self.given)
        for key in raw:
            if key not in fields.model_fields:
                raise UnknownKeyError(str(key), [*fields.model_fields, *self.beside])
        section = fields.model_validate(raw)
        arguments = {
            key: getattr(section, key) for key in type(section).model_fields if key in section.model_fields_set
        }
        if not any(field.name in self.given for field in dataclasses.fields(cls)):
            try:
                _require_accepted(cls, arguments)
            except Exception as error:  # whatever the user's code raises
                if USES not in head or isinstance(error, SettingError):
                    raise
                raise unusable(error, head[USES]) from None
        said = section.model_dump(mode="json", exclude_unset=True)
        return Choice(name, cls, arguments, name if self.bare and not said and self.key in head else head | said)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check with `choose` alone, and dump what was written."""
        dump = core_schema.plain_serializer_function_ser_schema(dump_choice, info_arg=True)
        return core_schema.no_info_plain_validator_function(self.choose, serialization=dump)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe each class, its name under the key."""
        kinds: list[JsonSchemaValue] = []
        for name, cls in self.classes.items():
            section: Any = cls if Settings in cls.__mro__ else section_of(cls, self.given)
            kinds.append(schema_of_kind(section, {self.key: name}, handler))
        if self.needs:
            kinds.append(schema_of_file(self.base))
        return {"oneOf": kinds + ([{"enum": list(self.classes)}] if self.bare else [])}


@cache
def from_file(cls: type[Settings], key: str) -> type[Settings]:
    """Return a section from a user's file with the keys that identify the file, and its class's name under ``key``."""
    fields: dict[str, Any] = {key: (Literal[cls.__name__], ...), USES: (Words, ...), USES_SHA256: (Digest, ...)}
    return create_model(cls.__name__, __base__=cls, __doc__=cls.__doc__, __module__=cls.__module__, **fields)


def load_for_setting(raw: Mapping[str, Any], needs: Sequence[str], base: type | None = None) -> Found:
    """Return the class that a section's `USES` names, as `load_class` takes it.

    Raises:
        SettingError: if the file or the class cannot be used.
    """
    where = raw[USES]
    if not isinstance(where, str):
        raise SettingError(str(WrongTypeError(where, "a text")), USES)
    try:
        return load_class(where, needs, raw.get(USES_SHA256), base)
    except UserError as mistake:
        raise SettingError(f"cannot be used: {mistake}", USES) from None


def unusable(error: Exception, where: str) -> SettingError:
    """Return the message for a user whose own class, ``path/to/file.py:Class``, fails when it is made."""
    return SettingError(f"cannot be used: {failure(error, where.rpartition(':')[0])}", USES)


def schema_of_kind(section: Any, named: Mapping[str, str], handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    """Return the JSON schema of a section that is chosen by these keys and values."""
    reference = handler(section.__pydantic_core_schema__)
    schema = handler.resolve_ref_schema(reference)
    as_written(section, schema)
    properties = {key: part for key, part in schema.get("properties", {}).items() if key not in named}
    schema["properties"] = {key: {"const": value} for key, value in named.items()} | properties
    schema["required"] = list(dict.fromkeys([*named, *schema.get("required", [])]))
    return reference


def file_schema(base: type | None = None) -> JsonSchemaValue:
    """Return the JSON schema of the value that names a class in a user's file."""
    kind = "a dataclass" if base is None else f"which extends {base.__name__}"
    says = f"path/to/file.py:Class, {kind}; its fields stand beside."
    return {"type": "string", "pattern": r"^.+\.py:\w+$", "description": says}


def schema_of_file(base: type | None = None) -> JsonSchemaValue:
    """Return the JSON schema of a section whose class is in a user's file."""
    return {"type": "object", "properties": {USES: file_schema(base)}, "required": [USES]}


@cache
def section_of(cls: type, given: tuple[str, ...] = (), base: type[Settings] = Settings) -> type[Settings]:
    """Return the section whose keys are a dataclass's fields, without those that the run gives.

    Args:
        cls: the dataclass.
        given: fields that the run gives.
        base: a section whose keys it also has.

    Raises:
        SettingError: if a field has a type that a run file cannot give.
    """
    own = [field for field in dataclasses.fields(cls) if field.init and field.name not in given]
    hints = _hints_of(cls, {field.name for field in own})
    fields: dict[str, Any] = {}
    for field in own:
        default: Any = ...
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = Field(default_factory=field.default_factory)
        fields[field.name] = (_checked(hints[field.name]), default)
    try:
        return create_model(cls.__name__, __base__=base, __doc__=cls.__doc__, **fields)
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation) as error:
        raise _not_from_a_file(cls, error) from None


def _hints_of(cls: type, names: Set[str]) -> dict[str, Any]:
    """Return the types of only these fields, each evaluated in its class's module; others may not be imported there."""
    hints: dict[str, Any] = {}
    for part in reversed(cls.__mro__):
        said = {name: hint for name, hint in vars(part).get("__annotations__", {}).items() if name in names}
        try:
            hints |= get_type_hints(
                SimpleNamespace(__annotations__=said), vars(sys.modules[part.__module__]), None, True
            )
        except (NameError, TypeError) as error:
            raise _not_from_a_file(cls, error) from None
    return hints


def _not_from_a_file(cls: type, error: Exception) -> SettingError:
    reason = str(error).splitlines()[0].rstrip(".")
    return SettingError(f"names {cls.__name__}, which has a field that no run file can give ({reason}); give it a type")


def _checked(hint: Any) -> Any:
    """Return a type as strict as those of the sections: neither a bool nor NaN is a number."""
    if get_origin(hint) in (tuple, list):
        inner = tuple(part if part is Ellipsis else _checked(part) for part in get_args(hint))
        return get_origin(hint)[inner]
    if type(None) in get_args(hint):
        return Union[tuple(_checked(part) for part in get_args(hint))]  # noqa: UP007 (the parts are known only now)
    return _CHECKED.get(hint, hint)


def _require_accepted(cls: type, arguments: Mapping[str, Any]) -> None:
    try:
        cls(**arguments)
    except ValueError as error:
        words = str(error).rstrip(".")
        field = next((f.name for f in dataclasses.fields(cls) if re.search(rf"\b{f.name} is ", words)), None)
        if field is None:
            raise SettingError(f"is refused: {words}") from None
        raise SettingError(re.sub(rf"^.*?\b{field} (?=is )", "", words), field) from None


def dump_choice(value: Any, info: Any) -> Any:
    """Return what was written, as JSON values."""
    if isinstance(value, Settings):
        return value.model_dump(mode="json", context=info.context)
    return value.written if isinstance(value, Choice) else value
