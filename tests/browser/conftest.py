"""The pages to look at, and the browser to look with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chromium import Chromium

from nonrobust_guidance.metrics.ground_truth.table import measure_ground_truth
from nonrobust_guidance.metrics.tables import COST
from nonrobust_guidance.report.pages.index import render_index
from nonrobust_guidance.report.render import render_page

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
MARKUP = "b<img src=x onerror='document.title=1'>"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pages", type=Path, help="folder of a run's pages, in place of those that the tests render")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page_name" in metafunc.fixturenames:
        folder = metafunc.config.getoption("--pages")
        rendered = [notebook.with_suffix(".html").name for notebook in NOTEBOOKS] + ["index.html"]
        names = sorted(path.name for path in folder.glob("*.html")) if folder else rendered
        assert names, f"{folder} holds no pages"
        metafunc.parametrize("page_name", names)


@pytest.fixture(scope="session")
def pages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, fake: Any) -> Path:
    """The folder of all pages: those named on the command line, or of a run that never was with markup in its names."""
    given = request.config.getoption("--pages")
    if given:
        return given
    results = tmp_path_factory.mktemp("run")
    raw = fake.config(["cup"])
    raw["report"] = {"ablation_of": ["weak_ema"], "ground_truth": {"num_samples": 20, "num_steps": 50}}
    plain = fake.run(raw)
    config = fake.named(plain, MARKUP)
    fake.write(results, config)
    fake.write_further(results, config)
    measure_ground_truth(config.report.ground_truth, results / "ground_truth.csv", results / "ground_truth.npz")
    seconds = pd.DataFrame({"method": list(config.sampling.methods), **dict.fromkeys(COST.required, 2.0)})
    seconds.assign(processor="Abacus 3").to_csv(results / COST.name, index=False)
    copies = tmp_path_factory.mktemp("notebooks")
    for notebook in NOTEBOOKS:
        marked = fake.renaming(notebook, copies, MARKUP)
        render_page(plain, results, marked, results / "report" / notebook.with_suffix(".html").name)
    render_index(config, results, results / "report" / "index.html")
    return results / "report"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(chromium: Chromium, pages: Path, page_name: str) -> Chromium:
    """The browser with a page open and its folds unfolded."""
    chromium.open(pages / page_name)
    chromium.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    return chromium
