"""The page on data with a known answer: what it says follows from the table, and all of it can be drawn."""

from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.ground_truth.table import COLUMNS, measure_ground_truth
from nonrobust_guidance.metrics.settings import GroundTruth
from nonrobust_guidance.report import page
from nonrobust_guidance.report.pages.ground_truth import figures, words
from nonrobust_guidance.report.pages.ground_truth.measured import (
    AT_X0,
    AT_XT,
    LOOKS,
    STABILIZED,
    Mixture,
    read_mixtures,
)

ROOT = Path(__file__).parents[2]
SETTINGS = GroundTruth(num_samples=20, num_steps=50)
ADAM = STABILIZED[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of few samples."""
    path = tmp_path_factory.mktemp("results")
    measure_ground_truth(SETTINGS, path / "ground_truth.csv", path / "ground_truth.npz")
    return path


def mixture(distances: dict[str, tuple[float, float, float]], shares: dict[tuple[str, float], float]) -> Mixture:
    """Return what was measured where the methods, at scales 1 and 2, have these distances and shares."""
    rows: list[dict[str, Any]] = []
    for method in LOOKS:
        for scale in (1.0, 2.0) if method != "unguided" else (0.0,):
            value, low, high = (end + 0.1 * (scale == 2.0) for end in distances.get(method, (0.5, 0.45, 0.55)))
            row = {"mixture": "ring", "method": method, "scale": scale, "steps": 50, "n": 20, "seed": 0}
            share = shares.get((method, scale), 0.5)
            rows += [
                row | {"quantity": "distance", "value": value, "value_low": low, "value_high": high},
                row | {"quantity": "class_share", "value": share, "value_low": share, "value_high": share},
                row | {"quantity": "fullest_share", "value": 0.25},
            ]
    floor = {"method": "exact_samples", "quantity": "distance", "value": 0.02, "value_low": 0.01, "value_high": 0.03}
    return Mixture("ring", pd.DataFrame([*rows, rows[0] | floor], columns=COLUMNS), {"ring_telling_level": np.array(0)})


def told(distances: dict[str, tuple[float, float, float]]) -> str:
    """Return the answer where the methods have these distances."""
    found = mixture(distances, {})
    rows = words.question_table([found])
    return words.answer(found) + " ".join(row["ring"] for row in rows)


def test_words_follow_the_numbers() -> None:
    better = told({AT_X0: (0.2, 0.18, 0.22), ADAM: (0.1, 0.09, 0.11)})
    assert "in place of xₜ helps, and stabilizing x̂₀ helps" in better
    assert "yes: 0.100 [0.090, 0.110] (Adam) against 0.200 [0.180, 0.220]" in better
    worse = told({AT_XT: (0.1, 0.09, 0.11), AT_X0: (0.3, 0.28, 0.32)})
    assert "in place of xₜ does harm, and stabilizing x̂₀ does harm" in worse
    assert "in place of xₜ makes no difference that can be told apart, and" in told({})


def test_a_method_delivers_at_the_closest_scale_with_nine_samples_in_ten() -> None:
    assert mixture({}, {(AT_X0, 1.0): 0.9, (AT_X0, 2.0): 0.95}).delivering(AT_X0).scale == 1.0
    assert mixture({}, {(AT_X0, 1.0): 0.89, (AT_X0, 2.0): 0.95}).delivering(AT_X0).scale == 2.0
    assert mixture({}, {(AT_X0, 1.0): 0.7, (AT_X0, 2.0): 0.8}).delivering(AT_X0).scale == 2.0  # none: the most


def test_everything_can_be_drawn(folder: Path) -> None:
    found = read_mixtures(folder)
    drawn = [figures.clouds(found[1]), figures.distance_over_scale(found), figures.accuracy_under_noise(found)]
    for figure in [*drawn, figures.what_is_seen(found[0]), figures.error_over_steps(found)]:
        assert "data:image/svg+xml" in page.figure_html(figure, "alt", "caption")
    assert found[0].size == "20 samples of each method and scale, 50 steps, seed 0."


def test_a_chart_shows_the_numbers_of_the_table(folder: Path) -> None:
    table = pd.read_csv(folder / "ground_truth.csv")
    rows = table[(table["mixture"] == "scattered") & (table["method"] == AT_XT) & (table["quantity"] == "distance")]
    lines = figures.distance_over_scale(read_mixtures(folder)).axes[1].lines
    shown = [line for line in lines if list(line.get_xdata()) == list(rows["scale"])]
    assert len(shown) == 1
    assert list(shown[0].get_ydata()) == pytest.approx(list(rows["value"]))


@pytest.mark.parametrize("name", ["ground_truth.csv", "ground_truth.npz"])
def test_what_is_missing_or_damaged_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    for content in (None, b"", b"PK\x03\x04"):
        for path in folder.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / name).unlink()
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_mixtures(tmp_path)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_template_is_short_tagged_and_without_outputs() -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "ground_truth.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert [cell.metadata.get("tags") for cell in code].count(["parameters"]) == 1
    assert max(len(cell.source.splitlines()) for cell in code) <= 15
