"""The JSON Schema that editors read: it is that of the code, and takes and refuses what the code does."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from nonrobust_guidance import cli
from nonrobust_guidance.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "config" / "run.schema.json"
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))
VALIDATOR = Draft202012Validator(json.loads(SCHEMA.read_text()))


def test_the_committed_schema_is_current(tmp_path: Path) -> None:
    assert cli.main(["export-schema", "--output", str(tmp_path / "run.schema.json")]) == 0
    assert (tmp_path / "run.schema.json").read_text() == SCHEMA.read_text(), (
        "write it again: nonrobust-guidance export-schema --output config/run.schema.json"
    )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_run_files_of_the_repository_pass(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(read_yaml(path))] == []


@pytest.mark.parametrize(
    ("key", "value", "passes"),
    [
        ("sampling.methods.robust_xt.at", "x_t", False),
        ("sampling.methods.robust_xt.stabilizer", {"name": "ema", "beta": 0.9}, True),
        ("sampling.methods.robust_xt.stabilizer", [{"name": "adam"}, {"name": "clip_norm", "max_norm": 2}], True),
        ("sampling.methods.robust_xt.stabilizer", {"uses": "mine.py:Mine", "gain": 3}, True),
        ("sampling.methods.robust_xt.stabilizer", {"name": "ema"}, False),
        ("sampling.methods.robust_xt.stabilizer", {"name": "ema", "beta": "0.9"}, False),
        ("dataset", {"name": "mine", "uses": "mine.py:Mine", "width": 3}, True),
        ("classifiers.robust", {"uses": "net.py:Net", "width": 3, "noised": True}, True),
        ("classifiers.robust", {"uses": "net.py", "noised": True}, False),
        ("classifiers.robust", {"uses": "net.py:Net"}, False),
        ("classifiers.robust.width", 3, False),
        ("dataset.kind", "celeba", False),
        ("dataset.scale_range", [0.5], False),
        ("diffusion.source", None, False),
        ("diffusion.training.processes", 2, True),
        ("diffusion.training.steps", 2.5, False),
        ("runn", 1, False),
    ],
)
def test_what_the_code_refuses_is_marked(key: str, value: Any, passes: bool) -> None:
    run = copy.deepcopy(read_yaml(ROOT / "config" / "tiny.yaml"))
    *parents, last = key.split(".")
    section = run
    for parent in parents:
        section = section[parent]
    section[last] = value
    assert VALIDATOR.is_valid(run) == passes
