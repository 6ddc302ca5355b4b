"""What a run says about the paper's statements: decided from its numbers and their intervals, never typed.

A statement is supported or not supported only where a 95% interval lies wholly on one side of what decides it; else
it is undecided at this n. Each method enters with its best scale (`results.best`). Nothing corrects for several
comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from nonrobust_guidance.metrics.cells import Method
from nonrobust_guidance.metrics.intervals import Interval, difference
from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results, best
from nonrobust_guidance.report.wording import X0_HAT, X_T, listed, method_labels, number, percent, points, signed

SUPPORTED = "supported"
NOT_SUPPORTED = "not supported"
UNDECIDED = "undecided at this n"
NOT_TESTED = "not tested"

NEAR_ACCURACY = 0.10
NEAR_DISTANCE = 1.5

STATEMENTS = (
    "A classifier trained on clean images loses its accuracy under noise; one trained on noised images keeps it.",
    f"Guiding with the non-robust classifier on {X_T} fails.",
    f"Classifying the one-step denoised image {X0_HAT} makes it work.",
    f"Stabilizing the gradient (EMA, Adam) improves on {X0_HAT} alone.",
    "Denoised and stabilized, the non-robust classifier guides nearly as well as the robust one.",
)


class Verdict(NamedTuple):
    """What the run says about one statement, for one target or for all."""

    number: int
    statement: str
    target: str
    outcome: str
    evidence: str


def judge_statements(results: Results) -> list[Verdict]:
    """Return the verdict on each of the five statements: over all targets first, then target by target."""
    targets = [ALL_TARGETS, *results.targets] if len(results.targets) > 1 else results.targets
    outcome, evidence = under_noise(results.noise, results)
    verdicts = [Verdict(1, STATEMENTS[0], "all images", outcome, evidence)]
    rules: Sequence[Callable[[Field], tuple[str, str]]] = (fails_at_xt, works_at_x0, stabilizing_helps, near_robust)
    for i, rule in enumerate(rules, start=1):
        for target in targets:
            verdicts.append(Verdict(i + 1, STATEMENTS[i], target, *rule(Field(results, target))))
    return verdicts


class Field:
    """The outcomes for one target, in the groups that the statements are about."""

    def __init__(self, results: Results, target: str) -> None:
        """Sort the outcomes into groups."""
        outcomes = results.outcomes_of(target)
        self.labels = method_labels(results.config)

        def group(chosen: Callable[[Method], bool]) -> list[Outcome]:
            return [o for o in outcomes if o.method.guided and chosen(o.method)]

        self.robust = group(lambda m: m.robust and not m.stabilizer)
        self.at_xt = group(lambda m: not m.robust and m.at == "xt" and not m.stabilizer)
        self.at_x0 = group(lambda m: not m.robust and m.at == "x0" and not m.stabilizer)
        self.stabilized = group(lambda m: not m.robust and m.at == "x0" and bool(m.stabilizer))
        unguided = [o.accuracy.value for o in outcomes if not o.method.guided]
        self.unguided = unguided[0] if unguided else 1 / max(1, len(results.classes))
        self.top = best(self.robust).accuracy if self.robust else Interval(1.0, 1.0, 1.0)
        self.halfway = (self.unguided + self.top.value) / 2

    def name(self, outcome: Outcome) -> str:
        """Return the method and its scale in words."""
        return f"{self.labels[outcome.method.name]} at scale {outcome.scale:g}"

    @property
    def measurable(self) -> bool:
        """Whether robust guidance works at all, so that others can be measured by it."""
        return self.top.low > self.unguided

    def unmeasurable(self) -> tuple[str, str]:
        """Return the verdict where it does not."""
        return UNDECIDED, (
            f"Robust guidance itself reaches {percent(self.top)} where unguided sampling has "
            f"{100 * self.unguided:.0f}%, so there is nothing to measure by."
        )


def side(interval: Interval, threshold: float) -> int:
    """Return 1 where the interval lies above the threshold, -1 where below, 0 where it holds it."""
    return 1 if interval.low > threshold else -1 if interval.high < threshold else 0


def decide(sign: int) -> str:
    """Return the verdict that goes with evidence for (1), against (-1) or neither (0)."""
    return {1: SUPPORTED, -1: NOT_SUPPORTED, 0: UNDECIDED}[sign]


def missing(*kinds: str) -> tuple[str, str]:
    """Return that a statement was not tested, and for want of what."""
    return NOT_TESTED, f"This run has no {listed(kinds)}."


def under_noise(noise: pd.DataFrame, results: Results) -> tuple[str, str]:
    """Decide statement 1: is there a level at which the one has lost half of its lead over chance, the other not?

    Supported where at some level the non-robust classifier's interval on x_t lies below its mark, halfway from chance
    to its own accuracy at the cleanest level, and the robust one's above its own. Not supported where there is none
    and the non-robust one's lies above its mark wherever the robust one's does.
    """
    robust, weak = (noise_curve(noise, results, robust=kind) for kind in (True, False))
    levels = sorted(set(robust) & set(weak))
    if not levels:
        return missing("robust and non-robust classifier under noise")
    first, chance = levels[0], 1 / max(2, len(results.classes))
    robust_sides, weak_sides = (
        {t: side(curve[t], (chance + curve[first].value) / 2) for t in levels} for curve in (robust, weak)
    )
    kept = [t for t in levels if robust_sides[t] > 0]
    lost = [t for t in kept if weak_sides[t] < 0]
    sign = 1 if lost else -1 if kept and all(weak_sides[t] > 0 for t in kept) else 0
    shown = max(kept or levels, key=lambda t: robust[t].value - weak[t].value)
    return decide(sign), (
        f"At t = {shown} of {int(noise['t'].max()) + 1} the non-robust classifier is right on {percent(weak[shown])} "
        f"of {int(noise['n'].max())} noised test images and the robust one on {percent(robust[shown])}, against "
        f"{percent(weak[first])} and {percent(robust[first])} at t = {first}; at {len(kept)} levels the robust one "
        f"keeps more than half its lead over chance, and at {len(lost)} of them the non-robust one has lost that."
    )


def noise_curve(noise: pd.DataFrame, results: Results, robust: bool) -> dict[int, Interval]:
    """Return the accuracy on x_t by level of the run's first classifier that is robust, or not; empty for none."""
    kinds = {name: bool(entry.get("noised")) for name, entry in results.config["classifiers"].items()}
    names = [name for name in dict.fromkeys(noise["classifier"]) if kinds.get(name) == robust]
    if not names:
        return {}
    rows = noise[(noise["classifier"] == names[0]) & (noise["at"] == "xt")]
    columns = (rows[f"accuracy{end}"].astype(float) for end in ("", "_low", "_high"))
    return {int(t): Interval(*ends) for t, *ends in zip(rows["t"], *columns, strict=True)}


def fails_at_xt(field: Field) -> tuple[str, str]:
    """Decide statement 2: does the accuracy stay below halfway between unguided and robust guidance?"""
    if not field.at_xt:
        return missing(f"non-robust guidance at {X_T}")
    if not field.measurable:
        return field.unmeasurable()
    found = best(field.at_xt)
    return decide(-side(found.accuracy, field.halfway)), (
        f"Best is {field.name(found)}, with a held-out accuracy of {percent(found.accuracy)}; it fails below "
        f"{100 * field.halfway:.0f}%, halfway from unguided to robust guidance."
    )


def works_at_x0(field: Field) -> tuple[str, str]:
    """Decide statement 3: is the accuracy above the same mark, and above that at x_t?"""
    if not field.at_x0 or not field.at_xt:
        return missing(f"non-robust guidance at {X_T} and at {X0_HAT}")
    if not field.measurable:
        return field.unmeasurable()
    found, before = best(field.at_x0), best(field.at_xt)
    gain = difference(found.accuracy, before.accuracy)
    works, gains = side(found.accuracy, field.halfway), side(gain, 0)
    sign = 1 if works > 0 and gains > 0 else -1 if works < 0 or gains < 0 else 0
    return decide(sign), (
        f"Best is {field.name(found)}, with {percent(found.accuracy)}, {points(gain)} against {field.name(before)}; it "
        f"works above {100 * field.halfway:.0f}%, halfway from unguided to robust guidance."
    )


def stabilizing_helps(field: Field) -> tuple[str, str]:
    """Decide statement 4: is some stabilized method better, in accuracy or distance, and worse in neither?

    Not supported where every one is worse in one of them and better in neither.
    """
    if not field.at_x0 or not field.stabilized:
        return missing(f"non-robust guidance at {X0_HAT} with and without a stabilizer")
    plain, signs, parts = best(field.at_x0), [], []
    for name in dict.fromkeys(outcome.method.name for outcome in field.stabilized):
        found = best([outcome for outcome in field.stabilized if outcome.method.name == name])
        sign, words = compare(found, plain)
        signs.append(sign)
        parts.append(f"{field.name(found)} {words}")
    outcome = decide(1 if 1 in signs else -1 if set(signs) == {-1} else 0)
    return (
        outcome,
        f"Against {field.name(plain)} ({percent(plain.accuracy)}, {number(plain.distance)}): {'; '.join(parts)}.",
    )


def compare(found: Outcome, other: Outcome) -> tuple[int, str]:
    """Return whether an outcome is better (1), worse (-1) or neither (0) than another, and by how much in words.

    Better is a higher held-out accuracy or a lower distance, told apart by the interval of the difference, without
    being worse in the other. Distances of unequal n are not compared: their bias differs.
    """
    accuracy, distance = difference(found.accuracy, other.accuracy), difference(found.distance, other.distance)
    same_n = found.cell_n == other.cell_n
    signs = {side(accuracy, 0), -side(distance, 0) if same_n else 0}
    mixed = signs >= {1, -1}
    sign = 0 if mixed else 1 if 1 in signs else -1 if -1 in signs else 0
    tie = "is better in one and worse in the other" if mixed else "is not told apart"
    word = {1: "is better", -1: "is worse", 0: tie}[sign]
    apart = f"distance {signed(distance)}" if same_n else "distances of unequal n not compared"
    return sign, f"{word} (accuracy {points(accuracy)}, {apart})"


def near_robust(field: Field) -> tuple[str, str]:
    """Decide statement 5: accuracy at most 10 points lower and distance at most half as large again."""
    if not field.stabilized or not field.robust:
        return missing("stabilized non-robust and robust guidance")
    if not field.measurable:
        return field.unmeasurable()
    found, robust = best(field.stabilized), best(field.robust)
    loss, excess = (
        difference(robust.accuracy, found.accuracy),
        difference(found.distance, robust.distance.scaled(NEAR_DISTANCE)),
    )
    signs = {-side(loss, NEAR_ACCURACY), -side(excess, 0) if found.cell_n == robust.cell_n else 0}
    sign = -1 if -1 in signs else 1 if signs == {1} else 0
    gap = points(difference(found.accuracy, robust.accuracy))
    return decide(sign), (
        f"Best is {field.name(found)}, with {percent(found.accuracy)}, distance {number(found.distance)}, against "
        f"{field.name(robust)}, with {percent(robust.accuracy)}, {number(robust.distance)}. Near is at most "
        f"{100 * NEAR_ACCURACY:.0f} points less accurate (here {gap}) and at most {NEAR_DISTANCE:g} times as distant."
    )
