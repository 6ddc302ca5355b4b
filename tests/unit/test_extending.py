"""The page for contributors: a copy of the project gets its files and its lines, and what it shows is run there."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEW_MODULE = re.compile(r"^\+from nonrobust_guidance\.(\S+) import (\w+)$", re.MULTILINE)
COPIED = ["src", "workflow", "notebooks", "config", "profiles", "Snakefile", "pyproject.toml"]
MODULES = Path("src", "nonrobust_guidance")


class Block(NamedTuple):
    section: str
    language: str
    name: str
    text: str


class Extended(NamedTuple):
    """A copy of the project with all that the page adds, and which files each section touched, besides tests."""

    folder: Path
    touched: dict[str, set[str]]


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    page = PAGE.read_text(encoding="utf-8")
    found = [Block(section, *block) for section, text in SECTION.findall(page) for block in BLOCK.findall(text)]
    assert len(found) == page.count("```") // 2 > 30
    # What stands behind a fence, a browser does not show.
    assert [block.name for block in found if block.language != "yaml" and f"`{block.name}`" not in page] == []
    return found


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory, blocks: list[Block]) -> Extended:
    folder = tmp_path_factory.mktemp("extended")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, folder / name)
    touched: dict[str, set[str]] = {}
    for section, language, name, text in blocks:
        if language == "yaml":
            continue
        path = folder / name
        if language == "snakemake":
            path.write_text(f"{path.read_text(encoding='utf-8')}\n\n{text}", encoding="utf-8")
        elif language == "diff":
            for module, added in NEW_MODULE.findall(text):
                moved = MODULES / f"{module.replace('.', '/')}.py"
                if not (folder / moved).exists():
                    shutil.copy(defining(added, blocks, folder), folder / moved)
                    touched.setdefault(section, set()).add(str(moved))
            path.write_text(patched(path.read_text(encoding="utf-8"), text, name), encoding="utf-8")
        else:
            assert not path.exists(), f"{name} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if "/" in name and not name.startswith("tests/"):
            touched.setdefault(section, set()).add(name)
    return Extended(folder, touched)


def defining(name: str, blocks: list[Block], folder: Path) -> Path:
    """Return the file of the page that defines a class."""
    (file,) = (block.name for block in blocks if block.language == "python" and f"\nclass {name}" in block.text)
    return folder / file


def patched(source: str, diff: str, name: str) -> str:
    """Return a source with the hunks of a diff, which @@ parts; an empty line of it is context."""
    for hunk in diff.split("@@\n"):
        lines = [line if line != "\n" else " \n" for line in hunk.splitlines(keepends=True)]
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        assert source.count(before) == 1, f"{name} has this {source.count(before)} times:\n{before}"
        source = source.replace(before, after)
    return source


def run(extended: Extended, *command: str) -> str:
    paths = os.pathsep.join([str(extended.folder / "src"), str(extended.folder)])
    found = subprocess.run(
        [sys.executable, *command],
        cwd=extended.folder,
        env=os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def run_file(blocks: list[Block], kind: str) -> dict[str, Any]:
    """Return the run of the tests with all that the page adds to it, its dataset named by this key."""
    written: dict[str, Any] = yaml.safe_load((ROOT / "config" / "tiny.yaml").read_text(encoding="utf-8"))
    for _, language, name, text in blocks:
        if language == "yaml":
            part = yaml.safe_load(text)
            if name == "dataset" and kind in part["dataset"]:
                written |= part
            elif name == "classifiers":
                written["classifiers"] |= part
            elif name == "methods":
                written["sampling"]["methods"] |= part
    written["sampling"]["targets"] = ["along"]
    return written


def test_the_tests_that_it_shows_pass(extended, blocks):
    shown = [block.name for block in blocks if Path(block.name).name.startswith("test_")]
    assert len({block.section for block in blocks if block.name in shown}) == 9, "each kind has a test"
    assert f"{len(shown)} passed" in run(extended, "-m", "pytest", "-q", "-p", "no:cacheprovider", *shown)


def test_what_it_adds_is_as_clean_as_the_rest(extended):
    files = ["src", "tests", "notebooks", *(path.name for path in extended.folder.glob("my_*.py"))]
    run(extended, "-m", "ruff", "check", "--no-cache", *files)
    run(extended, "-m", "ruff", "format", "--no-cache", "--check", *files)
    run(extended, "-m", "snakefmt", "--check", "workflow/rules/metrics.smk")


def test_what_it_adds_imports_only_from_upstream(extended):
    spec = ROOT / "tests" / "workflow" / "test_imports.py"
    target = extended.folder / "tests" / "workflow" / spec.name
    target.parent.mkdir()
    shutil.copy(spec, target)
    run(extended, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(target), "-k", "upstream or torch")


@pytest.mark.parametrize("kind", ["uses", "kind"])
def test_a_run_takes_all_of_it_and_makes_the_page(extended, blocks, kind):
    written = run_file(blocks, kind) | {"run": kind}
    (extended.folder / f"{kind}.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    code = f"""
from pathlib import Path
from nonrobust_guidance.cli import main
from nonrobust_guidance.config import load_config

run = load_config(Path("{kind}.yaml"))
print({{name: method.label for name, method in run.sampling.guided.items()}})
print(run.dataset.kind)
shared = ["--config", "{kind}.yaml"]
assert main(["prepare-data", *shared, "--output", "data"]) == 0
made = ["--data", "data", "--checkpoints", "data", "--output", "{kind}/real_sharpness.csv"]
assert main(["measure-real-sharpness", *shared, *made]) == 0
page = ["--notebook", "notebooks/real_sharpness.ipynb", "--output", "{kind}/report/real_sharpness.html"]
assert "{kind}" == "uses" or main(["render-page", *shared, "--results", "{kind}", *page]) == 0
"""
    labels, dataset = run(extended, "-c", code).splitlines()
    assert dataset == {"uses": "Stripes", "kind": "stripes"}[kind]
    assert ast.literal_eval(labels).items() >= {("from_file", "Proportional"), ("by_name", "proportional")}
    assert (extended.folder / kind / "real_sharpness.csv").read_text() == (
        "target,n,sharpness\nacross,10,4\nalong,10,4\n"
    )
    if kind == "kind":
        html = (extended.folder / kind / "report" / "real_sharpness.html").read_text(encoding="utf-8")
        assert "data:image/svg+xml" in html


def test_snakemake_plans_the_table_and_the_page(extended, blocks):
    (extended.folder / "planned.yaml").write_text(yaml.safe_dump(run_file(blocks, "kind") | {"run": "planned"}))
    target = "results/planned/report/real_sharpness.html"
    plan = run(extended, "-m", "snakemake", "-n", "--cores", "1", "--configfile", "planned.yaml", "--", target)
    assert {"prepare_data", "measure_real_sharpness", "render_page"} <= set(plan.split())


def test_it_touches_as_many_files_as_it_says(extended, blocks):
    (table,) = (text for section, text in SECTION.findall(PAGE.read_text()) if section == "What each takes")
    rows = re.findall(r"^\| (An? .+?) \| (\d?) ?\| (\d?) ?\|$", table, re.MULTILINE)
    said = {section: (int(inside or 0), int(outside or 0)) for section, inside, outside in rows}
    own = [block for block in blocks if block.name.startswith("my_")]
    assert said == {
        section: (len(extended.touched.get(section, ())), sum(block.section == section for block in own))
        for section in dict.fromkeys(block.section for block in blocks)
    }
    assert max(inside for inside, _ in said.values()) <= 3
