"""Data flows one way, and imports point only upstream."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "nonrobust_guidance"
STAGES = [
    "errors",
    "files",
    "yaml_files",
    "csv_files",
    "devices",
    "fetching",
    "records",
    "schedule",
    "ground_truth",
    "data",
    "models",
    "guidance",
    "sampling",
    "metrics",
    "cost",
    "report",
    "audit",
    "cli",
]
# Read by the command line and the Snakefile only: every stage gets its settings handed over.
FRONT = {"config": {"errors", "yaml_files", "config"}, "progress": {"progress"}}


def imported_parts(file: Path) -> set[str]:
    """Return the parts of the package that a file imports, wherever in the file."""
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relative to itself"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("nonrobust_guidance.")}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_upstream(file):
    part = part_of(file)
    allowed = FRONT[part] if part in FRONT else set(STAGES[: STAGES.index(part) + 1])
    if part == "cli":
        allowed |= set(FRONT)
    assert imported_parts(file) <= allowed


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (["cli", "metrics.gather"], {"torch", "diffusers", "matplotlib", "scipy"}),
        (
            ["report.pages.index", "report.pages.ground_truth.figures", "report.pages.signatures.pictures"],
            {"torch", "diffusers"},
        ),
        (["models.classifiers", "metrics.score"], {"diffusers"}),
        (["guidance", "sampling.samplers"], {"torch"}),
    ],
)
def test_nothing_waits_for_libraries_that_it_does_not_use(modules: list[str], heavy: set[str]) -> None:
    imported = ", ".join(f"nonrobust_guidance.{module}" for module in modules)
    code = f"import sys, {imported}; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
