"""The page for contributors: its files and lines go into a copy of the package, where its tests and run files work."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"(?:^(?P<words>\S[^\n]*):\n\n)?^```(?P<language>\w+)\n(?P<content>.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """A block of code, the line above it, and the paths that this names."""

    language: str
    words: str
    content: str

    @property
    def paths(self) -> list[str]:
        return re.findall(r"`([^`]+\.\w+)`", self.words)


def blocks() -> Iterator[Block]:
    for found in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        yield Block(found["language"], found["words"] or "", found["content"])


def patched(text: str, diff: str) -> str:
    """Return a text with the hunks of a diff; empty lines part them, and what each begins with occurs once."""
    for hunk in re.split(r"^\n", diff, flags=re.M):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"{before!r} is not there once"
        text = text.replace(before, after)
    return text


def merged(into: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Return a run with a fragment of a run file; a section with ``uses`` or a name takes the place of another."""
    for key, value in part.items():
        inner = isinstance(value, dict) and isinstance(into.get(key), dict)
        into[key] = merged(into[key], value) if inner and not {"uses", "name"} & value.keys() else value
    return into


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project in which all of the page is done."""
    root = tmp_path_factory.mktemp("extended")
    for name in ("src", "workflow", "notebooks", "profiles", "tests/unit/test_methods_of_runs.py"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, _with_parent(root / name))
    beside = [f"tests/{name}.py" for name in ("conftest", "local_hub", "sections")]
    for name in ("Snakefile", "pyproject.toml", "config/tiny.yaml", *beside):
        shutil.copy(ROOT / name, _with_parent(root / name))
    for block in blocks():
        for path in block.paths if block.language != "yaml" else ():
            file = _with_parent(root / path)
            if block.language == "diff":
                file.write_text(patched(file.read_text(), block.content))
            elif block.words.startswith("At the end of"):
                file.write_text(file.read_text().rstrip("\n") + "\n" + block.content)
            else:
                assert not file.exists(), path
                file.write_text(block.content)
    run = yaml.safe_load((root / "config" / "tiny.yaml").read_text())
    for block in blocks():
        run = merged(run, yaml.safe_load(block.content)) if block.language == "yaml" else run
    (root / "mine.yaml").write_text(yaml.safe_dump(run))
    return root


def _with_parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def call(copy: Path, *command: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cli(copy: Path, *arguments: str) -> str:
    return call(copy, sys.executable, "-m", "nonrobust_guidance.cli", *arguments)


def test_the_page_has_each_kind_with_its_file_its_line_and_its_test() -> None:
    paths = [path for block in blocks() for path in block.paths]
    assert len([path for path in paths if path.startswith("tests/")]) == 8
    listed = re.findall(r"^\| [a-z ]+ \| `[A-Z_]+` \| `(\S+)` \|$", PAGE.read_text(), re.M)
    changed = [block.paths[0] for block in blocks() if block.language == "diff"]
    assert sorted(changed) == sorted(f"src/nonrobust_guidance/{path}" for path in listed)


def test_its_tests_pass_and_its_code_is_clean(copy: Path) -> None:
    python = [path for block in blocks() for path in block.paths if path.endswith(".py")]
    call(copy, "ruff", "check", "--quiet", *python)
    call(copy, "ruff", "format", "--check", "--quiet", *python)
    call(copy, "snakefmt", "--check", "workflow/rules/metrics.smk")
    call(copy, "nbstripout", "--verify", "notebooks/fronts.ipynb")
    tests = [path for path in python if path.startswith("tests/")]
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    call(copy, *run, *tests)
    # Of the test that goes over the lists, what is new in them.
    assert "12 passed" in call(copy, *run, "tests/unit/test_methods_of_runs.py", "-k", "polyak or plms")


def test_a_run_uses_its_files_from_outside(copy: Path) -> None:
    assert "mine.yaml is valid" in cli(copy, "check-config", "mine.yaml")
    cli(copy, "prepare-data", "--config", "mine.yaml", "--output", "data/bars", "--threads", "1")
    manifest = json.loads((copy / "data" / "bars" / "manifest.json").read_text())
    assert (manifest["kind"], manifest["classes"], manifest["factors"]) == (
        "BarsData",
        ["across", "along"],
        ["position"],
    )
    where = {name: manifest["settings"].get(name) for name in ("uses", "thickness")}
    assert where == {"uses": "my_data.py:BarsData", "thickness": 2}
    network = "import my_classifier as m, torch; print(m.AllConvolutional(8).build(3)(torch.zeros(2, 3, 16, 16)).shape)"
    assert call(copy, sys.executable, "-c", network).strip() == "torch.Size([2, 3])"


def test_its_table_is_measured_and_shown_and_a_run_has_both(copy: Path) -> None:
    results = _with_parent(copy / "results" / "tiny" / "metrics.csv").parent
    cells = ["ema,1,baseball,0,0.9,3", "ema,3,baseball,0,0.8,4", "adam,1,baseball,0,0.7,2"]
    header = "method,scale,target,seed,accuracy_heldout,fd_judge_conditional"
    (results / "metrics.csv").write_text("\n".join([header, *cells]))
    folders = ["--data", "data", "--checkpoints", "checkpoints", "--output", str(results / "fronts.csv")]
    cli(copy, "measure-fronts", "--config", "config/tiny.yaml", *folders)
    assert (results / "fronts.csv").read_text().splitlines()[1:] == [
        "ema,1,baseball,0,0",
        "ema,3,baseball,0,1",
        "adam,1,baseball,0,0",
    ]
    page = results / "report" / "fronts.html"
    page.parent.mkdir()
    given = ["--results", str(results), "--notebook", "notebooks/fronts.ipynb", "--output", str(page)]
    cli(copy, "render-page", "--config", "config/tiny.yaml", *given)
    assert "<td>adam</td>" in re.sub(r"<td[^>]*>", "<td>", page.read_text())
    shutil.rmtree(results)
    run = [sys.executable, "-m", "snakemake", "--configfile", "config/tiny.yaml", "--cores", "1"]
    plan = call(copy, *run, "--dry-run", "--quiet", "rules", "--", "results/tiny/report/fronts.html")
    assert re.search(r"measure_fronts +1\n", plan)
    assert re.search(r"render_page +1\n", plan)
