"""Samples side by side, as strips of pixels under or beside their names."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nonrobust_guidance.report.palette import method_colours
from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results, best
from nonrobust_guidance.report.wording import method_labels, percent

MAX_PIXELS = 96
FRAME = 226


@dataclass(frozen=True)
class Strip:
    """Images uint8 (N, H, W, 3) in a row, with what they are and a colour to find them by.

    Where ``columns`` is more than N, as much room is left after them as so many images would take.
    """

    title: str
    note: str
    colour: str
    images: NDArray[np.uint8]
    columns: int = 0


def methods_side_by_side(results: Results, target: str, count: int = 10) -> list[Strip]:
    """Return a strip a method at its best scale toward a target; a column shares its starting noise."""
    labels, colours = method_labels(results.config), method_colours(results.methods)
    strips = []
    for method in results.methods:
        outcome = best([o for o in results.outcomes_of(target) if o.method.name == method.name])
        scale = f"scale {outcome.scale:g}, " if method.guided else ""
        note = f"{scale}held-out accuracy {percent(outcome.accuracy)}"
        images = results.samples_of(outcome, target)[:count]
        strips.append(Strip(labels[method.name], note, colours[method.name], images))
    return strips


def scales_side_by_side(results: Results, target: str, count: int = 5) -> list[list[Strip]]:
    """Return for each guided method a strip a scale, rising; every strip shows the same samples."""
    labels, colours = method_labels(results.config), method_colours(results.methods)

    def strip(outcome: Outcome) -> Strip:
        images, name = results.samples_of(outcome, target)[:count], outcome.method.name
        return Strip(labels[name], f"scale {outcome.scale:g}: {percent(outcome.accuracy)}", colours[name], images)

    rows = []
    for method in results.methods:
        own = [o for o in results.outcomes_of(target) if o.method.name == method.name and method.guided]
        if own:
            rows.append([strip(outcome) for outcome in sorted(own, key=lambda outcome: outcome.scale)])
    return rows


def unguided_samples(results: Results, count: int = 96, columns: int = 16) -> list[Strip]:
    """Return the first unguided samples in rows."""
    outcomes = [outcome for outcome in results.outcomes_of(ALL_TARGETS) if not outcome.method.guided]
    if not outcomes:
        return []
    images = results.samples_of(outcomes[0], results.targets[0])[:count]
    return [Strip("", "", "", images[i : i + columns]) for i in range(0, len(images), columns)]


def strips_html(strips: Sequence[Strip], caption: str) -> str:
    """Return a figure with a strip a row, named on the left; on a narrow screen the name stands above."""
    rows = "\n".join(f'<div class="strip">{name_html(strip)}{image_html(strip)}</div>' for strip in strips)
    return f'<figure class="strips">\n{rows}\n<figcaption>{html.escape(caption)}</figcaption>\n</figure>'


def unnamed_strips_html(strips: Sequence[Strip], caption: str) -> str:
    """Return a figure of rows of images without names."""
    rows = "\n".join(image_html(strip, f"samples, row {i}") for i, strip in enumerate(strips, start=1))
    return f'<figure class="strips">\n{rows}\n<figcaption>{html.escape(caption)}</figcaption>\n</figure>'


def strip_grid_html(rows: Sequence[Sequence[Strip]], caption: str) -> str:
    """Return a figure with a method a row and, beside each other, its strips with their notes."""
    parts = []
    for row in rows:
        cells = "".join(f"<div>{image_html(s)}<small>{html.escape(s.note)}</small></div>" for s in row)
        name = f'<b style="--dot: {row[0].colour}">{html.escape(row[0].title)}</b>'
        parts.append(f'<div class="strip"><div class="name">{name}</div><div class="scales">{cells}</div></div>')
    body = "\n".join(parts)
    return f'<figure class="strips">\n{body}\n<figcaption>{html.escape(caption)}</figcaption>\n</figure>'


def name_html(strip: Strip) -> str:
    """Return a strip's name, dotted with its colour, and its note."""
    title, note = html.escape(strip.title), html.escape(strip.note)
    return f'<div class="name"><b style="--dot: {strip.colour}">{title}</b><small>{note}</small></div>'


def image_html(strip: Strip, alt: str = "") -> str:
    """Return the strip as one embedded PNG, its pixels as they are, or fewer where an image is large."""
    # A grey line around each, or white canvases would run into each other and into the page.
    framed = np.pad(strip.images, ((0, 0), (1, 1), (0, 1), (0, 0)), constant_values=FRAME)
    row = np.pad(np.concatenate(list(framed), axis=1), ((0, 0), (1, 0), (0, 0)), constant_values=FRAME)
    picture = Image.fromarray(row)
    height = strip.images.shape[1]
    if height > MAX_PIXELS:
        size = (round(row.shape[1] * MAX_PIXELS / height), MAX_PIXELS)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    words = html.escape(alt or f"{len(strip.images)} samples, {strip.title}, {strip.note}", quote=True)
    style = (
        f' style="width: {100 * len(strip.images) / strip.columns:.4g}%"' if strip.columns > len(strip.images) else ""
    )
    return f'<img class="pixels"{style} alt="{words}" src="data:image/png;base64,{data}">'
