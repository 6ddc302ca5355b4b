# What happens between reading the workflow and its first job. Whoever only looks (-n, --summary, --lint, ...) changes
# nothing: locks are released where a lock is taken, and all else is done where jobs are about to start.


def release_locks_of_the_killed():
    """Remove the locks that a killed Snakemake left here, unless another one lives.

    Snakemake itself never removes them, for it cannot tell. All that live share a lock of the operating system, which
    ends with a process however that ends; who gets it alone knows that there is no other. Where the file system has no
    such locks, nothing is known and nothing removed, and Snakemake says what to do.
    """
    folder = Path(".snakemake")
    try:
        folder.mkdir(exist_ok=True)
        # Open, and so locked, as long as this process runs.
        workflow.alive = (folder / "alive.lock").open("w")
        fcntl.flock(workflow.alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for lock in folder.glob("locks/*.lock"):
            lock.unlink(missing_ok=True)
        fcntl.flock(workflow.alive, fcntl.LOCK_SH)
    except BlockingIOError:
        fcntl.flock(workflow.alive, fcntl.LOCK_SH)
    except OSError:
        pass


# Of a checkpoint that DVC or a colleague brought, Snakemake has no record, and its age says nothing. What counts is its
# card: where that names these data and settings, the checkpoint stands however old it is. Any other is another
# training, which took its time: it is replaced only if --config replace=... names it.
TRAININGS = mismatches(config, Path(DATA))
VOUCHED = {name for name, reason in TRAININGS.items() if not reason}
OTHERS = {name: reason for name, reason in TRAININGS.items() if reason}


def model_files(name):
    """Return the files of a model's checkpoint."""
    return diffusion_files() if name == config["diffusion"]["name"] else classifier_files([name])


def look_without_writing():
    """Let Snakemake plan where it may not write: it would make a folder for its notes, and refuse protected outputs."""
    if not Path(".snakemake").is_dir() and not os.access(".", os.W_OK):
        persistence, elsewhere = engine.FilePersistence, workflow.snakemake_tmp_dir / "persistence"
        engine.FilePersistence = lambda **options: persistence(**{**options, "path": elsewhere})
    if workflow.dryrun:

        async def check_nothing(job):
            pass

        Job.check_protected_output = check_nothing


def prepare_with_cards(prepare):
    """Return Snakemake's preparation of a plan or a run, in which other trainings are outdated, whatever their age."""

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


def describe_other(name):
    """Return a sentence about a checkpoint that is another training than the run asks for."""
    folder, reason = f"{CHECKPOINTS}/{name}", OTHERS[name]
    if name in REPLACED:
        return f"{folder} is replaced: {reason}"
    key = "diffusion.name" if name == config["diffusion"]["name"] else f"another key than classifiers.{name}"
    key = "dataset.name" if reason.endswith("other data") else key
    return (
        f"{folder} is another training, and this run would replace it: {reason}. To keep both, give this run's another"
        f" name ({key}); to replace it, add --config replace=[{name}]"
    )


def require_leave_to_replace():
    """End with a sentence for each training that would be lost, if nobody allowed it."""
    made = {file for job in workflow.dag.needrun_jobs() for file in job.output}
    lost = [name for name in OTHERS if name not in REPLACED and not made.isdisjoint(model_files(name))]
    if lost:
        sys.exit("\n".join(f"error: {describe_other(name)}" for name in lost))


def end_what_predecessors_left():
    """Run what a profile has put into the environment for the time before jobs are submitted."""
    command = os.environ.get("BEFORE_SUBMITTING")
    if command and not workflow.local_exec and subprocess.run(shlex.split(command)).returncode:
        sys.exit(1)


# Both are written before the first job and not by a job: a file that a job makes hides, in Snakemake 9.27, changed
# parameters of the jobs that read it. What runs of one dataset share is made from a file that they share.
onstart:
    if workflow.is_main_process and not workflow.touch:
        require_leave_to_replace()
        end_what_predecessors_left()
    write_config({section: config[section] for section in ("device", *MODEL_SECTIONS)}, Path(MODEL_CONFIG))
    write_config(config, Path(RUN_CONFIG))
