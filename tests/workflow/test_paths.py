"""Commands typed in folders whose names have spaces and letters beyond ASCII, and with such a Python."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = "Läufe vom 3. Mai"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for part in ("Makefile", "Snakefile", "config", "notebooks", "profiles", "requirements.lock", "workflow"):
        (tmp_path / NAME).mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / NAME / part)
    shutil.copy(ROOT / "pyproject.toml", tmp_path / NAME)
    return tmp_path / NAME


def test_a_command_takes_a_path_with_spaces_as_one(project: Path, tmp_path: Path) -> None:
    """Away from the project the notebooks are the only files outside of the folder of the run."""
    (tmp_path / "away").mkdir()
    config = shutil.copy(project / "config" / "tiny.yaml", project / "my run.yaml")
    command = [sys.executable, "-m", "snakemake", "--snakefile", project / "Snakefile", "--configfile", config]
    command += ["--cores", "1", "--dry-run", "--printshellcmds", "--", "results/tiny/report/ground_truth.html"]
    done = subprocess.run(command, cwd=tmp_path / "away", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shell = next(line for line in (done.stdout + done.stderr).splitlines() if "render-page" in line)
    words = shlex.split(shell)
    assert words[words.index("--notebook") + 1] == f"../{NAME}/notebooks/ground_truth.ipynb"


def test_a_python_with_spaces_in_its_path_is_asked_for_its_version(project: Path, tmp_path: Path) -> None:
    python = tmp_path / "my Pythön 3"
    older = "import sys; sys.version_info, sys.version, sys.argv = (3, 10), '3.10.9 (main)', sys.argv[2:]; "
    older += "exec(sys.argv[0])"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(older)} "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(["make", "environment", f"PYTHON={python}"], cwd=project, capture_output=True, text=True)
    assert done.stderr.splitlines()[0] == (
        f"error: {python} is Python 3.10.9, but 3.11 or later is needed; name one with make PYTHON=..."
    )
    assert not (project / ".venv").exists()
