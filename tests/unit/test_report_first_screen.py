"""The first screen of a run: dots at their places, images beside them, and each claim by its mark."""

import math
import re

import pandas as pd
import pytest

from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.tables import COST
from nonrobust_guidance.report.claims.verdict import Verdict
from nonrobust_guidance.report.page import PARTS
from nonrobust_guidance.report.pages.index import by_claim, render_index
from nonrobust_guidance.report.pages.index.first_screen import Axis, first_screen
from nonrobust_guidance.report.templates import part


def test_numbers_of_one_size_stand_on_a_scale_from_zero():
    axis = Axis.of([Interval(2.0, 1.0, 3.0), Interval(4.0, 3.0, 10.0)])
    assert (axis.left, axis.log) == (0.0, False)
    assert axis.right == pytest.approx(10.5)
    assert [axis.place(value) for value in (-1.0, 0.0, 5.25, 99.0)] == pytest.approx([0, 0, 50, 100])


def test_numbers_of_several_sizes_stand_on_a_log_scale():
    axis = Axis.of([Interval(1.5, 1.2, 2.0), Interval(100.0, 90.0, 100.0)])
    assert axis.log
    assert axis.left == pytest.approx(1.0)
    assert axis.place(math.sqrt(110)) == pytest.approx(50)  # halfway from 1 to 110 in its logarithm


def test_a_dot_without_an_interval_has_no_arms():
    dot = Axis(0.0, 1.0).dot(Interval(0.25, math.nan, math.nan), "25%")
    assert dot == ("25%", "25%", "25.00", "25.00", "0.00")
    assert Axis(0.0, 1.0).dot(Interval(0.5, 0.4, 0.7), "50% [40, 70]") == (
        "50%",
        "50% [40, 70]",
        "50.00",
        "40.00",
        "30.00",
    )


def test_each_method_has_a_row_at_its_best_scale(fake, tmp_path):
    results = fake.write(tmp_path, fake.config())
    screen = first_screen(results)
    assert [name for name, _ in screen["columns"]] == ["held-out accuracy", "distance to real images"]
    rows = {row["strip"]["title"]: row for row in screen["rows"]}
    assert list(rows)[:2] == ["unguided", "robust, xₜ"]
    # Of its scales 1 and 10 the second has 64 of 64 right, whose interval ends at 94%.
    assert rows["robust, xₜ"]["strip"]["note"] == "scale 10"
    assert rows["robust, xₜ"]["dots"][0].text == "100% [97, 100]"  # 128 of 128 over both targets
    assert rows["unguided"]["strip"]["note"] == ""
    assert screen["target"] == "ball"


def test_the_cost_has_a_column_once_it_is_measured(fake, tmp_path):
    results = fake.write(tmp_path, fake.config())
    names = [method.name for method in results.methods]
    table = pd.DataFrame({"method": names, **dict.fromkeys(COST.required, 1.0)})
    table["seconds"] = [1.0, 2.0, 4.0, 8.0, 16.0, 1000.0]
    table["seconds_most"] = 1000.0
    table.to_csv(tmp_path / "cost.csv", index=False)
    screen = first_screen(results)
    assert screen["columns"][2] == ("seconds for 64 images", "less is better, log scale")
    assert [row["dots"][2].text for row in screen["rows"]] == ["1.00", "2.00", "4.00", "8.00", "16.0", "1000"]
    places = [float(row["dots"][2].at) for row in screen["rows"]]
    assert places == sorted(places)
    table.iloc[1:].to_csv(tmp_path / "cost.csv", index=False)  # of other methods than this run's
    assert len(first_screen(results)["columns"]) == 2


def test_a_claim_is_its_mark_and_its_evidence_is_folded():
    verdicts = [
        Verdict(1, "One.", "Test one.", "all targets", "supported", "97%"),
        Verdict(1, "One.", "Test one.", "cup", "undecided at this n", "90%"),
        Verdict(2, "Two.", "Test <two>.", "all images", "not supported", "3%"),
        Verdict(3, "Three.", "Test three.", "all targets", "not tested", "No such thing."),
    ]
    html = part(PARTS, "verdicts", by_claim(verdicts))
    assert re.findall(r'class="mark" aria-hidden="true">(.)<', html) == ["✓", "✗", "\N{EN DASH}"]
    assert html.count("<details>") == 3
    opening = html.index("</summary>")
    assert "97%" not in html[:opening] and "One." in html[:opening]
    assert "<b>all targets:</b> 97%" in html
    assert "<b>cup, undecided at this n:</b> 90%" in html
    assert "Test &lt;two&gt;." in html


def test_the_figure_comes_before_the_words(fake, tmp_path):
    results = fake.write(tmp_path, fake.config())
    render_index(results.run, tmp_path, tmp_path / "report" / "index.html")
    text = (tmp_path / "report" / "index.html").read_text()
    places = [text.index(word) for word in ('<figure class="dots"', '<ul class="verdicts"', 'class="answer"')]
    assert places == sorted(places)
