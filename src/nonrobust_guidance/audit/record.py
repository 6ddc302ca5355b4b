"""The files of a run that git holds: its tables, and the numbers that ``dvc metrics`` shows."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from nonrobust_guidance.csv_files import read_numbers
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.tables import METRICS, PUBLISHED

FOLDER = Path("published")
SUMMARY = "metrics.json"
SHOWN = ("accuracy_self", "accuracy_heldout", "none_share", "fd_judge_conditional")


def record_results(results_folder: Path, output_folder: Path) -> None:
    """Copy a run's tables, and write ``metrics.json``, which DVC shows; a file with the same content stays untouched.

    Raises:
        UserError: if a table is missing.
    """
    names = [file.name for file in PUBLISHED if not file.asked_by or (results_folder / file.name).is_file()]
    for name in names:
        if not (results_folder / name).is_file():
            raise UserError(f"{results_folder / name} is missing; make this run first")
    for name in names:
        source, target = results_folder / name, output_folder / name
        if not target.is_file() or target.read_bytes() != source.read_bytes():
            write_atomically(target, partial(shutil.copyfile, source))
    text = json.dumps(nested(read_numbers(results_folder / METRICS.name, "make this run")), indent=1) + "\n"
    target = output_folder / SUMMARY
    if not target.is_file() or target.read_text(encoding="utf-8") != text:
        write_atomically(target, lambda path: path.write_text(text, encoding="utf-8"))


def nested(metrics: pd.DataFrame) -> dict[str, Any]:
    """Return the shown numbers of every cell by method, scale, target and seed."""
    columns = [column for column in SHOWN if column in metrics.columns]
    tree: dict[str, Any] = {}
    for row in metrics.to_dict("records"):
        node = tree
        for level in (row["method"], f"scale {row['scale']:g}", row["target"], f"seed {row['seed']}"):
            node = node.setdefault(str(level), {})
        node |= {column: row[column] for column in columns if not pd.isna(row[column])}
    return tree
