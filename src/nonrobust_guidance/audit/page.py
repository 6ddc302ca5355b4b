"""The report's page about an audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nonrobust_guidance.audit.comparison import ROUNDING_OF_INTERVAL, ROUNDING_OF_NUMBER, Agreement, Compared
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.tables import COMPARED
from nonrobust_guidance.records.environment import commit, device, versions
from nonrobust_guidance.report.page import heading_html, list_html, page_html, paragraph_html, table_html

MEANING = {
    Agreement.BIT_EQUAL: "the same text, digit by digit",
    Agreement.ROUNDING: f"moved by no more than {ROUNDING_OF_INTERVAL:.0%} of half the published interval, or "
    f"{ROUNDING_OF_NUMBER:.1%} of the number: another processor rounds otherwise, and the chain passes it on",
    Agreement.INTERVAL: "as another draw of as many samples would be: the 95% interval of the difference, widened for "
    "the number of comparisons, holds zero",
    Agreement.DIFFERENT: "none of these; or a text, a row or a fixed count that is not the same",
}


def render_audit(run: str, compared: Sequence[Compared], changed: Sequence[str], output_html: Path) -> None:
    """Write the page: the answer, the files that changed, and a row for each cell.

    Args:
        run: its name.
        compared: of all tables.
        changed: a sentence for each file that is not what was published.
        output_html: the page.
    """
    differing = sum(row.agreement is Agreement.DIFFERENT for row in compared)
    if changed or differing:
        answer = f"This audit fails: {differing} rows are different, and {len(changed)} files are not those published."
    else:
        answer = "Every file is the one that was published, and every number agrees with the published one."
    body = [
        "<h1>Audit</h1>",
        paragraph_html(answer, "answer"),
        paragraph_html(
            f"The published tables are those of commit {commit()}; the others were made here, on "
            f"{device()}, with {versions()}."
        ),
        "<h2>Files</h2>",
        list_html(changed) or paragraph_html("All data, checkpoints, samples, scores and tables are as recorded."),
        "<h2>Numbers</h2>",
        table_html(counts(compared)),
        *(part for name in tables_in(compared) for part in (heading_html(name), table_of(name, compared))),
    ]
    footer = '<a href="index.html">All of this run</a>.'
    page = page_html(f"{run}: audit", "\n".join(body), footer)
    write_atomically(output_html, lambda path: path.write_text(page, encoding="utf-8"))


def counts(compared: Sequence[Compared]) -> list[dict[str, str]]:
    """Return how many rows of each table agree how far, with what that means."""
    found = Counter((row.table, row.agreement) for row in compared)
    return [
        {"agreement": str(level), **{name: str(found[name, level]) for name in tables_in(compared)}, "meaning": meaning}
        for level, meaning in MEANING.items()
    ]


def tables_in(compared: Sequence[Compared]) -> list[str]:
    """Return the names of the compared tables in order."""
    return list(dict.fromkeys(row.table for row in compared))


def table_of(name: str, compared: Sequence[Compared]) -> str:
    """Return the comparisons of one table as HTML."""
    rows = [
        dict(zip(COMPARED[name].key, row.key, strict=True))
        | {"agreement": str(row.agreement), "column": row.column, "published": row.published, "here": row.fresh}
        for row in compared
        if row.table == name
    ]
    return table_html(rows) if rows else paragraph_html("No rows.")
