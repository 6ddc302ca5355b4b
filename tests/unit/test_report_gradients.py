"""The page on gradients: its numbers against tables that a test chooses."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.report import page
from nonrobust_guidance.report.pages.gradients import figures, words
from nonrobust_guidance.report.pages.gradients.measured import Gradients, average, count_levels, factor
from nonrobust_guidance.report.render import render_page

TEMPLATE = Path(__file__).parents[2] / "notebooks" / "gradients.ipynb"
READINGS = [("strong", "xt"), ("strong", "x0"), ("weak", "xt"), ("weak", "x0")]
# By reading, the relative change of the raw gradient; stabilized it is a fifth.
CHANGES = dict(zip(READINGS, (0.4, 0.8, 0.6, 1.2), strict=True))
STABILIZERS = {"": 1.0, "ema(beta=0.9)": 0.2, "adam": 0.2}
COSINES = {"strong_xt": 0.5, "weak_xt": 0.0, "weak_x0": 0.25, "weak_ema": 0.25, "weak_adam": 0.25}


def around(column: str, value: float, width: float) -> dict[str, float]:
    return {column: value, f"{column}_low": value * (1 - width), f"{column}_high": value * (1 + width)}


def write(fake: Any, folder: Path, config: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    noise = fake.noise_table({**fake.NOISE, ("strong", "x0"): (500, 495, 135)})
    probabilities = {"probability_mean": 0.5, "probability_low": 0.4, "probability_high": 0.6}
    noise.assign(**probabilities).to_csv(folder / "noise_accuracy.csv", index=False)
    used = {text for text in STABILIZERS if not text or "weak_ema" in config["sampling"]["methods"]}
    rows = []
    for (classifier, at), change in CHANGES.items():
        for t in (100, 200, 300):
            row = {"classifier": classifier, "at": at, "t": t, "alpha_bar": 0.5, "n": 64}
            for stabilizer, share in [pair for pair in STABILIZERS.items() if pair[0] in used]:
                # The quotient of an average is lower but for the cleanest level.
                ratio = 1.0 if not stabilizer else 2.0 if t == 100 else 0.5
                found = around("ratio", ratio, 0.1) | around("relative_change", change * share, 0.1)
                rows.append(row | {"quantity": "gradient", "stabilizer": stabilizer} | found)
            found = around("ratio", 1.0, 0.1) | around("relative_change", 0.1, 0.1)
            rows.append(row | {"quantity": "logits", "stabilizer": ""} | found)
    pd.DataFrame(rows).to_csv(folder / "sensitivity.csv", index=False)
    rows = []
    for method in [name for name in config["sampling"]["methods"] if name in COSINES]:
        stabilized = method in ("weak_ema", "weak_adam")
        for k in (1, 2, 3):
            row = {"method": method, "scale": 10, "target": "cup", "seed": 0, "k": k, "t": 400 - 100 * k, "n": 32}
            cosine = COSINES[method]
            row |= around("cosine", math.nan if k == 1 else cosine + (k - 2.5) / 10, 0)
            row |= around("cosine_stabilized", math.nan if k == 1 else 0.96 if stabilized else cosine, 0)
            row |= around("survival_raw", 0.4 + 0.2 * (k == 1), 0.05)
            row |= around("survival", 0.8 if stabilized else 0.4 + 0.2 * (k == 1), 0.05)
            rows.append(row | around("norm", 2.0, 0.1) | around("norm_stabilized", 1.0, 0.1))
    if rows:
        pd.DataFrame(rows).to_csv(folder / "trajectories.csv", index=False)


@pytest.fixture
def gradients(fake: Any, tmp_path: Path) -> Gradients:
    config = fake.config()
    write(fake, tmp_path, config)
    return Gradients.read(fake.run(config), tmp_path)


def test_the_answer_has_the_numbers_of_the_tables(gradients: Gradients) -> None:
    noise, forward, sampling = words.answer(gradients)
    # Of 500 images at t = 200: 480 and 495 of the robust one, 130 and 450 of the other.
    assert "at level t = 200 of 0 to 399" in noise
    assert "strong on xₜ 96% [94, 97], weak on xₜ 26% [22, 30]" in noise
    assert "strong on xₜ 0.40 [0.36, 0.44], strong on x̂₀ 0.80 [0.72, 0.88]" in forward
    assert "in place of xₜ multiplies this by 2.00" in forward
    # Ends of plus and minus a tenth: a factor of exp(hypot(ln 1.1, ln 0.9)) = 1.153 each way.
    assert "depending on classifier and input, by 5.00 [4.34, 5.76] to 5.00 [4.34, 5.76] (EMA 0.9) and 5.00" in forward
    # Mean cosines of a half, none and a quarter, as angles, and what is left at the last step.
    assert "least steady: robust, xₜ: 60° [60, 60] and 40% [38, 42]; non-robust, x̂₀: 76°" in sampling
    assert "; non-robust, xₜ: 90° [90, 90] and 40% [38, 42]." in sampling
    assert "x̂₀ + EMA 0.9: 16° [16, 16] and 80% [76, 84]" in sampling
    assert "in the same order, 2.00 [1.86, 2.15] and 2.00 [1.86, 2.15] times" in sampling


def test_tables_have_a_row_for_each_method_and_each_reading(gradients: Gradients) -> None:
    followed = words.followed_table(gradients)
    assert [row["method"] for row in followed][:2] == ["robust, xₜ", "non-robust, xₜ"]
    assert followed[0]["shift left, stabilized"] == followed[0]["factor"] == "-"
    assert followed[3]["cosine, raw"] == "0.25\N{NO-BREAK SPACE}[0.25,\N{NO-BREAK SPACE}0.25]"
    assert followed[3]["shift left, raw"] == "40%\N{NO-BREAK SPACE}[38,\N{NO-BREAK SPACE}42]"
    changes = words.change_table(gradients)
    assert len(changes) == 4 * 3
    assert changes[1]["quotient against raw"] == "lower at 2, higher at 1, not told apart at 0 levels"
    assert len(words.quotient_table(gradients)) == 4 * 3 * 4
    assert len(words.noise_table(gradients)) == 4 * 3


def test_a_method_without_survival_has_its_angle_alone(fake: Any, tmp_path: Path) -> None:
    config = fake.config()
    write(fake, tmp_path, config)
    table = pd.read_csv(tmp_path / "trajectories.csv")
    columns = [column for column in table.columns if column.startswith("survival")]
    table.loc[table["method"].isin(["weak_x0", "weak_ema"]), columns] = math.nan
    table.to_csv(tmp_path / "trajectories.csv", index=False)
    found = Gradients.read(fake.run(config), tmp_path)
    text = words.along_sampling(found)
    assert "nan" not in text
    assert "non-robust, x̂₀: 76°" in text and "non-robust, x̂₀: 76° and" not in text
    row = next(row for row in words.followed_table(found) if row["method"] == "non-robust, x̂₀")
    assert row["shift left, raw"] == "-"
    figures.survivals(found)


def test_averages_leave_out_what_there_is_not() -> None:
    rows = pd.DataFrame({"c": [math.nan, 0.2, 0.4], "c_low": [math.nan, 0.1, 0.3], "c_high": [math.nan, 0.3, 0.7]})
    assert average(rows, "c") == pytest.approx((0.3, 0.2, 0.5))


def test_factors_by_hand() -> None:
    exact = Interval(2.0, 2.0, 2.0)
    assert factor(Interval(6.0, 3.0, 12.0), exact) == pytest.approx((3.0, 1.5, 6.0))
    # Two factors of e each way make one of e to the root of two.
    wide = Interval(1.0, math.exp(-1), math.e)
    assert factor(wide, wide) == pytest.approx((1.0, math.exp(-math.sqrt(2)), math.exp(math.sqrt(2))))
    assert math.isnan(factor(Interval(0.0, 0.0, 0.0), exact).value)


def test_levels_are_told_apart_by_their_intervals() -> None:
    raw = pd.DataFrame({"t": [1, 2, 3, 4], "r_low": [5.0] * 4, "r_high": [6.0] * 4})
    other = pd.DataFrame({"t": [1, 2, 3, 5], "r_low": [1.0, 4.0, 7.0, 1.0], "r_high": [4.9, 5.5, 8.0, 1.0]})
    assert count_levels(other, raw, "r") == (1, 1, 1)


def test_charts_show_the_numbers_of_the_tables(gradients: Gradients) -> None:
    left, right = figures.survivals(gradients).axes
    ends = [line.get_ydata()[-1] for line in left.lines]
    np.testing.assert_allclose(ends, 0.4)
    assert [line.get_ydata()[-1] for line in right.lines] == pytest.approx([0.4, 0.4, 0.4, 0.8, 0.8])
    assert left.get_xlim()[0] > left.get_xlim()[1]
    relative = figures.gradient_changes(gradients, "relative_change").axes
    assert [line.get_ydata()[0] for line in relative[0].lines] == pytest.approx([0.4, 0.08, 0.08])
    ratio = figures.gradient_changes(gradients, "ratio").axes
    assert ratio[0].get_yscale() == "log"
    assert ratio[0].get_ylim()[1] > 2.2


@pytest.mark.usefixtures("warm_kernels")
def test_the_page_needs_no_other_file(fake: Any, tmp_path: Path) -> None:
    config, output = fake.config(), tmp_path / "report" / "gradients.html"
    write(fake, tmp_path, config)
    render_page(fake.run(config), tmp_path, TEMPLATE, output)
    text = output.read_text()
    assert text.count("<img") == text.count("data:image/svg+xml") == 7
    assert "multiplies this by 2.00" in text
    assert "32 samples of each of 5 methods" in text


def test_a_run_that_guides_nothing_has_its_page(fake: Any, tmp_path: Path) -> None:
    config = fake.config(["cup"], {"free": fake.METHODS["free"]})
    write(fake, tmp_path, config)
    found = Gradients.read(fake.run(config), tmp_path)
    assert found.followed == []
    assert len(words.answer(found)) == 2
    for figure in (figures.right_under_noise(found), figures.gradient_changes(found, "ratio")):
        assert "data:image/svg+xml" in page.figure_html(figure, "alt", "caption")
    assert page.table_html(words.what_was_run(found))


@pytest.mark.parametrize("table", ["noise_accuracy.csv", "sensitivity.csv", "trajectories.csv"])
def test_a_missing_table_is_one_sentence(fake: Any, tmp_path: Path, table: str) -> None:
    config = fake.config()
    write(fake, tmp_path, config)
    (tmp_path / table).unlink()
    with pytest.raises(UserError, match=f"{table} is missing"):
        Gradients.read(fake.run(config), tmp_path)


@pytest.mark.usefixtures("warm_kernels")
def test_a_page_without_its_tables_is_the_same_sentence(fake: Any, tmp_path: Path) -> None:
    config, output = fake.config(), tmp_path / "report" / "gradients.html"
    write(fake, tmp_path, config)
    (tmp_path / "sensitivity.csv").unlink()
    with pytest.raises(UserError, match=r"^\S*sensitivity\.csv is missing; run the step that writes it first$"):
        render_page(fake.run(config), tmp_path, TEMPLATE, output)
    assert not output.exists()
