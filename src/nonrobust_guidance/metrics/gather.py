"""From the tables of the methods to the tables of a run, without slow imports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nonrobust_guidance.csv_files import read_texts
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.tables import QUANTITIES, TRAJECTORIES, with_ends

COLUMNS = [*TRAJECTORIES.key, "t", "noise_level", "n", *with_ends(*QUANTITIES), "cosine_n"]
"""Columns of a table of trajectories."""


def gather_scores(methods: Iterable[str], scores_folder: Path, output_csv: Path) -> None:
    """Join the tables of all methods into one, in the order of the configuration.

    Args:
        methods: names of all methods.
        scores_folder: holds ``<method>.csv``.
        output_csv: written atomically; its numbers are copied from the parts as text.

    Raises:
        UserError: if a method's table is missing, cut off or has other columns than the first one's.
    """
    tables: list[pd.DataFrame] = []
    for method in methods:
        path = scores_folder / f"{method}.csv"
        tables.append(read_texts(path, f"run score-samples for {method}"))
        if list(tables[-1].columns) != list(tables[0].columns):
            raise UserError(f"{path} has other columns than the other methods' tables; score {method} again")
    _write(pd.concat(tables), output_csv)


def gather_trajectories(guided: Iterable[str], parts_folder: Path, output_csv: Path) -> None:
    """Put the tables ``<parts_folder>/<method>.csv`` of all guided methods into one, in their order.

    Raises:
        UserError: if one is missing or not a table.
    """
    tables = [pd.DataFrame(columns=COLUMNS)]
    for method in guided:
        path = parts_folder / f"{method}.csv"
        table = read_texts(path, f"run measure-trajectories for {method}")
        if list(table.columns) != COLUMNS:
            raise UserError(f"{path} is no table of trajectories; delete it and make it again")
        tables.append(table)
    _write(pd.concat(tables), output_csv)


def _write(table: pd.DataFrame, output_csv: Path) -> None:
    write_atomically(output_csv, lambda file: table.to_csv(file, index=False))
