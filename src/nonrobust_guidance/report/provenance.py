"""Where and with what a report was made."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("nonrobust-guidance", "torch", "diffusers", "clean-fid", "numpy")


def versions() -> str:
    """Return the versions of Python and of the libraries that numbers depend on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"Python {platform.python_version()}, {libraries}"


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
