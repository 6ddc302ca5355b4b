"""Tables of the samples' scores, as rows of text under the names of their columns."""

from __future__ import annotations

import math

import pandas as pd

from nonrobust_guidance.metrics.choice import best
from nonrobust_guidance.metrics.distances.spaces import FIDELITY, list_spaces
from nonrobust_guidance.metrics.statistics.seeds import mean_over_seeds, probability_over_seeds
from nonrobust_guidance.report.facts import Row
from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results
from nonrobust_guidance.report.wording import decimals_of, method_labels, number, percent


def best_scales(results: Results, target: str) -> list[Row]:
    """Return a row per method: its best scale for a target, or for ``ALL_TARGETS``, and the results there."""
    labels, outcomes = method_labels(results.run), results.outcomes_of(target)
    chosen = [best([o for o in outcomes if o.method.name == method.name]) for method in results.methods]
    rows = [{"method": labels[outcome.method.name]} | outcome_row(outcome) for outcome in chosen]
    real = [outcome.real_distance for outcome in chosen if outcome.method.guided]
    if real:
        mean = sum(real) / len(real)
        row = dict.fromkeys(rows[0], "") | {
            "method": "as many real test images",
            "distance": f"{mean:.{decimals_of(mean)}f}",
        }
        rows.append(row)
    return rows


def sampling_table(results: Results) -> list[Row]:
    """Return a row per method, scale and target with every measure of the run: means over seeds, and intervals.

    An accuracy has Wilson's interval over all samples, any other number that of `mean_over_seeds`.
    """
    labels = method_labels(results.run)
    return [
        {"method": labels[outcome.method.name], "target": outcome.target}
        | {name: text for name, text in outcome_row(outcome).items() if name != "distance"}
        | measures(results, results.select(results.metrics, outcome.method, outcome.scale, [outcome.target]))
        for outcome in results.outcomes
        if outcome.target != ALL_TARGETS
    ]


def measures(results: Results, rows: pd.DataFrame) -> Row:
    """Return target probabilities, and distances and fidelity in each feature space, of one cell with all its seeds."""
    row: Row = {"seeds": str(len(rows))}
    for judge, who in (("heldout", "held-out"), ("self", "own guide")):
        mean, deviation = probability_over_seeds(rows, judge)
        row[f"probability, {who}"] = "-" if math.isnan(mean.value) else f"{number(mean)}, deviation {deviation:.2f}"
    for space in list_spaces(results.run.metrics):
        columns = {
            f"{space.frechet}, all": space.frechet,
            f"{space.frechet}, class": space.conditional,
            f"{space.frechet}, real test images": f"{space.conditional}_real",
            f"{space.kernel}, class": space.kernel_conditional,
        }
        columns |= {f"{what}, {space.suffix}": f"{what}_{space.suffix}" for what in FIDELITY}
        row |= {title: number(mean_over_seeds(rows, column)) for title, column in columns.items()}
    return row


def outcome_row(outcome: Outcome) -> Row:
    """Return the numbers of one outcome."""
    return {
        "scale": f"{outcome.scale:g}" if outcome.method.guided else "",
        "images": str(outcome.n),
        "held-out accuracy": percent(outcome.accuracy),
        "accuracy by its own guide": percent(outcome.accuracy_self),
        "distance": number(outcome.distance),
    }


def warnings_of(results: Results) -> list[str]:
    """Return the distinct warnings of the metrics table."""
    return [text for text in dict.fromkeys(results.metrics["warning"]) if text]
