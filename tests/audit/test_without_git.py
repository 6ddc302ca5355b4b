"""A release that was unpacked and not cloned restores and plans what a clone does, and says that it has no commit."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from release import unpack_release
from warm_jobs import path_to_warm_jobs

CONFIG = ("--config", "config/default.yaml")
CHECKPOINTS = Path("data/sportballs-32/checkpoints")
WEIGHTS = CHECKPOINTS / "judge/model.safetensors"
SAY_COMMIT = "from nonrobust_guidance.records.environment import commit; print(commit())"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All programs that a user has, but git."""
    folder = tmp_path_factory.mktemp("programs")
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            if not program.name.startswith("git") and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    assert shutil.which("git", path=str(folder)) is None
    return folder


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return unpack_release(tmp_path / "Prüfung der Version 1" / "release")


def attempt(
    directory: Path, *command: str, programs: str | Path = os.environ["PATH"], **further: str
) -> subprocess.CompletedProcess[str]:
    """Call a program with the environment active, and with no settings of git or of DVC."""
    path = path_to_warm_jobs(programs)
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PYTHONPATH": str(directory / "src")}
    settings |= {name: str(directory / ".nowhere") for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR")}
    environment = {**os.environ, **settings, "PATH": path, **further}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)


def call(directory: Path, *command: str, **further: str | Path) -> str:
    done = attempt(directory, *command, **further)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def package(*arguments: str) -> list[str]:
    return ["nonrobust-guidance", *arguments]


def commit_all(directory: Path) -> str:
    """Make a clone of the folder, and return its commit."""
    person = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    call(directory, "git", "init", "--quiet")
    call(directory, "git", "add", "--all")
    call(directory, "git", *person, "commit", "--quiet", "--message", "all")
    return call(directory, "git", "rev-parse", "HEAD").strip()


def plan(directory: Path, **further: str | Path) -> str:
    said = call(directory, "snakemake", "--dry-run", **further)
    return said.partition("Job stats:")[2].partition("\n\n")[0]


@pytest.mark.timeout(600)
def test_a_release_restores_and_plans_what_a_clone_does(release: Path, programs: Path, tmp_path: Path) -> None:
    clone = shutil.copytree(release, tmp_path / "clone")
    commit_all(clone)
    restore = package("restore-checkpoints", *CONFIG)
    said = call(release, *restore, programs=programs)
    assert said == call(clone, *restore) == "4 of 4 trained checkpoints are in use as they are\n"
    for file in (clone / CHECKPOINTS).rglob("*.*"):
        assert (release / file.relative_to(clone)).read_bytes() == file.read_bytes()
    planned = plan(release, programs=programs)
    assert planned == plan(clone)
    assert "screen_candidate" in planned
    assert "train" not in planned
    assert not (release / ".git").exists()


def test_what_is_not_there_to_restore_is_named(release: Path, programs: Path) -> None:
    restore = package("restore-checkpoints", *CONFIG)
    outs = yaml.safe_load((release / "data.dvc").read_text())["outs"]
    md5 = next(out["md5"] for out in outs if out["path"] == "checkpoints/judge/model.safetensors")
    (release / "shipped/files/md5" / md5[:2] / md5[2:]).unlink()
    done = attempt(release, *restore, programs=programs)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: {WEIGHTS} cannot be brought from the DVC remote (")
    assert done.stderr.rstrip().endswith("; get the project's shipped/ again, or train with make retrain")
    # The others are there, so that with the file in its place the same call ends well.
    assert (release / CHECKPOINTS / "robust/model.safetensors").is_file()
    shutil.rmtree(release / ".dvc")
    done = attempt(release, *restore, programs=programs)
    assert done.stderr.splitlines()[-1].startswith(
        f"error: {WEIGHTS} cannot be brought from the DVC remote (you are not"
    )


def test_a_release_within_another_repository_has_no_commit_of_it(release: Path) -> None:
    (release.parent / "notes.txt").write_text("mine")
    (release.parent / ".gitignore").write_text("release/\n")
    commit_all(release.parent)
    assert call(release, sys.executable, "-c", SAY_COMMIT) == "unknown: this is not in a Git checkout\n"
    call(release, *package("restore-checkpoints", *CONFIG))
    assert call(release.parent, "git", "status", "--porcelain") == ""
    done = attempt(release, *package("audit", *CONFIG))
    assert done.returncode == 1
    assert done.stderr.startswith("error: the last commit holds no published/default/metrics.csv, so there is nothing")


def test_what_is_of_the_last_commit_says_in_one_sentence_that_there_is_none(release: Path, programs: Path) -> None:
    assert call(release, sys.executable, "-c", SAY_COMMIT, programs=programs) == "unknown: git is not installed\n"
    assert call(release, sys.executable, "-c", SAY_COMMIT) == "unknown: this is not in a Git checkout\n"
    for target in ("audit", "publish"):
        for path in (programs, os.environ["PATH"]):
            done = attempt(release, "make", target, programs=path)
            first, *rest = done.stderr.splitlines()
            assert done.returncode == 2
            assert first == (
                "error: an audit and a publication are of the last commit, and here is none that git can read; call "
                "them in a clone of the project, with git installed"
            )
            # It says at which depth it was called: the tests' own make is one more.
            assert all(re.match(r"make(\[\d+\])?: ", line) for line in rest)
    # Before several GB are installed for it.
    assert not (release / ".venv").exists()
    done = attempt(release, *package("audit", *CONFIG), programs=programs)
    assert done.stderr == (
        "error: there is no commit to compare with (git is not installed); audit in a clone of your own\n"
    )


def test_a_clone_of_another_user_is_restored_but_its_commit_is_not_read(release: Path) -> None:
    commit_all(release)
    others = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    assert "dubious ownership" in attempt(release, "git", "status", **others).stderr
    said = call(release, sys.executable, "-c", SAY_COMMIT, **others)
    assert said == "unknown: git refuses a checkout of another user\n"
    assert "4 of 4 trained checkpoints" in call(release, *package("restore-checkpoints", *CONFIG), **others)
    done = attempt(release, *package("audit", *CONFIG), **others)
    assert done.stderr.startswith("error: there is no commit to compare with (git refuses a checkout of another user);")
    assert "dubious ownership" in attempt(release, "make", "audit", **others).stderr


def test_the_commit_is_that_of_the_folder_whatever_hooks_set(release: Path, tmp_path: Path) -> None:
    other = unpack_release(tmp_path / "other", ("src",))
    (other / "more.txt").write_text("another commit")
    theirs, ours = commit_all(other), commit_all(release)
    assert theirs != ours
    hook = {"GIT_DIR": str(other / ".git"), "GIT_INDEX_FILE": str(other / ".git/index"), "GIT_WORK_TREE": str(other)}
    said = call(release, sys.executable, "-c", SAY_COMMIT, **hook).strip()
    assert len(said) >= 7
    assert ours.startswith(said)
    call(release, *package("restore-checkpoints", *CONFIG), **hook)
    call(release, "make", "clone", **hook)
    # The other commit holds no published tables; in ours they are found.
    done = attempt(release, *package("audit", *CONFIG), **hook)
    assert done.stderr == "error: results/default/metrics.csv is missing; make this run first\n"


def test_a_worktree_and_a_shallow_clone_have_their_commit(release: Path, tmp_path: Path) -> None:
    commit = commit_all(release)
    call(release, "git", "worktree", "add", "--quiet", str(tmp_path / "worktree"))
    call(release, "git", "clone", "--quiet", "--depth", "1", release.as_uri(), str(tmp_path / "shallow"))
    for name in ("worktree", "shallow"):
        said = call(tmp_path / name, sys.executable, "-c", SAY_COMMIT).strip()
        assert len(said) >= 7
        assert commit.startswith(said)
        call(tmp_path / name, "make", "clone")
    assert "4 of 4 trained" in call(tmp_path / "worktree", *package("restore-checkpoints", *CONFIG))


def test_a_card_without_a_commit_is_not_published(release: Path) -> None:
    call(release, *package("restore-checkpoints", *CONFIG))
    call(release, *package("check-publishable", *CONFIG))
    path = release / CHECKPOINTS / "robust/card.json"
    card = json.loads(path.read_text())
    for commit in ("", "unknown: git is not installed", f"{card['commit']}-dirty"):
        path.write_text(json.dumps(card | {"commit": commit}))
        done = attempt(release, *package("check-publishable", *CONFIG))
        assert done.returncode == 1
        assert f"names no commit that made it, but '{commit}'; train it again" in done.stderr
