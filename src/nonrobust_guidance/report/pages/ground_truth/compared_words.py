"""The results of the comparison of every method, stabilizer and sampler, in words computed from the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from nonrobust_guidance.report.pages.ground_truth.compared import (
    DELIVERS,
    PLAIN,
    REJECTION,
    SAMPLERS,
    TOLERANCE,
    Compared,
    Trial,
    best_of,
    label_of,
)
from nonrobust_guidance.report.pages.ground_truth.measured import FREE
from nonrobust_guidance.report.pages.ground_truth.words import SENTENCES, decimals, shown
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import percent


def verdicts(compared: Compared) -> list[str]:
    """Return which methods can be trusted with variety: as they are, only with a trust region, or not at all."""
    alone = [method for method in compared.methods if compared.best(method).trusted]
    others = [method for method in compared.methods if method not in alone]
    bounded = [method for method in others if compared.best(method, trust=True).trusted]
    never = [method for method in others if method not in bounded]
    elsewhere = labels(method for method in others if compared.keeps_elsewhere(method))
    tolerance, share, radius = f"{TOLERANCE:.0%}", f"{DELIVERS:.0%}", f"{compared.trust_radius:g}"
    return [
        *([say(SENTENCES, "guesses", tolerance=tolerance)] if compared.few_samples else []),
        say(SENTENCES, "trusted", methods=labels(alone), tolerance=tolerance, share=share),
        say(SENTENCES, "trusted_with_region", methods=labels(bounded), radius=radius),
        *untrusted(compared, never),
        *([say(SENTENCES, "elsewhere", methods=elsewhere)] if elsewhere else []),
    ]


def untrusted(compared: Compared, methods: Sequence[str]) -> list[str]:
    """Return what these methods lack at their best scales: the class, variance, or only focus."""
    few, shrunk, blurred = [], [], []
    for method in methods:
        found = [trial for trust in (False, True) if (trial := compared.best(method, trust=trust)).delivers]
        if not found:
            few.append(method)
        elif any(min(trial.variance_kept.value, trial.variance_within.value) < 1 - TOLERANCE for trial in found):
            shrunk.append(method)
        else:
            blurred.append(method)
    reasons = {"few": labels(few), "shrunk": labels(shrunk), "blurred": labels(blurred)}
    return [say(SENTENCES, "untrusted", reason=name, methods=group) for name, group in reasons.items() if group]


def rejection(compared: Compared) -> str:
    """Return what rejection keeps and costs."""
    (trial,) = compared.of(REJECTION)
    return say(SENTENCES, "rejection", kept=percent(trial.variance_kept), passes=f"{trial.denoiser_passes:.1f}")


def levels(compared: Compared) -> str:
    """Return what the two unguided chains keep within components, the reason for the levels of this section."""
    linear, (even,) = compared.mixture.best(FREE), compared.of(FREE)
    kept = {"linear": percent(linear.variance_within), "even": percent(even.variance_within)}
    right = abs(even.variance_within.value - 1.0) <= TOLERANCE
    return say(SENTENCES, "levels", right=right, **kept)


def samplers(compared: Compared) -> list[str]:
    """Return the sampler with which each method comes closest, at its best scale, and what depends on the sampler."""
    sentences, mixed = [], []
    for method in compared.with_every_sampler:
        trials = [compared.best(method, sampler=name) for name in SAMPLERS]
        best = best_of(trials)
        if len({trial.trusted for trial in trials}) == 2:
            mixed.append(method)
        numbers = {"distance": decimals(best.distance), "steps": best.steps}
        sentences.append(say(SENTENCES, "samplers", method=best.label, sampler=SAMPLERS[best.sampler], **numbers))
    return sentences + [say(SENTENCES, "sampler_decides", methods=labels(mixed))] * bool(mixed)


def best_table(compared: Compared, *, stabilized: bool) -> list[dict[str, str]]:
    """Return a row per method at its best scale, without and with a trust region; with a stabilizer, or without one.

    The methods without a stabilizer come after the unguided chain and rejection.
    """
    rows = [] if stabilized else [trial_row(compared.of(name)[0]) for name in (FREE, REJECTION)]
    for method in compared.methods:
        if (method not in PLAIN) == stabilized:
            rows += [trial_row(compared.best(method, trust=trust)) for trust in (False, True)]
    return rows


def sampler_table(compared: Compared) -> list[dict[str, str]]:
    """Return a row per sampler and method, at its best scale without a trust region."""
    return [
        {"sampler": SAMPLERS[name], "steps": str(trial.steps)} | without(trial_row(trial), "r", "passes")
        for name in SAMPLERS
        for method in (FREE, *compared.with_every_sampler)
        for trial in [compared.best(method, sampler=name)]
    ]


def all_trials(compared: Compared) -> list[dict[str, str]]:
    """Return a row per trial."""
    return [{"sampler": SAMPLERS[trial.sampler]} | trial_row(trial) for trial in compared.trials]


def trial_row(trial: Trial) -> dict[str, str]:
    """Return the numbers of one trial."""
    return {
        "method": trial.label,
        "r": "" if math.isnan(trial.trust_radius) else f"{trial.trust_radius:g}",
        "scale": f"{trial.scale:g}" if trial.scale > 0 else "",
        "distance": decimals(trial.distance),
        "of the class": percent(trial.class_share),
        "variance kept": shown(trial.variance_kept),
        "within": shown(trial.variance_within),
        "passes": f"{round(trial.denoiser_passes, 1):g} + {round(trial.classifier_passes, 1):g}",
    }


def without(row: dict[str, str], *columns: str) -> dict[str, str]:
    """Return a row without these columns."""
    return {name: text for name, text in row.items() if name not in columns}


def labels(methods: Iterable[str]) -> list[str]:
    """Return the names of methods in words."""
    return [label_of(method) for method in methods]
