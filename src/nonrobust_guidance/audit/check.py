"""The audit: are the files the published ones, and do the new results agree with the published ones?"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nonrobust_guidance.audit.comparison import (
    Agreement,
    Compared,
    compare_tables,
    count_intervals,
    widening_for,
)
from nonrobust_guidance.audit.integrity import find_changed
from nonrobust_guidance.audit.page import render_audit
from nonrobust_guidance.audit.tracked import committed, require_commit
from nonrobust_guidance.csv_files import read_texts
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.tables import CELL, COMPARED
from nonrobust_guidance.report.pages.index import render_index
from nonrobust_guidance.report.settings import Reported

AUDIT_FILE = "audit.csv"
REMEDY = "make this run"


def audit(run: Reported, results_folder: Path, published_folder: Path) -> None:
    """Check every file, compare every row with the last commit's, and write ``audit.csv`` and the report's audit page.

    Prints a line for each cell.

    Args:
        run: the run.
        results_folder: of the run, made here.
        published_folder: the run's files that git holds.

    Raises:
        UserError: if a file is not what was published, a row is different, or there is nothing to compare.
    """
    require_commit()
    changed = list(find_changed(run, results_folder, published_folder))
    names = [name for name, file in COMPARED.items() if file.belongs_to(run)]
    before = {name: published_table(published_folder / name) for name in names}
    after = {name: read_texts(results_folder / name, REMEDY) for name in names}
    widening = widening_for(count_intervals(before.values()))
    compared = [row for name in names for row in compare_tables(name, before[name], after[name], widening)]
    write_atomically(
        results_folder / AUDIT_FILE, lambda path: pd.DataFrame(map(as_row, compared)).to_csv(path, index=False)
    )
    page = results_folder / "report" / "audit.html"
    render_audit(run.run, compared, changed, page)
    render_index(run, results_folder, page.with_name("index.html"))
    print("\n".join(listing(compared)))
    print("\n".join(changed))
    print(f"{summary(compared)}\nThe audit is {page}")
    differing = sum(row.agreement is Agreement.DIFFERENT for row in compared)
    if changed or differing:
        raise UserError(
            f"{len(changed)} files are not what was published, and {differing} rows are different; both are named above"
        )


def published_table(path: Path) -> pd.DataFrame:
    """Return a table as it is in the last commit, all columns as texts.

    Raises:
        UserError: if the commit does not have it.
    """
    content = committed(path.as_posix())
    if content is None:
        raise UserError(f"the last commit holds no {path}, so there is nothing to compare with; see docs/audit.md")
    return read_texts(io.BytesIO(content), REMEDY, str(path))


def as_row(compared: Compared) -> dict[str, str]:
    """Return a comparison as a row of text."""
    return {
        "table": compared.table,
        "row": " ".join(compared.key),
        "agreement": str(compared.agreement),
        "column": compared.column,
        "published": compared.published,
        "here": compared.fresh,
    }


def listing(compared: Sequence[Compared]) -> list[str]:
    """Return a line for each cell of the metrics, and for everything else that is not bit-equal."""
    lines = []
    for row in compared:
        if COMPARED[row.table].key == CELL or row.agreement is not Agreement.BIT_EQUAL:
            why = f"  {row.column}: {row.published} published, {row.fresh} here" if row.column else ""
            lines.append(f"{row.table:<19}{' '.join(row.key):<50}{row.agreement!s}{why}")
    return lines


def summary(compared: Sequence[Compared]) -> str:
    """Return how many rows have each degree of agreement, in one line."""
    counts = Counter(row.agreement for row in compared)
    return f"{len(compared)} rows: " + ", ".join(f"{counts[level]} {level}" for level in Agreement if counts[level])
