"""Which candidate of each method a screening chooses, and the run that confirms them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nonrobust_guidance.csv_files import read_numbers
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.choice import AtScale, at_scale, best
from nonrobust_guidance.metrics.distances.spaces import list_spaces
from nonrobust_guidance.metrics.screening import R, Variant, screening_of, variants, with_sampling, without
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.metrics.tables import METRICS, SELECTION, with_ends


def confirmed(run: R, selection: Path) -> R:
    """Return the run with the candidate of each method that a selection chose, and nothing left to choose.

    Raises:
        UserError: if the file is missing, or lacks a method of the run.
    """
    if not variants(run):
        return run
    table = read_numbers(selection, "screen the run's candidates again")
    absent = [column for column in SELECTION.columns if column not in table.columns]
    if absent:
        raise UserError(f"{selection} lacks the column {absent[0]}; delete it and screen again")
    chosen = {row["method"]: row for row in table.to_dict("records") if row["chosen"] == 1}
    methods = run.resolved()["sampling"]["methods"]
    for name in dict.fromkeys(variant.method for variant in variants(run).values()):
        if name not in chosen:
            raise UserError(f"{selection} chooses nothing for {name}; delete it and screen again")
        row = chosen[name]
        methods[name] = without(methods[name], "vary") | json.loads(row["changes"] or "{}") | {"scales": [row["scale"]]}
    return with_sampling(run, run.resolved()["sampling"] | {"methods": methods})


def select_candidates(run: Measured, screened_csv: Path, output_csv: Path) -> None:
    """Write which candidate of each method is chosen, and why: a row per candidate, in the configuration's order.

    Over all targets, the candidates whose held-out accuracy cannot be told apart from the highest one's (their 95%
    intervals overlap) are tied; of these the one with the lowest conditional distance is chosen.

    Raises:
        UserError: if the table of the screening is missing, or lacks a candidate.
    """
    screened = read_numbers(screened_csv, "screen the run's candidates again")
    absent = [name for name in (*METRICS.columns, list_spaces(run.metrics)[0].conditional) if name not in screened]
    if absent:
        raise UserError(f"{screened_csv} lacks the column {absent[0]}; delete it and screen again")
    names = variants(run)
    rows = []
    for method in dict.fromkeys(variant.method for variant in names.values()):
        own = {name: variant for name, variant in names.items() if variant.method == method}
        rows += _judged(list(_scored(own, run, screened)))
    table = pd.DataFrame(rows, columns=SELECTION.columns)
    write_atomically(output_csv, lambda file: table.to_csv(file, index=False, float_format="%.6g"))


def _scored(
    own: Mapping[str, Variant], run: Measured, screened: pd.DataFrame
) -> Iterator[tuple[dict[str, Any], AtScale]]:
    """Yield the columns that name each candidate of a method, and its results over all targets."""
    methods, distance = screening_of(run).sampling.guided, list_spaces(run.metrics)[0].conditional
    for name, variant in own.items():
        changes = json.dumps(dict(variant.changes)) if variant.changes else ""
        for scale in methods[name].scales:
            part = screened[(screened["method"] == name) & (screened["scale"] == scale)]
            if set(part["target"]) != set(run.sampling.targets):
                cell = f"{name} at scale {scale:g}"
                raise UserError(f"the screening has not scored {cell} for every target; screen again")
            row = {"method": variant.method, "candidate": name, "changes": changes, "n": int(part["n"].sum())}
            yield row, at_scale(part, scale, distance)


def _judged(scored: list[tuple[dict[str, Any], AtScale]]) -> list[dict[str, Any]]:
    """Return the rows of a method's candidates with their results, the decision and its reason."""
    candidates = [candidate for _, candidate in scored]
    chosen, top = best(candidates), max(candidate.accuracy for candidate in candidates)

    def why(candidate: AtScale) -> str:
        if candidate is chosen:
            return "as accurate as any, and of these the nearest to real images"
        level = candidate.accuracy.high >= top.low
        return "as accurate as any, but no nearer to real images" if level else "a lower accuracy than the highest"

    return [
        row
        | dict(zip(with_ends("accuracy"), candidate.accuracy, strict=True))
        | {"scale": candidate.scale, "distance": candidate.distance.value}
        | {"chosen": int(candidate is chosen), "why": why(candidate)}
        for row, candidate in scored
    ]
