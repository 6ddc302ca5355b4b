"""Where every row of a run's table comes from: the hashes of the data, checkpoints, settings and code behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.cells import Cell
from nonrobust_guidance.records.cards import read_card

DIGITS = 12
"""Digits of a SHA-256 that a table shows; the cards hold all 64."""


def gather_provenance(cells: Iterable[Cell], scores_folder: Path, samples_folder: Path, output_csv: Path) -> None:
    """Write a row for each row of the run's metrics, from the cards of its samples and of its scores.

    Columns: method, scale, target, seed; and the first 12 digits of the SHA-256 of ``samples``, the file; of the
    weights of ``diffusion``, ``guide`` (none for unguided samples) and ``judge``; of ``data``, the manifest; of
    ``configuration``, the settings of the cell; and of the package's sources, as they were when the cell was drawn and
    when it was scored.

    Raises:
        UserError: if a card is missing, or the samples that were scored are not those that were drawn.
    """
    table = pd.DataFrame([row_of(cell, scores_folder, samples_folder) for cell in cells])
    write_atomically(output_csv, lambda file: table.to_csv(file, index=False, float_format="%.6g"))


def row_of(cell: Cell, scores_folder: Path, samples_folder: Path) -> dict[str, Any]:
    """Return the row of a cell.

    Raises:
        UserError: if a card is missing, or the samples that were scored are not those that were drawn.
    """
    path = cell.path(samples_folder)
    drawn, scored = read_card(path.with_suffix(".json")), read_card(scores_folder / f"{cell.method.name}.json")
    samples = scored["inputs"].get(path.relative_to(samples_folder).as_posix())
    if samples is None or samples != drawn["sha256"].get(path.name):
        raise UserError(f"{path} was changed between drawing and scoring; delete it, and it is drawn and scored again")
    settings = json.dumps([drawn["configuration"], scored["configuration"]], sort_keys=True)
    hashes = {
        "samples": samples,
        "diffusion": drawn["inputs"]["diffusion"],
        "guide": drawn["inputs"].get("guide", ""),
        "judge": scored["inputs"]["judge"],
        "data": scored["inputs"]["data"],
        "configuration": hashlib.sha256(settings.encode()).hexdigest(),
        "drawing_code": drawn["code"],
        "scoring_code": scored["code"],
    }
    key = {"method": cell.method.name, "scale": cell.scale, "target": cell.target, "seed": cell.seed}
    return key | {name: digest[:DIGITS] for name, digest in hashes.items()}
