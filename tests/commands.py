"""Snakemake as a user calls it, without the imports that take most of a call's time.

A server has imported what Snakemake and the workflow import, and forks for each call: Snakemake runs in a process of
its own, with an environment, a folder, outputs and an exit status of its own, and its jobs fork too. Where the start
itself is the point, or another copy of the code, a test starts Python.
"""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from warm_jobs import path_to_warm_jobs

ROOT = Path(__file__).parents[1]
TINY = ROOT / "config" / "tiny.yaml"

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        # The main module of a process that tests, which each of its children imports.
        "pytest",
        "snakemake.cli",
        "snakemake.scheduling.job_scheduler",
        "nonrobust_guidance.metrics.distances.inception_weights",
        "nonrobust_guidance.metrics.tables",
        "nonrobust_guidance.models.origins",
        "nonrobust_guidance.records.trainings",
        "nonrobust_guidance.report.pages",
    ]
)


def environment_of_a_user() -> dict[str, str]:
    """Return what a user has with the environment active."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def snakemake(
    directory: Path, *arguments: str | Path, config: Path | None = TINY, cores: int = 2
) -> subprocess.CompletedProcess[str]:
    """Run the project's workflow in another folder."""
    words = ["--snakefile", ROOT / "Snakefile", "--directory", directory, "--cores", str(cores)]
    words += ["--configfile", config] if config else []
    return call_snakemake(*words, *arguments)


def call_snakemake(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Call Snakemake in the current folder."""
    words = ["snakemake", *map(str, arguments)]
    with TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("stdout", "stderr")]
        process = FORKS.Process(target=run_as_typed, args=(words, {**os.environ, "PATH": path_to_warm_jobs()}, *files))
        process.start()
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(words, process.exitcode, *(file.read_text() for file in files))


def run_as_typed(words: list[str], environment: Mapping[str, str], stdout: Path, stderr: Path) -> None:
    """Do in this process what a shell's child does, and become Snakemake."""
    for number, file in enumerate((stdout, stderr), start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    # Imported where it runs, and not by the tests.
    from snakemake.cli import main

    main()
