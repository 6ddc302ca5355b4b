"""Pages open offline, show what they are told and nothing else, and fail in a sentence."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.colors import to_rgb
from PIL import Image

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.distances.spaces import FEATURE_SPACES
from nonrobust_guidance.report import facts, page, palette, pictures
from nonrobust_guidance.report.claims import decide_claims
from nonrobust_guidance.report.claims.answer import paragraph
from nonrobust_guidance.report.pages.index import render_index
from nonrobust_guidance.report.pages.sampling import figures, tables
from nonrobust_guidance.report.render import render_page
from nonrobust_guidance.report.results import Results

SCRIPT = Path(page.__file__).with_name("page.js")
TEMPLATE = Path(__file__).parents[2] / "notebooks" / "sampling.ipynb"


class Links(HTMLParser):
    """Collects what a page loads, and what it merely links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.policy = ""
        self.script = ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.inside = tag
        values = dict(attrs)
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""
        self.loaded += [values[name] or "" for name in ("src", "srcset", "data", "poster") if name in values]
        if "href" in values:
            (self.linked if tag == "a" else self.loaded).append(values["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.script += data
        else:
            self.text.append(data)


def assert_self_contained(path: Path) -> Links:
    text = path.read_text(encoding="utf-8")
    links = Links(text)
    assert all(source.startswith("data:") for source in links.loaded)
    assert not links.tags & {"iframe", "object", "embed", "base", "form"}
    assert links.script == SCRIPT.read_text(encoding="utf-8")  # that one script, once
    digest = base64.b64encode(hashlib.sha256(links.script.encode()).digest()).decode()
    allowed = dict(part.split(maxsplit=1) for part in links.policy.split("; "))
    assert allowed["script-src"] == f"'sha256-{digest}'"
    assert (allowed["default-src"], allowed["img-src"]) == ("'none'", "data:")
    assert "@import" not in text
    assert "url(" not in text
    assert 'name="viewport"' in text
    return links


def test_the_template_is_short_tagged_and_without_outputs() -> None:
    notebook = nbformat.read(TEMPLATE, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert [cell.metadata.get("tags") for cell in code].count(["parameters"]) == 1
    assert max(len(cell.source.splitlines()) for cell in code) <= 15


@pytest.mark.usefixtures("warm_kernels")
def test_report_and_index_of_a_run_with_names_full_of_markup(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    plain = fake.run(targets=["cup"])
    config = fake.named(plain, "b<i>&$l").model_copy(update={"run": "r&<b>un"})
    results_folder = tmp_path / "results folder"
    fake.write(results_folder, config)
    report, index = results_folder / "report" / "sampling.html", results_folder / "report" / "index.html"
    render_page(plain, results_folder, fake.renaming(TEMPLATE, tmp_path, "b<i>&$l"), report)
    render_index(config, results_folder, index)

    links = assert_self_contained(report)
    assert links.linked == ["https://arxiv.org/abs/2507.00687", "index.html", "sampling.ipynb"]
    assert len(links.loaded) > 10
    shown = "".join(links.text)
    assert "this run supports 4 (number 1, 3, 4 and 6)" in shown
    assert "import yaml" not in shown
    assert "Traceback" not in shown
    assert "Asked for b<i>&$l" in shown
    assert nbformat.read(results_folder / "report" / "sampling.ipynb", as_version=4).cells[1].metadata.tags
    assert yaml.safe_load((results_folder / "config.yaml").read_text()) == plain.resolved()

    links = assert_self_contained(index)
    *files, paper = links.linked
    assert paper == "https://arxiv.org/abs/2507.00687"
    assert files == ["sampling.html", "../metrics.csv", "../noise_accuracy.csv", "../comparisons.csv", "../config.yaml"]
    assert all((index.parent / target).is_file() for target in files)
    shown = re.sub(r"\s+", " ", "".join(links.text))
    assert "Run r&<b>un, on toys (cup and b<i>&$l): 5 ways of guiding and 1 without a guide" in shown
    assert "asked for cup and b<i>&$l at every one of its scales" in shown
    assert "That makes 1024 images" in shown  # 7 guided cells of 64 for each of two targets, and 128 unguided
    for text in (report.read_text(), index.read_text()):
        assert "b<i>" not in text
        assert "<b>un" not in text
    assert sorted(path.name for path in report.parent.iterdir()) == ["index.html", "sampling.html", "sampling.ipynb"]


@pytest.mark.usefixtures("warm_kernels")
def test_a_failing_cell_is_one_sentence_and_leaves_no_page(fake: Any, tmp_path: Path) -> None:
    config = fake.config()
    fake.write(tmp_path / "run", config)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1"), nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(notebook, tmp_path / "bad.ipynb")
    with pytest.raises(UserError) as caught:
        render_page(fake.run(config), tmp_path / "run", tmp_path / "bad.ipynb", tmp_path / "out" / "bad.html")
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "bad.ipynb failed (ZeroDivisionError: division by zero)" in sentence
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bad.failed.ipynb"]


@pytest.mark.usefixtures("warm_kernels")
@pytest.mark.parametrize("content", [None, "no json", json.dumps({"a": 1}), json.dumps([1])])
def test_what_is_no_notebook_is_named(fake: Any, tmp_path: Path, content: str | None) -> None:
    config, path = fake.config(), tmp_path / "x.ipynb"
    fake.write(tmp_path / "run", config)
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as caught:
        render_page(fake.run(config), tmp_path / "run", path, tmp_path / "x.html")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_everything_can_be_drawn_of_a_run_that_guides_nothing(fake: Any, tmp_path: Path) -> None:
    results = fake.write(tmp_path, fake.config(["cup"], {"free": fake.METHODS["free"]}))
    assert_everything_draws(results)
    assert pictures.scales_side_by_side(results, "cup") == []


def test_everything_can_be_drawn_of_a_run_without_unguided_samples(fake: Any, tmp_path: Path) -> None:
    results = fake.write(tmp_path, fake.config(["cup"], {"weak_x0": fake.METHODS["weak_x0"]}))
    assert results.unguided == []
    assert_everything_draws(results)


def assert_everything_draws(results: Results) -> None:
    drawn = [figures.accuracy_against_distance, figures.accuracy_over_scale, figures.accuracy_under_noise]
    for draw in drawn + ([figures.class_shares] if results.unguided else []):
        assert "data:image/svg+xml" in page.figure_html(draw(results), "alt", "caption")
    for rows in (facts.what_was_run(results), tables.sampling_table(results), tables.best_scales(results, "cup")):
        assert "<td>" in page.table_html(rows)
    assert len(decide_claims(results)) == 8


def test_the_sampling_table_has_every_measure_of_every_cell(fake: Any, tmp_path: Path) -> None:
    config = fake.config()
    rows = tables.sampling_table(fake.write(tmp_path, config))
    assert len(rows) == 8 * 2
    row = next(row for row in rows if row["method"] == "non-robust, x̂₀ + EMA 0.9" and row["scale"] == "10")
    assert row == {
        "method": "non-robust, x̂₀ + EMA 0.9",
        "target": "cup",
        "scale": "10",
        "images": "64",
        "held-out accuracy": "97% [89, 99]",
        "accuracy by its own guide": "100% [94, 100]",
        "seeds": "1",
        "probability, held-out": "0.50 [0.38, 0.62], deviation 0.50",
        "probability, own guide": "0.50 [0.38, 0.62], deviation 0.50",
        "fd_judge, all": "3.50 [3.20, 3.80]",
        "fd_judge, class": "3.50 [3.20, 3.80]",
        "fd_judge, real test images": "0.30",
        "kd_judge, class": "3.50 [3.20, 3.80]",
        "precision, judge": "0.50",
        "recall, judge": "0.60",
        "density, judge": "0.50",
        "coverage, judge": "0.60",
    }
    config["sampling"]["seeds"] = [0, 1, 2]
    (several, *_) = tables.sampling_table(fake.write(tmp_path, config))
    assert several["seeds"] == "3"
    assert several["images"] == "384"
    assert several["recall, judge"] == "0.60 [0.60, 0.60]"  # as every seed says


def test_another_feature_space_is_what_the_report_calls_distance(fake: Any, tmp_path: Path) -> None:
    config = fake.config(["cup"])
    results = fake.write(tmp_path, config)
    judge, inception = FEATURE_SPACES["judge"].columns, FEATURE_SPACES["inception"].columns
    numbers = results.metrics[judge].set_axis(inception, axis=1) + 100
    numbers[[name for name in inception if name.startswith("kid")]] = 0.01
    pd.concat([results.metrics, numbers], axis=1).to_csv(tmp_path / "metrics.csv", index=False)
    pairs = pd.read_csv(tmp_path / "comparisons.csv")
    compared = pairs[[name for name in pairs.columns if name.startswith("fd_judge")]]
    renamed = compared.rename(columns=lambda name: name.replace("fd_judge", "fid"))
    pd.concat([pairs, renamed], axis=1).to_csv(tmp_path / "comparisons.csv", index=False)
    config["metrics"]["extractors"] = ["inception", "judge"]
    results = Results.read(fake.run(config), tmp_path)
    assert results.outcomes_of("cup")[0].distance.value == 109
    assert "in features of Inception as clean-fid uses it" in paragraph(results, decide_claims(results))
    row = tables.sampling_table(results)[0]
    assert (row["fid, class"], row["fd_judge, class"], row["kid, class"]) == (
        "109 [109, 109]",
        "9.00 [8.70, 9.30]",
        "0.010 [0.010, 0.010]",
    )
    assert_everything_draws(results)


def test_a_chart_shows_the_numbers_of_the_table(fake: Any, tmp_path: Path) -> None:
    results = fake.write(tmp_path, fake.config())
    axes = figures.accuracy_over_scale(results).axes[1]
    lines = {tuple(line.get_xdata()): tuple(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == 2}
    assert lines[1.0, 10.0] == pytest.approx((50 / 64, 1.0))
    bars = figures.class_shares(results).axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx([26 / 128] * 5)  # 0.2 of 128 images is 26 of them


def test_the_same_chart_is_the_same_bytes(fake: Any, tmp_path: Path) -> None:
    results = fake.write(tmp_path, fake.config())
    first, second = (page.figure_html(figures.accuracy_over_scale(results), "a", "c") for _ in range(2))
    assert first == second


def test_a_strip_holds_the_samples_pixel_by_pixel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    html = pictures.strips_html([pictures.Strip("a<b", "note", "#000000", images)], "caption")
    data = re.search(r"base64,([^\"]+)", html)
    assert data
    png = np.array(Image.open(io.BytesIO(base64.b64decode(data[1]))))
    assert png.shape == (10, 1 + 3 * 9, 3)
    for i, image in enumerate(images):
        np.testing.assert_array_equal(png[1:9, 1 + 9 * i : 9 + 9 * i], image)
    assert "a&lt;b" in html


def test_large_images_are_shown_smaller() -> None:
    html = pictures.strips_html([pictures.Strip("a", "", "#000000", np.zeros((2, 256, 256, 3), np.uint8))], "")
    data = re.search(r"base64,([^\"]+)", html)
    assert data
    assert Image.open(io.BytesIO(base64.b64decode(data[1]))).height == pictures.MAX_PIXELS


def test_columns_of_methods_side_by_side_are_the_same_samples(fake: Any, tmp_path: Path) -> None:
    results = fake.write(tmp_path, fake.config())
    strips = pictures.methods_side_by_side(results, "cup", count=5)
    assert [strip.title for strip in strips][:2] == ["unguided", "robust, xₜ"]
    assert {strip.images.shape for strip in strips} == {(5, 8, 8, 3)}
    assert [len(row) for row in pictures.scales_side_by_side(results, "cup")] == [2, 1, 1, 2, 1]


def test_colours_are_apart_for_every_reader(fake: Any, tmp_path: Path) -> None:
    results = fake.write(tmp_path, fake.config())
    colours = palette.method_colours(results.methods)
    assert colours["free"] == palette.UNGUIDED
    assert len(set(colours.values())) == len(colours)
    assert len(set(palette.method_markers(results.methods).values())) == len(colours)
    rgb = np.array([to_rgb(colour) for colour in palette.COLOURS])
    for matrix in (np.eye(3), *DICHROMACY.values()):
        seen = (rgb**2.2 @ matrix.T).clip(0, 1) ** (1 / 2.2)
        apart = np.abs(seen[:, None] - seen[None]).max(axis=-1) + np.eye(len(rgb))
        assert apart.min() > 0.08


# Viénot, Brettel & Mollon (1999) for linear RGB, as tabulated by the DaltonLens project.
DICHROMACY = {
    "protan": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deutan": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
}
