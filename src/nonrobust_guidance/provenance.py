"""Where and with what something was made."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

SOURCES = (".py", ".js", ".css", ".html", ".j2")
"""Endings of all that this package is made of."""
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
    """Return the processor's name, empty where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else ""


def commit(file: Path = Path(__file__)) -> str:
    """Return the commit of the git checkout that a file is part of, with ``-dirty`` where it was changed since.

    Empty where the file is in none, or is in one that does not track it, as an installed package is.
    """
    try:
        for command in (["ls-files", "--error-unmatch", file.name], ["describe", "--always", "--dirty", "--exclude=*"]):
            result = subprocess.run(
                ["git", "-C", str(file.parent), *command], check=True, capture_output=True, text=True, timeout=20
            )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()


@cache
def code_hash(package: Path = Path(__file__).parent) -> str:
    """Return the SHA-256 of this package's source files and templates, their names included; comments count too."""
    digest = hashlib.sha256()
    for file in sorted(path for path in package.rglob("*") if path.suffix in SOURCES):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(package).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
