"""Guidance, stabilizer and sampler from files of one's own, through the real Snakefile and its commands."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import TINY, snakemake

pytestmark = pytest.mark.timeout(900)

GUIDANCE = """\
from dataclasses import dataclass

import nonrobust_guidance as ng
from nonrobust_guidance.guidance.method import Move


@dataclass(frozen=True, eq=False)
class Gentle(ng.Guidance):
    scale: float
    share: float = 0.5

    def reach(self, step):
        return self.share * step.score_weight

    def move(self, climb, stabilized, step):
        return Move(score=self.scale * self.share * stabilized)
"""
STABILIZER = """\
from dataclasses import dataclass


@dataclass(frozen=True)
class Fading:
    power: float = 1.0

    def init(self, x):
        return None

    def update(self, state, g, step):
        return None, step.noise_level**self.power * g
"""
SAMPLER = """\
from dataclasses import dataclass

import nonrobust_guidance as ng


@dataclass(frozen=True)
class Louder(ng.DDPM):
    gain: float = 1.5

    def noise_std(self, transition):
        return self.gain * super().noise_std(transition)

    def step(self, state, x_t, prediction, transition, z, move):
        return super().step(state, x_t, prediction, transition, None if z is None else self.gain * z, move)
"""


def test_files_of_ones_own_are_drawn_scored_and_watched(finished: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(finished, tmp_path / "run")
    files = {"guidance": GUIDANCE, "stabilizer": STABILIZER, "sampler": SAMPLER}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    written = yaml.safe_load(TINY.read_text())
    written["sampling"]["methods"]["mine"] = {
        "classifier": "nonrobust",
        "uses": f"{tmp_path}/guidance.py:Gentle",
        "share": 0.25,
        "stabilizer": {"uses": f"{tmp_path}/stabilizer.py:Fading"},
        "sampler": {"uses": f"{tmp_path}/sampler.py:Louder", "gain": 2.0},
        "scales": [1],
    }
    methods = list(written["sampling"]["methods"])
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump(written, sort_keys=False))
    results = directory / "results" / "tiny"
    targets = [f"results/tiny/scores/{name}.csv" for name in methods]
    targets += [f"results/tiny/trajectories/{name}.csv" for name in methods if name != "unguided"]
    of_one_method = {"draw_samples": 1, "score_samples": 1, "measure_trajectories": 1}

    def plan() -> dict[str, int]:
        found = snakemake(directory, "-n", "--", *targets, config=config)
        assert found.returncode == 0, found.stderr
        table = found.stdout.partition("Job stats:")[2].partition("\n\n")[0]
        counts = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
        counts.pop("total", None)
        return counts

    assert plan() == of_one_method
    run = snakemake(directory, "--", *targets, config=config)
    assert run.returncode == 0, run.stderr
    cell = results / "samples" / "mine" / "scale-1" / "seed-0"
    assert np.load(cell / "baseball.npy").shape == (6, 16, 16, 3)
    card = json.loads((cell / "baseball.json").read_text())["configuration"]["method"]
    assert {len(part["uses_sha256"]) for part in (card, card["sampler"], card["stabilizer"][0])} == {64}
    with (results / "scores" / "mine.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["at"], row["stabilizer"], row["target"]) for row in rows] == [
        ("Gentle", "Fading", "baseball"),
        ("Gentle", "Fading", "basketball"),
    ]
    assert plan() == {}
    for name, text in files.items():
        file = tmp_path / f"{name}.py"
        file.write_text(text + "\n")
        assert plan() == of_one_method, name
        file.write_text(text)
    assert plan() == {}
    (tmp_path / "guidance.py").write_text(GUIDANCE.replace("self.scale * self", "self.scale * step"))
    failed = snakemake(directory, "--", targets[-1], config=config)
    assert failed.returncode == 1
    said = next(line for line in failed.stderr.splitlines() if line.startswith("error: "))
    assert said.startswith(f"error: {tmp_path}/guidance.py fails at line 16 (AttributeError: 'StepContext' object")
    assert "Traceback" not in failed.stderr
