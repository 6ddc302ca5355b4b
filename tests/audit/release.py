"""The project's files as an archive of a release holds them, without Git."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("Makefile", "Snakefile", "config", "notebooks", "profiles", "pyproject.toml", "slurm", "src", "workflow")
OF_DVC = (".dvc", ".dvcignore", ".gitignore", "data.dvc", "dvc.yaml")
PUBLISHED = ("dvc.lock", "published", "shipped")
MADE_HERE = shutil.ignore_patterns("__pycache__", "*.egg-info", "cache", "tmp", "config.local", "site.yaml")


def unpack_release(folder: Path, parts: tuple[str, ...] = (*CODE, *OF_DVC, *PUBLISHED)) -> Path:
    """Copy these parts of the project, and nothing that was made in it, into a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=MADE_HERE)
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder
