"""Where one verdict comes from: from a row of the claims back to the comparison and the cells that it rests on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from nonrobust_guidance.audit.check import REMEDY
from nonrobust_guidance.audit.comparison import rows
from nonrobust_guidance.csv_files import read_texts
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import Method, list_methods
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.metrics.tables import ALL_TARGETS, CLAIMS, COMPARISONS, DECIDED_FROM


def trace_claim(run: Measured, config_file: Path, claim: int, target: str, results_folder: Path) -> list[str]:
    """Return lines on what a verdict rests on, down to the commands that trace each cell behind it.

    Args:
        run: the run.
        config_file: its configuration, for the commands.
        claim: its number.
        target: a class, or the table's name for all of them.
        results_folder: of the run.

    Raises:
        UserError: if a table is missing, or there is no such verdict.
    """
    row = find_verdict(claim, target, results_folder / CLAIMS.name)
    lines = ["The verdict", *(f"  {name} {text}" for name, text in row.items() if text)]
    pair = find_comparison(row, results_folder / COMPARISONS.name)
    if pair:
        lines += ["The comparison", *(f"  {name} {text}" for name, text in pair.items() if text)]
    methods = [method for method in list_methods(run) if method.name in (row["one"], row["other"])]
    if methods:
        lines += ["The cells, each traced by", *commands(run, config_file, methods, row["target"], pair)]
    return [*lines, "The tables it is decided from", *(f"  {results_folder / file.name}" for file in DECIDED_FROM)]


def find_verdict(claim: int, target: str, path: Path) -> dict[str, str]:
    """Return the row of a verdict, as texts.

    Raises:
        UserError: if there is none.
    """
    found = [row for row in rows(read_texts(path, REMEDY)) if row.get("claim") == str(claim)]
    for row in found:
        if row["target"] == target:
            return row
    known = " or ".join(f"'{row['target']}'" for row in found)
    remedy = f"of claim {claim} it has {known}" if found else "it has other claims"
    raise UserError(f"{path} has no verdict on claim {claim} for '{target}'; {remedy}")


def find_comparison(verdict: Mapping[str, str], path: Path) -> dict[str, str]:
    """Return the row of the pair of methods that a verdict is about; empty where it is not about a pair.

    Raises:
        UserError: if the table is missing.
    """
    sides = {verdict["one"], verdict["other"]}
    for row in rows(read_texts(path, REMEDY)):
        if {row["one"], row["other"]} == sides and row["target"] == verdict["target"]:
            return row
    return {}


def commands(
    run: Measured, config_file: Path, methods: list[Method], target: str, pair: Mapping[str, str]
) -> Iterator[str]:
    """Yield the command that traces each cell of some methods, at the scale of the comparison where there is one."""
    scales = {pair[side]: pair[f"{side}_scale"] for side in ("one", "other")} if pair else {}
    for method in methods:
        for scale in [scales[method.name]] if method.name in scales else [f"{s:g}" for s in method.scales]:
            for of_target in run.sampling.targets if target == ALL_TARGETS else [target]:
                for seed in run.sampling.seeds:
                    cell = ["--method", method.name, "--scale", scale, "--target", of_target, "--seed", str(seed)]
                    yield "  " + shlex.join(["nonrobust-guidance", "trace", "--config", str(config_file), *cell])
