"""The page for contributors: its files are made, its lines are put where it says, and what it shows is run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^print\(.*\)  # (.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def blocks() -> list[tuple[str, str, str]]:
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, blocks: list[tuple[str, str, str]]) -> Path:
    """A folder with the page's files, and a copy of the package with its lines."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for language, name, text in blocks:
        if language == "python" and name:
            (folder / name).write_text(text, encoding="utf-8")
        if language == "diff":
            lines = text.splitlines(keepends=True)
            removed, added = ("".join(line[1:] for line in lines if line[0] == sign) for sign in "-+")
            source = (folder / name).read_text(encoding="utf-8")
            assert source.count(removed) == 1, f"{name} has no such line"
            (folder / name).write_text(source.replace(removed, added), encoding="utf-8")
    return folder


def run(project: Path, code: str) -> str:
    paths = os.pathsep.join([str(project / "src"), str(project)])
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_the_page_runs_and_prints_what_it_says(project, blocks):
    code = "".join(text for language, name, text in blocks if language == "python" and not name)
    assert code.count("print(") == len(PRINTED.findall(code)) > 5
    assert run(project, code).splitlines() == PRINTED.findall(code)


def test_a_run_takes_all_of_it(project, blocks):
    written = yaml.safe_load((ROOT / "config" / "tiny.yaml").read_text(encoding="utf-8"))
    for language, name, text in blocks:
        if language == "yaml":
            part = yaml.safe_load(text)
            written |= part if name == "dataset" else {}
            written["classifiers"] |= part if name == "classifiers" else {}
            written["sampling"]["methods"] |= part if name == "methods" else {}
    written["sampling"]["targets"] = ["along"]
    (project / "mine.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    code = """
from pathlib import Path
from nonrobust_guidance.config import load_config
run = load_config(Path("mine.yaml"))
mine = [name for name, method in run.sampling.methods.items() if "my_" in str(method.recorded())]
print(run.dataset.kind, *sorted(mine))
"""
    assert run(project, code) == "Stripes flow proportional signed\n"
    drawn = """
from pathlib import Path
from nonrobust_guidance.data import prepare_data
from nonrobust_guidance.config import load_config
prepare_data(load_config(Path("mine.yaml")).dataset, Path("data"))
"""
    run(project, drawn)
    assert (project / "data" / "manifest.json").is_file()
