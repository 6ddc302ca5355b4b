"""A run that screens its candidates first: what is drawn when, and what follows a change of the screening."""

import csv
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import TINY, snakemake

DRAWN = ["results/tiny/metrics.csv", "results/tiny/trajectories/adam.csv"]

pytestmark = [pytest.mark.complete, pytest.mark.timeout(900)]


def make(directory: Path, *files: str) -> str:
    run = snakemake(directory, "--", *files, config=directory / "searching.yaml")
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def jobs(said: str) -> list[str]:
    return sorted(re.findall(r"^Job \d+: (.*)$", said, re.MULTILINE))


def search(directory: Path, further: Mapping[str, Any] | None = None, **adam: Any) -> None:
    """Write the tiny run with an unguided method, one of which a candidate is to be chosen, and further ones."""
    written = yaml.safe_load(TINY.read_text())
    guided = {"classifier": "nonrobust", "at": "x0", "stabilizer": {"name": "adam"}, **adam}
    methods = {"unguided": {"num_samples": 12}, "adam": guided, **(further or {})}
    written["sampling"] |= {"search": {"num_samples": 4}, "seeds": [0, 1], "methods": methods}
    (directory / "searching.yaml").write_text(yaml.safe_dump(written, sort_keys=False))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_candidates_are_screened_and_the_chosen_one_is_drawn_afresh(finished: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    shutil.copytree(finished, directory)
    shutil.rmtree(directory / "results" / "tiny" / "samples")
    results = directory / "results" / "tiny"
    search(directory, scales=[0.03, 0.3], vary={"steps": [4, 3]})
    make(directory, *DRAWN)

    chosen = [row for row in rows(results / "selection.csv") if row["chosen"] == "1"]
    assert [row["method"] for row in chosen] == ["adam"]
    assert len(rows(results / "selection.csv")) == 4
    scale, steps = chosen[0]["scale"], yaml.safe_load(chosen[0]["changes"])["steps"]
    screened = {
        path.parent.relative_to(results / "screening/samples").as_posix()
        for path in results.glob("screening/samples/*/*/*/*.npy")
    }
    assert screened == {f"adam__{i}/scale-{s}/seed-1000" for i in (1, 2) for s in ("0.03", "0.3")}
    drawn = {path.parent.relative_to(results / "samples").as_posix() for path in results.glob("samples/adam/*/*/*.npy")}
    assert drawn == {f"adam/scale-{scale}/seed-{seed}" for seed in (0, 1)}
    assert {row["scale"] for row in rows(results / "metrics.csv") if row["method"] == "adam"} == {scale}
    # One step less than there are, for the last one is not guided.
    assert len(rows(results / "trajectories" / "adam.csv")) == steps - 1
    assert "Nothing to be done" in make(directory, *DRAWN)

    # A further candidate is drawn, and what hangs on the choice is looked at again; what was confirmed stands.
    ages = {path: path.stat().st_mtime_ns for path in results.glob("samples/**/*.npy")}
    search(directory, scales=[0.03, 0.3, 1e-6], vary={"steps": [4, 3]})
    made = jobs(make(directory, *DRAWN))
    assert {"Screening adam__1 at scale 1e-06", "Screening adam__2 at scale 1e-06"} <= set(made)
    assert "Choosing each method's scale" in made
    assert not [job for job in made if job.startswith(("Screening adam__1 at scale 0", "Drawing unguided"))]
    again = [row for row in rows(results / "selection.csv") if row["chosen"] == "1"]
    if (again[0]["scale"], again[0]["changes"]) == (scale, chosen[0]["changes"]):
        assert not [job for job in made if job.startswith("Drawing")]
    assert ages.items() <= {path: path.stat().st_mtime_ns for path in results.glob("samples/**/*.npy")}.items()

    # A further method with nothing to choose is drawn, though the choice has not met it yet.
    plain = {"plain": {"classifier": "nonrobust", "at": "x0", "scales": [3]}}
    search(directory, plain, scales=[0.03, 0.3, 1e-6], vary={"steps": [4, 3]})
    made = jobs(make(directory, *DRAWN))
    assert [job for job in made if job.startswith(("Screening", "Drawing"))] == ["Drawing plain at scale 3"]
    assert {"plain", "adam", "unguided"} == {row["method"] for row in rows(results / "metrics.csv")}
