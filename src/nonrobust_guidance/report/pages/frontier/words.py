"""What the page says: what to run for a budget, how it was measured, and a table of all methods."""

from __future__ import annotations

from nonrobust_guidance.report.facts import Row
from nonrobust_guidance.report.pages.frontier.measured import Frontier, Point, accuracy_front, distance_front
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import decimals_of, number, percent

SENTENCES = "pages/frontier/sentences.j2"
BUDGETS = {"a fortieth": 1 / 40, "a sixteenth": 1 / 16, "all": 1.0}
"""Shares of the reference's time, in words."""
QUIET = 0.9
"""If a process computed for less than this share of its seconds, others had the processor for the rest."""


def advice(frontier: Frontier, *, robust: bool) -> str:
    """Return what to run for each budget, with or without a robust classifier; empty if there are no such methods."""
    if not any(p.outcome.method.robust == robust and not p.outcome.method.unguided for p in frontier.points):
        return ""
    parts: list[tuple[list[str], str]] = []
    for budget, share in BUDGETS.items():
        chosen = frontier.affordable(share, robust=robust)
        run = name_of(chosen) if chosen else ""
        if parts and parts[-1][1] == run:
            parts[-1][0].append(budget)
        else:
            parts.append(([budget], run))
    return say(SENTENCES, "advice", robust=robust, reference=reference_words(frontier), parts=parts)


def protocol(frontier: Frontier) -> str:
    """Return what the others are timed against."""
    point = frontier.reference
    return say(
        SENTENCES,
        "protocol",
        reference=reference_words(frontier),
        name=name_of(point),
        steps=point.steps,
        seconds=plain(point.seconds.value),
    )


def measuring(frontier: Frontier) -> str:
    """Return how the cost was measured, and whether the machine was left alone."""
    row, alone = frontier.table.iloc[0], row_is_single(frontier)
    least = min(frontier.points, key=lambda point: point.cpu_share)
    disturbed = f"{100 * least.cpu_share:.0f}%" if alone and least.cpu_share < QUIET else ""
    return say(
        SENTENCES,
        "measuring",
        rounds=int(row["rounds"]),
        batch_size=int(row["batch_size"]),
        threads=int(row["threads"]),
        processor=row["processor"] or row["device"],
        disturbed=disturbed,
        method=least.name,
    )


def row_is_single(frontier: Frontier) -> bool:
    """Return whether a single CPU thread computed, so that its CPU time should equal the seconds."""
    row = frontier.table.iloc[0]
    return bool(row["device"] == "cpu" and row["threads"] == 1)


def frontier_table(frontier: Frontier) -> list[Row]:
    """Return a row per method, the cheapest first."""
    ahead = {"accuracy": accuracy_front, "distance": distance_front}
    fronts = {word: front(frontier.points, lambda point: point.seconds.value) for word, front in ahead.items()}
    return [
        {
            "method": point.name,
            "what it is": point.family,
            "steps": str(point.steps),
            "sampler": point.sampler,
            "trust radius": "" if (radius := point.outcome.method.trust_radius) is None else f"{radius:g}",
            "scale": f"{point.outcome.scale:g}" if point.outcome.method.guided else "",
            "seconds for 64": seconds_of(point),
            "times as fast": f"{frontier.speed(point):.3g}",
            "U-Net passes": passes_of(point.unet),
            "classifier passes": passes_of(point.classifier),
            "held-out accuracy": percent(point.outcome.accuracy),
            "distance": number(point.outcome.distance),
            "images": str(point.outcome.n),
            "on the front of": " and ".join(word for word, front in fronts.items() if point in front),
        }
        for point in sorted(frontier.points, key=lambda point: point.seconds.value)
    ]


def seconds_of(point: Point) -> str:
    """Return the median of the seconds with the least and the most."""
    value, least, most = point.seconds
    return plain(value) if least == most else f"{plain(value)} ({plain(least)} to {plain(most)})"


def plain(seconds: float) -> str:
    """Return seconds to three figures."""
    return f"{seconds:.{decimals_of(seconds)}f}"


def passes_of(passes: tuple[float, float]) -> str:
    """Return forward and backward passes, such as ``32 + 31``; whole numbers except in rejection."""
    forward, back = (f"{one:.4g}" for one in passes)
    return f"{forward} + {back}"


def name_of(point: Point) -> str:
    """Return a method's name in a sentence."""
    return f"{point.name} ({point.family})"


def reference_words(frontier: Frontier) -> str:
    """Return what the reference is."""
    return "the paper's protocol" if frontier.protocol else "the dearest method"
