"""Types of single settings. Their messages complete a sentence that begins with the key."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, core_schema

from nonrobust_guidance.settings.mistakes import SettingError, WrongTypeError, instead, shown


@dataclass(frozen=True)
class Number:
    """A number within bounds: no bool, NaN or infinity. 3.0 is not a whole number; 3 stays 3 where 3.0 is allowed."""

    whole: bool = False
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    finest: float = 0.0
    """Numbers of smaller magnitude than this are refused, except 0."""

    def check(self, value: Any) -> float:
        """Return the number.

        Raises:
            SettingError: if it is not a number, or out of bounds.
        """
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole and (self.whole or not isinstance(value, float) or not math.isfinite(value)):
            raise WrongTypeError(value, "a whole number" if self.whole else "a finite number")
        for bound, words in (
            (self.above is not None and value <= self.above, f"greater than {self.above}"),
            (self.least is not None and value < self.least, f"at least {self.least}"),
            (self.below is not None and value >= self.below, f"less than {self.below}"),
            (self.most is not None and value > self.most, f"at most {self.most}"),
        ):
            if bound:
                raise SettingError(f"is {shown(value)}; give a number {words}")
        if 0 < abs(value) < self.finest:
            raise SettingError(f"is {shown(value)}; give 0, or a number whose size is at least {self.finest}")
        number: float = value
        return number

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check with `check` alone, and dump what was written."""
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say the same in JSON Schema."""
        bounds = {
            "exclusiveMinimum": self.above,
            "minimum": self.least,
            "exclusiveMaximum": self.below,
            "maximum": self.most,
        }
        given = {key: bound for key, bound in bounds.items() if bound is not None}
        return {"type": "integer" if self.whole else "number", **given}


@dataclass(frozen=True)
class Text:
    """A text that matches a pattern as a whole; ``words`` say what to give, and ``longest`` is in characters."""

    pattern: str = ""
    words: str = ""
    longest: int | None = None

    def check(self, value: Any) -> str:
        """Return the text.

        Raises:
            SettingError: if it is not a text, too long or of another form.
        """
        if not isinstance(value, str):
            raise WrongTypeError(value, "a text")
        if self.longest is not None and len(value) > self.longest:
            raise SettingError(f"has {len(value)} characters; give at most {self.longest}")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise SettingError(f"is {shown(value)}; {self.words}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check with `check` alone."""
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say the same in JSON Schema."""
        length = {} if self.longest is None else {"maxLength": self.longest}
        return {"type": "string", **length} | ({"pattern": f"^{self.pattern}$"} if self.pattern else {})


@dataclass(frozen=True)
class NameOf:
    """A name from a list, such as that of an objective."""

    known: Mapping[str, Any]

    def __hash__(self) -> int:
        """Hash by identity, for pydantic keeps markers in sets."""
        return id(self)

    def check(self, value: Any) -> str:
        """Return the name.

        Raises:
            SettingError: if it is not in the list.
        """
        if not isinstance(value, str):
            raise WrongTypeError(value, "a text")
        if value not in self.known:
            raise SettingError(f"is {shown(value)}, which is unknown; {instead(value, list(self.known))}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check with `check` alone."""
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """List the names."""
        return {"type": "string", "enum": list(self.known)}


class _Flag:
    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_check_flag)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "boolean"}


class _OrNull:
    """Adds null to the values that a message says a setting may have."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(_check_or_null, handler(source))


class _OneOrSeveral:
    """Lets a single mapping stand for a list of one; a mistake in it is then reported without an index."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(_check_one_or_several, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        several = handler(core)
        return {"anyOf": [several["items"], several]}


def _check_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise WrongTypeError(value, "true or false")
    return value


def _check_or_null(value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        return check(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        mistake = first.get("ctx", {}).get("error")
        if isinstance(mistake, WrongTypeError) and not first["loc"]:
            raise WrongTypeError(value, *mistake.expected, "null") from None
        raise


def _check_one_or_several(raw: Any, check: Callable[[Any], Any]) -> Any:
    if isinstance(raw, list | tuple):
        return check(raw)
    if not isinstance(raw, Mapping):
        raise WrongTypeError(raw, "a mapping", "a list")
    try:
        return check([raw])
    except ValidationError as error:
        found = error.errors(include_url=False)
        details = [
            InitErrorDetails(type=e["type"], loc=e["loc"][1:], input=e["input"], ctx=e.get("ctx", {})) for e in found
        ]
        raise ValidationError.from_exception_data(error.title, details) from None


def _require_different(values: Sequence[Any]) -> Sequence[Any]:
    if any(value in values[:i] for i, value in enumerate(values)):
        raise SettingError("lists a value twice; remove one")
    return values


OR_NULL = _OrNull()
ONE_OR_SEVERAL = _OneOrSeveral()
DIFFERENT = AfterValidator(_require_different)
"""Marks a list in which no value occurs twice."""

LETTERS = "[A-Za-z0-9][A-Za-z0-9_-]*"
# A file's name has at most 255 bytes, and that of a log contains the names of the method and the class.
Name = Annotated[str, Text(LETTERS, "use only letters, digits, - and _", longest=80)]
Identifier = Annotated[str, Text("[a-z0-9_]+", "use only lower-case letters, digits and _", longest=80)]
Path = Annotated[str, Text(r"[^\x00-\x1f]*", "give a text without control characters", longest=1000)]
Words = Annotated[str, Text()]
Flag = Annotated[bool, _Flag()]
Commit = Annotated[str, Text("[0-9a-f]{40}", "give a commit, 40 hexadecimal digits")]
Digest = Annotated[str, Text("[0-9a-f]{64}", "give a SHA-256, 64 hexadecimal digits")]
Repository = Annotated[str, Text("[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._-]+", "give owner/name")]

# Greater numbers would not be exact in tables, some of which hold whole numbers as floats.
Seed = Annotated[int, Number(whole=True, least=0, most=9007199254740991)]
Count = Annotated[int, Number(whole=True, least=1, most=100_000_000)]
# For settings that are the length of an array, however little there is to fill it with.
Length = Annotated[int, Number(whole=True, least=1, most=1_000_000)]
Several = Annotated[int, Number(whole=True, least=2, most=1_000_000)]
# Within float32, with room for a product and a square.
Positive = Annotated[float, Number(above=0, least=1e-12, most=1e12)]
Fraction = Annotated[float, Number(least=0, most=1)]
Share = Annotated[float, Number(above=0, below=1)]

Names = Annotated[tuple[Name, ...], Field(min_length=2), DIFFERENT]
Pair = Annotated[tuple[Name, ...], Field(min_length=2, max_length=2), DIFFERENT]
Range = Annotated[tuple[Fraction, ...], Field(min_length=2, max_length=2)]
