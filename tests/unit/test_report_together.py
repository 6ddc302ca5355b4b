"""Several tests as one claim, several claims as one family, and the file of verdicts."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nonrobust_guidance.audit.comparison import Agreement, compare_rows
from nonrobust_guidance.audit.trace_claim import trace_claim
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.tables import CLAIMS, NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNDECIDED
from nonrobust_guidance.report.claims import decide_claims
from nonrobust_guidance.report.claims.evidence import read_evidence
from nonrobust_guidance.report.claims.tables import claim_table, write_claims
from nonrobust_guidance.report.claims.verdict import Verdict, decide_together
from nonrobust_guidance.report.claims.weighing import (
    Measure,
    Weighed,
    above,
    agreeing,
    all_of,
    any_of,
    below,
    most_of,
)
from nonrobust_guidance.report.page import table_html
from nonrobust_guidance.report.settings import EVIDENCE_FILE


def told(supporting: float, opposing: float, name: str = "") -> Weighed:
    return Weighed(supporting, opposing, Measure(name, Interval(0, 0, 0), 0, 10))


def test_a_claim_of_all_parts_is_as_weak_as_its_weakest_and_one_part_speaks_against_it() -> None:
    found = all_of([told(0.001, 0.999, "a"), told(0.02, 0.98, "b")])
    assert (found.supporting, found.opposing, found.measure.test) == (0.02, 1.0, "b")
    found = all_of([told(0.5, 0.5, "a"), told(0.99, 0.01, "b")])
    assert (found.supporting, found.opposing, found.measure.test) == (0.99, 0.02, "b")


def test_a_claim_of_any_part_is_corrected_for_their_number() -> None:
    found = any_of([told(0.01, 0.99, "a"), told(0.7, 0.3, "b"), told(0.5, 0.5, "c")])
    assert (found.supporting, found.opposing, found.measure.test) == (0.03, 0.99, "a")
    assert any_of([told(0.9, 0.1), told(0.8, 0.2)]).opposing == 0.2


def test_parts_that_contradict_decide_nothing() -> None:
    assert agreeing([told(0.001, 0.999), told(0.999, 0.001)])[:2] == (1.0, 1.0)
    assert agreeing([told(0.001, 0.999), told(0.9, 0.1)])[:2] == (0.002, 1.0)


def test_most_of_several_is_their_partial_conjunction() -> None:
    found = most_of([told(0.001, 0.999), told(0.01, 0.99), told(0.02, 0.98), told(0.6, 0.4)], 0.5)
    # Three of four: the third smallest, times 4 - 3 + 1.
    assert found.supporting == pytest.approx(0.04)
    assert found.sign == 1
    assert most_of([told(1, 0.01), told(1, 0.02)], 0.5).opposing == pytest.approx(0.02)


def test_one_sided_p_values_of_an_interval() -> None:
    # The threshold is at its lower end: 2.5% one-sided, 5% two-sided.
    measure = Measure("share", Interval(0.5, 0.4, 0.6), 0.4, 100)
    assert above(measure)[:2] == pytest.approx((0.025, 0.975))
    assert above(measure).p == pytest.approx(0.05)
    assert below(measure)[:2] == pytest.approx((0.975, 0.025))
    assert above(measure, p=0.01)[:2] == pytest.approx((0.005, 0.995))
    assert above(measure._replace(value=Interval(0.3, float("nan"), float("nan"))))[:2] == (1.0, 1.0)


def verdict(number: int, tested: Weighed | None) -> Verdict:
    return Verdict(number, "", "", "cup", NOT_TESTED, "Seen.", tested)


def test_what_holds_alone_and_not_together_is_undecided_and_says_what_it_would_take() -> None:
    measure = Measure("share", Interval(0.5, 0.4, 0.6), 0.4, 100).within(0.05, "5 points")
    alone = decide_together([verdict(1, Weighed(0.01, 0.99, measure))])[0]
    assert (alone.decision, alone.p_adjusted, alone.needed) == (SUPPORTED, 0.02, None)
    family = [verdict(1, Weighed(0.01, 0.99, measure)), verdict(2, None)]
    family += [verdict(i, Weighed(0.3, 0.7, measure)) for i in (3, 4)] + [verdict(5, Weighed(0.999, 0.001, measure))]
    together = decide_together(family)
    assert [v.decision for v in together] == [UNDECIDED, NOT_TESTED, UNDECIDED, UNDECIDED, NOT_SUPPORTED]
    # Two-sided 0.02, 0.6, 0.6 and 0.002: times 3, 2 and 4.
    assert [v.p_adjusted for v in together] == pytest.approx([0.06, None, 1.0, 1.0, 0.008])
    # Four tested claims at 98.75%: ((2.4977 + 0.8416) / 1.96 * 0.1 / 0.05)^2 * 100 = 1161.1.
    assert together[0].needed == 1162
    assert together[0].evidence.startswith("Seen. Of n = 100 it is undecided; what lies 5 points from the mark")


def test_the_file_of_verdicts_is_the_source_of_those_on_the_page(fake: Any, tmp_path: Path) -> None:
    config = fake.config()
    fake.write(tmp_path, config)
    run, path = fake.run(config), tmp_path / CLAIMS.name
    write_claims(run, tmp_path, path)
    table = pd.read_csv(path)
    assert list(table.columns) == CLAIMS.columns
    assert not table.duplicated(list(CLAIMS.key)).any()
    results = fake.write(tmp_path, config)
    verdicts = decide_claims(results)
    assert table["verdict"].tolist() == [v.decision for v in verdicts]
    assert table["n"].dropna().eq(table["n"].dropna().round()).all()
    third = table[(table["claim"] == 3) & (table["target"] == "all targets")].iloc[0]
    # Five targets' worth of points: 62 of 64 against halfway between 32 of 128 and 64 of 64.
    assert third["value"] == pytest.approx(62 / 64 - (0.25 + 1) / 2)
    assert (third["one"], third["other"], third["n"], third["seeds"]) == ("weak_x0", "strong_xt", 128, 1)


def test_published_evidence_stands_beside_what_was_drawn_here(fake: Any, tmp_path: Path) -> None:
    config = fake.config(["cup"]) | {"report": {"evidence": "frontier"}}
    folder = tmp_path / "results" / "toy"
    results = fake.write(folder, config)
    with pytest.raises(UserError, match=r"report\.evidence is frontier, but .*evidence\.csv is missing"):
        read_evidence(fake.run(config), folder)
    (folder / EVIDENCE_FILE).write_text("claim,target\n1,all images\n")
    with pytest.raises(UserError, match="lacks the column test"):
        read_evidence(fake.run(config), folder)
    write_claims(fake.run(config), folder, folder / EVIDENCE_FILE)
    evidence = read_evidence(fake.run(config), folder)
    rows = claim_table(decide_claims(results), evidence)
    heading = "paper's protocol, 400 steps (published evidence)"
    assert [row[heading] for row in rows[:3]] == ["supported, n = 500", "not tested", "supported, n = 64"]
    assert [row["drawn here"] for row in rows[:3]] == ["supported", "not tested", "supported"]
    assert '<td class="verdict supported">supported, n = 64</td>' in table_html(rows)
    assert read_evidence(fake.run(fake.config()), folder) is None


def test_a_verdict_is_traced_to_its_cells(fake: Any, tmp_path: Path) -> None:
    config = fake.config()
    fake.write(tmp_path, config)
    run = fake.run(config)
    write_claims(run, tmp_path, tmp_path / CLAIMS.name)
    lines = trace_claim(run, Path("toy.yaml"), 4, "all targets", tmp_path)
    cells = [line for line in lines if line.startswith("  nonrobust-guidance trace ")]
    words = "  nonrobust-guidance trace --config toy.yaml --method weak_x0 --scale 3 --target cup --seed 0"
    assert words in cells
    assert len(cells) == 4  # two methods for two targets
    assert "  verdict supported" in lines
    with pytest.raises(UserError, match="no verdict on claim 4 for 'pen'; of claim 4 it has 'all targets' or 'cup'"):
        trace_claim(run, Path("toy.yaml"), 4, "pen", tmp_path)


@pytest.mark.parametrize(
    ("published", "fresh", "agreement"),
    [
        ({"verdict": SUPPORTED}, {"verdict": SUPPORTED}, Agreement.BIT_EQUAL),
        ({"verdict": SUPPORTED}, {"verdict": UNDECIDED, "needed": "900"}, Agreement.INTERVAL),
        ({"verdict": SUPPORTED}, {"verdict": NOT_SUPPORTED}, Agreement.DIFFERENT),
        ({"verdict": SUPPORTED, "one": "a"}, {"verdict": SUPPORTED, "one": "b", "value": "9"}, Agreement.INTERVAL),
        ({"verdict": SUPPORTED}, {"verdict": NOT_TESTED}, Agreement.DIFFERENT),
    ],
)
def test_an_audit_tells_verdicts_apart_by_what_they_say(
    published: dict[str, str], fresh: dict[str, str], agreement: Agreement
) -> None:
    common = {"test": "share", "one": "a", "other": "", "value": "1", "needed": ""}
    found = compare_rows(CLAIMS.name, ("3", "cup"), common | published, common | fresh, 1.0)
    assert found.agreement is agreement
