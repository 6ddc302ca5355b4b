"""The results where the right answer is known, in words computed from the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nonrobust_guidance.metrics.statistics.intervals import Interval, difference
from nonrobust_guidance.report.pages.ground_truth.measured import (
    AT_X0,
    AT_XT,
    DETACHED,
    FREE,
    GUIDED,
    READINGS,
    ROBUST,
    STABILIZED,
    STYLES,
    Mixture,
    Outcome,
)
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import X0_HAT, X_T, percent

QUESTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    f"Is the robust posterior at {X_T} closer than no guidance?": ((ROBUST,), (FREE,)),
    f"Is the non-robust one at {X_T} closer than no guidance?": ((AT_XT,), (FREE,)),
    f"Does {X0_HAT} bring it closer than {X_T}?": ((AT_X0,), (AT_XT,)),
    f"Does the best stabilizer bring {X0_HAT} closer?": (STABILIZED, (AT_X0,)),
    "Is it then closer than the robust one?": (STABILIZED, (ROBUST,)),
    f"Is {X0_HAT} closer with the pass through the denoiser than detached?": ((AT_X0,), (DETACHED,)),
}
SENTENCES = "pages/ground_truth/sentences.j2"


def answer(mixture: Mixture) -> str:
    """Return the results on one mixture, in a paragraph."""
    at_xt, at_x0, stabilized = (mixture.best(*methods) for methods in ((AT_XT,), (AT_X0,), STABILIZED))
    found = {
        "for the robust posterior": mixture.best(ROBUST),
        f"for the non-robust one at {X_T}": at_xt,
        f"for it at {X0_HAT}": at_x0,
        f"for it at {X0_HAT} with {stabilizer_of(stabilized)}, the best stabilizer": stabilized,
    }
    return say(
        SENTENCES,
        "answer",
        mixture=mixture.name,
        distances=[f"{decimals(outcome.distance)} {name}" for name, outcome in found.items()],
        free=f"{mixture.best(FREE).distance.value:.3f}",
        exact=f"{mixture.floor.value:.3f}",
        denoising=closer(at_x0, at_xt),
        stabilizing=closer(stabilized, at_x0),
    )


def question_table(mixtures: Sequence[Mixture]) -> list[dict[str, str]]:
    """Return a row per question and a column per mixture: the answer and the two distances it rests on."""
    rows = []
    for question, (methods, others) in QUESTIONS.items():
        row = {"question": question}
        for mixture in mixtures:
            found, other = mixture.best(*methods), mixture.best(*others)
            row[mixture.name] = say(
                SENTENCES,
                "compared",
                closer=closer(found, other),
                distance=decimals(found.distance),
                stabilizer=stabilizer_of(found) if len(methods) > 1 else "",
                other=decimals(other.distance),
            )
        rows.append(row)
    return rows


def stabilizer_of(outcome: Outcome) -> str:
    """Return the name of an outcome's stabilizer in words."""
    return outcome.style.label.rpartition("+ ")[2]


def closer(found: Outcome, other: Outcome) -> int:
    """Return 1 where an outcome is closer to the exact conditional than another, -1 where it is farther, else 0."""
    apart = difference(found.distance, other.distance)
    return 1 if apart.high < 0 else -1 if apart.low > 0 else 0


def best_table(mixture: Mixture) -> list[dict[str, str]]:
    """Return a row per method, at its best scale."""
    return [outcome_row(mixture.best(method)) for method in STYLES]


def all_outcomes(mixture: Mixture) -> list[dict[str, str]]:
    """Return a row per method and scale."""
    return [outcome_row(outcome) for outcome in mixture.outcomes]


def outcome_row(outcome: Outcome) -> dict[str, str]:
    """Return the numbers of one outcome."""
    return {
        "method": outcome.style.label,
        "scale": f"{outcome.scale:g}" if outcome.scale else "",
        "distance": decimals(outcome.distance),
        "of the class asked for": percent(outcome.class_share),
        "fullest component": f"{100 * outcome.fullest_share:.0f}%",
        "variance kept": shown(outcome.variance_kept),
        "within components": shown(outcome.variance_within),
    }


def under_noise(mixtures: Sequence[Mixture]) -> str:
    """Return how far apart the posteriors are where the one at x_t is furthest behind."""
    sentences = []
    for mixture in mixtures:
        here = {a.reading: a for a in mixture.under_noise if a.t == mixture.telling_level}
        shares = [f"{percent(here[reading].accuracy)} ({label})" for reading, label in READINGS.items()]
        level = f"{here['exact'].noise_level:.2f}"
        sentences.append(say(SENTENCES, "under_noise", mixture=mixture.name, noise_level=level, shares=shares))
    return " ".join(sentences)


def over_components(mixtures: Sequence[Mixture]) -> str:
    """Return how the samples are spread over the components of the class, where methods deliver it."""
    sentences = []
    for mixture in mixtures:
        found = [mixture.delivering(method) for method in GUIDED]
        parts = [f"{100 * outcome.fullest_share:.0f}% ({outcome.style.label})" for outcome in found]
        sentences.append(say(SENTENCES, "components", mixture=mixture.name, shares=parts))
    return " ".join(sentences)


def over_steps(mixtures: Sequence[Mixture]) -> str:
    """Return the error of exact guidance with the fewest and with the most steps."""
    sentences = []
    for mixture in mixtures:
        (few, coarse, _), (many, fine, _) = mixture.convergence[0], mixture.convergence[-1]
        sentences.append(
            say(
                SENTENCES,
                "over_steps",
                mixture=mixture.name,
                coarse=decimals(coarse),
                few=few,
                fine=decimals(fine),
                many=many,
                floor=f"{mixture.floor.high:.3f}",
            )
        )
    return " ".join(sentences)


def shown(kept: Interval) -> str:
    """Return a share of the variance, a dash where there were too few samples for one."""
    return percent(None if math.isnan(kept.value) else kept)


def decimals(distance: Interval) -> str:
    """Return a distance such as ``0.041 [0.035, 0.050]``."""
    return f"{distance.value:.3f} [{distance.low:.3f}, {distance.high:.3f}]"
