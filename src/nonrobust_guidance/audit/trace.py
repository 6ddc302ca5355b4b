"""Where one number comes from: from a row of the metrics back to samples, checkpoints, data, settings and code."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nonrobust_guidance.audit.check import REMEDY
from nonrobust_guidance.audit.comparison import Agreement, compare_column, number, rows
from nonrobust_guidance.csv_files import read_texts
from nonrobust_guidance.errors import UserError, missing_program
from nonrobust_guidance.fetching import RECORD, sha256_of
from nonrobust_guidance.metrics.cells import Cell, guide_of, list_cells
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.metrics.tables import CELL
from nonrobust_guidance.records.cards import CARD_FILE, read_card
from nonrobust_guidance.records.environment import code_hash


def find_cell(run: Measured, method: str, scale: float, target: str, seed: int) -> Cell:
    """Return the cell of a run.

    Raises:
        UserError: if the run has no such cell.
    """
    cells = [cell for cell in list_cells(run) if cell.method.name == method]
    for cell in cells:
        if (cell.scale, cell.target, cell.seed) == (scale, target, seed):
            return cell
    has = {
        "scale": " ".join(f"{value:g}" for value in dict.fromkeys(cell.scale for cell in cells)),
        "target": " ".join(dict.fromkeys(cell.target for cell in cells)),
        "seed": " ".join(dict.fromkeys(str(cell.seed) for cell in cells)),
    }
    raise UserError(
        f"the run has no cell {method} at scale {scale:g} for {target} with seed {seed}; {method} has "
        + ", ".join(f"{name} {values}" for name, values in has.items())
    )


def trace(run: Measured, config_file: Path, cell: Cell, results_folder: Path) -> list[str]:
    """Return lines on where the row of a cell comes from, and how to make it again.

    Every file is compared with what its card recorded; one that has changed since is marked.

    Raises:
        UserError: if the row or a card is missing.
    """
    row = find_row(cell, results_folder)
    path = cell.path(results_folder / "samples")
    drawn, scored = read_card(path.with_suffix(".json")), read_card(score_card(cell, results_folder))
    data = Path("data", run.dataset.name)
    checkpoints = data / "checkpoints"
    lines = ["The row", *(f"  {name} {row[name]}" for name in row if row[name]), "The samples"]
    lines += [marked(path, drawn["sha256"].get(path.name, ""))]
    lines += ["  settings " + json.dumps(drawn["configuration"], default=str), *made_by(drawn)]
    for name, model, recorded in (
        ("The diffusion model", run.diffusion.name, drawn["inputs"]["diffusion"]),
        ("The guide", guide_of(cell, run), drawn["inputs"].get("guide") or scored["inputs"].get("guide", "")),
        ("The judge", run.metrics.judge, scored["inputs"]["judge"]),
    ):
        if model:
            lines += [name, *checkpoint_lines(checkpoints / model, recorded)]
    lines += ["The data", marked(data / "manifest.json", scored["inputs"]["data"])]
    lines += ["The scores", marked(results_folder / "scores" / f"{cell.method.name}.csv", *scored["sha256"].values())]
    lines += ["  settings " + json.dumps(scored["configuration"]), *made_by(scored)]
    lines += ["Logs and costs", *(f"  {file}" for file in records_of_jobs(cell, results_folder))]
    return [*lines, "To make just it again", f"  {shlex.join(remake_command(config_file, cell, results_folder))}"]


def remake(config_file: Path, cell: Cell, results_folder: Path) -> list[str]:
    """Make the row again, and return lines on how far each of its numbers agrees with the earlier one.

    Raises:
        UserError: if there was no such row, or Snakemake is not installed or fails.
    """
    before = find_row(cell, results_folder)
    try:
        code = subprocess.run(remake_command(config_file, cell, results_folder)).returncode
    except FileNotFoundError:
        raise UserError(missing_program("snakemake")) from None
    if code:
        raise UserError("snakemake failed, as it says above")
    after = find_row(cell, results_folder)
    found = {column: compare_column(column, before, after) for column in before}
    moved = [
        f"{column}: {before[column]} before, {after[column]} now, {agreement}"
        for column, agreement in found.items()
        if agreement is not Agreement.BIT_EQUAL
    ]
    return [*moved, f"The row is made again: {max(found.values())}"]


def remake_command(config_file: Path, cell: Cell, results_folder: Path) -> list[str]:
    """Return the Snakemake command that draws the cell and scores its method again, and does nothing else."""
    targets = [
        cell.path(results_folder / "samples"),
        results_folder / "scores" / f"{cell.method.name}.csv",
        results_folder / "metrics.csv",
    ]
    return ["snakemake", "--configfile", str(config_file), "--force", "--", *map(str, targets)]


def find_row(cell: Cell, results_folder: Path) -> dict[str, str]:
    """Return the row of a cell in the run's metrics, as texts.

    Raises:
        UserError: if there is none.
    """
    path = results_folder / "metrics.csv"
    wanted = (cell.method.name, cell.scale, cell.target, cell.seed)
    for row in rows(read_texts(path, REMEDY)):
        method, scale, target, seed = (row.get(name, "") for name in CELL)
        if (method, number(scale), target, number(seed)) == wanted:
            return row
    raise UserError(f"{path} has no row of this cell; run snakemake on the same configuration first")


def score_card(cell: Cell, results_folder: Path) -> Path:
    """Return where the card of a cell's scores lies."""
    return results_folder / "scores" / f"{cell.method.name}.json"


def checkpoint_lines(folder: Path, recorded: str) -> list[str]:
    """Return lines about a checkpoint: its weights, and how they were trained or where they were fetched."""
    weights = sorted(folder.rglob("*.safetensors"))
    lines = [marked(file, recorded) for file in weights] or [f"  {folder} is MISSING"]
    if (folder / RECORD).is_file():
        return [*lines, f"  fetched, see {folder / RECORD}"]
    card = read_card(folder / CARD_FILE)
    end = ", ".join(f"{name} {value:.4g}" for name, value in card["end"].items())
    return [*lines, f"  trained with seed {card['seed']} for {card['steps']} steps to {end}", *made_by(card)]


def made_by(card: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines on what made the files that a card describes."""
    same = "this code" if card["code"] == code_hash() else "OTHER code than this"
    device = card["device"]
    yield f"  made by {same}, {card['code'][:12]}, of commit {card['commit'] or 'unknown'}"
    yield f"  on {device['threads']} threads of {device['name'] or device['kind']}, with " + ", ".join(
        f"{name} {version}" for name, version in card["versions"].items()
    )


def marked(path: Path, recorded: str) -> str:
    """Return a line with a file and its recorded SHA-256, marked if the file has changed."""
    state = "MISSING" if not path.is_file() else "as recorded" if sha256_of(path) == recorded else "CHANGED since"
    return f"  {path} sha256 {recorded} ({state})"


def records_of_jobs(cell: Cell, results_folder: Path) -> Sequence[Path]:
    """Return those logs and benchmarks of the jobs that drew and scored a cell that exist."""
    name = cell.method.name
    stems = [f"draw_samples/{name}_scale-{cell.scale:g}", f"score_samples/{name}"]
    files = [
        results_folder / kind / f"{stem}{suffix}"
        for stem in stems
        for kind, suffix in (("logs", ".log"), ("benchmarks", ".tsv"))
    ]
    return [file for file in files if file.is_file()]
