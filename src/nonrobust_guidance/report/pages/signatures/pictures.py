"""The samples that show a failure, chosen by a rule that their caption states."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from nonrobust_guidance.metrics.cells import Method
from nonrobust_guidance.report.pages.signatures.measured import BLANK, COLOUR, FOOLED, Measured, Signature, Signatures
from nonrobust_guidance.report.palette import method_colours
from nonrobust_guidance.report.pictures import Strip
from nonrobust_guidance.report.wording import percent

COUNT = 10

Choice = Callable[[pd.DataFrame], pd.DataFrame]


def most_shifted(signatures: Signatures, target: str) -> list[Strip]:
    """Return a strip per guided method at its largest scale: of the first samples, those furthest off in colour."""
    found = [signatures.largest(COLOUR, target, method) for method in signatures.results.methods if method.guided]
    strips = []
    for one in found:
        if one is not None:
            note = f"scale {one.scale:g}: off by {100 * one.value.value:.1f}% on average"
            strips.append(strip_of(signatures, target, one, note, lambda rows: rows.nlargest(COUNT, "colour_shift")))
    return strips


def fooling(signatures: Signatures, target: str) -> list[Strip]:
    """Return a strip per method at the scale that fools its guide most: the first samples that do so."""
    return where_most(signatures, FOOLED, target, lambda rows: rows[rows["fooled"] == 1].head(COUNT))


def blank(signatures: Signatures, target: str) -> list[Strip]:
    """Return a strip per method with blank canvases, at the scale with most: the first samples of least contrast."""
    return where_most(signatures, BLANK, target, lambda rows: rows.nsmallest(COUNT, "contrast"))


def extremes(signatures: Signatures, target: str, factor: str, *, largest: bool) -> list[Strip]:
    """Return a strip per method at its best scale: the extremes of a factor among the first samples of the target."""
    strips = []
    for method in signatures.results.methods:
        outcome = signatures.best_outcome(target, method)
        rows = signatures.samples_at(outcome.method, outcome.scale, target)
        rows = rows[rows["accepted"] == 1].sort_values(factor, ascending=not largest).head(COUNT)
        if len(rows):
            at = f"scale {outcome.scale:g}: " if method.guided else ""
            note = f"{at}{rows[factor].iloc[0]:.2f} to {rows[factor].iloc[-1]:.2f}"
            strips.append(strip(signatures, method, outcome.scale, target, note, rows))
    return strips


def where_most(signatures: Signatures, signature: Signature, target: str, choose: Choice) -> list[Strip]:
    """Return a strip per guided method that shows the signature at all, at the scale where it is largest."""
    strips = []
    for method in signatures.results.methods:
        own = [one for one in signatures.of(signature, target) if one.method == method and one.value.value > 0]
        if own and method.guided:
            most = max(own, key=lambda one: one.value.value)
            note = f"scale {most.scale:g}: {percent(most.value)}"
            strips.append(strip_of(signatures, target, most, note, choose))
    return [one for one in strips if len(one.images)]


def strip_of(signatures: Signatures, target: str, one: Measured, note: str, choose: Choice) -> Strip:
    """Return the strip of the samples that are chosen among the first ones of a measured cell."""
    rows = choose(signatures.samples_at(one.method, one.scale, target))
    return strip(signatures, one.method, one.scale, target, note, rows)


def strip(signatures: Signatures, method: Method, scale: float, target: str, note: str, rows: pd.DataFrame) -> Strip:
    """Return the strip of these rows of factors.csv."""
    images, colours = signatures.images_of(method, scale, target, rows), method_colours(signatures.results.methods)
    return Strip(signatures.labels[method.name], note, colours[method.name], images, COUNT)
