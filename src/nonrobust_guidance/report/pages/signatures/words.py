"""How guidance fails, in sentences computed from the numbers; a number grows or falls only if its interval shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from nonrobust_guidance.metrics.cells import Method
from nonrobust_guidance.metrics.statistics.intervals import Interval, difference
from nonrobust_guidance.report.facts import Row
from nonrobust_guidance.report.pages.signatures.measured import (
    BLANK,
    COLOUR,
    FOOLED,
    MEDIAN,
    NONE,
    Measured,
    Signature,
    Signatures,
    distance_signature,
    shift_signature,
)
from nonrobust_guidance.report.results import ALL_TARGETS
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import percent

SENTENCES = "pages/signatures/sentences.j2"
QUESTIONS = {
    COLOUR: "Does the mean colour shift?",
    MEDIAN: "Does the background's?",
    FOOLED: "Is the guide fooled?",
    NONE: "Are the features of every class lost?",
    BLANK: "Is the image erased?",
}
GEOMETRY = {"x", "y", "size"}
SIZE = shift_signature("size")


def headline(signatures: Signatures) -> str:
    """Return the answer in a few sentences: what grows with the scale, what stabilization changes, and what moves."""
    compared = [
        {"scales": scales, "smaller": len(groups.smaller), "larger": len(groups.larger), "total": groups.total}
        for scales, chosen in (("largest", signatures.largest), ("best", signatures.at_best))
        if (groups := compare_stabilized(signatures, chosen))
    ]
    known = set(signatures.factors) >= GEOMETRY
    sizes = [count_sizes(signatures, target) for target in signatures.results.targets if known]
    return say(SENTENCES, "headline", grown=count_grown(signatures), compared=compared, sizes=sizes)


def answer_table(signatures: Signatures) -> list[Row]:
    """Return a row per question: what the run shows, with the numbers."""
    answers = {question: worst_text(signatures, signature) for signature, question in QUESTIONS.items()}
    answers["Is stabilizing any help against the shift of colours?"] = stabilization_text(signatures)
    if set(signatures.factors) >= GEOMETRY:
        for target in signatures.results.targets:
            answers[f"Asked for {target}: does the ball shrink or move?"] = geometry_text(signatures, target)
    return [{"question": question, "answer": text} for question, text in answers.items() if text]


def count_grown(signatures: Signatures) -> str:
    """Say with how many methods each signature is larger at the largest scale than at the smallest."""
    found = {signature: trend_groups(signatures, signature) for signature in (COLOUR, MEDIAN, FOOLED, NONE)}
    counts = [
        {"column": signature.column, "grown": len(groups[1]), "total": sum(map(len, groups.values()))}
        for signature, groups in found.items()
        if any(groups.values())
    ]
    return say(SENTENCES, "grown", counts=counts)


def worst_text(signatures: Signatures, signature: Signature) -> str:
    """Say with which methods a signature grows with the scale, and where it is largest."""
    guided = [one for one in signatures.of(signature, ALL_TARGETS) if one.method.guided]
    if not guided:
        return ""
    worst = max(guided, key=lambda one: one.value.value)
    return say(
        SENTENCES,
        "worst",
        trend=trend_text(signatures, signature),
        value=percent(worst.value) if signature.is_share else amount(signature, worst.value),
        cell=name(signatures, worst),
        real=f"{100 * worst.real:.1f}%",
    )


def trend_text(signatures: Signatures, signature: Signature) -> str:
    """Say with which methods a signature grows with the scale, and with which it falls."""
    groups = trend_groups(signatures, signature)
    more, less = ([signatures.labels[method.name] for method in groups[sign]] for sign in (1, -1))
    total = sum(map(len, groups.values()))
    return say(SENTENCES, "trend", more=more, less=less, same=len(groups[0]), total=total)


def trend_groups(signatures: Signatures, signature: Signature) -> dict[int, list[Method]]:
    """Return the guided methods of several scales with which a signature grows (1), falls (-1), or neither (0)."""
    groups: dict[int, list[Method]] = {1: [], -1: [], 0: []}
    for method in signatures.results.methods:
        change = signatures.trend(signature, ALL_TARGETS, method) if method.guided else None
        if change is not None:
            groups[direction(change)].append(method)
    return groups


class Compared(NamedTuple):
    """The colour shift without stabilization, and the shifts with it that are smaller, larger or not told apart."""

    plain: Measured
    smaller: list[Measured]
    larger: list[Measured]
    same: list[Measured]

    @property
    def total(self) -> int:
        """How many shifts there are with stabilization."""
        return len(self.smaller) + len(self.larger) + len(self.same)


def compare_stabilized(
    signatures: Signatures, chosen: Callable[[Signature, str, Method], Measured | None]
) -> Compared | None:
    """Compare non-robust guidance on the one-step denoised image without and with stabilization; None without both."""
    methods = [m for m in signatures.results.methods if m.as_in_paper and not m.robust and m.at == "x0"]
    plain = [method for method in methods if not method.stabilizer]
    found = [one for method in methods if method.stabilizer and (one := chosen(COLOUR, ALL_TARGETS, method))]
    base = chosen(COLOUR, ALL_TARGETS, plain[0]) if plain else None
    if base is None or not found:
        return None
    groups: dict[int, list[Measured]] = {1: [], -1: [], 0: []}
    for one in found:
        groups[direction(difference(one.value, base.value))].append(one)
    return Compared(base, groups[-1], groups[1], groups[0])


def stabilization_text(signatures: Signatures) -> str:
    """Say whether the colour shift is larger without stabilization than with."""

    def cells(found: list[Measured]) -> list[str]:
        return [f"{name(signatures, one)} ({amount(COLOUR, one.value)})" for one in found]

    compared = [
        {"smaller": cells(groups.smaller), "larger": cells(groups.larger), "same": cells(groups.same)}
        | {"scales": scales, "value": amount(COLOUR, groups.plain.value), "cell": name(signatures, groups.plain)}
        for scales, chosen in (("best", signatures.at_best), ("largest", signatures.largest))
        if (groups := compare_stabilized(signatures, chosen))
    ]
    return say(SENTENCES, "stabilization", compared=compared)


def known_factors(signatures: Signatures) -> str:
    """Say what is known of each image."""
    return say(SENTENCES, "known_factors", factors=signatures.factors)


def sizes_of(signatures: Signatures, target: str) -> dict[int, list[Measured]]:
    """Return how guided methods at their best scales change the size: grown (1), shrunk (-1), or neither (0)."""
    groups: dict[int, list[Measured]] = {-1: [], 1: [], 0: []}
    for method in signatures.results.methods:
        size = signatures.at_best(SIZE, target, method) if method.guided else None
        if size is not None:
            groups[direction(size.value)].append(size)
    return groups


def count_sizes(signatures: Signatures, target: str) -> dict[str, Any]:
    """Return with how many methods, at their best scales, the ball is smaller than real ones, and larger."""
    groups = sizes_of(signatures, target)
    total = sum(map(len, groups.values()))
    return {"target": target, "smaller": len(groups[-1]), "larger": len(groups[1]), "total": total}


def mostly_grown(signatures: Signatures, target: str) -> bool:
    """Return whether more methods at their best scales draw the ball larger than real ones than smaller."""
    groups = sizes_of(signatures, target)
    return len(groups[1]) > len(groups[-1])


def geometry_text(signatures: Signatures, target: str) -> str:
    """Say whether the ball shrinks, moves or vanishes for a target, each method at its best scale."""
    groups = sizes_of(signatures, target)
    if not any(groups.values()):
        return ""
    sizes = []
    for sign in (-1, 1, 0):
        if groups[sign]:
            most = max(groups[sign], key=lambda one: abs(one.value.value))
            sizes.append(
                {"sign": sign, "count": len(groups[sign])}
                | {"most": amount(SIZE, most.value), "cell": name(signatures, most)}
            )
    moved = [
        f"{factor} with {name(signatures, one)} ({amount(distance_signature(factor), one.value)} of the canvas)"
        for factor in ("x", "y")
        for method in signatures.results.methods
        if method.guided and (one := signatures.at_best(distance_signature(factor), target, method)) and one.apart > 0
    ]
    blank = max((one for one in signatures.of(BLANK, target) if one.method.guided), key=lambda one: one.value.value)
    cell = name(signatures, blank)
    return say(SENTENCES, "geometry", sizes=sizes, moved=moved, blank=percent(blank.value), cell=cell)


def trend_table(signatures: Signatures, target: str) -> list[Row]:
    """Return a row per guided method: how each signature changes from its smallest to its largest scale."""
    columns = [COLOUR, MEDIAN, FOOLED, NONE, BLANK, *([SIZE] if "size" in signatures.factors else [])]
    rows = []
    for method in signatures.results.methods:
        if method.guided and len(method.scales) > 1:
            row = {"method": signatures.labels[method.name]}
            row |= {"scales": f"{min(method.scales):g} to {max(method.scales):g}"}
            for signature in columns:
                change = signatures.trend(signature, target, method)
                row[signature.title] = "-" if change is None else amount(signature, change, signed=True)
            rows.append(row)
    return rows


def direction(interval: Interval) -> int:
    """Return 1 where an interval lies above 0, -1 where below, else 0."""
    return 1 if interval.low > 0 else -1 if interval.high < 0 else 0


def name(signatures: Signatures, one: Measured) -> str:
    """Return the method and its scale in words."""
    if one.method.unguided:
        return "unguided"
    label = signatures.labels[one.method.name]
    return f"{label} at scale {one.scale:g}" if one.method.guided else label


def amount(signature: Signature, interval: Interval, *, signed: bool = False) -> str:
    """Return a number with its interval: hundredths of the range, or degrees."""
    unit, factor = ("°", 1) if signature.degrees else ("%", 100)
    sign = "+" if signed or signature.signed else ""
    decimals = 0 if signature.is_share or signature.degrees else 1
    value, low, high = (f"{factor * end:{sign}.{decimals}f}" for end in interval)
    return f"{value}{unit} [{low},\N{NO-BREAK SPACE}{high}]"
