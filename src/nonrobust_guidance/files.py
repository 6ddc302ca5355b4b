"""Paths in a run file, and writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from nonrobust_guidance.errors import UserError

_ROOM, _ELSEWHERE = "make room there, and run the command again", "name another place"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit on the size of files, and run the command again",
    errno.EROFS: _ELSEWHERE,
    **dict.fromkeys((errno.EACCES, errno.EPERM), f"change its permissions, or {_ELSEWHERE}"),
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST), f"remove what is in its way, or {_ELSEWHERE}"),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE), _ELSEWHERE),
}

_OF_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


def expand_path(text: str, key: str) -> Path:
    """Return the path that a run file names: ``~`` is the home folder, ``$NAME`` a variable of the environment.

    A path that exists as it is written is taken as it is.

    Args:
        text: the path.
        key: of the configuration, for messages.

    Raises:
        UserError: if there is no such variable or no such user.
    """
    if Path(text).exists():
        return Path(text)
    expanded = os.path.expanduser(os.path.expandvars(text))
    unknown = re.search(r"\$(\w+|\{[^}]*\})", expanded)
    if unknown:
        raise UserError(f"{key} is {text}, and there is no variable {unknown[0]} in the environment; set it")
    if expanded.startswith("~"):
        raise UserError(f"{key} is {text}, and {expanded.split('/')[0]} is nobody's home; write the path out")
    return Path(expanded)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a temporary file beside ``path``, then rename it to ``path``.

    Raises:
        UserError: if the disk is full or not writable.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            temporary.replace(path)
    finally:
        # A read-only file system refuses to remove even a file that does not exist.
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Inside this context, an error in writing ``path``, such as a full disk, becomes one sentence that names it.

    Raises:
        UserError: in place of such an error; others pass through unchanged.
    """
    try:
        yield
    except Exception as error:
        sentence = refusal(error, path)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def refusal(error: Exception, path: Path | None = None) -> str | None:
    """Return one sentence about a file that the operating system refuses to write or open; None for other errors.

    Args:
        error: Python's, or that of a library that quotes the system's error number, as those written in Rust do.
        path: the file that was being written, if known; an error that names a file elsewhere is about that file.
    """
    number, named = getattr(error, "errno", None), getattr(error, "filename2", None) or getattr(error, "filename", None)
    quoted = None if isinstance(error, UserError) else re.search(r"\(os error (\d+)\)", str(error))
    number = int(quoted[1]) if quoted else number
    if number not in _REMEDIES:
        return None
    about = Path(os.fsdecode(named)) if isinstance(named, str | bytes | os.PathLike) else None
    if path and (about is None or about.is_relative_to(path.parent)):
        about = path
    verb = "written" if about == path or number in _OF_WRITING else "used"
    return f"{about or 'a file'} cannot be {verb} ({os.strerror(number)}); {_REMEDIES[number]}"
