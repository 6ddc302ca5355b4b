"""Classes from a user's own file."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nonrobust_guidance.errors import UserError

USES = "uses"
"""The key of ``path/to/file.py:Class``; a relative path starts at the working directory."""
USES_SHA256 = "uses_sha256"
"""The key of the file's SHA-256, written into the resolved configuration, so that cards and jobs change with it."""
_MODULES = "nonrobust_guidance_uses_"
"""Prefix of the names of modules from such files."""
_PACKAGE = Path(__file__).resolve().parents[1]


class Found(NamedTuple):
    """A class, and the SHA-256 of its file."""

    cls: type
    sha256: str


def load_class(where: str, needs: Sequence[str], expected: object = None, base: type | None = None) -> Found:
    """Return a class from a file.

    Args:
        where: ``path/to/file.py:Class``.
        needs: names of the methods that it must have, or, with a base, of fields and properties too.
        expected: SHA-256 of the file; None accepts any.
        base: what it must extend; None requires a dataclass.

    Raises:
        UserError: if the file or the class is missing, is not of that kind, or cannot be run.
    """
    file, _, name = where.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise UserError(f"{where!r} names no class in a file; write path/to/file.py:Class")
    try:
        source = Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); name an existing file") from None
    sha256 = hashlib.sha256(source).hexdigest()
    if expected not in (None, sha256):
        raise UserError(f"{file} was changed since the run began; start it again, or undo the change")
    cls = getattr(_run(file, sha256), name, None)
    if not isinstance(cls, type):
        raise UserError(f"{file} has no class {name}; correct the name")
    if base is None:
        _require_dataclass(cls, file, needs)
    else:
        _require_extended(cls, file, needs, base)
    return Found(cls, sha256)


def _require_dataclass(cls: type, file: str, needs: Sequence[str]) -> None:
    if not dataclasses.is_dataclass(cls):
        raise UserError(f"{cls.__name__} in {file} is no dataclass; write @dataclass(frozen=True) above it")
    lacking = [method for method in needs if not callable(getattr(cls, method, None))]
    if lacking:
        raise UserError(f"{cls.__name__} in {file} has no method {lacking[0]}; add it")


def _require_extended(cls: type, file: str, needs: Sequence[str], base: type) -> None:
    name, parent = cls.__name__, base.__name__
    if not issubclass(cls, base):
        raise UserError(f"{name} in {file} does not extend {parent}; import that from {base.__module__}")
    # A field without a default is not an attribute of the class.
    fields = getattr(cls, "model_fields", {})
    lacking = [need for need in needs if need not in fields and not hasattr(cls, need)]
    if lacking:
        raise UserError(f"{name} in {file} has no {lacking[0]}; add it")


def _run(file: str, sha256: str) -> object:
    """Return a file's module, which is run once for each content."""
    # The path is part of the key too, because the file may read what lies beside it.
    key = hashlib.sha256(f"{Path(file).resolve()} {sha256}".encode()).hexdigest()[:12]
    module_name = f"{_MODULES}{Path(file).stem}_{key}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} cannot be loaded as Python; name a .py file")
    module = importlib.util.module_from_spec(spec)
    # Registered before it is run, because dataclasses look for their module there.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise failure(error, file) from None
    return module


def failure(error: Exception, file: str) -> UserError:
    """Return the message for a user whose own file fails: where, and Python's error."""
    said, line = error.msg if isinstance(error, SyntaxError) else str(error), _line(error, file)
    reason = f"{type(error).__name__}: {(said.splitlines() or [''])[0]}"
    return UserError(f"{file} fails{'' if line is None else f' at line {line}'} ({reason}); correct it")


def failure_in_own_file(error: Exception) -> str | None:
    """Return the message of `failure` if the error is from a user's file, or from code that it called; else None.

    Errors that the package's own functions raise when such a file calls them are not the file's.
    """
    modules = (module for name, module in sys.modules.items() if name.startswith(_MODULES))
    own = {Path(file).resolve(): file for module in modules if (file := module.__file__)}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        place = Path(frame.filename).resolve()
        if place in own:
            return str(failure(error, own[place]))
        if place.is_relative_to(_PACKAGE):
            return None
    return None


def _line(error: Exception, file: str) -> int | None:
    if isinstance(error, SyntaxError):
        return error.lineno
    # Python makes a file's name absolute when it runs it.
    frames, place = traceback.extract_tb(error.__traceback__), Path(file).resolve()
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == place]
    return lines[-1] if lines else None
