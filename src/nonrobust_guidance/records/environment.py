"""Where and with what something was made."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

# Git's hooks set these variables, which would point git to the hook's repository instead of the file's own.
OF_ANOTHER_CHECKOUT = {f"GIT_{what}" for what in ("DIR", "WORK_TREE", "INDEX_FILE", "COMMON_DIR", "OBJECT_DIRECTORY")}
SOURCES = (".py", ".yaml", ".js", ".css", ".html", ".j2")
"""Suffixes of all files that this package consists of."""
LIBRARIES = ("nonrobust-guidance", "torch", "diffusers", "clean-fid", "numpy")


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that numbers depend on, by name."""
    return {"Python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def versions() -> str:
    """Return the same as text."""
    return ", ".join(f"{name} {number}" for name, number in library_versions().items())


def device() -> str:
    """Return the machine's kind, its processor and its graphics cards."""
    import torch

    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    parts = [f"{platform.system()} {platform.machine()}", processor(), f"{os.cpu_count()} CPU cores", *cards]
    return ", ".join(part for part in parts if part)


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name, empty where the system does not give it."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else ""


def commit(file: Path = Path(__file__)) -> str:
    """Return the commit of the git checkout that a file is part of, with ``-dirty`` where it was changed since.

    If the file is in no checkout, in one that does not track it (as for an installed package), or in one that git
    cannot read, it is ``unknown:`` and the reason.
    """
    try:
        git("ls-files", "--error-unmatch", file.name, folder=file.parent)
        return git("describe", "--always", "--dirty", "--exclude=*", folder=file.parent).decode().strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown: {why_git_failed(error)}"


def git(*arguments: str, folder: Path = Path()) -> bytes:
    """Return what git prints about the checkout that a folder is in.

    Raises:
        OSError: if git cannot be started.
        subprocess.SubprocessError: if it fails or does not answer.
    """
    here = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_CHECKOUT}
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=here | {"LC_ALL": "C"}, check=True, capture_output=True, timeout=60
    ).stdout


def why_git_failed(error: Exception) -> str:
    """Return in words why git could not answer about a checkout."""
    if isinstance(error, OSError):
        return "git is not installed"
    if isinstance(error, subprocess.CalledProcessError):
        if b"dubious ownership" in error.stderr:
            return "git refuses a checkout of another user"
        return "this is not in a Git checkout"
    return "git does not answer"


@cache
def code_hash(package: Path = Path(__file__).parents[1]) -> str:
    """Return the SHA-256 of this package's source files and templates, including their names and comments."""
    digest = hashlib.sha256()
    for file in sorted(path for path in package.rglob("*") if path.suffix in SOURCES):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(package).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
