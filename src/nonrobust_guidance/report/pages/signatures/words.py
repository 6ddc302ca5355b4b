"""How guidance fails, in sentences computed from the numbers; growing and falling is where an interval says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nonrobust_guidance.metrics.cells import Method
from nonrobust_guidance.metrics.intervals import Interval, difference
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
from nonrobust_guidance.report.wording import AT, listed, percent

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
        f"further than {len(groups.smaller)} of {groups.total} stabilized methods at their {words} scales (less far "
        f"than {len(groups.larger)})"
        for words, chosen in (("largest", signatures.largest), ("best", signatures.at_best))
        if (groups := compare_stabilized(signatures, chosen))
    ]
    parts = [count_grown(signatures)]
    if compared:
        parts.append(
            f"Without stabilization, non-robust guidance at {AT['x0']} shifts the mean colour {listed(compared)}."
        )
    if set(signatures.factors) >= GEOMETRY:
        parts += [f"Asked for {target}, {count_sizes(signatures, target)}" for target in signatures.results.targets]
    return " ".join(part for part in parts if part)


def answer_table(signatures: Signatures) -> list[Row]:
    """Return a row a question: what the run says, with the numbers."""
    answers = {question: worst_text(signatures, signature) for signature, question in QUESTIONS.items()}
    answers["Is stabilizing any help against the shift of colours?"] = stabilization_text(signatures)
    if set(signatures.factors) >= GEOMETRY:
        for target in signatures.results.targets:
            answers[f"Asked for {target}: does the ball shrink or move?"] = geometry_text(signatures, target)
    return [{"question": question, "answer": text} for question, text in answers.items() if text]


def count_grown(signatures: Signatures) -> str:
    """Say with how many methods each signature is larger at the largest scale than at the smallest."""
    counts: list[str] = []
    for signature, words in (
        (COLOUR, "the mean colour moves away from that of real images"),
        (MEDIAN, "the background's colour does"),
        (FOOLED, "the guide is fooled more often"),
        (NONE, "the judge more often recognizes nothing"),
    ):
        groups = trend_groups(signatures, signature)
        total = sum(map(len, groups.values()))
        if total:
            counts.append(f"{words} with {len(groups[1])}{'' if counts else f' of {total} methods'}")
    return f"From its smallest to its largest scale, {listed(counts)}." if counts else ""


def worst_text(signatures: Signatures, signature: Signature) -> str:
    """Say with which methods a signature grows with the scale, and where it is largest."""
    guided = [one for one in signatures.of(signature, ALL_TARGETS) if one.method.guided]
    if not guided:
        return ""
    worst = max(guided, key=lambda one: one.value.value)
    value = percent(worst.value) if signature.is_share else amount(signature, worst.value)
    return (
        f"{trend_text(signatures, signature)} The most is {value}, with {name(signatures, worst)}, against "
        f"{100 * worst.real:.1f}% in real images."
    )


def trend_text(signatures: Signatures, signature: Signature) -> str:
    """Say with which methods a signature grows with the scale, and with which it falls."""
    groups = trend_groups(signatures, signature)
    total = sum(map(len, groups.values()))
    if not total:
        return "Each method was run at a single scale."
    parts = []
    for sign, verb in ((1, "more"), (-1, "less")):
        names = [signatures.labels[method.name] for method in groups[sign]]
        if names:
            parts.append(f"{verb} with {f'all {total} methods' if len(names) == total else '; '.join(names)}")
    if groups[0]:
        parts.append(f"no change to be told with {'any method' if len(groups[0]) == total else 'the others'}")
    return f"From the smallest to the largest scale, {', '.join(parts)}."


def trend_groups(signatures: Signatures, signature: Signature) -> dict[int, list[Method]]:
    """Return the guided methods of several scales with which a signature grows (1), falls (-1), or neither (0)."""
    groups: dict[int, list[Method]] = {1: [], -1: [], 0: []}
    for method in signatures.results.methods:
        change = signatures.trend(signature, ALL_TARGETS, method) if method.guided else None
        if change is not None:
            groups[direction(change)].append(method)
    return groups


class Compared(NamedTuple):
    """The colour shift without stabilization, and those with it that are smaller, larger or not told apart."""

    plain: Measured
    smaller: list[Measured]
    larger: list[Measured]
    same: list[Measured]

    @property
    def total(self) -> int:
        """How many there are with stabilization."""
        return len(self.smaller) + len(self.larger) + len(self.same)


def compare_stabilized(
    signatures: Signatures, chosen: Callable[[Signature, str, Method], Measured | None]
) -> Compared | None:
    """Compare non-robust guidance on the one-step denoised image without and with stabilization; None without both."""
    methods = [method for method in signatures.results.methods if not method.robust and method.at == "x0"]
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
    parts = []
    for words, chosen in (("best", signatures.at_best), ("largest", signatures.largest)):
        groups = compare_stabilized(signatures, chosen)
        if groups:
            pairs = (("smaller", groups.smaller), ("larger", groups.larger), ("not told apart", groups.same))
            compared = [
                f"{word} with {listed([f'{name(signatures, one)} ({amount(COLOUR, one.value)})' for one in found])}"
                for word, found in pairs
                if found
            ]
            parts.append(
                f"Each at its {words} scale, it is {amount(COLOUR, groups.plain.value)} without "
                f"({name(signatures, groups.plain)}), {'; '.join(compared)}."
            )
    first = "A scale is another force in another method, so the colour shift is compared twice. "
    return first + " ".join(parts) if parts else ""


def known_factors(signatures: Signatures) -> str:
    """Say what is known of each image."""
    if not signatures.factors:
        return "Nothing is known of the images of this data set but their class, so nothing of this kind is measured."
    return (
        f"Of each image of this data set, {listed(signatures.factors)} are known, and the judge has learnt to see "
        "them. What it sees in the samples is compared with what it sees in real training images, so that its own "
        "error is on both sides; only samples that it calls the class asked for are counted."
    )


def sizes_of(signatures: Signatures, target: str) -> dict[int, list[Measured]]:
    """Return how guided methods at their best scales change the size: grown (1), shrunk (-1), or neither (0)."""
    groups: dict[int, list[Measured]] = {-1: [], 1: [], 0: []}
    for method in signatures.results.methods:
        size = signatures.at_best(SIZE, target, method) if method.guided else None
        if size is not None:
            groups[direction(size.value)].append(size)
    return groups


def count_sizes(signatures: Signatures, target: str) -> str:
    """Say with how many methods at their best scales the ball is smaller than real ones, and with how many larger."""
    groups = sizes_of(signatures, target)
    total = sum(map(len, groups.values()))
    if not total:
        return "too few samples are one for their size to be measured."
    smaller, larger = len(groups[-1]), len(groups[1])
    return (
        f"the ball at a method's best scale is smaller than real ones with {smaller} of {total}, larger with {larger}."
    )


def mostly_grown(signatures: Signatures, target: str) -> bool:
    """Return whether more methods at their best scales draw the ball larger than real ones than smaller."""
    groups = sizes_of(signatures, target)
    return len(groups[1]) > len(groups[-1])


def geometry_text(signatures: Signatures, target: str) -> str:
    """Say whether the ball shrinks, moves or vanishes for a target, each method at its best scale."""
    groups = sizes_of(signatures, target)
    if not any(groups.values()):
        return ""
    parts = []
    for sign, word in ((-1, "smaller"), (1, "larger"), (0, "as large as real ones, as far as can be told,")):
        if groups[sign]:
            most = max(groups[sign], key=lambda one: abs(one.value.value))
            by = f", by {amount(SIZE, most.value)} of the canvas with {name(signatures, most)}" if sign else ""
            parts.append(f"{word} with {len(groups[sign])}{by}")
    moved = [
        f"{factor} with {name(signatures, one)} ({amount(distance_signature(factor), one.value)} of the canvas)"
        for factor in ("x", "y")
        for method in signatures.results.methods
        if method.guided and (one := signatures.at_best(distance_signature(factor), target, method)) and one.apart > 0
    ]
    place = (
        f"is further from that of real ones than chance takes it, in {listed(moved)}"
        if moved
        else ("cannot be told from that of real ones with any")
    )
    blank = max((one for one in signatures.of(BLANK, target) if one.method.guided), key=lambda one: one.value.value)
    return (
        f"Each method at its best scale: the ball is {'; '.join(parts)}. Its place {place}. Over all scales, at most "
        f"{percent(blank.value)} of a cell are blank, with {name(signatures, blank)}."
    )


def trend_table(signatures: Signatures, target: str) -> list[Row]:
    """Return a row a guided method: how each signature changes from its smallest to its largest scale."""
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
    return f"{signatures.labels[one.method.name]} at scale {one.scale:g}" if one.method.guided else "unguided"


def amount(signature: Signature, interval: Interval, *, signed: bool = False) -> str:
    """Return a number with its interval: hundredths of the range, or degrees."""
    unit, factor = ("°", 1) if signature.degrees else ("%", 100)
    sign = "+" if signed or signature.signed else ""
    decimals = 0 if signature.is_share or signature.degrees else 1
    value, low, high = (f"{factor * end:{sign}.{decimals}f}" for end in interval)
    return f"{value}{unit} [{low},\N{NO-BREAK SPACE}{high}]"
