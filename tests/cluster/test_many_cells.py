"""Two hundred cells at once, the targets of each method and scale drawn by one job, as the project does."""

import subprocess
from collections import Counter

from cluster import Slurm
from project import Project


def test_two_hundred_cells_end_and_none_is_stuck(slurm: Slurm, cells: tuple[Project, subprocess.Popen[str]]) -> None:
    project, run = cells
    project.finish(run)
    assert len(list(project.work.glob("cells/*/*.txt"))) == 200
    jobs = slurm.jobs(project.work)
    assert Counter(job.rule for job in jobs) == {"draw_samples": 25, "scores_score_samples": 1, "prepare_data": 1}
    assert {job.state for job in jobs} == {"COMPLETED"}


def test_only_jobs_that_ask_for_a_gpu_see_one(cells: tuple[Project, subprocess.Popen[str]]) -> None:
    project, run = cells
    project.finish(run)
    assert (project.work / "prepared.txt").read_text() == "none\n"
    seen = {
        path.read_text().strip() for files in ("cells/*/*.txt", "scores/*.txt") for path in project.work.glob(files)
    }
    assert seen <= {"0", "1", "2", "3"}


def test_the_members_of_a_group_take_turns_on_one_gpu(
    slurm: Slurm, cells: tuple[Project, subprocess.Popen[str]]
) -> None:
    project, run = cells
    project.finish(run)
    (grouped,) = [job for job in slurm.jobs(project.work) if job.rule == "scores_score_samples"]
    # Each of the four members asks for 16000 MB and 240 minutes.
    assert (grouped.gpus, grouped.memory, grouped.minutes) == ("gres:gpu:fake:1", "16000M", 960)
