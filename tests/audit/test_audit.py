"""Published results, got, made again and checked in a real clone; interrupted, tampered with, and traced.

The repository is a small one: the project's files, with three methods of the tiny run in the place of the default run.

It is long because all of it shares one published run, which takes a minute to make.
"""

import csv
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from release import CODE, OF_DVC, unpack_release
from warm_jobs import path_to_warm_jobs

ROOT = Path(__file__).parents[2]
CONFIG = ("--config", "config/tiny.yaml")
SNAKEMAKE = ("snakemake", "--configfile", "config/tiny.yaml")
DATA = Path("data/sportballs-tiny")
METHODS = ("unguided", "robust_x0", "nonrobust_x0_ema09")
KILLS = 5

pytestmark = pytest.mark.timeout(1800)


def environment(directory: Path) -> dict[str, str]:
    """Return what a user has with the environment active, in a clone: its own code, and no settings of their own."""
    nowhere = {name: str(directory / ".nowhere") for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR")}
    git = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    person = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {
        **os.environ,
        **nowhere,
        **git,
        **person,
        "PATH": path_to_warm_jobs(),
        "PYTHONPATH": str(directory / "src"),
    }


def attempt(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=directory, env=environment(directory), capture_output=True, text=True)


def call(directory: Path, *command: str) -> str:
    done = attempt(directory, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def package(*arguments: str) -> list[str]:
    return ["nonrobust-guidance", *arguments]


def clone(source: Path, target: Path) -> Path:
    call(source, "git", "clone", "--quiet", str(source), str(target))
    return target


@pytest.fixture(scope="session")
def published(finished: Path, made_once: Any) -> Path:
    """A repository whose last commit publishes the tiny run."""
    return made_once("published", lambda directory: publish(finished, directory))


def publish(finished: Path, directory: Path) -> None:
    """Lay out the repository, and publish what is left of the complete run."""
    unpack_release(directory, (*CODE, *OF_DVC))
    config = yaml.safe_load((directory / "config/tiny.yaml").read_text())
    methods = config["sampling"]["methods"]
    config["sampling"]["methods"] = {name: methods[name] for name in METHODS}
    (directory / "config/tiny.yaml").write_text(yaml.safe_dump(config, sort_keys=False, default_flow_style=None))
    for name in ("data", "results", ".snakemake"):
        shutil.copytree(finished / name, directory / name)
    for path in [*directory.glob("results/tiny/samples/*"), *directory.glob("results/tiny/scores/*")]:
        if path.stem not in METHODS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    pipeline = (directory / "dvc.yaml").read_text()
    pipeline = pipeline.replace("run: default", "run: tiny").replace("sportballs-32", "sportballs-tiny")
    # The tiny run has no screening, and no published run stands beside it.
    stages = yaml.safe_load(pipeline)
    del stages["stages"]["frontier"]
    for stage in stages["stages"].values():
        for kind in ("deps", "outs"):
            stage[kind] = [entry for entry in stage.get(kind, []) if not re.search("selection|frontier", str(entry))]
    (directory / "dvc.yaml").write_text(yaml.safe_dump(stages, sort_keys=False))
    entry = yaml.safe_load((ROOT / "data.dvc").read_text())
    outs = [{"path": out["path"]} for out in entry["outs"]]
    (directory / "data.dvc").write_text(yaml.safe_dump({"wdir": str(DATA), "outs": outs}))
    call(directory, "git", "init", "--quiet")
    call(directory, "git", "add", ".")
    call(directory, "git", "commit", "--quiet", "--message", "code")
    call(directory, "dvc", "commit", "--quiet", "--force", "data.dvc")
    call(directory, "dvc", "repro")
    call(directory, "dvc", "push", "--quiet")
    call(directory, "git", "add", ".")
    call(directory, "git", "commit", "--quiet", "--message", "results")


@pytest.fixture(scope="session")
def again(published: Path, made_once: Any) -> Path:
    """A clone in which it was all made again, killed over and over at random moments."""
    return made_once("again", lambda directory: make_again(published, directory))


def make_again(published: Path, directory: Path) -> None:
    """Clone the repository and make its results, with kills on the way."""
    clone(published, directory)
    call(directory, "dvc", "pull")
    trained = {path: path.stat().st_mtime_ns for path in (directory / DATA / "checkpoints").rglob("*")}
    rng, killed = random.Random(0), 0
    while killed < KILLS:
        command = (["dvc", "repro"], list(SNAKEMAKE))[killed % 2]
        # The first is killed as it starts, later ones once a few jobs more are done, in the midst of others.
        enough = jobs_done(directory) + min(killed, 3)
        job = subprocess.Popen(
            command,
            cwd=directory,
            env=environment(directory),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while job.poll() is None and jobs_done(directory) < enough:
            time.sleep(0.05)
        try:
            job.wait(rng.uniform(0.5, 3))
        except subprocess.TimeoutExpired:
            killed += 1
        else:
            assert job.returncode == 0
            break
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
                job.wait()
        # DVC rewrites its lock in place: a kill at that very moment empties it, and Git has it.
        if not (directory / "dvc.lock").read_text():
            call(directory, "git", "checkout", "dvc.lock")
    assert killed >= 5
    call(directory, "dvc", "repro")
    assert trained == {path: path.stat().st_mtime_ns for path in trained}


def jobs_done(directory: Path) -> int:
    """Return how many of the run's jobs have ended, each of which leaves a file of its measurements."""
    return sum(1 for _ in (directory / "results/tiny/benchmarks").rglob("*.tsv"))


def test_a_clone_ships_its_checkpoints_and_they_count_as_trained(published: Path, tmp_path: Path) -> None:
    directory = clone(published, tmp_path / "clone")
    assert not (directory / DATA).exists()
    call(directory, *package("restore-checkpoints", *CONFIG))
    assert planned(directory) == {"prepare_data", "gather_cards", "models"}
    # Now the manifest is younger than the checkpoints.
    call(directory, *SNAKEMAKE, "--", "data")
    assert "up to date" in call(directory, "dvc", "status", "data.dvc")
    assert planned(directory) == {"gather_cards", "models"}
    # A parameter that is changed later is noticed, and only what depends on it is made again.
    assert "train_classifier" in planned(directory, "classifiers={robust: {training: {steps: 21}}}")
    assert "train_diffusion" not in planned(directory, "classifiers={robust: {training: {steps: 21}}}")
    assert "prepare_data" in planned(directory, "dataset={seed: 1}")
    assert {"train_diffusion", "train_classifier"} <= planned(directory, "dataset={seed: 1}")
    ages = {path: path.stat().st_mtime_ns for path in (directory / DATA).rglob("*") if path.is_file()}
    # A second call touches nothing, so that nothing is drawn again.
    call(directory, *package("restore-checkpoints", *CONFIG))
    assert ages == {path: path.stat().st_mtime_ns for path in ages}


def test_settings_that_differ_from_the_published_ones_are_trained_if_allowed(published: Path, tmp_path: Path) -> None:
    directory = clone(published, tmp_path / "clone")
    text = (directory / "config/tiny.yaml").read_text()
    (directory / "config/tiny.yaml").write_text(
        text.replace("training: {seed: 2, steps: 20", "training: {seed: 2, steps: 25")
    )
    said = attempt(directory, *package("restore-checkpoints", *CONFIG)).stderr
    assert "nonrobust is another training than the run's: its training.steps is 20 and not 25" in said
    assert "3 of 4 trained checkpoints are in use" in said
    assert attempt(directory, *SNAKEMAKE, "--", "models").returncode == 1
    call(directory, *SNAKEMAKE, "--config", "replace=[nonrobust]", "--", "models")
    steps = {name: history(directory, name) for name in ("robust", "nonrobust", "judge")}
    assert steps == {"robust": "20", "nonrobust": "25", "judge": "20"}
    for name in ("robust", "judge"):
        file = DATA / "checkpoints" / name / "model.safetensors"
        assert (directory / file).read_bytes() == (published / file).read_bytes()


def history(directory: Path, name: str) -> str:
    return (directory / DATA / "checkpoints" / name / "history.csv").read_text().splitlines()[-1].split(",")[0]


def planned(directory: Path, *overrides: str) -> set[str]:
    """Return the rules that Snakemake would run for the checkpoints."""
    options = ["--config", *overrides] if overrides else []
    done = attempt(directory, *SNAKEMAKE, "--dry-run", *options, "--", "models")
    assert done.returncode == 0, done.stderr
    table = (done.stdout + done.stderr).partition("Job stats:")[2].partition("\n\n")[0]
    return set(re.findall(r"^(\w+) +\d+$", table, re.MULTILINE)) - {"total"}


def test_a_checkpoint_damaged_in_the_remote_is_not_taken(published: Path, tmp_path: Path) -> None:
    directory = clone(published, tmp_path / "clone")
    entry = next(o for o in yaml.safe_load((directory / "data.dvc").read_text())["outs"] if "judge/model" in o["path"])
    stored = directory / "shipped/files/md5" / entry["md5"][:2] / entry["md5"][2:]
    flip(stored)
    done = attempt(directory, *package("restore-checkpoints", *CONFIG))
    assert done.returncode == 1
    assert "judge/model.safetensors" in done.stdout + done.stderr
    assert not (directory / DATA / "checkpoints/judge/model.safetensors").exists()


def test_what_was_killed_over_and_over_ends_in_the_same_results(published: Path, again: Path) -> None:
    for folder in ("published/tiny", "results/tiny/samples", "results/tiny/scores", str(DATA)):
        for file in sorted((published / folder).rglob("*")):
            # A card names the commit, and the repository's own results were made by the one before.
            if file.is_file() and file.suffix != ".json":
                assert (again / file.relative_to(published)).read_bytes() == file.read_bytes(), file
    assert "up to date" in call(again, "dvc", "status")
    done = attempt(again, *SNAKEMAKE)
    assert "Nothing to be done" in done.stderr
    assert "didn't change, skipping" in call(again, "dvc", "repro")
    changed = call(again, "git", "status", "--porcelain").split()
    assert set(changed) <= {"M", "dvc.lock"}


def test_an_honest_clone_passes_the_audit(again: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(again, tmp_path / "audited")
    said = call(directory, *package("audit", *CONFIG))
    with (directory / "results/tiny/audit.csv").open() as file:
        found = list(csv.DictReader(file))
    assert {row["agreement"] for row in found} == {"bit-equal"}
    # Three methods, each at one scale for two targets.
    assert sum(row["table"] == "metrics.csv" for row in found) == 6
    assert len(re.findall("^metrics.csv .* bit-equal$", said, re.MULTILINE)) == 6
    page = (directory / "results/tiny/report/audit.html").read_text()
    assert "every number agrees with the published one" in page
    assert "audit.html" in (directory / "results/tiny/report/index.html").read_text()


def flip(path: Path) -> None:
    """Change the last byte of a file."""
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_every_kind_of_tampering_is_named(again: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(again, tmp_path / "tampered")
    files = [
        DATA / "checkpoints/robust/model.safetensors",
        DATA / "train/images.npy",
        Path("results/tiny/samples/robust_x0/scale-1/seed-0/baseball.npy"),
        Path("results/tiny/scores/unguided.csv"),
        Path("published/tiny/noise_accuracy.csv"),
    ]
    for file in files:
        flip(directory / file)
    # The manifest, by a byte that leaves it a manifest, for it vouches for the images.
    files.append(DATA / "manifest.json")
    text = (directory / files[-1]).read_text()
    (directory / files[-1]).write_text(text.replace('"seed": 0', '"seed": 1'))
    done = attempt(directory, *package("audit", *CONFIG))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    named = [line.split(" is not what ")[0] for line in done.stdout.splitlines() if " is not what " in line]
    assert set(named) == set(map(str, files))
    flip(directory / files[-1])
    assert f"{files[-1]} is not what " in attempt(directory, *package("audit", *CONFIG)).stdout


def test_a_doctored_number_is_named_even_in_a_commit(again: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(again, tmp_path / "doctored")
    table = directory / "published/tiny/metrics.csv"
    lines = table.read_text().splitlines(keepends=True)
    header, row = lines[0].split(","), lines[1].split(",")
    row[header.index("fd_judge")] = "0.1"
    table.write_text("".join([lines[0], ",".join(row), *lines[2:]]))
    call(directory, "git", "commit", "--quiet", "--message", "better", "published")
    done = attempt(directory, *package("audit", *CONFIG))
    assert done.returncode == 1
    assert "published/tiny/metrics.csv of the last commit is not what its dvc.lock says" in done.stdout
    assert re.search(
        r"^metrics.csv +unguided 0 baseball 0 +different  fd_judge: 0.1 published", done.stdout, re.MULTILINE
    )


TRACED = ["--method", "robust_x0", "--scale", "1", "--target", "baseball", "--seed", "0"]


def test_a_number_is_traced_and_made_again(again: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(again, tmp_path / "traced")
    before = call(directory, *package("trace", *CONFIG, *TRACED))
    assert "CHANGED" not in before
    assert "OTHER" not in before
    for model in ("diffusion", "robust", "judge"):
        assert f"{DATA}/checkpoints/{model}/" in before
    assert "logs/draw_samples/robust_x0_scale-1.log" in before
    sample = directory / "results/tiny/samples/robust_x0/scale-1/seed-0/baseball.npy"
    content = sample.read_bytes()
    flip(sample)
    assert f"{sample.relative_to(directory)} sha256" in before
    assert "CHANGED since" in call(directory, *package("trace", *CONFIG, *TRACED))
    others = {path: path.stat().st_mtime_ns for path in (directory / "results/tiny").rglob("*.npy")}
    assert call(directory, *package("trace", *CONFIG, *TRACED, "--remake")).endswith("made again: bit-equal\n")
    assert sample.read_bytes() == content
    made = {path for path, age in others.items() if path.stat().st_mtime_ns != age}
    assert made == set(sample.parent.glob("*.npy"))


def test_a_cell_that_the_run_has_not_is_answered_in_one_sentence(again: Path) -> None:
    done = attempt(again, *package("trace", *CONFIG, *TRACED[:2], "--scale", "2", *TRACED[4:]))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("robust_x0 has scale 1, target baseball basketball, seed 0")


def test_dvc_says_what_changed(again: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(again, tmp_path / "changed")
    text = (directory / "config/tiny.yaml").read_text()
    (directory / "config/tiny.yaml").write_text(text.replace("noise_levels: 3", "noise_levels: 4"))
    assert "noise_levels" in call(directory, "dvc", "params", "diff")
    assert "metrics:" in call(directory, "dvc", "status")
    summary = directory / "published/tiny/metrics.json"
    summary.write_text(re.sub(r'"none_share": [\d.]+', '"none_share": 0.5', summary.read_text(), count=1))
    assert "none_share" in call(directory, "dvc", "metrics", "diff")


def test_dvc_neither_phones_home_nor_loads_anything(again: Path, tmp_path: Path) -> None:
    assert call(again, "dvc", "config", "core.analytics").strip() == "false"
    assert call(again, "dvc", "config", "core.check_update").strip() == "false"
    call(again, "dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    page = (tmp_path / "plots" / "index.html").read_text()
    assert "vegaEmbed" in page
    assert not re.search(r"<(script|link|img)[^>]*(src|href)", page)


def test_a_lock_is_released_if_its_owner_is_dead_and_only_then(again: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(again, tmp_path / "locked")
    command = [*SNAKEMAKE, "--forcerun", "render_index"]
    job = subprocess.Popen(command, cwd=directory, env=environment(directory), start_new_session=True)
    locks = directory / ".snakemake/locks"
    # The second of the two locks, once it is written.
    while not any(lock.stat().st_size for lock in locks.glob("*.output.lock")):
        assert job.poll() is None
    os.kill(job.pid, signal.SIGSTOP)
    refused = attempt(directory, *command)
    assert refused.returncode == 1
    assert "cannot be locked" in refused.stdout + refused.stderr
    assert any(locks.glob("*.lock"))
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    call(directory, *command)


def stages() -> Sequence[str]:
    return list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


def test_a_stage_has_the_same_name_everywhere() -> None:
    *own, _ = stages()  # the last one is another run
    assert own == ["data", "models", "sampling", "metrics", "report"]
    for stage in own:
        assert (ROOT / "workflow/rules" / f"{stage}.smk").is_file()
        assert (ROOT / "src/nonrobust_guidance" / stage).is_dir()
        assert re.search(f"^rule {stage}:$", (ROOT / "Snakefile").read_text(), re.MULTILINE)


def test_data_dvc_names_all_that_is_trained(again: Path) -> None:
    listed = {DATA / out["path"] for out in yaml.safe_load((again / "data.dvc").read_text())["outs"]}
    made = {path.relative_to(again) for path in (again / DATA / "checkpoints").rglob("*") if path.is_file()}
    assert listed == made | {DATA / "manifest.json"}


def test_what_is_shipped_is_small() -> None:
    assert sum(file.stat().st_size for file in (ROOT / "shipped").rglob("*") if file.is_file()) <= 25e6
