"""Samples side by side, as strips of pixels under or beside their names."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nonrobust_guidance.metrics.choice import best
from nonrobust_guidance.report.page import PARTS
from nonrobust_guidance.report.palette import method_colours
from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results
from nonrobust_guidance.report.templates import part
from nonrobust_guidance.report.wording import method_labels, percent

MAX_PIXELS = 96
FRAME = 226


@dataclass(frozen=True)
class Strip:
    """Images uint8 (N, H, W, 3) in a row, with what they are and a colour to find them by.

    Where ``columns`` is more than N, space for the missing images is left after them.
    """

    title: str
    note: str
    colour: str
    images: NDArray[np.uint8]
    columns: int = 0


def methods_side_by_side(results: Results, target: str, count: int = 10) -> list[Strip]:
    """Return a strip per method at its best scale toward a target; a column's images share their starting noise."""
    labels, colours = method_labels(results.run), method_colours(results.methods)
    strips = []
    for method in results.methods:
        outcome = best([o for o in results.outcomes_of(target) if o.method.name == method.name])
        scale = f"scale {outcome.scale:g}, " if method.guided else ""
        note = f"{scale}held-out accuracy {percent(outcome.accuracy)}"
        images = results.samples_of(outcome, target)[:count]
        strips.append(Strip(labels[method.name], note, colours[method.name], images))
    return strips


def scales_side_by_side(results: Results, target: str, count: int = 5) -> list[list[Strip]]:
    """Return a strip per scale for each guided method, in rising order; every strip shows the same samples."""
    labels, colours = method_labels(results.run), method_colours(results.methods)

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
    outcomes = [outcome for outcome in results.outcomes_of(ALL_TARGETS) if outcome.method.unguided]
    if not outcomes:
        return []
    images = results.samples_of(outcomes[0], results.targets[0])[:count]
    return [Strip("", "", "", images[i : i + columns]) for i in range(0, len(images), columns)]


def strips_html(strips: Sequence[Strip], caption: str) -> str:
    """Return a figure with a strip per row, its name on the left, or above it on a narrow screen."""
    return part(PARTS, "strips", [shown(strip) for strip in strips], caption)


def unnamed_strips_html(strips: Sequence[Strip], caption: str) -> str:
    """Return a figure of rows of images without names."""
    return part(PARTS, "unnamed_strips", [shown(strip) for strip in strips], caption)


def strip_grid_html(rows: Sequence[Sequence[Strip]], caption: str) -> str:
    """Return a figure with a row per method: its strips side by side, with their notes."""
    return part(PARTS, "strip_grid", [[shown(strip) for strip in row] for row in rows], caption)


def shown(strip: Strip) -> dict[str, str]:
    """Return a strip as the templates show it: one PNG in base64, its words, and its share of the width in percent."""
    return {
        "title": strip.title,
        "note": strip.note,
        "colour": strip.colour,
        "alt": f"{len(strip.images)} samples, {strip.title}, {strip.note}",
        "png": base64.b64encode(png_of(strip.images)).decode(),
        "share": f"{100 * len(strip.images) / strip.columns:.4g}" if strip.columns > len(strip.images) else "",
    }


def png_of(images: NDArray[np.uint8]) -> bytes:
    """Return images (N, H, W, 3) in a row as a PNG, with their pixels as they are, or fewer where an image is large."""
    # A grey line around each, because white canvases would run into each other and into the page.
    framed = np.pad(images, ((0, 0), (1, 1), (0, 1), (0, 0)), constant_values=FRAME)
    row = np.pad(np.concatenate(list(framed), axis=1), ((0, 0), (1, 0), (0, 0)), constant_values=FRAME)
    picture, height = Image.fromarray(row), images.shape[1]
    if height > MAX_PIXELS:
        size = (round(row.shape[1] * MAX_PIXELS / height), MAX_PIXELS)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
