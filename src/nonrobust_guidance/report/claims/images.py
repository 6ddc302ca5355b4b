"""Deciding what the paper says of the images: how diverse they are, and what guidance does to their colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonrobust_guidance.metrics.choice import best
from nonrobust_guidance.metrics.statistics.intervals import LEVEL, Interval, difference, mean_of
from nonrobust_guidance.metrics.statistics.seeds import mean_over_cells, share_over_seeds
from nonrobust_guidance.report.claims.verdict import SENTENCES, Finding, Groups, missing
from nonrobust_guidance.report.claims.weighing import Weighed, above, agreeing, all_of
from nonrobust_guidance.report.results import Outcome
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import X0_HAT, percent, quantity

KEPT = 0.8
"""Diversity counts as kept from this share on. The paper gives no number; a loss of a fifth would be worth a second
look."""

RESAMPLES = 500
SIGNATURES = ("colour_shift", "none_share")


def diversity_is_kept(groups: Groups) -> Finding:
    """Decide whether stabilized guidance keeps four fifths of the diversity of robust guidance and of real images.

    Recall and coverage, in the run's first features, are compared with those of robust guidance from as many samples
    and, where the run has them, with those of as many real test images; the spread of the factors that do not depend on
    the class is compared with real test images. Supported where all are kept, not supported where any is not.
    """
    if not groups.stabilized:
        return missing(f"stabilized non-robust guidance at {X0_HAT}")
    found = best(groups.stabilized)
    parts = [*shares_kept(groups, found), *spreads_kept(groups, found)]
    if not parts:
        return missing("recall, coverage or factors to compare")
    said = [words for _, words in parts]
    words = say(SENTENCES, "diversity_is_kept", cell=groups.name(found), n=found.n, parts=said)
    return Finding(all_of([tested for tested, _ in parts]), words)


def shares_kept(groups: Groups, found: Outcome) -> Iterator[tuple[Weighed, str]]:
    """Yield whether recall and coverage are kept, and in words; nothing where the run measures neither."""
    metrics = groups.results.metrics
    extractor = next((name.removeprefix("recall_") for name in metrics.columns if name.startswith("recall_")), "")
    robust = best(groups.robust) if groups.robust else None
    for column in (f"recall_{extractor}", f"coverage_{extractor}"):
        if column not in metrics.columns or metrics[column].isna().any():
            continue
        name, own = column.split("_")[0], share_in(groups, found, column)
        # Both shares rise with the number of samples, so they are compared at equal numbers.
        if robust is not None and robust.cell_n == found.cell_n:
            other = share_in(groups, robust, column)
            words = say(SENTENCES, "share_beside_cell", name=name, own=own, other=other, cell=groups.name(robust))
            kept = difference(own, other.scaled(KEPT))
            measure = groups.measure(f"{column}_kept", kept, 0.0, found.n, found.method.name, robust.method.name)
            yield above(measure), words
        if f"{column}_real" in metrics.columns:
            rows = groups.results.select(metrics, found.method, found.scale, groups.targets)
            real = float(rows[f"{column}_real"].mean())
            words = say(SENTENCES, "share_beside_real", name=name, own=own, real=f"{100 * real:.0f}%")
            yield above(groups.measure(column, own, KEPT * real, found.n, found.method.name, "real")), words


def share_in(groups: Groups, outcome: Outcome, column: str) -> Interval:
    """Return an outcome's share with the intervals of the table, or Wilson's for its n where there are none."""
    rows = groups.results.select(groups.results.metrics, outcome.method, outcome.scale, groups.targets)
    return mean_over_cells(rows, column) if f"{column}_low" in rows.columns else share_over_seeds(rows, column)


def spreads_kept(groups: Groups, found: Outcome) -> Iterator[tuple[Weighed, str]]:
    """Yield whether each factor's standard deviation is kept, and in words; nothing without known factors.

    It is measured on samples that the judge takes for the class and compared with real test images, both as the judge
    sees them.
    """
    table = groups.results.factors
    if table is None:
        return
    own = groups.results.select(table[table["accepted"] == 1], found.method, found.scale, groups.targets)
    real = table[table["method"] == ("real_judged" if "real_judged" in set(table["method"]) else "real")]
    for factor in linear_factors(groups, table):
        ratios = [
            spread_ratio(*(rows.loc[rows["target"] == target, factor].to_numpy(float) for rows in (own, real)))
            for target in groups.targets
        ]
        measured = [ratio for ratio in ratios if ratio is not None]
        if len(measured) == len(groups.targets):
            ratio = mean_of(measured)
            measure = groups.measure(
                f"{factor}_spread_ratio", ratio, KEPT, min(found.n, len(own)), found.method.name, "real", scale=1.0
            )
            yield above(measure), say(SENTENCES, "spread", factor=factor, ratio=ratio)


def linear_factors(groups: Groups, table: pd.DataFrame) -> list[str]:
    """Return the factors that have a standard deviation; an angle has none, and no shift among the signatures."""
    signatures = groups.results.signatures
    columns = [] if signatures is None else list(signatures.columns)
    factors = [name.removesuffix("_distance") for name in columns if name.endswith("_distance")]
    return [name for name in factors if f"{name}_shift" in columns and name in table.columns]


def spread_ratio(values: NDArray[np.float64], real: NDArray[np.float64]) -> Interval | None:
    """Return the ratio of the standard deviations of two samples (N,) and (M,) with its bootstrap interval.

    None where either has fewer than two values or the real ones do not vary.
    """
    values, real = values[np.isfinite(values)], real[np.isfinite(real)]
    if min(len(values), len(real)) < 2 or real.std() == 0:
        return None
    rng = np.random.default_rng(0)
    draws = [rng.choice(part, (RESAMPLES, len(part))).std(axis=1, ddof=1) for part in (values, real)]
    ratio = float(values.std(ddof=1) / real.std(ddof=1))
    low, high = np.quantile(draws[0] / draws[1].clip(min=1e-12), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(ratio, min(ratio, float(low)), max(ratio, float(high)))


def degrades_without_stabilizing(groups: Groups) -> Finding:
    """Decide whether colours shift and samples degrade with the scale, and more so than with a stabilizer.

    For each unstabilized non-robust method and each signature: it grows from the smallest to the largest scale, and at
    the largest it is above that of the best stabilized method at its own largest scale (a method's scales go from too
    weak to too strong). Supported where both hold for some method's signature and the opposite for none.
    """
    groups = groups.over_scales
    table = groups.results.signatures
    if table is None:
        return missing("table of signatures")
    if not groups.stabilized:
        return missing(f"stabilized non-robust guidance at {X0_HAT}")
    chosen = best(groups.stabilized).method.name
    yardstick = by_scale(groups.stabilized_at_every_scale, chosen)[-1]
    plain, parts = groups.plain_at_every_scale, []
    for name in dict.fromkeys(outcome.method.name for outcome in plain):
        scales = by_scale(plain, name)
        if len(scales) > 1:
            parts += [compare_signature(groups, table, scales, yardstick, column) for column in SIGNATURES]
    found = [part for part in parts if part is not None]
    if not found:
        return missing("signatures of unstabilized non-robust guidance at two scales")
    said = [words for _, words in found]
    words = say(SENTENCES, "degrades_without_stabilizing", cell=groups.name(yardstick), n=yardstick.n, parts=said)
    return Finding(agreeing([tested for tested, _ in found]), words)


def by_scale(outcomes: Sequence[Outcome], method: str) -> list[Outcome]:
    """Return a method's outcomes by rising scale."""
    return sorted((o for o in outcomes if o.method.name == method), key=lambda outcome: outcome.scale)


def compare_signature(
    groups: Groups, table: pd.DataFrame, scales: Sequence[Outcome], yardstick: Outcome, column: str
) -> tuple[Weighed, str] | None:
    """Return whether a signature grows with scale and ends above the yardstick's, also in words; None if absent."""
    weakest, strongest = scales[0], scales[-1]
    first, last, other = (signature_of(groups, table, outcome, column) for outcome in (weakest, strongest, yardstick))
    if first is None or last is None or other is None:
        return None
    shown = percent if column == "none_share" else quantity
    words = say(
        SENTENCES,
        "signature",
        method=groups.labels[weakest.method.name],
        column=column,
        first=shown(first),
        first_scale=f"{weakest.scale:g}",
        last=shown(last),
        last_scale=f"{strongest.scale:g}",
        other=shown(other),
    )
    name, scale = strongest.method.name, 0.0 if column == "none_share" else other.value
    parts = [
        above(groups.measure(f"{column}_{what}", value, 0.0, strongest.n, name, against, scale=scale))
        for what, value, against in (
            ("growth", difference(last, first), name),
            ("difference", difference(last, other), yardstick.method.name),
        )
    ]
    return all_of(parts), words


def signature_of(groups: Groups, table: pd.DataFrame, outcome: Outcome, column: str) -> Interval | None:
    """Return a signature of an outcome over seeds and targets, None where the table does not have it."""
    rows = groups.results.select(table, outcome.method, outcome.scale, groups.targets)
    if rows.empty or rows[column].isna().any():
        return None
    return share_over_seeds(rows, column) if column == "none_share" else mean_over_cells(rows, column)
