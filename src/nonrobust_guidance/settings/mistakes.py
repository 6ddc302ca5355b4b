"""What is wrong with a setting, as one sentence that names the key and says what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from nonrobust_guidance.yaml_files import dotted, quoted

_WORDS_OF_YAML_1_1 = {"yes": "true", "y": "true", "on": "true", "no": "false", "n": "false", "off": "false"}
_EXPECTED = {"tuple_type": "a list", "dict_type": "a mapping", "model_type": "a mapping", "none_required": "null"}


class SettingError(ValueError):
    """What is wrong with a value: the end of a sentence that begins with the value's key.

    ``{section}`` in it stands for the key of the section that was checked.
    """

    def __init__(self, words: str, *key: str | int) -> None:
        """Take the words, and the keys that lead from the checked value to the one that is wrong."""
        super().__init__(words)
        self.words, self.key = words, key


class UnknownKeyError(SettingError):
    """A key that a section does not have."""

    def __init__(self, key: str, known: Sequence[str]) -> None:
        """Take the key and the known ones."""
        super().__init__(f"is an unknown key; {instead(key, known)}", key)


class WrongTypeError(SettingError):
    """A value of another type than the setting's."""

    def __init__(self, value: Any, *expected: str) -> None:
        """Take the value and what it should have been, such as "a whole number"."""
        self.expected = expected
        super().__init__(f"is {shown(value)}; give {' or '.join(expected)}{_hint(value, expected)}")


def instead(name: str, known: Sequence[str]) -> str:
    """Suggest the known name that resembles the given one, or else list all of them."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"use {' or '.join(known)}"


def sentence_of(error: ValidationError) -> str:
    """Return the message for a failed validation: of several mistakes, the one that explains the others.

    A misspelt key is both missing and unknown, and is reported as unknown.
    """
    return min(map(_ranked, error.errors(include_url=False)), key=lambda ranked: ranked[0])[1]


def shown(value: Any) -> str:
    """Return a value as a sentence shows it."""
    match value:
        case str():
            return quoted(value)
        case None:
            return "empty"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case bool():
            return str(value).lower()
    return quoted(str(value))[1:-1]


def _ranked(error: Mapping[str, Any]) -> tuple[int, str]:
    path, value, context = list(error["loc"]), error["input"], error.get("ctx", {})
    kind, mistake = error["type"], context.get("error")
    if kind == "missing":
        return 1, f"{_key(path)} is missing; add it"
    if isinstance(mistake, SettingError):
        section = _key(path)
        words = mistake.words.replace("{section}", section)
        if path[-1:] == ["[key]"]:
            return 1, f"{_key(path[:-2])} has the name {words.removeprefix('is ')}"
        return 0 if isinstance(mistake, UnknownKeyError) else 1, f"{_key([*path, *mistake.key])} {words}"
    if kind in _EXPECTED:
        return 1, f"{_key(path)} {WrongTypeError(value, _EXPECTED[kind])}"
    if kind == "literal_error":
        known = re.findall("'([^']*)'", context["expected"])
        if not isinstance(value, str):
            return 1, f"{_key(path)} {WrongTypeError(value, 'a text')}"
        return 1, f"{_key(path)} is {shown(value)}, which is unknown; {instead(value, known)}"
    if kind == "too_short":
        return 1, f"{_key(path)} has {context['actual_length']} entries; give at least {context['min_length']}"
    if kind == "too_long":
        return 1, f"{_key(path)} has {len(value)} entries; give at most {context['max_length']}"
    return 1, f"{_key(path)} is {shown(value)}: {error['msg']}"


def _key(path: Sequence[Any]) -> str:
    return dotted(path) or "the file"


def _hint(value: Any, expected: Sequence[str]) -> str:
    """Return how to write the value that was meant, if it was written as another type."""
    if isinstance(value, bool | int | float) and "a text" in expected:
        return ", in quotes"
    if not isinstance(value, str):
        return ""
    if "true or false" in expected and value.lower() in _WORDS_OF_YAML_1_1:
        return f", written as {_WORDS_OF_YAML_1_1[value.lower()]}"
    try:
        number = float(value) if "a finite number" in expected else math.nan
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    # With a point, so that YAML 1.1 also reads it as a number.
    return f", written as {number:.1e}" if "e" in str(number) else f", written as {number}"
