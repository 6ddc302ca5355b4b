"""Every page of a run in a real browser, without a network: nothing is missing, nothing complains, everything works."""

import math
import re
from pathlib import Path

import pytest
from chromium import Chromium

from nonrobust_guidance.report.page import page_html, table_html

LEADING_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
PICTURES = "[...document.querySelectorAll('main img')]"
TABLES = "[...document.querySelectorAll('main table')]"
DIALOG = "document.querySelector('dialog')"
STATE = f"""{PICTURES}.map((picture) => [picture.complete, picture.naturalWidth, picture.getClientRects().length,
    picture.alt])"""


def test_it_opens_offline_and_nothing_complains(chromium: Chromium, pages: Path, page_name: str) -> None:
    chromium.open(pages / page_name)
    assert chromium.complaints() == []
    assert chromium.requests() == [(pages / page_name).resolve().as_uri()]
    assert chromium.evaluate("document.querySelector('h1').innerText.length") > 10


def test_pictures_are_there(page: Chromium) -> None:
    pictures = page.evaluate(STATE)
    assert pictures
    for complete, width, boxes, words in pictures:
        assert complete and width > 0 and boxes > 0
        assert words.strip()


def test_links_lead_to_files_that_are_there(page: Chromium, pages: Path) -> None:
    for address in page.evaluate("[...document.querySelectorAll('a')].map((link) => link.getAttribute('href'))"):
        assert address.startswith("https://") or address == "index.html" or (pages / address).exists()


def test_no_name_is_taken_for_markup(page: Chromium) -> None:
    assert page.evaluate("document.querySelectorAll('[onerror], [src=x]').length") == 0
    assert page.evaluate("document.title") != "1"


def test_every_table_sorts_by_every_column(page: Chromium) -> None:
    for number in range(page.evaluate(f"{TABLES}.length")):
        table = f"{TABLES}[{number}]"
        for column, name in enumerate(page.evaluate(f"[...{table}.tHead.rows[0].cells].map((c) => c.textContent)")):
            header = f"{table}.tHead.rows[0].cells[{column}]"
            if not page.evaluate(f"Boolean({header}.querySelector('button'))"):
                continue
            before = texts_of(page, table, column)
            for direction in ("ascending", "descending"):
                page.click(f"{header}.querySelector('button')")
                assert page.evaluate(f"{header}.getAttribute('aria-sort')") == direction, name
                after = texts_of(page, table, column)
                assert sorted(after) == sorted(before)
                assert_in_order(after, direction == "descending")
            page.click(f"{header}.querySelector('button')")
            assert page.evaluate(f"{header}.getAttribute('aria-sort')") is None
            assert texts_of(page, table, column) == before


def texts_of(page: Chromium, table: str, column: int) -> list[str]:
    return page.evaluate(f"[...{table}.tBodies[0].rows].map((row) => row.cells[{column}].textContent.trim())")


def assert_in_order(texts: list[str], downward: bool) -> None:
    """Numbers are in order by value, where all are; what is missing is at the end."""
    filled = [text for text in texts if text not in ("", "-")]
    assert texts[: len(filled)] == filled
    numbers = [LEADING_NUMBER.match(text) for text in filled]
    if all(numbers):
        values = [float(match[0]) for match in numbers if match]
        assert values == sorted(values, reverse=downward)
    else:
        firsts = [text[:1].lower() for text in filled]
        assert firsts == sorted(firsts, reverse=downward) or not all(first.isalpha() for first in firsts)


def test_long_tables_filter(page: Chromium) -> None:
    for number in range(page.evaluate(f"{TABLES}.length")):
        table = f"{TABLES}[{number}]"
        rows = page.evaluate(f"[...{table}.tBodies[0].rows].map((row) => [...row.cells].map((c) => c.textContent))")
        place = f"{table}.closest('.scroll').previousElementSibling"
        is_filtered = page.evaluate(f"Boolean({place}?.matches('.filter'))")
        assert is_filtered == (len(rows) > 12 and not page.evaluate(f"{table}.matches('.facts')"))
        if not is_filtered:
            continue
        word = rows[-1][0].split()[-1].upper()
        page.click(f"{place}.querySelector('input')")
        page.type(word)
        wanted = [row for row in rows if word.lower() in " ".join(row).lower()]
        shown = page.evaluate(
            f"[...{table}.tBodies[0].rows].filter((row) => row.getClientRects().length)"
            ".map((row) => [...row.cells].map((c) => c.textContent))"
        )
        assert shown == wanted
        assert page.evaluate(f"{place}.querySelector('output').value") in (
            f"{len(wanted)} of {len(rows)} rows",
            f"{len(rows)} rows",
        )


def test_every_picture_enlarges_and_escape_closes(page: Chromium) -> None:
    for number in range(page.evaluate(f"{PICTURES}.length")):
        picture = f"{PICTURES}[{number}]"
        page.click(picture)
        assert page.evaluate(f"{DIALOG}.open")
        assert page.evaluate(f"{DIALOG}.querySelector('img').decode().then(() => true)")
        large, small = (
            page.evaluate(f"{image}.getBoundingClientRect().width")
            for image in (f"{DIALOG}.querySelector('img')", picture)
        )
        assert large > small
        assert page.evaluate(f"{DIALOG}.querySelector('img').src === {picture}.src")
        assert page.evaluate(f"{DIALOG}.querySelector('p').textContent.length") > 10
        page.press("Escape")
        assert not page.evaluate(f"{DIALOG}.open")


@pytest.mark.parametrize("key", ["Enter", " "])
def test_the_keyboard_enlarges_and_sorts(page: Chromium, key: str) -> None:
    page.evaluate(f"{PICTURES}[0].focus()")
    page.press(key)
    assert page.evaluate(f"{DIALOG}.open")
    assert page.evaluate(f"{DIALOG}.contains(document.activeElement)")
    page.press("Escape")
    assert page.evaluate(f"document.activeElement === {PICTURES}[0]")
    if page.evaluate("Boolean(document.querySelector('th button'))"):
        page.evaluate("document.querySelector('th button').focus()")
        page.press(key)
        assert page.evaluate("document.activeElement.closest('th').ariaSort") == "ascending"


def test_the_tab_key_reaches_headers_and_pictures(page: Chromium) -> None:
    # Where a browser stops besides (a table that scrolls, the page itself) differs; two rounds meet everything.
    wanted = f"[...document.querySelectorAll('th button'), ...{PICTURES}]"
    reached = set()
    for _ in range(
        2 * page.evaluate("document.querySelectorAll('a, button, summary, input, main img, .scroll').length")
    ):
        page.press("Tab")
        reached.add(page.evaluate(f"{wanted}.indexOf(document.activeElement)"))
    assert reached - {-1} == set(range(page.evaluate(f"{wanted}.length")))


def test_all_can_be_read_without_javascript(chromium: Chromium, pages: Path, page_name: str) -> None:
    chromium.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chromium.open(pages / page_name)
        assert chromium.evaluate("document.querySelectorAll('th button, .filter, dialog').length") == 0
        assert all(complete and width for complete, width, *_ in chromium.evaluate(STATE))
        rows = "[...document.querySelectorAll('main tr')].filter((row) => !row.closest('details'))"
        assert chromium.evaluate(f"{rows}.every((row) => row.getClientRects().length)")
    finally:
        chromium.send("Emulation.setScriptExecutionDisabled", value=False)


RISING = [
    "-1.20 [-2.10, -0.30]",
    "+0.5 points",
    "1.2e-05 [1e-05, 2e-05]",
    "9% [5, 15]",
    "97% [92, 99]",
    "1,024",
    "-",
    "",
]
VALUES = [-1.2, 0.5, 1.2e-5, 9, 97, 1024, math.inf, math.inf]


def test_numbers_sort_by_value_and_what_is_missing_comes_last(chromium: Chromium, tmp_path: Path) -> None:
    rows = [{"value": text, "name": f"row {i}"} for i, text in enumerate(sorted(RISING))]
    (tmp_path / "page.html").write_text(page_html("numbers", table_html(rows)), encoding="utf-8")
    chromium.open(tmp_path / "page.html")
    button, table = "document.querySelector('th button')", f"{TABLES}[0]"
    value = dict(zip(RISING, VALUES, strict=True))
    chromium.click(button)
    assert [value[text] for text in texts_of(chromium, table, 0)] == sorted(VALUES)
    chromium.click(button)
    assert [value[text] for text in texts_of(chromium, table, 0)] == [*sorted(VALUES[:6], reverse=True), *VALUES[6:]]
    names = "document.querySelectorAll('th button')[1]"
    chromium.click(names)
    assert texts_of(chromium, table, 1) == [f"row {i}" for i in range(8)]


def test_a_page_runs_no_script_but_its_own_and_loads_nothing(chromium: Chromium, tmp_path: Path) -> None:
    body = "<script>document.title = 'run'</script><img src='https://example.org/x.png' alt='x'>"
    (tmp_path / "page.html").write_text(page_html("quiet", body), encoding="utf-8")
    chromium.open(tmp_path / "page.html")
    assert chromium.evaluate("document.title") == "quiet"
    assert len(chromium.complaints()) >= 2
    assert [failure.get("blockedReason") for failure in chromium.of("Network.loadingFailed")] == ["csp"]


def test_a_filter_takes_every_word_in_any_cell_and_case(chromium: Chromium, tmp_path: Path) -> None:
    rows = [{"method": f"Method {'ab'[i % 2]}", "scale": str(i)} for i in range(13)]
    (tmp_path / "page.html").write_text(page_html("filter", table_html(rows)), encoding="utf-8")
    chromium.open(tmp_path / "page.html")
    shown = f"[...{TABLES}[0].tBodies[0].rows].filter((row) => row.getClientRects().length).map((row) => row.innerText)"
    chromium.click("document.querySelector('.filter input')")
    chromium.type("1 METHOD b")
    assert chromium.evaluate(shown) == ["Method b\t1", "Method b\t11"]
    assert chromium.evaluate("document.querySelector('.filter output').value") == "2 of 13 rows"
    chromium.click("document.querySelectorAll('th button')[1]")
    chromium.click("document.querySelectorAll('th button')[1]")
    assert chromium.evaluate(shown) == ["Method b\t11", "Method b\t1"]
