"""What an installation holds: the library alone, the stages and the pages with their extras, a wheel and an sdist."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nonrobust_guidance.config import load_config
from nonrobust_guidance.errors import UserError

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "nonrobust_guidance"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TINY = ROOT / "config" / "tiny.yaml"
FILES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): file
    for file in PACKAGE.rglob("*.py")
}
# The audit adds its page to the others; what it restores comes from DVC, for the workflow.
RESTORING = "nonrobust_guidance.audit.restore"
PAGES = [m for m in FILES if m.split(".")[1:2] in (["report"], ["audit"]) and m != RESTORING]
STAGES = sorted({*FILES} - {*PAGES, "nonrobust_guidance.cli"})

# Python as it would be if only these top-level modules, and what is Python's own, were installed.
ALONE = """
import sys
from importlib.machinery import PathFinder

hidden = set({hidden})

class Visible(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Visible
"""
EVERY_PUBLIC_NAME = """
import nonrobust_guidance as ng
for name in ng.__all__:
    getattr(ng, name)
"""
A_GUIDED_SAMPLE = """
import torch
from diffusers import DDPMScheduler, UNet2DModel

unet = UNet2DModel(sample_size=8, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
                   down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2).eval()
classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2)).eval()
guidance = ng.ClassifierGuidance(classifier, target=0, scale=3.0, at="x0", stabilizer=ng.EMA(0.9))
schedule = ng.Schedule.from_diffusers(DDPMScheduler(num_train_timesteps=20))
images = ng.sample(unet, schedule, num_samples=2, seed=0, guidance=guidance)
print(tuple(images.shape), bool(images.isfinite().all()))
"""


def declared(*extras: str) -> list[Requirement]:
    """Return what pyproject.toml asks for, with these extras."""
    lines = [*PROJECT["dependencies"], *(line for e in extras for line in PROJECT["optional-dependencies"][e])]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != PROJECT["name"]]


def installed_with(requirements: list[Requirement]) -> set[str]:
    """Return the names of all distributions that come with these, those they need included."""
    found: set[str] = set()
    while requirements:
        requirement = requirements.pop()
        name = canonicalize_name(requirement.name)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            further = [Requirement(line) for line in needed]
            requirements += [r for r in further if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


@cache
def distributions_of() -> dict[str, set[str]]:
    """Return which distributions bring each top-level module that is installed."""
    return {module: set(map(canonicalize_name, names)) for module, names in packages_distributions().items()}


def run_alone(code: str, *extras: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as it would run where the package is installed with these extras and no others."""
    present = installed_with(declared(*extras)) | {"nonrobust-guidance"}
    hidden = [module for module, distributions in distributions_of().items() if not present & distributions]
    assert "snakemake" in hidden or "workflow" in extras
    words = [sys.executable, "-c", ALONE.format(hidden=hidden) + code]
    return subprocess.run(words, capture_output=True, text=True)


def test_the_library_works_alone() -> None:
    done = run_alone(EVERY_PUBLIC_NAME + A_GUIDED_SAMPLE)
    assert done.stdout == "(2, 3, 8, 8) True\n", done.stderr


def imports_of(code: str) -> set[str]:
    """Return the modules that code names in its imports, wherever in it they stand."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & {*FILES} or {node.module}
    return found


def libraries_of(modules: Iterable[str]) -> set[str]:
    """Return the libraries, not Python's own, that modules of the package import, or those that they import."""
    found, seen, waiting = set(), set(), list(modules)
    while waiting:
        module = waiting.pop()
        if module not in FILES:
            found.add(module.partition(".")[0])
        elif module not in seen:
            seen.add(module)
            waiting += imports_of(FILES[module].read_text())
    return found - {*sys.stdlib_module_names}


def code_of(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize(("extra", "modules"), [("workflow", STAGES), ("report", PAGES)], ids=["workflow", "report"])
def test_an_extra_holds_what_its_modules_import(extra: str, modules: list[str]) -> None:
    if extra == "report":
        modules = modules + [name for file in NOTEBOOKS for name in imports_of(code_of(file))]
    libraries, present = libraries_of(modules), installed_with(declared(extra))
    assert {"workflow": "accelerate", "report": "papermill"}[extra] in libraries
    # A page reads the run file, whose sections lead to the readers of data; no page opens a Parquet file.
    libraries -= {"pyarrow"} if extra == "report" else set()
    assert [library for library in libraries if not present & distributions_of()[library]] == []


def test_a_command_without_its_extra_names_it_in_one_sentence(tmp_path: Path) -> None:
    commands = {
        ("measure-noise-accuracy", "--data=x", "--checkpoints=x", "--output=x"): "workflow",
        ("audit",): "report",
        ("render-page", "--results=x", f"--notebook={ROOT / 'notebooks' / 'sampling.ipynb'}", "--output=x"): "report",
    }
    calls = [[words[0], f"--config={TINY}", *words[1:]] for words in commands]
    code = f"""
import os
from nonrobust_guidance.cli import main

os.chdir({str(tmp_path)!r})
print(main(["check-config", {str(TINY)!r}]), *[main(words) for words in {calls}])
"""
    done = run_alone(code)
    assert done.stdout.endswith("\n0 1 1 1\n"), done.stderr
    for line, (words, extra) in zip(done.stderr.splitlines(), commands.items(), strict=True):
        sentence = rf"error: {words[0]} needs \w+, which is not installed: pip install 'nonrobust-guidance\[{extra}\]'"
        assert re.fullmatch(sentence, line)


def test_a_missing_module_of_the_package_is_not_blamed_on_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    from nonrobust_guidance import cli

    monkeypatch.setitem(sys.modules, "nonrobust_guidance.audit.trace", None)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["trace", f"--config={TINY}", "--method=robust_xt", "--scale=1", "--target=x", "--seed=0"])


def test_a_program_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from nonrobust_guidance.audit import trace

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(trace, "find_row", lambda *arguments: {})
    config = load_config(TINY)
    cell = trace.find_cell(config, "robust_xt", 1, "baseball", 0)
    with pytest.raises(UserError, match=r"^snakemake is not on the PATH; .* 'nonrobust-guidance\[workflow\]'$"):
        trace.remake(TINY, cell, tmp_path)


def test_versions_are_pinned_in_the_lock_alone() -> None:
    """Whoever installs the library beside others has a say in their versions too."""
    extras = [name for name in PROJECT["optional-dependencies"] if name != "dev"]
    for requirement in declared(*extras):
        assert [specifier.operator for specifier in requirement.specifier] == [">="], requirement
    lock = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    locked = {canonicalize_name(name): version for name, version in lock.items()}
    for requirement in declared(*PROJECT["optional-dependencies"]):
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier, requirement


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from a copy and without a network."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    code = f"from setuptools import build_meta as b; b.build_sdist({str(folder)!r}); b.build_wheel({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_wheel_and_sdist_hold_the_package_and_nothing_else(built: Path) -> None:
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    expected = {str(path.relative_to(PACKAGE.parent)) for path in files}
    assert {path.suffix for path in files} == {".py", ".typed", ".js", ".css", ".html", ".j2"}
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {f"src/{name}" for name in expected} | {"pyproject.toml", "README.md", "LICENSE"} <= names


def test_an_installed_wheel_checks_a_configuration(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from nonrobust_guidance import cli
print(cli.__file__.startswith({str(tmp_path)!r}), cli.main(["check-config", {str(TINY)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.endswith("\nTrue 0\n"), done.stderr
