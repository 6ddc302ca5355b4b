"""The cluster, and the runs on it that several tests look at."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Slurm
from project import Project


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    cluster = Slurm()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def cells(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, subprocess.Popen[str]]:
    """The run of many small cells, which goes on beside other tests and leaves cores to them."""
    project = Project(tmp_path_factory.mktemp("cells"), partition="cells", gpu_partition="cells", jobs=250)
    shutil.copy(Path(__file__).parent / "cells.smk", project.folder / "Snakefile")
    return project, project.type("snakemake --profile slurm --groups score_samples=scores --group-components scores=4")


@pytest.fixture(scope="session")
def complete(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after a complete run, with what it made on another disk."""
    folder = tmp_path_factory.mktemp("complete")
    project = Project(folder, storage=str(folder / "scratch"))
    project.write_config()
    project.run("snakemake --profile slurm --configfile config/cluster.yaml")
    return project
