"""Tables of a run, read so that names stay unchanged: a class may be called None, 01 or 1e5."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from nonrobust_guidance.errors import UserError

TEXT_COLUMNS = (
    frozenset(["run", "dataset", "method", "classifier", "at", "stabilizer", "objective", "target", "warning"])
    | {"quantity", "judged", "mixture", "sampler", "levels", "device", "processor"}
    | {"candidate", "changes", "why", "one", "other", "guide", "test", "verdict"}
)


def read_texts(source: Path | io.BytesIO, remedy: str, name: str = "") -> pd.DataFrame:
    """Read a table, all columns as the exact texts of the file; an empty cell is the empty text.

    Args:
        source: a CSV file, or its content.
        remedy: what makes the table, as in "score the samples".
        name: of the content, for messages.

    Raises:
        UserError: if it is missing or not a table.
    """
    try:
        table = pd.read_csv(source, dtype=str, keep_default_na=False)
        # If rows are longer than the header, pandas turns their first columns into an index.
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("rows are longer than the header")
        return table
    except FileNotFoundError:
        raise UserError(f"{name or source} is missing; {remedy} first") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{name or source} is no table: it cannot be read; delete it and {remedy} again") from error


def read_numbers(path: Path, remedy: str) -> pd.DataFrame:
    """Read a table, the columns of `TEXT_COLUMNS` as texts and all others as numbers; an empty cell is NaN.

    Raises:
        UserError: if it is missing or not a table, or a number is not one.
    """
    table = read_texts(path, remedy)
    try:
        for column in set(table.columns) - TEXT_COLUMNS:
            table[column] = pd.to_numeric(table[column])
    except ValueError as error:
        raise UserError(f"{path} is no table: it cannot be read; delete it and {remedy} again") from error
    return table
