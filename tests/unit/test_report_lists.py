"""The lists of result files and of pages, held against what is published, recorded and laid out beside them."""

import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from jinja2 import UndefinedError

from nonrobust_guidance import cli
from nonrobust_guidance.audit.record import SUMMARY
from nonrobust_guidance.config import load_config
from nonrobust_guidance.metrics.settings import Metrics
from nonrobust_guidance.metrics.tables import COMPARED, PUBLISHED, RESULT_FILES, ResultFile
from nonrobust_guidance.records.environment import SOURCES, code_hash
from nonrobust_guidance.report.pages import PAGES, pages_of
from nonrobust_guidance.report.settings import Report
from nonrobust_guidance.report.templates import say

ROOT = Path(__file__).parents[2]
TABLES = [file for file in RESULT_FILES if file.key]


def test_what_is_published_is_what_git_and_dvc_hold() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for run, stage in {"default": stages["metrics"], "frontier": stages["frontier"]}.items():
        names = {file.name for file in published_of(run)} | {SUMMARY}
        assert names == {path.name for path in (ROOT / "published" / run).iterdir()}
        recorded = [path for kind in ("outs", "metrics") for entry in stage.get(kind, []) for path in entry]
        assert names == {Path(path).name for path in recorded if path.startswith("published/")}


def published_of(run: str) -> list[ResultFile]:
    config = load_config(ROOT / "config" / f"{run}.yaml")
    return [file for file in PUBLISHED if file.belongs_to(config)]


@pytest.mark.parametrize(
    ("run", "file"),
    [(run, file) for run in ("default", "frontier") for file in published_of(run) if file.key],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_published_table_has_the_columns_and_its_key_names_one_row(run: str, file: ResultFile) -> None:
    table = pd.read_csv(ROOT / "published" / run / file.name)
    assert set(file.columns) <= set(table.columns)
    assert not table.duplicated(list(file.key)).any()


def test_an_audit_compares_tables_whose_rows_have_names() -> None:
    assert list(COMPARED) == [name for name, file in COMPARED.items() if file.key and file.published]


def test_every_table_and_page_has_its_parts() -> None:
    captions = {path.stem for path in (ROOT / "workflow" / "report").glob("*.rst")}
    assert captions - {"workflow", "index", "page", "table", "history"} <= {Path(file.name).stem for file in TABLES}
    assert {page.name for page in PAGES} == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    folders = {path.name for path in (ROOT / "src/nonrobust_guidance/report/pages").iterdir() if path.is_dir()}
    assert {page.name for page in PAGES} | {"index"} == folders - {"__pycache__"}


def test_templates_are_packaged_and_count_as_code(tmp_path: Path) -> None:
    package = ROOT / "src" / "nonrobust_guidance"
    others = [path for path in package.rglob("*.*") if path.is_file() and path.suffix not in (".py", ".pyc", ".typed")]
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packaged = {path for pattern in patterns["nonrobust_guidance"] for path in package.glob(pattern)}
    assert {path.suffix for path in others} >= {".css", ".html", ".j2", ".js"}
    assert set(others) <= packaged
    assert {path.suffix for path in others} <= set(SOURCES)
    copy = shutil.copytree(package, tmp_path / "package")
    for path in others:
        before = code_hash.__wrapped__(copy)
        (copy / path.relative_to(package)).write_text("another sentence")
        assert code_hash.__wrapped__(copy) != before


def test_a_sentence_with_a_value_missing_is_an_error_and_not_a_gap() -> None:
    with pytest.raises(UndefinedError):
        say("pages/gradients/sentences.j2", "under_noise", level=1)


@pytest.mark.parametrize(
    ("report", "has"),
    [
        ({"ablation_of": [], "beside": []}, False),
        ({"ablation_of": ["a"], "beside": []}, True),
        ({"ablation_of": [], "beside": ["b"]}, True),
    ],
)
def test_a_run_that_does_not_ask_for_ablations_has_no_such_page(report: dict[str, list[str]], has: bool) -> None:
    asked = Report(**report)
    found = pages_of(asked, SimpleNamespace(metrics=Metrics(judge="judge")))
    assert ("ablation" in found) == has
    assert found["ground_truth"].settings(asked) == {}
    assert found["sampling"].settings(asked) == report | {"ground_truth": {"num_samples": 1000, "num_steps": 100}}


def test_a_table_that_names_its_function_has_a_command_that_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    named = [file for file in RESULT_FILES if file.measured_by]
    assert named
    for file in named:
        module, _, function = file.measured_by.partition(":")
        asked: list[tuple[Any, ...]] = []
        monkeypatch.setattr(f"nonrobust_guidance.{module}.{function}", lambda *given, asked=asked: asked.append(given))
        folders = ["--data", "d", "--checkpoints", "c", "--output", file.name]
        config = str(ROOT / "config" / "tiny.yaml")
        assert cli.main([f"measure-{Path(file.name).stem.replace('_', '-')}", "--config", config, *folders]) == 0
        [(run, *given)] = asked
        assert (run.run, given) == ("tiny", [Path("d"), Path("c"), Path(file.name)])
