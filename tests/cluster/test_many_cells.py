"""Two hundred cells at once, and small ones in groups."""

import subprocess

from cluster import Slurm
from project import Project


def test_two_hundred_cells_end_and_none_is_stuck(slurm: Slurm, cells: tuple[Project, subprocess.Popen[str]]) -> None:
    project, run = cells
    project.finish(run)
    jobs = slurm.jobs(project.work)
    assert len(jobs) == 201
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert len(list((project.folder / "cells").iterdir())) == 200


def test_only_jobs_that_ask_for_a_gpu_see_one(cells: tuple[Project, subprocess.Popen[str]]) -> None:
    project, run = cells
    project.finish(run)
    assert (project.folder / "prepared.txt").read_text() == "none\n"
    seen = {path.read_text() for path in (project.folder / "cells").iterdir()}
    assert seen <= {"0\n", "1\n"}


def test_grouped_cells_share_a_job_and_its_gpu(slurm: Slurm, cells: tuple[Project, subprocess.Popen[str]]) -> None:
    project, run = cells
    project.finish(run)
    before = len(slurm.jobs(project.work))
    for cell in range(12):
        (project.folder / "cells" / f"{cell}.txt").unlink()
    project.run("snakemake --profile slurm --groups score_samples=scores --group-components scores=6")
    jobs = slurm.jobs(project.work)[before:]
    assert [job.state for job in jobs] == ["COMPLETED"] * 2
    assert [job.gpus for job in jobs] == ["gres:gpu:fake:1"] * 2
    assert len(list((project.folder / "cells").iterdir())) == 200
