"""What happens before the first job: nothing where somebody only looks, and no training is lost unasked."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import ROOT, TINY, environment_of_a_user, snakemake

from nonrobust_guidance.config import load_config
from nonrobust_guidance.data import prepare_data
from nonrobust_guidance.metrics.cells import list_cells
from nonrobust_guidance.models.origins import trained_models
from nonrobust_guidance.records.trainings import write_checkpoint_card

DATA = Path("data/sportballs-tiny")


def type_snakemake(directory: Path, *arguments: str) -> list[str | Path]:
    """Return the words that start Snakemake from nothing."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", directory]
    return [*command, "--configfile", TINY, "--cores", "1", *arguments]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with the tiny run's data, and files in the place of its checkpoints whose cards are right."""
    folder = tmp_path / "run"
    config = load_config(TINY)
    prepare_data(config.dataset, folder / DATA)
    manifest = folder / DATA / "manifest.json"
    files = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
    made = {"diffusion": [*files, "scheduler/scheduler_config.json", "history.csv"]}
    for name, settings in trained_models(config).items():
        checkpoint = folder / DATA / "checkpoints" / name
        names = made.get(name, ["config.json", "model.safetensors", "history.csv"])
        for file in names:
            (checkpoint / file).parent.mkdir(parents=True, exist_ok=True)
            (checkpoint / file).write_text(name)
        write_checkpoint_card(checkpoint, settings, settings.training.seed, [{"step": 1}], manifest, names, "cpu")
    return folder


def states(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Return the age and the content of every file."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and ".snakemake" not in path.parts
    }


CHANGED = ["--config", "classifiers={robust: {training: {steps: 21}}}"]


@pytest.mark.parametrize("words", [["-n"], ["-nq"], ["--summary"], ["--dag"], ["--touch", "-n"], ["-np", "-F"]])
def test_looking_changes_no_file(trained, words):
    before = states(trained)
    run = snakemake(trained, *words, *CHANGED)
    assert run.returncode == 0, run.stderr
    assert states(trained) == before
    assert not list((trained / ".snakemake").rglob("*.lock"))


def test_a_plan_names_what_would_be_replaced_and_how_to_keep_it(trained):
    run = snakemake(trained, "-n", *CHANGED, "--", "models")
    assert run.returncode == 0, run.stderr
    assert (
        f"{DATA}/checkpoints/robust is another training, and this run would replace it: its training.steps is 20 and"
        " not 21. To keep both, give this run's another name (another key than classifiers.robust); to replace it, add"
        " --config replace=[robust]"
    ) in run.stderr
    assert "checkpoints/diffusion is" not in run.stderr
    assert re.search("^train_classifier +1$", run.stdout, re.MULTILINE)
    run = snakemake(trained, "-n", "--config", "dataset={seed: 1}", "--", "models")
    assert (
        run.stderr.count("it was trained on other data. To keep both, give this run's another name (dataset.name)") == 4
    )


@pytest.mark.parametrize("state", ["complete", "half done"])
def test_a_start_ends_before_its_first_job_where_a_training_would_be_lost(trained, state):
    checkpoint = trained / DATA / "checkpoints" / "robust"
    if state == "half done":
        header = json.dumps({"__metadata__": {"training": (checkpoint / "card.json").read_text()}}).encode()
        (checkpoint / "training-state.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        (checkpoint / "card.json").unlink()
    before = states(trained)
    run = snakemake(trained, *CHANGED, "--until", "train_classifier")
    assert run.returncode == 1
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "checkpoints/robust is another training" in errors[0]
    assert "Traceback" not in run.stderr
    assert states(trained) == before
    # What does not touch it may start.
    run = snakemake(trained, *CHANGED, "--forcerun", "prepare_data", "--", f"{DATA}/train/images.npy")
    assert run.returncode == 0, run.stderr
    # The lock was given back.
    assert not list((trained / ".snakemake").glob("locks/*"))


def test_two_trainings_of_one_data_set_lie_side_by_side(trained):
    before = states(trained / DATA / "checkpoints")
    named = "diffusion={name: longer, training: {steps: 2}}"
    run = snakemake(trained, "--config", named, "--until", "train_diffusion", "--", "models")
    assert run.returncode == 0, run.stderr
    after = states(trained / DATA / "checkpoints")
    assert before.items() <= after.items()
    assert {path.relative_to(trained / DATA / "checkpoints").parts[0] for path in after.keys() - before.keys()} == {
        "longer"
    }


def test_leave_to_replace_is_for_the_models_that_it_names(trained):
    both = ["--config", "classifiers={robust: {training: {steps: 2}}, judge: {training: {steps: 2}}}"]
    run = snakemake(trained, *both, "replace=[judge]", "--", "models")
    assert run.returncode == 1
    assert "replace=[robust]" in run.stderr
    assert "replace=[judge]" not in run.stderr
    run = snakemake(trained, *both, "replace=[judgee]", "-n")
    assert "error: --config replace names judgee, which is no model of this run; did you mean judge?" in run.stderr
    assert run.returncode == 1
    shutil.rmtree(trained / DATA / "checkpoints" / "robust")
    run = snakemake(trained, *both, "replace=[judge]", "--until", "train_classifier", "--", "models")
    assert run.returncode == 0, run.stderr
    for name in ("robust", "judge"):
        history = (trained / DATA / "checkpoints" / name / "history.csv").read_text().splitlines()
        assert history[-1].startswith("2,")
    # The next call needs no leave, and finds nothing to train.
    run = snakemake(trained, *both, "-n", "--", "models")
    assert "train_" not in run.stdout.partition("Job stats")[2].partition("Reasons:")[0]


def test_a_training_that_is_started_again_by_its_code_stands(trained):
    before = states(trained / DATA / "checkpoints")
    run = snakemake(trained, "--forcerun", "train_classifier", "--", f"{DATA}/checkpoints/judge/card.json")
    assert run.returncode == 0, run.stderr
    assert "checkpoints/judge stands: it was trained with these settings on these data" in run.stderr
    # Snakemake itself makes outputs younger.
    contents = {path: content for path, (_, content) in states(trained / DATA / "checkpoints").items()}
    assert contents == {path: content for path, (_, content) in before.items()}


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_commands_for_a_run_of_ones_own_keep_its_file_and_the_target_apart(tmp_path):
    """Without -- between them Snakemake takes the target for a second configuration."""
    commands = [
        words
        for page in PAGES
        for code in re.findall(r"`(snakemake [^`]+)`|^ {4}(snakemake .*)$", page.read_text(), re.MULTILINE)
        for words in ["".join(code).partition("#")[0].split()]
        if "--configfile" in words
    ]
    assert len(commands) > 5
    with_target = []
    for words in commands:
        rest = words[words.index("--configfile") + 2 :]
        assert not rest or rest[0].startswith("-"), " ".join(words)
        with_target += [words] if "--" in rest else []
    assert with_target
    for words in with_target:
        target = words[words.index("--") + 1].replace("my-run", "tiny")
        run = snakemake(tmp_path, "-n", "--", target)
        assert run.returncode == 0, run.stderr
        assert "gather_scores" in run.stdout or "measure_cost" in run.stdout


def read_only(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command while nothing can be written to a folder."""
    environment = {**environment_of_a_user(), "PYTHONDONTWRITEBYTECODE": "1"}
    if os.getuid() == 0:
        # Root writes through permissions, so the folder is mounted without leave to write, for this command alone.
        mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
        command = ("unshare", "--mount", "sh", "-c", mount, folder, *command)
    else:
        subprocess.run(["chmod", "-R", "a-w", folder], check=True)
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True)
    finally:
        if os.getuid():
            subprocess.run(["chmod", "-R", "u+w", folder], check=True)


@pytest.mark.parametrize("words", [["-n", *CHANGED], ["--summary"]], ids=["plan", "summary"])
def test_a_plan_works_on_a_read_only_tree(trained, words):
    run = read_only(trained, *type_snakemake(trained, *words))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert "draw_samples" in run.stdout + run.stderr


def test_a_file_system_without_locks_is_no_obstacle(tmp_path):
    # What a file system says that has no locks is one kind of error, and not the one of a lock that another holds.
    for number in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
        assert type(OSError(number, os.strerror(number))) is OSError
    patch = (
        "import errno, fcntl, os\n"
        "def flock(*_): raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))\n"
        "fcntl.flock = flock"
    )
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text(patch)
    path = os.pathsep.join(filter(None, [str(tmp_path / "patch"), os.environ.get("PYTHONPATH")]))
    folder = tmp_path / "run"
    folder.mkdir()

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**environment_of_a_user(), "PYTHONPATH": path}
        return subprocess.run(type_snakemake(folder, *words), env=environment, capture_output=True, text=True)

    run = call("--", "data")
    assert run.returncode == 0, run.stderr
    assert (folder / DATA / "manifest.json").is_file()
    # A lock that somebody left is not removed where nobody can tell whose it is.
    (folder / ".snakemake" / "locks").mkdir(exist_ok=True)
    (folder / ".snakemake" / "locks" / "0.output.lock").write_text(f"{DATA}/manifest.json\n")
    assert call("-n", "--", "data").returncode == 0
    run = call("--forcerun", "prepare_data", "--", "data")
    assert run.returncode == 1
    assert "--unlock" in run.stdout + run.stderr


def test_data_prepared_again_after_a_kill_hide_no_missing_samples(trained):
    command, silence = type_snakemake(trained, "--forcerun", "prepare_data", "--", "data"), subprocess.DEVNULL
    job = subprocess.Popen(command, env=environment_of_a_user(), stdout=silence, stderr=silence, start_new_session=True)
    # Snakemake records what it begins, and removes the record once that is complete.
    begun = trained / ".snakemake" / "incomplete"
    while not (begun.is_dir() and any(begun.iterdir())):
        assert job.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    os.killpg(job.pid, signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    run = snakemake(trained, "-n", "--", "sampling")
    assert run.returncode == 0, run.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", run.stdout.partition("Reasons:")[0], re.MULTILINE))
    cells = list_cells(load_config(TINY))
    expected = {
        "prepare_data": 1,
        "draw_samples": len({(cell.method.name, cell.scale, cell.seed) for cell in cells if cell.method.guided}),
        "draw_unguided_samples": len({cell.seed for cell in cells if not cell.method.guided}),
        "sampling": 1,
    }
    assert jobs == {name: str(count) for name, count in expected.items()} | {"total": str(sum(expected.values()))}
