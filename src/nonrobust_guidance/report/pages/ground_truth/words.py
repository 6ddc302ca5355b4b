"""What came out where the right answer is known, in words computed from the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from nonrobust_guidance.metrics.intervals import Interval, difference
from nonrobust_guidance.report.pages.ground_truth.measured import (
    AT_X0,
    AT_XT,
    DETACHED,
    FREE,
    GUIDED,
    LOOKS,
    READINGS,
    ROBUST,
    STABILIZED,
    Mixture,
    Outcome,
)
from nonrobust_guidance.report.wording import X0_HAT, X_T, listed, percent

QUESTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    f"Is the robust posterior at {X_T} closer than no guidance?": ((ROBUST,), (FREE,)),
    f"Is the non-robust one at {X_T} closer than no guidance?": ((AT_XT,), (FREE,)),
    f"Does {X0_HAT} bring it closer than {X_T}?": ((AT_X0,), (AT_XT,)),
    f"Does the best stabilizer bring {X0_HAT} closer?": (STABILIZED, (AT_X0,)),
    "Is it then closer than the robust one?": (STABILIZED, (ROBUST,)),
    f"Is {X0_HAT} closer with the pass through the denoiser than detached?": ((AT_X0,), (DETACHED,)),
}
EFFECTS = {1: "helps", -1: "does harm", 0: "makes no difference that can be told apart"}
WORDS = {1: "yes", -1: "no, farther", 0: "not told apart"}


def answer(mixture: Mixture) -> str:
    """Return what came out on one mixture, in a paragraph."""
    at_xt, at_x0, stabilized = (mixture.best(*methods) for methods in ((AT_XT,), (AT_X0,), STABILIZED))
    found = {
        "for the robust posterior": mixture.best(ROBUST),
        f"for the non-robust one at {X_T}": at_xt,
        f"for it at {X0_HAT}": at_x0,
        f"for it at {X0_HAT} with {stabilized.look.label.rpartition('+ ')[2]}, the best stabilizer": stabilized,
    }
    return (
        f"On the {mixture.name} mixture the distance to the exact conditional is "
        f"{listed([f'{decimals(outcome.distance)} {name}' for name, outcome in found.items()])}; unguided samples are "
        f"at {mixture.best(FREE).distance.value:.3f}, as many exact ones at {mixture.floor.value:.3f}. So here "
        f"classifying {X0_HAT} in place of {X_T} {EFFECTS[closer(at_x0, at_xt)]}, and stabilizing {X0_HAT} "
        f"{EFFECTS[closer(stabilized, at_x0)]}."
    )


def question_table(mixtures: Sequence[Mixture]) -> list[dict[str, str]]:
    """Return a row a question, a column a mixture: the answer and the two distances it rests on."""
    rows = []
    for question, (methods, others) in QUESTIONS.items():
        row = {"question": question}
        for mixture in mixtures:
            found, other = mixture.best(*methods), mixture.best(*others)
            named = f" ({found.look.label.rpartition('+ ')[2]})" if len(methods) > 1 else ""
            row[mixture.name] = (
                f"{WORDS[closer(found, other)]}: {decimals(found.distance)}{named} against {decimals(other.distance)}"
            )
        rows.append(row)
    return rows


def closer(found: Outcome, other: Outcome) -> int:
    """Return 1 where an outcome is closer to the exact conditional than another, -1 where farther, 0 where neither."""
    apart = difference(found.distance, other.distance)
    return 1 if apart.high < 0 else -1 if apart.low > 0 else 0


def best_table(mixture: Mixture) -> list[dict[str, str]]:
    """Return a row a method, at its best scale."""
    return [outcome_row(mixture.best(method)) for method in LOOKS]


def all_outcomes(mixture: Mixture) -> list[dict[str, str]]:
    """Return a row a method and scale."""
    return [outcome_row(outcome) for outcome in mixture.outcomes]


def outcome_row(outcome: Outcome) -> dict[str, str]:
    """Return the numbers of one outcome."""
    return {
        "method": outcome.look.label,
        "scale": f"{outcome.scale:g}" if outcome.scale else "",
        "distance": decimals(outcome.distance),
        "of the class asked for": percent(outcome.class_share),
        "fullest component": f"{100 * outcome.fullest_share:.0f}%",
    }


def under_noise(mixtures: Sequence[Mixture]) -> str:
    """Return how far the posteriors are apart where that at x_t is furthest behind."""
    sentences = []
    for mixture in mixtures:
        here = {a.reading: a for a in mixture.under_noise if a.t == mixture.telling_level}
        shares = [f"{percent(here[reading].accuracy)} ({label})" for reading, label in READINGS.items()]
        sentences.append(
            f"On the {mixture.name} mixture the clean-time posterior at {X_T} is furthest behind at noise level "
            f"{here['exact'].noise_level:.2f}, where right are {listed(shares)}."
        )
    return " ".join(sentences)


def modes(mixtures: Sequence[Mixture]) -> str:
    """Return how the samples are spread over the components of the class, where methods deliver it."""
    sentences = []
    for mixture in mixtures:
        found = [mixture.delivering(method) for method in GUIDED]
        parts = [f"{100 * outcome.fullest_share:.0f}% ({outcome.look.label})" for outcome in found]
        sentences.append(f"On the {mixture.name} mixture the fullest of the four components holds {listed(parts)}.")
    return " ".join(sentences)


def over_steps(mixtures: Sequence[Mixture]) -> str:
    """Return the error of exact guidance with the fewest and with the most steps."""
    sentences = []
    for mixture in mixtures:
        (few, coarse, _), (many, fine, _) = mixture.convergence[0], mixture.convergence[-1]
        sentences.append(
            f"On the {mixture.name} mixture exact guidance at scale 1 is at {decimals(coarse)} with {few} steps and "
            f"at {decimals(fine)} with {many}; exact samples reach up to {mixture.floor.high:.3f} by chance."
        )
    return " ".join(sentences)


def decimals(distance: Interval) -> str:
    """Return a distance such as ``0.041 [0.035, 0.050]``."""
    return f"{distance.value:.3f} [{distance.low:.3f}, {distance.high:.3f}]"
