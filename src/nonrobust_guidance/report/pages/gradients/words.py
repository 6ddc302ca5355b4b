"""What a run shows about its gradients, in words and rows of text computed from the numbers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.tables import ENDS
from nonrobust_guidance.records import environment
from nonrobust_guidance.report.facts import Row, describe_classifier, trained
from nonrobust_guidance.report.pages.gradients.measured import Gradients, count_levels, factor
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import AT, method_labels, number, percent, stabilizer_labels

SENTENCES = "pages/gradients/sentences.j2"


def answer(gradients: Gradients) -> list[str]:
    """Return the answer, a paragraph for each of the three questions."""
    return [text for text in (under_noise(gradients), along_forward(gradients), along_sampling(gradients)) if text]


def under_noise(gradients: Gradients) -> str:
    """Return which classifiers are right at the noise level where they differ most."""
    table = gradients.noise
    spread = table.groupby("t")["accuracy"].agg(lambda shares: shares.max() - shares.min())
    level = spread.idxmax()
    shares = [
        f"{row['classifier']} on {AT[row['at']]} {percent(interval_in_row(row, 'accuracy'))}"
        for row in table[table["t"] == level].to_dict("records")
    ]
    last_level = gradients.run.diffusion.schedule.num_steps - 1
    return say(SENTENCES, "under_noise", level=f"{level:.0f}", last_level=last_level, shares=shares)


def along_forward(gradients: Gradients) -> str:
    """Return by how much a step of noise changes raw gradients, and what x0_hat and each stabilizer do to that."""
    raw = [change for change in gradients.changes if not change.stabilizer]
    parts = [f"{change.classifier} on {AT[change.at]} {number(change.relative)}" for change in raw]
    inputs = {(change.classifier, change.at): change.relative for change in raw}
    denoised = [
        f"{number(factor(inputs[name, 'x0'], inputs[name, 'xt']))} for {name}"
        for name in dict.fromkeys(change.classifier for change in raw)
    ]
    divided = []
    for stabilizer, label in stabilizer_labels(gradients.run).items():
        own = [change for change in gradients.changes if change.stabilizer == stabilizer]
        found = sorted(factor(gradients.raw_of(change).relative, change.relative) for change in own)
        if found:
            divided.append(f"{number(found[0])} to {number(found[-1])} ({label})")
    return say(SENTENCES, "along_forward", raw=parts, denoised=denoised, divided=divided)


def along_sampling(gradients: Gradients) -> str:
    """Return how much gradients turn along guided sampling, and how much of their shifts is left."""
    labels = method_labels(gradients.run)
    plain = [one for one in gradients.followed if not one.method.stabilizer]
    stabilized = [one for one in gradients.followed if one.method.stabilizer]
    plain.sort(key=lambda one: -one.cosine.value)
    return say(
        SENTENCES,
        "along_sampling",
        plain=[f"{labels[c.method.name]}: {angle(c.cosine)}{left(c.survival)}" for c in plain],
        stabilized=[f"{labels[c.method.name]}: {angle(c.cosine_stabilized)}{left(c.survival)}" for c in stabilized],
        factors=[number(factor(one.survival, one.survival_raw)) for one in stabilized],
    )


def left(survival: Interval) -> str:
    """Return which share of the shifts is left; empty for a method whose shifts are not multiples of its gradients."""
    return "" if math.isnan(survival.value) else f" and {percent(survival)}"


def followed_table(gradients: Gradients) -> list[Row]:
    """Return a row per guided method: how much its gradients turn, and how much of their shifts is left."""
    labels, rows = method_labels(gradients.run), []
    for one in gradients.followed:
        row = {"method": labels[one.method.name], "scale": f"{one.rows['scale'].iloc[0]:g}"}
        row |= {"cosine, raw": number(one.cosine), "cosine, stabilized": "-"}
        row |= {"shift left, raw": percent(one.survival_raw), "shift left, stabilized": "-", "factor": "-"}
        if one.method.stabilizer:
            row["cosine, stabilized"] = number(one.cosine_stabilized)
            row["shift left, stabilized"] = percent(one.survival)
            row["factor"] = number(factor(one.survival, one.survival_raw))
        rows.append({column: unbroken(text) if column != "method" else text for column, text in row.items()})
    return rows


def change_table(gradients: Gradients) -> list[Row]:
    """Return a row per classifier, input and stabilizer: how much its gradients change along the forward process."""
    labels, rows = stabilizer_labels(gradients.run), []
    for change in gradients.changes:
        row = {
            "classifier": change.classifier,
            "input": AT[change.at],
            "gradient": labels.get(change.stabilizer, "raw"),
        }
        row |= {"relative change": number(change.relative), "raw over stabilized": "-", "quotient against raw": "-"}
        if change.stabilizer:
            raw = gradients.raw_of(change)
            lower, higher, level = count_levels(change.rows, raw.rows, "ratio")
            row["raw over stabilized"] = number(factor(raw.relative, change.relative))
            row["quotient against raw"] = f"lower at {lower}, higher at {higher}, not told apart at {level} levels"
        rows.append(row)
    return rows


def quotient_table(gradients: Gradients) -> list[Row]:
    """Return a row per level, classifier, input and quantity: the quotient of the paper, as it is in the table."""
    labels, rows = stabilizer_labels(gradients.run), []
    for row in gradients.sensitivity.to_dict("records"):
        name = "logits" if row["quantity"] == "logits" else f"gradient, {labels.get(row['stabilizer'], 'raw')}"
        value, low, high = interval_in_row(row, "ratio")
        found = {"t": f"{row['t']:.0f}", "classifier": row["classifier"], "input": AT[row["at"]], "of": name}
        found["quotient"] = f"{value:.3g} [{low:.3g}, {high:.3g}]"
        rows.append(found | {"relative change": number(interval_in_row(row, "relative_change"))})
    return rows


def noise_table(gradients: Gradients) -> list[Row]:
    """Return a row per level, classifier and input: accuracy, and probability of the right class."""
    return [
        {
            "t": f"{row['t']:.0f}",
            "classifier": row["classifier"],
            "input": AT[row["at"]],
            "images": f"{row['n']:.0f}",
            "right": percent(interval_in_row(row, "accuracy")),
            "probability of the right class": percent(
                Interval(row["probability_mean"], row["probability_low"], row["probability_high"])
            ),
        }
        for row in gradients.noise.to_dict("records")
    ]


def what_was_run(gradients: Gradients) -> list[Row]:
    """Return a row per fact: the models, and for each of the three questions how many images, levels and seeds."""
    run, followed = gradients.run, gradients.followed
    diffusion, schedule = run.diffusion, run.diffusion.schedule
    noise, sensitivity = gradients.noise, gradients.sensitivity
    guides = dict.fromkeys(noise["classifier"])
    seed = run.metrics.bootstrap.seed
    facts = {
        "run": f"{run.run}, on {run.dataset.name}",
        "diffusion model": f"{diffusion.name}: T = {schedule.num_steps}, betas {schedule.beta_start:g} to "
        f"{schedule.beta_end:g}{trained(diffusion)}",
        **{f"classifier {name}": describe_classifier(run.classifiers[name]) for name in guides},
        "under noise": f"{noise['n'].max():.0f} test images, noise of seed {seed}, {noise['t'].nunique()} noise levels",
        "a step of noise": f"{sensitivity['n'].max():.0f} test images, noise of seed {seed}, "
        f"{sensitivity['t'].nunique()} of the {run.sampling.steps - 1} pairs of neighbouring levels that "
        "sampling goes through",
    }
    if followed:
        first = followed[0].rows.iloc[0]
        facts["guided sampling"] = (
            f"{first['n']:.0f} samples of each of {len(followed)} methods at the middle one of its scales, toward "
            f"{first['target']}, seed {first['seed']:.0f}, {run.sampling.sampler.label} in "
            f"{run.sampling.steps} steps"
        )
    facts["intervals"] = f"95%: Wilson's for accuracies, else {run.metrics.bootstrap.resamples} bootstrap"
    facts["intervals"] += " resamples of the images or samples"
    facts |= {"report made on": environment.device(), "with": environment.versions(), "commit": environment.commit()}
    return [{"what": what, "value": value} for what, value in facts.items() if value]


def interval_in_row(row: Mapping[Hashable, Any], column: str) -> Interval:
    """Return a number of a table's row with its interval."""
    return Interval(*(float(row[f"{column}{end}"]) for end in ENDS))


def unbroken(text: str) -> str:
    """Return a text that stays on one line."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def angle(cosine: Interval) -> str:
    """Return the angle whose cosine it is, such as ``84° [82, 86]``."""
    value, high, low = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return f"{value:.0f}° [{low:.0f}, {high:.0f}]"
