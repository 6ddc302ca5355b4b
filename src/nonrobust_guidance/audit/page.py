"""The report's page about an audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nonrobust_guidance.audit.comparison import ROUNDING_OF_INTERVAL, ROUNDING_OF_NUMBER, Agreement, Compared
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.tables import COMPARED
from nonrobust_guidance.records.environment import commit, device, versions
from nonrobust_guidance.report.page import page_html
from nonrobust_guidance.report.templates import fill


def render_audit(run: str, compared: Sequence[Compared], changed: Sequence[str], output_html: Path) -> None:
    """Write the page: the answer, the files that changed, and a row for each cell.

    Args:
        run: the run's name.
        compared: the comparisons of all tables.
        changed: a sentence for each file that is not what was published.
        output_html: the page.
    """
    tables: dict[str, list[dict[str, str]]] = {row.table: [] for row in compared}
    for row in compared:
        tables[row.table].append(cells_of(row))
    found = Counter((row.table, row.agreement) for row in compared)
    body = fill(
        "audit/page.html",
        differing=sum(row.agreement is Agreement.DIFFERENT for row in compared),
        changed=changed,
        commit=commit(),
        device=device(),
        versions=versions(),
        tables=tables,
        counts={agreement: {name: str(found[name, agreement]) for name in tables} for agreement in Agreement},
        of_interval=ROUNDING_OF_INTERVAL,
        of_number=ROUNDING_OF_NUMBER,
        **Agreement.__members__,
    )
    page = page_html(f"{run}: audit", body, '<a href="index.html">All of this run</a>.')
    write_atomically(output_html, lambda path: path.write_text(page, encoding="utf-8"))


def cells_of(row: Compared) -> dict[str, str]:
    """Return a comparison as the page's table shows it: the row's key, how far it agrees, and both numbers."""
    key = dict(zip(COMPARED[row.table].key, row.key, strict=True))
    return key | {
        "agreement": str(row.agreement),
        "column": row.column,
        "published": row.published,
        "here": row.fresh,
    }
