"""What Git and DVC say a file should be: ``data.dvc``, ``dvc.lock`` and the files of a commit."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import require_inside
from nonrobust_guidance.records.environment import git, why_git_failed
from nonrobust_guidance.yaml_files import parse_yaml

DATA_FILE = "data.dvc"
LOCK_FILE = "dvc.lock"


@dataclass(frozen=True)
class Tracked:
    """A file and the MD5 that it had when it was published; DVC identifies contents by their MD5."""

    path: Path
    md5: str

    def differs(self) -> bool:
        """Return whether the file is missing or has changed."""
        return not self.path.is_file() or md5_of(self.path) != self.md5


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def require_commit() -> None:
    """Check that there is a commit to compare with.

    Raises:
        UserError: if this is not a clone, or git cannot read it.
    """
    try:
        git("rev-parse", "--verify", "HEAD")
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(
            f"there is no commit to compare with ({why_git_failed(error)}); audit in a clone of your own"
        ) from None


def committed(path: str, revision: str = "HEAD") -> bytes | None:
    """Return a file as it is in a commit; None where it is not in it, or this is not a clone."""
    try:
        return git("show", f"{revision}:./{path}")
    except (OSError, subprocess.SubprocessError):
        return None


def read_file(path: str) -> bytes | None:
    """Return a file as it is here; None if there is no such file."""
    return Path(path).read_bytes() if Path(path).is_file() else None


def read_data_file(content: bytes | None) -> list[Tracked]:
    """Return the files that the text of ``data.dvc`` names, relative to the folder it lies in; none for no text.

    Raises:
        UserError: if it is not what DVC writes, or names a file outside.
    """
    if content is None:
        return []
    try:
        record = parse_yaml(content, DATA_FILE) or {}
        folder = str(record.get("wdir", "."))
        entries = [(str(out["path"]), out.get("md5")) for out in record["outs"]]
    except UserError as error:
        raise UserError(f"{error}, or bring it back with git checkout {DATA_FILE}") from None
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"{DATA_FILE} is not what dvc writes; git checkout {DATA_FILE} brings it back") from None
    for name, _ in [(folder, ""), *entries]:
        require_inside(name, DATA_FILE)
    # Before the first publication the files have no MD5.
    return [Tracked(Path(folder, name), str(md5)) for name, md5 in entries if md5]


def locked_files(content: bytes | None, folder: Path) -> Iterator[Tracked]:
    """Yield the files within a folder that a stage made, according to the text of ``dvc.lock``.

    Raises:
        UserError: if it is not what DVC writes.
    """
    try:
        stages: dict[str, Any] = (parse_yaml(content, LOCK_FILE) or {}).get("stages", {}) if content else {}
        outs = [out for stage in stages.values() for out in stage.get("outs", [])]
        files = [Tracked(Path(out["path"]), out["md5"]) for out in outs]
    except UserError as error:
        raise UserError(f"{error}, or bring it back with git checkout {LOCK_FILE}") from None
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"{LOCK_FILE} is not what dvc writes; git checkout {LOCK_FILE} brings it back") from None
    yield from (file for file in files if file.path.parent == folder)
