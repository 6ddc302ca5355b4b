"""The report's tables, as rows of text under the names of their columns."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results, best
from nonrobust_guidance.report.verdict import Verdict
from nonrobust_guidance.report.wording import decimals_of, listed, method_labels, number, percent

Row = dict[str, str]
LIBRARIES = ("nonrobust-guidance", "torch", "diffusers", "clean-fid", "numpy")


def statement_table(verdicts: Sequence[Verdict]) -> list[Row]:
    """Return a row a statement: the verdict over all targets and the numbers it rests on."""
    first = {verdict.number: verdict for verdict in reversed(verdicts)}
    return [
        {"": str(number), "statement": v.statement, "verdict": v.outcome, "evidence": v.evidence}
        for number, v in sorted(first.items())
    ]


def verdict_table(verdicts: Sequence[Verdict]) -> list[Row]:
    """Return a row a statement and target."""
    return [{"": str(v.number), "target": v.target, "verdict": v.outcome, "evidence": v.evidence} for v in verdicts]


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


def all_cells(results: Results) -> list[Row]:
    """Return a row a method, scale and target, over all seeds."""
    labels = method_labels(results.config)
    return [
        {"method": labels[outcome.method.name], "target": outcome.target} | outcome_row(outcome)
        for outcome in results.outcomes
        if outcome.target != ALL_TARGETS
    ]


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
    schedule = diffusion["schedule"]
    facts = {
        "data": f"{config['dataset']['name']}: {', '.join(results.classes)}",
        "diffusion model": f"{diffusion['name']}: T = {schedule['num_steps']}, betas {schedule['beta_start']:g} to "
        f"{schedule['beta_end']:g}{trained(diffusion)}",
        **{f"classifier {name}": describe_classifier(entry) for name, entry in config["classifiers"].items()},
        "sampling": f"{sampling['sampler']}, {sampling['steps']} steps, {sampling['num_samples']} images a cell, seeds "
        f"{', '.join(map(str, sampling['seeds']))}, targets {listed(results.targets)}",
        "judged by": f"{metrics['judge']}, which guides no method; distances in features of {metrics['extractor']}, "
        f"{metrics['bootstrap']['resamples']} bootstrap resamples",
        "cells": f"{len(results.metrics)} rows in metrics.csv",
        "report made on": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, Python "
        f"{platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in LIBRARIES)}",
    }
    return [{"what": what, "value": value} for what, value in facts.items()]


def describe_classifier(entry: Mapping[str, Any]) -> str:
    """Return a classifier's architecture and training in words."""
    images = "noised" if entry.get("noised") else "clean"
    return f"{entry['architecture']}, trained on {images} images{trained(entry)}"


def trained(entry: Mapping[str, Any]) -> str:
    """Return a model's training in words, empty where it was not trained here."""
    training = entry.get("training")
    if not training:
        return ""
    return f", {training['steps']} steps of batch {training['batch_size']}, seed {training['seed']}"


def warnings_of(results: Results) -> list[str]:
    """Return the distinct warnings of the metrics table."""
    return [text for text in dict.fromkeys(results.metrics["warning"]) if text]
