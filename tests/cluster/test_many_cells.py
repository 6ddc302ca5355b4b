"""Two hundred cells at once, eight in each job."""

import subprocess

from cluster import Slurm
from project import Project


def test_two_hundred_cells_end_and_none_is_stuck(slurm: Slurm, cells: tuple[Project, subprocess.Popen[str]]) -> None:
    project, run = cells
    project.finish(run)
    assert len(list((project.work / "cells").iterdir())) == 200
    jobs = slurm.jobs(project.work)
    assert [job.state for job in jobs] == ["COMPLETED"] * 26


def test_only_jobs_that_ask_for_a_gpu_see_one(cells: tuple[Project, subprocess.Popen[str]]) -> None:
    project, run = cells
    project.finish(run)
    assert (project.work / "prepared.txt").read_text() == "none\n"
    seen = {path.read_text().strip() for path in (project.work / "cells").iterdir()}
    assert seen <= {"0", "1", "2", "3"}


def test_the_members_of_a_group_take_turns_on_one_gpu(
    slurm: Slurm, cells: tuple[Project, subprocess.Popen[str]]
) -> None:
    project, run = cells
    project.finish(run)
    grouped = [job for job in slurm.jobs(project.work) if job.rule != "prepare_data"]
    # A member asks for 16000 MB and 240 minutes.
    assert {(job.gpus, job.memory, job.minutes) for job in grouped} == {("gres:gpu:fake:1", "16000M", 1920)}
