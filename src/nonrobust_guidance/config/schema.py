"""The schema of a run, and its violations as sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from nonrobust_guidance.yaml_files import dotted, quoted, read_yaml

SCHEMA_FILE = Path(__file__).with_name("config.schema.yaml")

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "integer": "a whole number",
    "number": "a finite number",
    "string": "a text",
    "boolean": "true or false",
    "null": "null",
}
_PATTERNS = {
    "^[0-9a-f]{40}$": "a commit, 40 hexadecimal digits",
    "^[0-9a-f]{64}$": "a SHA-256, 64 hexadecimal digits",
    r"^https?://[^\x00-\x20]+$": "an address that starts with https:// and has no spaces",
    r"^[^\x00-\x1f]*$": "a text without control characters",
    "^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._-]+$": "owner/name",
}
_WORDS_OF_YAML_1_1 = {"yes": "true", "y": "true", "on": "true", "no": "false", "n": "false", "off": "false"}
_BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "greater than",
    "exclusiveMaximum": "less than",
}


@cache
def load_schema() -> dict[str, Any]:
    """Read the closed JSON Schema of a run."""
    schema: dict[str, Any] = read_yaml(SCHEMA_FILE)
    return schema


def schema_violation(schema: Mapping[str, Any], value: Any) -> str | None:
    """Return the first violation as a sentence that names the key and says what to do, or None."""
    error = next(_Validator(schema).iter_errors(value), None)
    return _sentence(error) if error else None


def resolved(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema in which references, ``allOf`` and the branches that apply to the value are written out.

    Of two descriptions of a property the keys are merged.
    """
    whole = {key: part for key, part in schema.items() if key not in ("$ref", "allOf", "if", "then", "else")}
    parts = [root["$defs"][schema["$ref"].rpartition("/")[2]]] if "$ref" in schema else []
    parts += schema.get("allOf", [])
    if "if" in schema:
        parts.append(schema.get("then" if _Validator(schema["if"]).is_valid(value) else "else", {}))
    for part in (resolved(part, value, root) for part in parts):
        properties = dict(whole.get("properties", {}))
        for name, more in part.get("properties", {}).items():
            properties[name] = {**properties.get(name, {}), **more}
        whole = {**part, **whole} | ({"properties": properties} if properties else {})
    return whole


def instead(name: str, known: Sequence[str]) -> str:
    """Suggest the known name that the given one looks like, or else list all of them."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"use {' or '.join(known)}"


def _is_integer(_checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_checker: Any, value: Any) -> bool:
    return _is_integer(_checker, value) or (isinstance(value, float) and math.isfinite(value))


def _matches(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    # Python's $ is before a line break at the end too, JSON Schema's is not.
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):
        yield ValidationError(f"{value!r} does not match {pattern}")


# JSON Schema itself takes 3.0 for an integer, and YAML can say .inf and .nan.
_Validator = extend(
    Draft202012Validator,
    {"pattern": _matches},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer).redefine("number", _is_number),
)


def _sentence(error: ValidationError) -> str:
    path, value, rule = list(error.absolute_path), cast(Any, error.instance), cast(Any, error.validator_value)
    key = dotted(path) or "the file"
    match error.validator:
        case "additionalProperties":
            known = list(cast(Any, error.schema)["properties"])
            unknown = next(name for name in value if name not in known)
            return f"{dotted([*path, unknown])} is an unknown key; {instead(str(unknown), known)}"
        case "required":
            return f"{dotted([*path, next(name for name in rule if name not in value)])} is missing; add it"
        case "type":
            return f"{key} is {_shown(value)}; give {_type_names(rule)}{_hint(value, rule)}"
        case "enum":
            return f"{key} is {_shown(value)}, which is unknown; {instead(str(value), rule)}"
        case "pattern":
            if rule in _PATTERNS:
                return f"{key} is {_shown(value)}; give {_PATTERNS[rule]}"
            letters = "letters, digits, - and _" if "A-Z" in rule else "lower-case letters, digits and _"
            subject = f"{key} has the name" if "propertyNames" in error.absolute_schema_path else f"{key} is"
            return f"{subject} {_shown(value)}; use only {letters}"
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            return f"{key} is {value}; give a number {_BOUNDS[error.validator]} {rule}"
        case "maxLength":
            return f"{key} has {len(value)} characters; give at most {rule}"
        case "uniqueItems":
            return f"{key} lists a value twice; remove one"
        case "minItems" | "minProperties":
            return f"{key} has {len(value)} entries; give at least {rule}"
        case "maxItems":
            return f"{key} has {len(value)} entries; give at most {rule}"
    return f"{key} is {_shown(value)}: {error.message}"


def _shown(value: Any) -> str:
    match value:
        case str():
            return quoted(value)
        case None:
            return "empty"
        case Mapping():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return str(value).lower()
    return str(value)


def _type_names(types: str | Sequence[str]) -> str:
    return " or ".join(_TYPES[name] for name in ([types] if isinstance(types, str) else types))


def _hint(value: Any, types: str | Sequence[str]) -> str:
    """Return how to write a value that is meant, but was written as another type."""
    if isinstance(value, bool | int | float) and "string" in types:
        return ", in quotes"
    if not isinstance(value, str):
        return ""
    if "boolean" in types and value.lower() in _WORDS_OF_YAML_1_1:
        return f", written as {_WORDS_OF_YAML_1_1[value.lower()]}"
    try:
        number = float(value) if "number" in types else math.nan
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    # With a point, so that YAML 1.1 takes it for a number too.
    return f", written as {number:.1e}" if "e" in str(number) else f", written as {number}"
