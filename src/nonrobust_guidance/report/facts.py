"""What was run, with what and where, as rows of text under the names of their columns."""

from __future__ import annotations

from nonrobust_guidance.metrics.distances.spaces import list_spaces
from nonrobust_guidance.models.settings import Classifier, Diffusion
from nonrobust_guidance.records import environment
from nonrobust_guidance.report.results import Results
from nonrobust_guidance.report.wording import listed

Row = dict[str, str]


def what_was_run(results: Results) -> list[Row]:
    """Return a row per fact: data, models, sampling, judging, and where and with what this report was made."""
    run = results.run
    sampling, metrics, diffusion = run.sampling, run.metrics, run.diffusion
    schedule, features = diffusion.schedule, [space.words for space in list_spaces(metrics)]
    bound = "" if sampling.trust_radius is None else f", trust region {sampling.trust_radius:g}"
    facts = {
        "data": f"{run.dataset.name}: {', '.join(results.classes)}",
        "diffusion model": f"{diffusion.name}: T = {schedule.num_steps}, betas {schedule.beta_start:g} to "
        f"{schedule.beta_end:g}{trained(diffusion)}",
        **{f"classifier {name}": describe_classifier(entry) for name, entry in run.classifiers.items()},
        "sampling": f"{sampling.sampler.label}, {sampling.steps} steps{bound}, {sampling.num_samples} images a cell, "
        f"seeds {', '.join(map(str, sampling.seeds))}, targets {listed(results.targets)}",
        "chosen by": describe_search(results),
        "judged by": f"{metrics.judge}, which guides no method; distances in features of {listed(features)}, "
        f"{metrics.bootstrap.resamples} bootstrap resamples",
        "cells": f"{len(results.metrics)} rows in metrics.csv, of {count_images(results)} images",
        "report made on": environment.device(),
        "with": environment.versions(),
        "commit": environment.commit(),
    }
    return [{"what": what, "value": value} for what, value in facts.items() if value]


def describe_search(results: Results) -> str:
    """Return how the scales were chosen; an empty text where there was nothing to choose before drawing."""
    if results.screening is None:
        return ""
    screened = results.screening.run.sampling
    return (
        f"screening: every scale of a method on {screened.num_samples} images for each target, seed "
        f"{screened.seeds[0]}; the numbers of this report are of fresh images, curves over scales of the screening's"
    )


def count_images(results: Results) -> int:
    """Return how many images were drawn; unguided ones are scored against every target, and drawn once."""
    rows = results.metrics
    free = rows["method"].isin([method.name for method in results.unguided])
    return int(rows[~free]["n"].sum() + rows[free].drop_duplicates(["method", "seed"])["n"].sum())


def describe_classifier(entry: Classifier) -> str:
    """Return a classifier's network and training in words."""
    images = "noised" if entry.noised else "clean"
    return f"{entry.network}, trained on {images} images{trained(entry)}"


def trained(entry: Classifier | Diffusion) -> str:
    """Return a model's training, or where its published weights are from, in words."""
    training, source = entry.training, entry.source
    if source:
        revision = f" at revision {source.revision}" if source.revision else ""
        return f", published weights of {source.place}{revision}"
    if not training:
        return ""
    return f", {training.steps} steps of batch {training.batch_size}, seed {training.seed}"
