"""Deciding what the paper says of guidance: whether samples are of the target class, and how near real images."""

from __future__ import annotations

import math
from typing import NamedTuple

from nonrobust_guidance.metrics.choice import best
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.statistics.needed import samples_for_share
from nonrobust_guidance.report.claims.verdict import SENTENCES, Finding, Groups, agreed, missing, side
from nonrobust_guidance.report.claims.weighing import (
    Measure,
    Weighed,
    above,
    agreeing,
    all_of,
    any_of,
    below,
)
from nonrobust_guidance.report.comparisons import Pair, distance_columns
from nonrobust_guidance.report.results import Outcome, Results, conditional_distance
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import X0_HAT, X_T, number

HIGH_ACCURACY = 0.99
"""The paper's own number."""

NEAR_DISTANCE = 1.5
"""The paper gives no number for "near"; by eye one would still say it of a distance half as large again."""

FEATURES = {"fd_judge": "the judge's features", "fid": "FID", "fid_torchvision": "FID with torchvision's Inception"}
"""Columns of conditional Frechet distances, without their ending, and what the reader is told they are."""

NO_COMPARISONS = "comparisons of these methods"


class Compared(NamedTuple):
    """A method compared with another.

    Attributes:
        tested: the test that it is better: more accurate or nearer, and the opposite in neither.
        sign: 1 where a 95% interval shows it is better and none that it is worse, -1 for the opposite, else 0.
        words: how it compares.
    """

    tested: Weighed
    sign: int
    words: str


def denoising_helps(groups: Groups) -> Finding:
    """Decide whether accuracy at x0_hat is more than halfway from unguided to robust guidance, and higher than at x_t.

    Not supported where it is below either of these.
    """
    if not groups.at_x0 or not groups.at_xt or not groups.robust:
        return missing(f"robust guidance and non-robust guidance at {X_T} and at {X0_HAT}")
    if not groups.measurable:
        return groups.unmeasurable()
    found, before = best(groups.at_x0), best(groups.at_xt)
    pair = groups.results.compare(found, before)
    marks = [above_halfway(groups, outcome) for outcome in (found, before)]
    if pair is None or marks[0] is None or marks[1] is None:
        return missing(NO_COMPARISONS)
    gain = groups.accuracy_gain(pair)
    words = say(
        SENTENCES,
        "denoising_helps",
        before=before.accuracy,
        before_cell=groups.name(before),
        before_side=side(marks[1].value, 0),
        halfway=f"{100 * groups.halfway:.0f}%",
        found=found.accuracy,
        found_cell=groups.name(found),
        gain=gain.value,
        before_n=before.n,
        found_n=found.n,
    )
    return Finding(all_of([above(marks[0]), above(gain, pair.p("accuracy_heldout"))]), words)


def above_halfway(groups: Groups, outcome: Outcome) -> Measure | None:
    """Return by how much an accuracy exceeds the middle of unguided and robust guidance; None unless compared.

    It is the mean of its differences from the two. Their ends are averaged, as if the dependence were complete, so the
    interval is too wide rather than too narrow. Without unguided samples, chance takes their place.
    """
    robust = groups.results.compare(outcome, best(groups.robust))
    free = None if groups.free is None else groups.results.compare(outcome, groups.free)
    if robust is None or (free is None and groups.free is not None):
        return None
    parts = [robust.difference("accuracy_heldout")]
    if free is not None:
        parts.append(free.difference("accuracy_heldout"))
    else:
        parts.append(Interval(*(end - groups.unguided for end in outcome.accuracy)))
    value = Interval(*(math.fsum(ends) / 2 for ends in zip(*parts, strict=True)))
    return groups.measure("accuracy_heldout_above_halfway", value, 0.0, robust.n, robust.one, robust.other)


def stabilizing_helps(groups: Groups) -> Finding:
    """Decide whether some stabilized method is better, in accuracy or distance, and worse in neither.

    Not supported where every such method is worse in one of them and better in neither.
    """
    if not groups.at_x0 or not groups.stabilized:
        return missing(f"non-robust guidance at {X0_HAT} with and without a stabilizer")
    plain, found = best(groups.at_x0), []
    for outcome in groups.stabilized:
        compared = compare(groups.results, outcome, plain)
        if compared is None:
            return missing(NO_COMPARISONS)
        found.append((outcome, compared))
    words = say(
        SENTENCES,
        "stabilizing_helps",
        plain_cell=groups.name(plain),
        accuracy=plain.accuracy,
        distance=plain.distance,
        n=plain.n,
        others=[f"{groups.name(outcome)} {compared.words}" for outcome, compared in found],
    )
    return Finding(any_of([compared.tested for _, compared in found]), words)


def compare(results: Results, found: Outcome, other: Outcome) -> Compared | None:
    """Return how a method compares with another, each at its chosen scale; None where the run has not compared them.

    Better is a higher held-out accuracy or a lower distance of as many samples from the same noise.
    """
    groups, pair = Groups(results, found.target), results.compare(found, other)
    if pair is None:
        return None
    accuracy, distance = groups.accuracy_gain(pair), distance_gain(groups, pair)
    signs = {side(accuracy.value, 0), -side(distance.value, 0)}
    words = say(
        SENTENCES,
        "compared",
        sign=agreed(signs),
        tie=signs >= {1, -1},
        accuracy=accuracy.value,
        distance=distance.value,
    )
    tested = agreeing([above(accuracy, pair.p("accuracy_heldout")), below(distance)])
    return Compared(tested, agreed(signs), words)


def distance_gain(groups: Groups, pair: Pair) -> Measure:
    """Return the difference of a pair's distances in the run's first features, to be compared with 0."""
    column = conditional_distance(groups.results.run.metrics)
    value, other = pair.difference(column), pair.distances(column)[1].value
    return groups.measure(f"{column}_difference", value, 0.0, pair.n, pair.one, pair.other, scale=other)


def accuracy_is_high(groups: Groups) -> Finding:
    """Decide whether more than 99% of the samples are the target to the classifier that guided them, as in the paper.

    Supported where that holds for some stabilized method; not supported where it holds at no scale of any.
    """
    every = [(o, share) for o in groups.stabilized_at_every_scale if (share := o.accuracy_self) is not None]
    tested = {(o.method.name, o.scale): above(guide_accuracy(groups, o, share)) for o, share in every}
    chosen = [o for o in groups.stabilized if (o.method.name, o.scale) in tested]
    if not chosen:
        return missing(f"stabilized non-robust guidance at {X0_HAT}")
    found = best(chosen)
    some = any_of([tested[o.method.name, o.scale] for o in chosen])
    none = any_of(list(tested.values()))
    words = say(
        SENTENCES,
        "accuracy_is_high",
        cell=groups.name(found),
        by_guide=found.accuracy_self,
        by_judge=found.accuracy,
        n=found.n,
        highest=max((share for _, share in every), key=lambda other: other.value),
    )
    return Finding(some._replace(opposing=none.opposing), words)


def guide_accuracy(groups: Groups, outcome: Outcome, share: Interval) -> Measure:
    """Return the share that the guide itself calls the target; a margin of half of the allowed misses would matter."""
    margin = (1 - HIGH_ACCURACY) / 2

    def needs(level: float) -> int:
        return samples_for_share(HIGH_ACCURACY + margin, HIGH_ACCURACY, level=level)

    return Measure(
        "accuracy_self",
        share,
        HIGH_ACCURACY,
        outcome.n,
        groups.seeds,
        outcome.method.name,
        margin=f"{100 * margin:g} points",
        needs=needs,
    )


def distance_is_near(groups: Groups) -> Finding:
    """Decide whether some stabilized method is at most one and a half times as far from real images as robust guidance.

    How far is measured by how much a distance exceeds that of as many real test images, so that what both share, mostly
    the bias of few images, does not make two methods near. With several feature extractors it has to hold in each.
    """
    if not groups.stabilized or not groups.robust:
        return missing("stabilized non-robust and robust guidance")
    if not groups.measurable:
        return groups.unmeasurable()
    robust, table = best(groups.robust), groups.results.comparisons
    pairs = {o.method.name: groups.results.compare(o, robust) for o in groups.stabilized}
    found = {name: pair for name, pair in pairs.items() if pair is not None}
    if table is None or len(found) < len(pairs):
        return missing(NO_COMPARISONS)
    columns, shown = distance_columns(table), best(groups.stabilized)
    pair, parts = found[shown.method.name], []
    for column in columns:
        weak, strong = pair.distances(column)
        real = number_alone(float(pair.row[f"{column}_real"]))
        parts.append({"weak": weak, "robust": strong, "features": name_of(column), "real": real})
    words = say(
        SENTENCES,
        "distance_is_near",
        cell=groups.name(shown),
        robust_cell=groups.name(robust),
        n=pair.n,
        cell_n=int(pair.row["cell_n"]),
        distances=parts,
    )
    near = [all_of([below(excess_distance(groups, other, c)) for c in columns]) for other in found.values()]
    return Finding(any_of(near), words)


def excess_distance(groups: Groups, pair: Pair, column: str) -> Measure:
    """Return by how much a distance exceeds what still counts as near robust guidance's, both relative to real images'.

    The margin is the difference from there to a distance like robust guidance's.
    """
    strong = pair.distances(column)[1].value - float(pair.row[f"{column}_real"])
    value = pair.excess(column, NEAR_DISTANCE)
    measure = Measure(f"{column}_above_near", value, 0.0, pair.n, pair.seeds, pair.one, pair.other)
    return measure.within((NEAR_DISTANCE - 1) * strong)


def name_of(column: str) -> str:
    """Return what the reader is told a column's distances are."""
    name = column.removesuffix("_conditional")
    return FEATURES.get(name, name)


def number_alone(value: float) -> str:
    """Return a number without an interval."""
    return number(Interval(value, value, value)).split()[0]
