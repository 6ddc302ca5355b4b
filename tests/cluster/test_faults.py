"""What goes wrong on clusters, done to a training on a real Slurm: it ends with the bytes of an undisturbed one."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster import Job, Slurm, command_of, place_of, processes, say, signals_of, wait_until
from project import Project

CHECKPOINT = Path("data/sportballs-tiny/checkpoints/nonrobust")
TRAINING = f"snakemake --profile slurm --configfile config/cluster.yaml -- {CHECKPOINT}/config.json"
LOG = Path("results/tiny/logs/train_classifier/nonrobust.log")

Training = tuple[Project, subprocess.Popen[str]]
HeldTraining = tuple[Project, subprocess.Popen[str], Future[int]]

# The many cells, and what Slurm itself ends, run beside the complete run and these tests, which mostly wait.
pytestmark = pytest.mark.usefixtures("cells", "out_of_memory", "out_of_time")


@pytest.fixture
def project(complete: Project, tmp_path: Path) -> Project:
    """A clone with the data of the complete run, in which the one classifier is yet to be trained."""
    project = Project(tmp_path)
    project.write_config()
    for part in ("data", ".snakemake"):
        shutil.copytree(complete.work / part, tmp_path / part)
    shutil.rmtree(tmp_path / CHECKPOINT)
    return project


@pytest.fixture(scope="session")
def out_of_memory(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training that is given less memory than it needs, and its data before."""
    project = Project(tmp_path_factory.mktemp("out_of_memory"))
    project.write_config()
    project.write_site(rules={"train_classifier": {"mem_mb": 800}})
    return project, project.type(TRAINING)


@pytest.fixture(scope="session")
def out_of_time(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeldTraining]:
    """A training that saves no state of its own accord, held as soon as it begins, for longer than it has time."""
    project = Project(tmp_path_factory.mktemp("out_of_time"))
    project.write_config(lambda config: config["classifiers"]["nonrobust"]["training"].update(checkpoint_every=1000))
    # Slurm sends its signal up to a minute earlier than it is asked to.
    project.write_site(rules={"train_classifier": {"runtime": 3}}, seconds_before_limit=30)
    run = project.type(TRAINING)
    with ThreadPoolExecutor(1) as executor:
        yield project, run, executor.submit(hold_trainer, project, run)


def trainer(project: Project) -> int | None:
    """Return the process that trains, once it listens to signals."""
    for process in processes():
        words = command_of(process).split(b"\0")
        ours = b"train-classifier" in words and b"python" in words[0] and place_of(process) == project.work
        if ours and signal.SIGUSR1 in signals_of(process, "SigCgt"):
            return process
    return None


def hold_trainer(project: Project, run: subprocess.Popen[str], reached: Callable[[], object] = lambda: True) -> int:
    """Wait for the training to come so far, and stop its clock: what follows meets it in the middle, on any machine."""

    def met() -> bool:
        assert run.poll() is None, project.output.read_text()
        return bool(reached() and trainer(project))

    wait_until(met, "the training does not begin", pause=0.05)
    process = trainer(project)
    assert process, "it ended before it could be held"
    os.kill(process, signal.SIGSTOP)
    say(f"holding the training, process {process}")
    return process


def state_of(project: Project) -> Path:
    return project.work / CHECKPOINT / "training-state.safetensors"


def first_step(project: Project) -> int:
    """Return the step at which the last attempt began."""
    return int(re.search(r"(\d+)/\d+ \[", (project.work / LOG).read_text())[1])


def assert_undisturbed(project: Project, complete: Project) -> None:
    """The same bytes as without the fault, no more and no fewer files, and nothing marked as half-written."""
    expected = complete.work / CHECKPOINT
    names = {path.name for path in expected.iterdir()}
    assert {path.name for path in (project.work / CHECKPOINT).iterdir()} == names
    for name in names:
        assert (project.work / CHECKPOINT / name).read_bytes() == (expected / name).read_bytes(), name
    assert not [*project.work.glob(".snakemake/incomplete/*"), *project.work.glob(".snakemake/locks/*")]


def only_job(slurm: Slurm, project: Project) -> Job:
    (job,) = slurm.jobs(project.work)
    return job


def states(slurm: Slurm, project: Project) -> list[str]:
    return [job.state for job in slurm.jobs(project.work)]


def test_a_job_is_cancelled_while_it_trains(slurm: Slurm, project: Project, complete: Project) -> None:
    run = project.type(TRAINING)
    process = hold_trainer(project, run, state_of(project).exists)
    subprocess.run(["scancel", only_job(slurm, project).number], check=True)
    say("cancelled the job")
    project.finish(run)
    assert not Path(f"/proc/{process}").exists()
    assert states(slurm, project) == ["CANCELLED", "COMPLETED"]
    assert first_step(project) >= 10
    assert_undisturbed(project, complete)


def test_snakemake_is_killed_and_started_again(slurm: Slurm, project: Project, complete: Project) -> None:
    run = project.type(TRAINING)
    hold_trainer(project, run, state_of(project).exists)
    run.kill()
    run.wait()
    say("killed Snakemake; its job goes on")
    assert only_job(slurm, project).state == "RUNNING"
    project.run(TRAINING)
    assert states(slurm, project) == ["CANCELLED", "COMPLETED"]
    assert first_step(project) >= 10
    assert_undisturbed(project, complete)


def test_a_job_is_killed_for_memory_and_retried_with_more(
    slurm: Slurm, complete: Project, out_of_memory: Training
) -> None:
    project, run = out_of_memory
    project.finish(run)
    _, *killed, last = slurm.jobs(project.work)
    assert last.state == "COMPLETED"
    assert [job.memory for job in killed] in (["800M"], ["800M", "1200M"])
    for job in killed:
        assert f"StepId={job.number}.0 exceeded memory limit" in slurm.log.read_text()
    assert_undisturbed(project, complete)


def test_a_job_saves_its_state_before_its_time_is_over(
    slurm: Slurm, complete: Project, out_of_time: HeldTraining
) -> None:
    project, run, held = out_of_time
    # Slurm lets a process that is held go on when it sends it a signal.
    process = held.result()
    wait_until(lambda: not Path(f"/proc/{process}").exists(), "Slurm sends no signal")
    project.finish(run)
    _, stopped, finished = slurm.jobs(project.work)
    assert (stopped.state, finished.state) == ("FAILED", "COMPLETED")
    assert stopped.seconds < 180
    assert first_step(project) > 0
    assert_undisturbed(project, complete)


def test_a_node_goes_down_with_a_job_on_it(slurm: Slurm, project: Project, complete: Project) -> None:
    run = project.type(TRAINING)
    process = hold_trainer(project, run, state_of(project).exists)
    slurm.kill_node()
    wait_until(lambda: not Path(f"/proc/{process}").exists(), "the training outlives its node")
    say("the node is down")
    slurm.start_node()
    slurm.release(only_job(slurm, project))
    project.finish(run)
    assert only_job(slurm, project).state == "COMPLETED"
    assert first_step(project) >= 10
    assert_undisturbed(project, complete)
