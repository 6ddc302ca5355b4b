"""Deciding what the paper says of the classifiers themselves: their accuracy under noise, and their gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from nonrobust_guidance.metrics.choice import best
from nonrobust_guidance.metrics.statistics.intervals import Interval, difference, mean_of
from nonrobust_guidance.report.claims.verdict import RELATIVE_MARGIN, SENTENCES, Finding, Groups, missing, side
from nonrobust_guidance.report.claims.weighing import Measure, Weighed, above, agreeing, all_of, any_of, below, most_of
from nonrobust_guidance.report.results import Outcome, Results
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import X_T

MOST_LEVELS = 0.5
"""A gradient is called unstable along the forward process if it is unstable at more than this share of the noise
levels: the claim is about the whole process, and at its ends all classifiers see nearly the same."""

CHANGES = ("ratio", "relative_change")
"""Change per unit of change of the image, and relative to the gradient's own length."""


class Evidence(NamedTuple):
    """The evidence for and against a claim, and the same in words."""

    tested: Weighed
    words: str


def under_noise(groups: Groups) -> Finding:
    """Decide whether at some level one classifier has lost half of its lead over chance and the other has not.

    Supported where at some level the non-robust classifier's accuracy on x_t lies below its mark, halfway from chance
    to its own accuracy at the cleanest level, and the robust one's above its own. Not supported where at every level
    the robust one's lies below its mark or the non-robust one's above.
    """
    results, noise = groups.results, groups.results.noise
    robust, weak = (noise_curve(results, robust=kind) for kind in (True, False))
    levels = sorted(set(robust) & set(weak))
    if not levels:
        return missing("robust and non-robust classifier under noise")
    first, chance, n = levels[0], 1 / max(2, len(results.classes)), int(noise["n"].max())
    marks = [(chance + curve[first].value) / 2 for curve in (robust, weak)]
    kept = [t for t in levels if side(robust[t], marks[0]) > 0]
    lost = [t for t in kept if side(weak[t], marks[1]) < 0]
    tested = any_of(
        [
            all_of(
                [
                    above(Measure("accuracy", robust[t], marks[0], n, one="robust classifier")),
                    below(Measure("accuracy", weak[t], marks[1], n, one="non-robust classifier")),
                ]
            )
            for t in levels
        ]
    )
    shown = max(kept or levels, key=lambda t: robust[t].value - weak[t].value)
    words = say(
        SENTENCES,
        "under_noise",
        t=shown,
        num_steps=int(noise["t"].max()) + 1,
        n=n,
        weak=weak[shown],
        robust=robust[shown],
        first=first,
        weak_first=weak[first],
        robust_first=robust[first],
        kept=len(kept),
        levels=len(levels),
        lost=len(lost),
    )
    return Finding(tested, words)


def noise_curve(results: Results, robust: bool) -> dict[int, Interval]:
    """Return the accuracy on x_t by level of the run's first guide that is robust, or not; empty for none."""
    rows = rows_of_guide(results, results.noise, robust)
    return {} if rows is None else curve_of(rows[rows["at"] == "xt"], "accuracy")


def rows_of_guide(results: Results, table: pd.DataFrame, robust: bool) -> pd.DataFrame | None:
    """Return a table's rows of the first classifier in it that is robust, or not; the judge is neither."""
    guides = {
        name: entry.noised for name, entry in results.run.classifiers.items() if name != results.run.metrics.judge
    }
    names = [name for name in dict.fromkeys(table["classifier"]) if guides.get(name) == robust]
    return table[table["classifier"] == names[0]] if names else None


def curve_of(rows: pd.DataFrame, column: str) -> dict[int, Interval]:
    """Return a column with its intervals by noise level; levels without a number are left out."""
    columns = [rows[f"{column}{end}"].astype(float) for end in ("", "_low", "_high")]
    curve = {int(t): Interval(*ends) for t, *ends in zip(rows["t"], *columns, strict=True)}
    return {t: interval for t, interval in curve.items() if interval.value == interval.value}


def unstable_gradients(groups: Groups) -> Finding:
    """Decide whether the non-robust classifier's gradient at x_t moves more than the robust one's.

    Tested along the forward process and along guided trajectories, if the run has them: supported where one of them
    supports it and neither says the opposite.
    """
    found = [part for part in (along_forward_process(groups), along_trajectories(groups)) if part]
    if not found:
        return missing(f"table of gradients of a robust and a non-robust classifier at {X_T}")
    return Finding(agreeing([part.tested for part in found]), " ".join(part.words for part in found))


def along_forward_process(groups: Groups) -> Evidence | None:
    """Compare how much both gradients change from one noise level to the next, level by level.

    The quotient is the paper's measure, but is larger for a classifier with longer gradients, so the change relative
    to their own length decides as well.
    """
    table = groups.results.sensitivity
    if table is None:
        return None
    chosen = table[(table["at"] == "xt") & (table["quantity"] == "gradient") & (table["stabilizer"] == "")]
    robust, weak = (rows_of_guide(groups.results, chosen, robust=kind) for kind in (True, False))
    if robust is None or weak is None:
        return None
    n = int(chosen["n"].max())
    found = [
        part
        for column in CHANGES
        if (part := compare_levels(curve_of(weak, column), curve_of(robust, column), column, n)) is not None
    ]
    if not found:
        return None
    words = say(SENTENCES, "along_forward_process", n=n, changes=[part.words for part in found])
    return Evidence(agreeing([part.tested for part in found]), words)


def compare_levels(
    weak: Mapping[int, Interval], robust: Mapping[int, Interval], column: str, n: int
) -> Evidence | None:
    """Return whether one is above the other at most levels, from n images; None where they share no level.

    Both see the same images, but the difference is taken as if the images were different, so its interval is too wide.
    """
    levels = sorted(set(robust) & set(weak))
    if not levels:
        return None
    apart = [difference(weak[t], robust[t]) for t in levels]
    signs = [side(interval, 0) for interval in apart]
    tested = []
    for t, interval in zip(levels, apart, strict=True):
        sides = ("non-robust classifier", "robust classifier")
        measure = Measure(f"{column}_difference", interval, 0.0, n, 1, *sides)
        tested.append(above(measure.within(RELATIVE_MARGIN * abs(robust[t].value))))
    middle = levels[len(levels) // 2]
    words = say(
        SENTENCES,
        "levels",
        column=column,
        more=signs.count(1),
        less=signs.count(-1),
        total=len(levels),
        t=middle,
        weak=weak[middle],
        robust=robust[middle],
    )
    return Evidence(most_of(tested, MOST_LEVELS), words)


def along_trajectories(groups: Groups) -> Evidence | None:
    """Compare the cosine between successive gradients of both where they guide on x_t, at their best scales."""
    table = groups.results.trajectories
    if table is None:
        return None
    robust, weak = (
        [(o, cosine_of(groups, table, o)) for o in outcomes]
        for outcomes in ([o for o in groups.robust if o.method.at == "xt"], groups.at_xt)
    )
    strong, other = best_recorded(robust), best_recorded(weak)
    if not strong or not other:
        return None
    rows = groups.results.select(table, other[0].method, other[0].scale, groups.targets)
    n = int(rows.groupby("k")["n"].sum().max())
    words = say(
        SENTENCES,
        "along_trajectories",
        n=n,
        weak=other[1],
        weak_cell=groups.name(other[0]),
        robust=strong[1],
        robust_cell=groups.name(strong[0]),
    )
    measure = groups.measure(
        "cosine_difference",
        difference(strong[1], other[1]),
        0.0,
        n,
        strong[0].method.name,
        other[0].method.name,
        scale=strong[1].value,
    )
    return Evidence(above(measure._replace(seeds=rows["seed"].nunique())), words)


def cosine_of(groups: Groups, table: pd.DataFrame, outcome: Outcome) -> Interval | None:
    """Return the mean cosine between successive raw gradients of a cell, over steps, seeds and targets.

    Steps of the same trajectories depend on each other, so the ends of the intervals are averaged over steps, as if the
    dependence were complete: the interval is too wide rather than too narrow. Seeds and targets are independent.
    """
    rows = groups.results.select(table, outcome.method, outcome.scale, groups.targets).dropna(subset=["cosine"])
    columns = ["cosine", "cosine_low", "cosine_high"]
    parts = [Interval(*map(float, part[columns].mean())) for _, part in rows.groupby(["target", "seed"])]
    return mean_of(parts) if parts else None


def best_recorded(pairs: Sequence[tuple[Outcome, Interval | None]]) -> tuple[Outcome, Interval] | None:
    """Return, of the outcomes that come with a number, the best one and its number."""
    found = {id(outcome): (outcome, interval) for outcome, interval in pairs if interval is not None}
    return found[id(best([outcome for outcome, _ in found.values()]))] if found else None
