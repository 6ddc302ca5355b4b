"""The report's tables, as rows of text under the names of their columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from nonrobust_guidance import provenance
from nonrobust_guidance.metrics.seeds import mean_over_seeds, probability_over_seeds
from nonrobust_guidance.metrics.spaces import FIDELITY, list_spaces
from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results, best
from nonrobust_guidance.report.verdict import Verdict
from nonrobust_guidance.report.wording import decimals_of, listed, method_labels, number, percent

Row = dict[str, str]


def claim_table(verdicts: Sequence[Verdict]) -> list[Row]:
    """Return a row a claim: what decides it, the numbers of this run over all targets, and the verdict."""
    first = {verdict.number: verdict for verdict in reversed(verdicts)}
    return [
        {"claim": f"{i}. {v.claim}", "what decides it": v.test, "this run": v.evidence, "verdict": v.outcome}
        for i, v in sorted(first.items())
    ]


def verdict_table(verdicts: Sequence[Verdict]) -> list[Row]:
    """Return a row a claim and target."""
    return [
        {"claim": f"{v.number}. {v.claim}", "target": v.target, "this run": v.evidence, "verdict": v.outcome}
        for v in verdicts
    ]


def best_scales(results: Results, target: str) -> list[Row]:
    """Return a row a method: its best scale for a target, or for ``ALL_TARGETS``, and what it came to."""
    labels, outcomes = method_labels(results.config), results.outcomes_of(target)
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
    """Return a row a method, scale and target with every measure of the run: means over seeds, and intervals.

    With one seed an interval is the cell's own, where it has one; with several it is Wilson's of all samples for an
    accuracy and Student's t over the seeds for any other number.
    """
    labels = method_labels(results.config)
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
    for space in list_spaces(results.config):
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


def what_was_run(results: Results) -> list[Row]:
    """Return a row a fact: data, models, sampling, judging, and where and with what this report was made."""
    config = results.config
    sampling, metrics, diffusion = config["sampling"], config["metrics"], config["diffusion"]
    schedule, features = diffusion["schedule"], [space.words for space in list_spaces(config)]
    facts = {
        "data": f"{config['dataset']['name']}: {', '.join(results.classes)}",
        "diffusion model": f"{diffusion['name']}: T = {schedule['num_steps']}, betas {schedule['beta_start']:g} to "
        f"{schedule['beta_end']:g}{trained(diffusion)}",
        **{f"classifier {name}": describe_classifier(entry) for name, entry in config["classifiers"].items()},
        "sampling": f"{sampling['sampler']}, {sampling['steps']} steps, {sampling['num_samples']} images a cell, seeds "
        f"{', '.join(map(str, sampling['seeds']))}, targets {listed(results.targets)}",
        "judged by": f"{metrics['judge']}, which guides no method; distances in features of {listed(features)}, "
        f"{metrics['bootstrap']['resamples']} bootstrap resamples",
        "cells": f"{len(results.metrics)} rows in metrics.csv, of {count_images(results)} images",
        "report made on": provenance.device(),
        "with": provenance.versions(),
        "commit": provenance.commit(),
    }
    return [{"what": what, "value": value} for what, value in facts.items() if value]


def count_images(results: Results) -> int:
    """Return how many images were drawn; unguided ones are scored against every target, and drawn once."""
    rows = results.metrics
    free = rows["method"].isin([method.name for method in results.unguided])
    return int(rows[~free]["n"].sum() + rows[free].drop_duplicates(["method", "seed"])["n"].sum())


def describe_classifier(entry: Mapping[str, Any]) -> str:
    """Return a classifier's architecture and training in words."""
    images = "noised" if entry.get("noised") else "clean"
    return f"{entry['architecture']}, trained on {images} images{trained(entry)}"


def trained(entry: Mapping[str, Any]) -> str:
    """Return a model's training, or where its published weights are from, in words."""
    training, source = entry.get("training"), entry.get("source")
    if source:
        place = next(source[key] for key in ("repository", "url", "folder") if key in source)
        revision = f" at revision {source['revision']}" if source.get("revision") else ""
        return f", published weights of {place}{revision}"
    if not training:
        return ""
    return f", {training['steps']} steps of batch {training['batch_size']}, seed {training['seed']}"


def warnings_of(results: Results) -> list[str]:
    """Return the distinct warnings of the metrics table."""
    return [text for text in dict.fromkeys(results.metrics["warning"]) if text]
