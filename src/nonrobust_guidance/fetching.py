"""Other people's files: from the Hugging Face hub, a URL or a folder, checked against their checksums before use."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import naming, write_atomically

if TYPE_CHECKING:
    from huggingface_hub import RepoFile

RECORD = "source.json"
Select = Callable[[Sequence[str]], list[str]]
"""Selects, from the names of all files that a source offers, those that are needed."""


@dataclass(frozen=True)
class Origin:
    """Where files came from.

    Attributes:
        request: what was asked for, such as ``{"repository": ...}``.
        revision: the commit of a repository, None elsewhere.
        sha256: of each file that was used, by its name within the source.
    """

    request: Mapping[str, Any]
    revision: str | None
    sha256: Mapping[str, str]

    def write(self, path: Path) -> None:
        """Write the record that later fetches have to match."""
        write_atomically(path, lambda file: file.write_text(json.dumps(asdict(self), indent=2) + "\n"))

    @classmethod
    def recorded(cls, path: Path, request: Mapping[str, Any]) -> Origin | None:
        """Read the record of an earlier fetch of the same request; there may be none.

        Raises:
            UserError: if the file cannot be read.
        """
        if not path.is_file():
            return None
        try:
            record = cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            raise UserError(
                f"{path} is no record of a fetch; remove it, and what is fetched is recorded anew"
            ) from None
        return record if dict(record.request) == dict(request) else None


def hold_to(
    origin: Origin, earlier: Origin | None, expected: Mapping[str, str], folder: Path, record: Path, key: str
) -> None:
    """Check the files of an origin against the configuration's checksums and an earlier fetch, and log what they are.

    Args:
        origin: what has just been fetched.
        earlier: the record of the same revision, or None.
        expected: SHA-256 by file name from the configuration, perhaps empty.
        folder: where the files lie, for messages.
        record: where the record lies, for messages.
        key: of the configuration, for messages.

    Raises:
        UserError: if a file does not match, or the configuration names a file that is not used.
    """
    for name, digest in expected.items():
        if name not in origin.sha256:
            used = ", ".join(origin.sha256)
            raise UserError(f"{key}.sha256 names {name}, which is not used of this source; give those of {used}")
        if origin.sha256[name] != digest:
            raise UserError(
                f"{folder / name} has the SHA-256 {origin.sha256[name]} where {key}.sha256 says {digest}; fetch it "
                "again, or correct the configuration"
            )
    if earlier is not None and dict(earlier.sha256) != dict(origin.sha256):
        pairs = {**earlier.sha256, **origin.sha256}
        name = next(name for name in pairs if earlier.sha256.get(name) != origin.sha256.get(name))
        raise UserError(
            f"{folder / name} is not the file that {record} recorded at the first fetch; get that one again, or remove "
            "the record if the change is meant"
        )
    held = "as recorded at the first fetch" if earlier else "recorded, and later fetches are held to it"
    revision = f" at revision {origin.revision}" if origin.revision else ""
    where = ", ".join(f"{key} {value}" for key, value in origin.request.items() if value)
    print(f"{where}{revision}: {len(origin.sha256)} files, {held} ({record})", file=sys.stderr)


def fetch_repository(
    repository: str,
    revision: str | None,
    kind: Literal["model", "dataset"],
    select: Select,
    folder: Path,
    by_hand: str,
) -> Origin:
    """Download files of a repository of the Hugging Face hub at one commit; existing files are only checked.

    Args:
        repository: ``owner/name``.
        revision: a commit, or None for the newest one.
        kind: of repository.
        select: which files.
        folder: where they go, under the names that they have in the repository.
        by_hand: what the user can do without the network, for messages.

    Raises:
        UserError: if the hub cannot be reached or lacks the files, the disk is too small, or a file is damaged.
    """
    from huggingface_hub import HfApi, RepoFile
    from huggingface_hub.errors import HFValidationError, HTTPError

    # Read now rather than when the library is imported.
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    where = f"{hub.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repository}"
    try:
        commit = hub.repo_info(repository, revision=revision, repo_type=kind).sha
        tree = hub.list_repo_tree(repository, revision=commit, repo_type=kind, recursive=True)
        offered = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
        chosen = [offered[name] for name in select(list(offered))]
        for file in chosen:
            require_inside(file.path, where)
        require_space(folder, sum(file.size for file in chosen if not (folder / file.path).exists()), where)
        with naming(folder):
            # Patterns in which every character is literal.
            names = [glob.escape(file.path) for file in chosen]
            hub.snapshot_download(repository, revision=commit, repo_type=kind, allow_patterns=names, local_dir=folder)
        # If the hub becomes unreachable now, the library only warns and leaves the folder as it is: a file may be
        # missing.
        sha256 = {file.path: _checked_sha256(folder / file.path, file, where) for file in chosen}
    except (HTTPError, HFValidationError, OSError) as error:
        raise UserError(f"{where} cannot be fetched ({_first_line(error)}); {by_hand}") from None
    return Origin({"repository": repository}, commit, sha256)


def fetch_url(url: str, folder: Path, by_hand: str) -> Path:
    """Download a file into a folder and return its path.

    Raises:
        UserError: if it cannot be downloaded.
    """
    from torch.hub import download_url_to_file

    path = folder / (PurePosixPath(unquote(urlsplit(url).path)).name or "download")
    try:
        with naming(path):
            folder.mkdir(parents=True, exist_ok=True)
            download_url_to_file(url, str(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{url} cannot be downloaded ({_first_line(error)}); {by_hand}") from None
    return path


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip archive into a folder, and never write outside of it.

    Raises:
        UserError: if it is not a .zip archive, is too large for the disk, or names a path outside the folder.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                require_inside(name, str(archive))
            require_space(folder, sum(entry.file_size for entry in opened.infolist()), str(archive))
            with naming(folder):
                opened.extractall(folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{archive} cannot be unpacked ({_first_line(error)}); fetch it again") from None


def require_inside(name: str, where: str) -> None:
    """Check that a file name from outside stays within the folder that it is put into.

    Raises:
        UserError: if it is absolute or goes up.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise UserError(f"{where} has a file named {name}, which would lie outside its folder; do not use this source")


def require_space(folder: Path, num_bytes: int, what: str) -> None:
    """Check that this many bytes fit on the disk of a folder, which need not exist yet.

    Raises:
        UserError: if they do not.
    """
    existing = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
    free = shutil.disk_usage(existing).free
    if num_bytes > free:
        raise UserError(
            f"{what} needs {num_bytes / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free at {existing}; make room there"
        )


def list_files(folder: Path) -> list[str]:
    """Return the names of all files in a folder, relative to it, with forward slashes, in order."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def hash_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of each of these files of a folder."""
    return {name: sha256_of(folder / name) for name in names}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked_sha256(path: Path, file: RepoFile, where: str) -> str:
    """Return a file's SHA-256 after checking it against the hub's: by SHA-256, or by Git object ID for a small file."""
    digest = sha256_of(path)
    if file.lfs is not None:
        same = digest == file.lfs.sha256
    else:
        content = path.read_bytes()
        same = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id
    if not same:
        raise UserError(f"{path} is not the file that {where} lists, by its checksum; remove it and fetch it again")
    return digest


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
