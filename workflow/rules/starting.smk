# What happens between reading the workflow and its first job. Calls that only look (-n, --summary, --lint, ...) change
# nothing: locks are released where Snakemake takes one, and everything else is done when jobs are about to start.
import fcntl
import os
import shlex
import subprocess
import sys
from pathlib import Path

from nonrobust_guidance.config import Models, write_config
from snakemake import workflow as engine
from snakemake.jobs import Job


def release_locks_of_the_killed():
    """Remove the locks that a killed Snakemake left here, unless another one is running.

    Snakemake itself never removes them, because it cannot tell whether their owner is still running. Here all running
    ones share a lock of the operating system, which ends with its process. A Snakemake that gets this lock exclusively
    is the only one. On a file system without such locks nothing is removed, and Snakemake says what to do.
    """
    folder = Path(".snakemake")
    try:
        folder.mkdir(exist_ok=True)
        # Kept open, and so locked, for as long as this process runs.
        workflow.alive = (folder / "alive.lock").open("w")
        fcntl.flock(workflow.alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for lock in folder.glob("locks/*.lock"):
            lock.unlink(missing_ok=True)
        fcntl.flock(workflow.alive, fcntl.LOCK_SH)
    except BlockingIOError:
        fcntl.flock(workflow.alive, fcntl.LOCK_SH)
    except OSError:
        pass


def look_without_writing():
    """Let Snakemake plan in a read-only folder, without a folder for its records and a check of protected outputs."""
    if not Path(".snakemake").is_dir() and not os.access(".", os.W_OK):
        persistence, elsewhere = engine.FilePersistence, workflow.snakemake_tmp_dir / "persistence"
        engine.FilePersistence = lambda **options: persistence(**{**options, "path": elsewhere})
    if workflow.dryrun:

        async def check_nothing(job):
            pass

        Job.check_protected_output = check_nothing


def prepare_with_cards(prepare):
    """Return Snakemake's preparation of a plan or a run, extended to make other trainings outdated whatever their
    age."""

    def prepare_dag(*args, lock_warn_only, **options):
        if not workflow.is_main_process:
            return prepare(*args, lock_warn_only=lock_warn_only, **options)
        if lock_warn_only:
            look_without_writing()
        else:
            release_locks_of_the_killed()
        prepare(*args, lock_warn_only=lock_warn_only, **options)
        for name in OTHERS:
            workflow.dag.forcefiles.update(model_files(name))
            if workflow.dryrun:
                print(describe_other(name), file=sys.stderr)

    return prepare_dag


workflow._prepare_dag = prepare_with_cards(workflow._prepare_dag)


def end_what_predecessors_left():
    """Run the command that a profile has put into the environment, before jobs are submitted."""
    command = os.environ.get("BEFORE_SUBMITTING")
    if command and not workflow.local_exec and subprocess.run(shlex.split(command)).returncode:
        sys.exit(1)


# The configurations are written here and not by a job: in Snakemake 9.27 an input that a job makes hides the changed
# parameters of the jobs that read it.
onstart:
    if workflow.is_main_process and not workflow.touch:
        require_leave_to_replace()
        end_what_predecessors_left()
    write_config(RUN.part(Models), Path(MODEL_CONFIG))
    write_config(RUN, Path(RUN_CONFIG))
    if VARIANTS:
        write_config(SCREENED, Path(SCREENING_CONFIG))
