"""The page on data with a known answer: what it says follows from the table, and all of it can be drawn."""

import math
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.ground_truth.table import COLUMNS
from nonrobust_guidance.report import page
from nonrobust_guidance.report.pages.ground_truth import compared_figures, compared_words, figures, words
from nonrobust_guidance.report.pages.ground_truth.compared import MAIN_SAMPLER, Compared, compared, label_of
from nonrobust_guidance.report.pages.ground_truth.measured import (
    AT_X0,
    AT_XT,
    STABILIZED,
    STYLES,
    Mixture,
    read_mixtures,
)

ROOT = Path(__file__).parents[2]
ADAM = STABILIZED[2]
Rows = list[dict[str, Any]]


def mixture(distances: dict[str, tuple[float, float, float]], shares: dict[tuple[str, float], float]) -> Mixture:
    """Return what was measured where the methods, at scales 1 and 2, have these distances and shares."""
    rows: list[dict[str, Any]] = []
    for method in STYLES:
        for scale in (1.0, 2.0) if method != "unguided" else (0.0,):
            value, low, high = (end + 0.1 * (scale == 2.0) for end in distances.get(method, (0.5, 0.45, 0.55)))
            row = {"mixture": "ring", "method": method, "scale": scale, "steps": 50, "n": 20, "seed": 0}
            row |= {"levels": "linear"}
            share = shares.get((method, scale), 0.5)
            rows += [
                row | {"quantity": "distance", "value": value, "value_low": low, "value_high": high},
                row | {"quantity": "class_share", "value": share, "value_low": share, "value_high": share},
                row | {"quantity": "fullest_share", "value": 0.25},
                *(row | {"quantity": name, "value": 0.65} for name in ("variance_kept", "variance_within")),
            ]
    floor = {"method": "exact_samples", "quantity": "distance", "value": 0.02, "value_low": 0.01, "value_high": 0.03}
    return Mixture("ring", pd.DataFrame([*rows, rows[0] | floor], columns=COLUMNS), {"ring_telling_level": np.array(0)})


NAMES = ("distance", "class_share", "variance_kept", "variance_within")


def trial(method: str, scale: float, numbers: tuple[float, ...], trust: float | None = None, **named: str) -> Rows:
    """Return the rows of a trial with this distance, class share and variance, whole and within components."""
    row = {"mixture": "ring", "levels": "log_snr", "sampler": MAIN_SAMPLER, "steps": 25, "seed": 0, "n": 20} | named
    row |= {"method": method, "scale": scale, "trust_radius": trust}
    passes = [row | {"quantity": f"{what}_passes", "value": 2.0} for what in ("denoiser", "classifier")]
    ends = [{"value": value, "value_low": value - 0.01, "value_high": value + 0.01} for value in numbers]
    return [*passes, *(row | {"quantity": name} | end for name, end in zip(NAMES, ends, strict=True))]


def comparison(*trials: Rows) -> Compared:
    """Return a comparison of these trials, with the unguided chain."""
    rows = [row for rows in [trial("unguided", 0.0, (0.3, 0.4, 1.0, 1.04)), *trials] for row in rows]
    return Compared(Mixture("ring", pd.DataFrame(rows, columns=COLUMNS), {}))


def test_what_can_be_trusted_follows_the_numbers() -> None:
    found = comparison(
        trial("mpgd", 1.0, (0.2, 1.0, 0.92, 0.99)),
        trial("mpgd", 1.0, (0.2, 1.0, 0.92, 0.85), 8.0),
        # Loses variance without a trust region, and keeps it with one.
        trial("nonrobust_xt", 1.0, (0.6, 0.97, 0.5, 0.99)),
        trial("nonrobust_xt", 1.0, (0.1, 0.98, 1.04, 0.92), 8.0),
        # Too few of the class; the variance does not count.
        trial("dps", 1.0, (0.1, 0.94, 1.0, 1.0)),
        trial("dps", 1.0, (0.1, 0.94, 1.0, 1.0), 8.0),
        # Shrunk components in a class that is as wide as it should be.
        trial("dsg", 1.0, (0.1, 0.99, 1.0, 0.05)),
        trial("dsg", 1.0, (0.1, 0.99, 1.0, 0.05), 8.0),
        # Blurred where it is closest, and right at another scale.
        trial("lgd", 1.0, (0.2, 1.0, 1.0, 1.0)),
        trial("lgd", 2.0, (0.1, 1.0, 1.06, 1.2)),
        trial("lgd", 1.0, (0.2, 0.9, 1.0, 1.0), 8.0),
    )
    alone, bounded, few, shrunk, blurred, elsewhere = compared_words.verdicts(found)
    assert alone == (
        "These methods can be trusted with variety, for at 95% or more of the class they keep the variance to within "
        "10%: MPGD."
    )
    assert (
        bounded == "At their best scales, these can be trusted only with a trust region, here r = 8: non-robust at xₜ."
    )
    cannot = "These cannot be trusted with this sampler, with or without a trust region, as "
    assert few == cannot + "too few samples are of the class: DPS."
    assert shrunk == cannot + "variance is lost: DSG."
    assert blurred == cannot + "components are blurred: LGD."
    assert elsewhere == "Without a trust region, these could be trusted at another scale than the best: LGD."


def test_words_for_none_and_for_all() -> None:
    good, bad = (0.1, 1.0, 1.0, 1.0), (0.1, 1.0, 0.2, 0.2)
    alone, bounded, never = compared_words.verdicts(comparison(trial("tfg", 1.0, bad), trial("tfg", 1.0, bad, 8.0)))
    assert alone.startswith("No method can be trusted with variety: none keeps")
    assert bounded == "The trust region, here r = 8, does not make a method one that can be trusted."
    assert never.endswith("as variance is lost: TFG.")
    found = compared_words.verdicts(comparison(trial("tfg", 1.0, good), trial("tfg", 1.0, good, 8.0)))
    assert len(found) == 2


def test_the_best_scale_is_the_closest_with_nineteen_samples_in_twenty() -> None:
    near, far, few = (0.2, 0.96, 1.0, 1.0), (0.3, 1.0, 1.0, 1.0), (0.1, 0.94, 1.0, 1.0)
    found = comparison(trial("ugd", 1.0, far), trial("ugd", 2.0, near), trial("ugd", 3.0, few))
    assert found.best("ugd").scale == 2.0
    assert comparison(trial("ugd", 2.0, (0.1, 0.5, 1, 1)), trial("ugd", 3.0, few)).best("ugd").scale == 3.0


def test_verdicts_on_few_samples_are_called_guesses(known_answers: Path) -> None:
    assert "is a guess" in compared_words.verdicts(compared(read_mixtures(known_answers)))[0]
    exact = trial("rejection", math.nan, (0.05, 1.0, 1.0, 1.0))  # intervals of 0.02
    assert not comparison(exact, trial("tfg", 1.0, (0.1, 1.0, 1.0, 1.0), 8.0)).few_samples


def test_samplers_are_compared_at_their_best_scales() -> None:
    good, bad = (0.1, 1.0, 1.0, 1.0), (0.2, 1.0, 0.5, 1.0)
    others = [trial("mpgd", 1.0, bad, sampler=name) for name in ("dpmsolver++", "ddim(eta=0)", "ddpm")]
    found = comparison(trial("mpgd", 1.0, bad), trial("mpgd", 1.0, good, sampler="ddim(eta=1)"), *others)
    assert compared_words.samplers(found) == [
        "The closest sampler of MPGD is DDIM, η = 1, at 0.100 [0.090, 0.110] with 25 steps.",
        "These can be trusted with one sampler and not with another: MPGD.",
    ]


def test_methods_are_called_by_their_names() -> None:
    assert label_of("nonrobust_x0_detached_ema09") == "non-robust at x̂₀ detached + EMA 0.9"
    assert [label_of(name) for name in ("freedom_adam", "rejection", "unguided")] == [
        "FreeDoM + Adam", "rejection", "unguided",
    ]  # fmt: skip


def test_the_comparison_of_a_run_can_be_told_and_drawn(known_answers: Path) -> None:
    found = compared(read_mixtures(known_answers))
    assert found.mixture.name == "scattered"
    assert len(found.methods) == 26
    rows = compared_words.best_table(found, stabilized=False)
    # Unguided, rejection, and eleven methods without and with a trust region.
    assert len(rows) == 2 + 2 * 11
    assert len(compared_words.best_table(found, stabilized=True)) == 2 * 15
    assert len(compared_words.sampler_table(found)) == 5 * 5
    assert len(compared_words.all_trials(found)) == len(found.trials) == 2 + 26 * 4 * 2 + 4 * (1 + 4 * 4)
    for text in (*compared_words.verdicts(found), compared_words.rejection(found), compared_words.levels(found)):
        assert text.endswith(".")
    figure = compared_figures.variance_over_class_share(found)
    table = pd.read_csv(known_answers / "ground_truth.csv")
    part = table[(table["method"] == "tfg") & (table["trust_radius"] == 8.0)]
    x, y = (list(part[part["quantity"] == name]["value"]) for name in ("class_share", "variance_kept"))
    lines = [line for line in figure.axes[1].lines if list(line.get_xdata()) == x]
    assert any(list(line.get_ydata()) == pytest.approx(y, nan_ok=True) for line in lines)
    assert "data:image/svg+xml" in page.figure_html(figure, "alt", "caption")


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


def test_everything_can_be_drawn(known_answers: Path) -> None:
    found = read_mixtures(known_answers)
    drawn = [figures.clouds(found[1]), figures.distance_over_scale(found), figures.accuracy_under_noise(found)]
    for figure in [*drawn, figures.what_is_seen(found[0]), figures.error_over_steps(found)]:
        assert "data:image/svg+xml" in page.figure_html(figure, "alt", "caption")
    assert found[0].size == "20 samples of each method and scale, 50 steps, seed 0."


def test_a_chart_shows_the_numbers_of_the_table(known_answers: Path) -> None:
    table = pd.read_csv(known_answers / "ground_truth.csv")
    rows = table[(table["mixture"] == "scattered") & (table["method"] == AT_XT) & (table["quantity"] == "distance")]
    rows = rows[rows["levels"] == "linear"]
    lines = figures.distance_over_scale(read_mixtures(known_answers)).axes[1].lines
    shown = [line for line in lines if list(line.get_xdata()) == list(rows["scale"])]
    assert len(shown) == 1
    assert list(shown[0].get_ydata()) == pytest.approx(list(rows["value"]))


@pytest.mark.parametrize("name", ["ground_truth.csv", "ground_truth.npz"])
def test_what_is_missing_or_damaged_is_named(known_answers: Path, tmp_path: Path, name: str) -> None:
    for content in (None, b"", b"PK\x03\x04"):
        for path in known_answers.iterdir():
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
