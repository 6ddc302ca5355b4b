"""Deciding what the paper says of guidance: whether the samples are what was asked for, and how near real images."""

from __future__ import annotations

from nonrobust_guidance.metrics.statistics.intervals import Interval, difference, wilson_interval
from nonrobust_guidance.metrics.statistics.seeds import mean_over_cells
from nonrobust_guidance.report.claims.verdict import (
    SENTENCES,
    UNDECIDED,
    Finding,
    Groups,
    all_of,
    any_of,
    decide,
    missing,
    side,
)
from nonrobust_guidance.report.results import Outcome, Results, best
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import X0_HAT, X_T, number

HIGH_ACCURACY = 0.99
"""The paper's own number."""

NEAR_DISTANCE = 1.5
"""The paper gives no number for near; half as far again is what one would still call so by eye."""

FEATURES = {"fd_judge": "the judge's features", "fid": "FID", "fid_torchvision": "FID with torchvision's Inception"}
"""Columns of conditional Frechet distances, without their ending, and what a reader is told they are."""


def denoising_helps(groups: Groups) -> Finding:
    """Decide whether the accuracy at x0_hat is above halfway from unguided to robust guidance, and above that at x_t.

    Not supported where it is below either.
    """
    if not groups.at_x0 or not groups.at_xt:
        return missing(f"non-robust guidance at {X_T} and at {X0_HAT}")
    if not groups.measurable:
        return groups.unmeasurable()
    found, before = best(groups.at_x0), best(groups.at_xt)
    gain = difference(found.accuracy, before.accuracy)
    sign = all_of([side(found.accuracy, groups.halfway), side(gain, 0)])
    words = say(
        SENTENCES,
        "denoising_helps",
        before=before.accuracy,
        before_cell=groups.name(before),
        before_side=side(before.accuracy, groups.halfway),
        halfway=f"{100 * groups.halfway:.0f}%",
        found=found.accuracy,
        found_cell=groups.name(found),
        gain=gain,
        before_n=before.n,
        found_n=found.n,
    )
    return Finding(decide(sign), words)


def stabilizing_helps(groups: Groups) -> Finding:
    """Decide whether some stabilized method is better, in accuracy or distance, and worse in neither.

    Not supported where every one is worse in one of them and better in neither.
    """
    if not groups.at_x0 or not groups.stabilized:
        return missing(f"non-robust guidance at {X0_HAT} with and without a stabilizer")
    plain, signs, parts = best(groups.at_x0), [], []
    for name in dict.fromkeys(outcome.method.name for outcome in groups.stabilized):
        found = best([outcome for outcome in groups.stabilized if outcome.method.name == name])
        sign, words = compare(found, plain)
        signs.append(sign)
        parts.append(f"{groups.name(found)} {words}")
    words = say(
        SENTENCES,
        "stabilizing_helps",
        plain_cell=groups.name(plain),
        accuracy=plain.accuracy,
        distance=plain.distance,
        n=plain.n,
        others=parts,
    )
    return Finding(decide(1 if 1 in signs else -1 if set(signs) == {-1} else 0), words)


def compare(found: Outcome, other: Outcome) -> tuple[int, str]:
    """Return whether an outcome is better (1), worse (-1) or neither (0) than another, and by how much in words.

    Better is a higher held-out accuracy or a lower distance, told apart by the interval of the difference, without
    being worse in the other. Distances of unequal n are not compared: their bias differs.
    """
    accuracy, distance = difference(found.accuracy, other.accuracy), difference(found.distance, other.distance)
    same_n = found.cell_n == other.cell_n
    signs = {side(accuracy, 0), -side(distance, 0) if same_n else 0}
    words = say(
        SENTENCES,
        "compared",
        sign=any_of(signs),
        tie=signs >= {1, -1},
        accuracy=accuracy,
        distance=distance if same_n else None,
    )
    return any_of(signs), words


def accuracy_is_high(groups: Groups) -> Finding:
    """Decide whether more than 99% of the samples are the target to the classifier that guided them, as in the paper.

    Supported where that holds at the best scale of the best stabilized method; not supported where it holds at no
    scale of any.
    """
    asked = [(outcome, outcome.accuracy_self) for outcome in groups.stabilized]
    shares = {id(outcome): share for outcome, share in asked if share is not None}
    if not shares:
        return missing(f"stabilized non-robust guidance at {X0_HAT}")
    found = best([outcome for outcome in groups.stabilized if id(outcome) in shares])
    share = shares[id(found)]
    above = side(share, HIGH_ACCURACY) > 0
    below = all(side(other, HIGH_ACCURACY) < 0 for other in shares.values())
    decision, enough = decide(1 if above else -1 if below else 0), smallest_conclusive_n(HIGH_ACCURACY)
    words = say(
        SENTENCES,
        "accuracy_is_high",
        cell=groups.name(found),
        by_guide=share,
        by_judge=found.accuracy,
        n=found.n,
        highest=max(shares.values(), key=lambda other: other.value),
        enough=enough if decision == UNDECIDED and found.n < enough else None,
    )
    return Finding(decision, words)


def smallest_conclusive_n(share: float) -> int:
    """Return how many trials, all of them successes, it takes for Wilson's interval to lie above a share below 1."""
    n = 1
    while wilson_interval(n, n)[0] <= share:
        n += 1
    return n


def distance_is_near(groups: Groups) -> Finding:
    """Decide whether stabilized guidance is at most one and a half times as far from real images as robust guidance.

    Far is what a distance exceeds that of as many real test images by: what both share, which is mostly the bias of
    few images, makes no two methods near. With several feature extractors it has to hold in each.
    """
    if not groups.stabilized or not groups.robust:
        return missing("stabilized non-robust and robust guidance")
    if not groups.measurable:
        return groups.unmeasurable()
    found, robust = best(groups.stabilized), best(groups.robust)
    if found.cell_n != robust.cell_n:
        return Finding(UNDECIDED, say(SENTENCES, "unequal_cells", n=found.cell_n, other=robust.cell_n))
    signs, parts = [], []
    for column in distance_columns(groups.results):
        (weak, real), (strong, _) = (distance_in(groups, outcome, column) for outcome in (found, robust))
        excess = [Interval(*(end - real for end in distance)) for distance in (weak, strong)]
        signs.append(-side(difference(excess[0], excess[1].scaled(NEAR_DISTANCE)), 0))
        parts.append({"weak": weak, "robust": strong, "features": name_of(column), "real": number_alone(real)})
    words = say(
        SENTENCES,
        "distance_is_near",
        cell=groups.name(found),
        robust_cell=groups.name(robust),
        n=found.n,
        cell_n=found.cell_n,
        distances=parts,
    )
    return Finding(decide(all_of(signs)), words)


def distance_columns(results: Results) -> list[str]:
    """Return the columns of conditional Frechet distances that the run has numbers in, one for each extractor."""
    table = results.metrics
    names = [name for name in table.columns if name.startswith(("fd_", "fid")) and name.endswith("_conditional")]
    return [name for name in names if table[name].notna().all()]


def distance_in(groups: Groups, outcome: Outcome, column: str) -> tuple[Interval, float]:
    """Return an outcome's distance in a column, and what as many real test images score there."""
    rows = groups.results.select(groups.results.metrics, outcome.method, outcome.scale, groups.targets)
    return mean_over_cells(rows, column), float(rows[f"{column}_real"].mean())


def name_of(column: str) -> str:
    """Return what a reader is told a column's distances are."""
    name = column.removesuffix("_conditional")
    return FEATURES.get(name, name)


def number_alone(value: float) -> str:
    """Return a number without an interval."""
    return number(Interval(value, value, value)).split()[0]
