"""The profile for Slurm, as far as it can be seen without a Slurm; tests/cluster runs it on one."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pytest
import yaml
from commands import ROOT, TINY, call_snakemake
from snakemake.profiles import ProfileConfigFileParser

RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
TABLE = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())["__variables__"]["rules"]
SITE = run_path(str(ROOT / "slurm" / "site.py"))
WORDS = r"\b(slurm\w*|sbatch|srun|scancel|squeue|sacct|partition|account|qos|gres|constraint)\b"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the profile, in which commands are typed."""
    shutil.copytree(ROOT / "slurm", tmp_path / "slurm", ignore=shutil.ignore_patterns("site.yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", [ROOT / "Snakefile", *RULES], ids=lambda file: file.name)
def test_rules_say_nothing_of_a_site_or_a_scheduler(file):
    assert re.findall(WORDS, file.read_text(), re.IGNORECASE) == []


def test_the_profile_has_a_line_for_every_rule_that_is_submitted():
    text = "\n".join(file.read_text() for file in RULES)
    blocks = re.split(r"^ *(?:use )?(?:rule|checkpoint) (?=\w+(?::| as))", text, flags=re.MULTILINE)[1:]
    names = {re.match(r"(?:\w+ as )?(\w+)", block)[1]: "localrule: True" in block for block in blocks}
    assert {name for name, local in names.items() if not local} == set(TABLE)


def test_requests_are_written_as_the_executor_reads_them(clone):
    (clone / "slurm" / "site.yaml").write_text(
        "{partition: max, gpu_partition: a-b, gpu_model: a100, max_runtime: 300, account: '007',"
        " qos: long, sbatch: --exclude=n7, seconds_before_limit: 90, rules: {long: {mem_mb: 5}, other: {partition: c}}}"
    )
    site = SITE["read_site"]()
    asks = {name: {"mem_mb": 1000, "runtime": 600, "gpu": 2} for name in ("long", "other")}
    asks["light"] = {"mem_mb": 500, "runtime": 60}
    gpu = {"runtime": 300, "gpu": 2, "gpu_model": "'a100'"}
    assert SITE["requests"](asks, site) == {
        "long": gpu | {"mem_mb": "5 * (attempt + 1) // 2", "slurm_partition": "'a-b'"},
        "other": gpu | {"mem_mb": "1000 * (attempt + 1) // 2", "slurm_partition": "'c'"},
        "light": {"mem_mb": "500 * (attempt + 1) // 2", "runtime": 60},
    }
    assert SITE["default_resources"](site) == {
        "mem_mb": 4000,
        "runtime": 60,
        "slurm_account": "'007'",
        "slurm_partition": "'max'",
        "slurm_extra": "'--signal=USR1@90 --exclude=n7'",
        "qos": "'long'",
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("acount: me", "slurm/site.yaml: acount is an unknown key; did you mean account?"),
        ("account: 7", "slurm/site.yaml: account is 7; give a text"),
        ("retries: -1", "slurm/site.yaml: retries is -1; give a number at least 0"),
        ("rules: {train_difusion: {gpu: 4}}", "slurm/site.yaml: rules.train_difusion is an unknown rule; did you mean"),
        (
            "rules: {train_diffusion: {gpus: 4}}",
            "slurm/site.yaml: rules.train_diffusion.gpus is an unknown key; did you",
        ),
        ("status_command: sact", "slurm/site.yaml: status_command is 'sact', which is unknown; did you mean sacct"),
        ("jobs: 18446744073709551616", "slurm/site.yaml: jobs is 18446744073709551616; give a number at most 1000000"),
        ("max_runtime: 1000000", "slurm/site.yaml: max_runtime is 1000000; give a number at most 525600"),
        ('sbatch: "--a\\n--b"', r"slurm/site.yaml: sbatch is '--a\n--b'; give a text without control characters"),
        ("account: a\njobs: 3\naccount: b", "slurm/site.yaml: account is written twice, at lines 1 and 3; remove one"),
        ("rules: {3: {gpu: 1}}", "slurm/site.yaml: rules has the key 3 at line 1; give a text, in quotes"),
        ("a: [", "slurm/site.yaml is not valid YAML at line 1; correct it"),
    ],
)
def test_mistakes_in_the_sites_file_end_with_a_sentence(clone, text, sentence):
    (clone / "slurm" / "site.yaml").write_text(text)
    with pytest.raises(SystemExit) as caught:
        SITE["requests"](TABLE, SITE["read_site"]())
    assert str(caught.value).startswith(f"error: {sentence}")
    assert "\n" not in str(caught.value)


def test_the_example_and_the_page_name_every_key():
    keys = set(SITE["Site"].model_fields)
    example = (ROOT / "slurm" / "site.example.yaml").read_text()
    assert set(re.findall(r"^# ([a-z_]+): ?", example, re.MULTILINE)) - {"rules"} == keys - {"rules"}
    table = (ROOT / "docs" / "cluster.md").read_text().partition("| key |")[2].partition("\n\n")[0]
    assert {key for row in table.splitlines()[2:] for key in re.findall(r"`(\w+)`", row.split("|")[1])} == keys


def submitter(clone: Path, **differing: str) -> str:
    """Return the name of a job that a Snakemake which is dead submitted from this folder."""
    predecessors = run_path(str(ROOT / "slurm" / "predecessors.py"))
    own = predecessors["Submitter"].of_this_process(clone)
    return own._replace(**{"start": "1", **differing}).prefix + "_0b1c"


def queue(clone: Path, monkeypatch: pytest.MonkeyPatch, **names: str) -> Path:
    """Put a squeue on the path that lists these jobs until they are cancelled, and return what scancel notes."""
    programs, cancelled = clone / "bin", clone / "cancelled"
    programs.mkdir()
    listing = clone / "queue"
    listing.write_text("".join(f"{job}|{name}\n" for job, name in names.items()))
    lines = f"grep --invert-match --word-regexp --file={cancelled} {listing} 2> /dev/null || cat {listing}"
    for program, text in {"squeue": lines, "scancel": f'echo "$@" >> {cancelled}'}.items():
        (programs / program).write_text(f"#!/bin/sh\n{text}")
        (programs / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return cancelled


def test_only_jobs_of_a_dead_snakemake_in_this_folder_are_cancelled(clone, monkeypatch):
    predecessors = run_path(str(ROOT / "slurm" / "predecessors.py"))
    own = predecessors["Submitter"].of_this_process(clone).prefix + "_0b1c"
    names = {"j1": submitter(clone), "j2": own, "j3": submitter(clone, folder="00000000"), "j4": "somebody's"}
    cancelled = queue(clone, monkeypatch, **names)
    predecessors["cancel_orphans"](clone)
    assert cancelled.read_text() == "j1\n"


LOOKS = [
    ["-np"], ["-nq"], ["-pn"], ["--dry-r"], ["--dryrun"], ["--dry-run", "--forceall"], ["-F", "-n"], ["--summary"],
    ["-D"], ["--list"], ["--dag"], ["--unlock"], ["--lint"],
]  # fmt: skip


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_who_only_looks_cancels_nothing(clone, monkeypatch, words):
    cancelled = queue(clone, monkeypatch, j1=submitter(clone))
    run = call_snakemake("--snakefile", ROOT / "Snakefile", "--configfile", TINY, *words, "--profile", "slurm")
    assert run.returncode == 0, run.stderr
    assert not cancelled.exists()


def test_jobs_of_a_dead_snakemake_are_cancelled_before_the_first_is_submitted(clone, monkeypatch):
    cancelled = queue(clone, monkeypatch, j1=submitter(clone), j2="somebody's")
    submit = clone / "bin" / "sbatch"
    submit.write_text(f"#!/bin/sh\ncat {cancelled}\nexit 1")
    submit.chmod(0o755)
    (clone / "slurm" / "site.yaml").write_text("{status_command: squeue, retries: 0, account: a, partition: b}")
    words = ["--configfile", TINY, "--profile", "slurm", "--", "data"]
    run = call_snakemake("--snakefile", ROOT / "Snakefile", *words)
    assert run.returncode == 1
    assert "Cancelling the jobs of a Snakemake that was killed: j1" in run.stderr, run.stdout + run.stderr
    assert cancelled.read_text() == "j1\n"


def test_jobs_from_another_machine_end_the_start_with_a_sentence(clone, monkeypatch):
    cancelled = queue(clone, monkeypatch, j1=submitter(clone, machine="login2"), j2=submitter(clone))
    with pytest.raises(SystemExit, match=r"error: a Snakemake on login2 has jobs .*: scancel j1$"):
        run_path(str(ROOT / "slurm" / "predecessors.py"))["cancel_orphans"](clone)
    assert not cancelled.exists()


def test_a_process_that_ended_is_dead_although_its_number_is_taken():
    submitter = run_path(str(ROOT / "slurm" / "predecessors.py"))["Submitter"]
    with subprocess.Popen(["sleep", "60"]) as process:
        own = submitter.of_this_process(ROOT)
        assert own.lives()
        assert not own._replace(process=str(process.pid)).lives()
        process.kill()
    assert not own._replace(process=str(process.pid)).lives()


def test_names_of_jobs_are_such_as_the_executor_takes(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "login-node-0123456789_abc.some.university.example")
    prefix = run_path(str(ROOT / "slurm" / "predecessors.py"))["Submitter"].of_this_process(ROOT).prefix
    assert re.fullmatch("[A-Za-z0-9_-]{1,50}", prefix)


@pytest.mark.parametrize(
    ("command", "machine"),
    [("snakemake -n", True), ("snakemake --profile slurm", False), ("snakemake --profile=other", False)],
)
def test_what_this_machine_has_limits_no_job_of_a_cluster(monkeypatch, command, machine):
    """The default profile wins over --profile, and its memory would cut what jobs ask for."""
    monkeypatch.setattr(sys, "argv", command.split())
    with (ROOT / "profiles" / "default" / "config.yaml").open() as file:
        assert {"cores", "resources"} & set(ProfileConfigFileParser().parse(file)) == (
            {"cores", "resources"} if machine else set()
        )
