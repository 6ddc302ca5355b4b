"""Pages that open offline and need no other file: plain HTML, one small style sheet, one small script, pictures.

The script (``page.js``) only adds to what is there: without it a page shows the same tables and pictures. Each page
forbids the browser to load anything from elsewhere, and to run any script but this one.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from importlib.resources import files

from matplotlib import rc_context
from matplotlib.figure import Figure

from nonrobust_guidance.report.templates import fill, part

PARTS = "parts.html"


def page_html(title: str, body: str, footer: str = "") -> str:
    """Return a whole page; the title is text, body and footer are HTML."""
    style, script = (
        files("nonrobust_guidance.report").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.css", "page.js")
    )
    return fill(
        "page.html", title=title, body=body, footer=footer, style=style, script=script, policy=content_policy(script)
    )


def content_policy(script: str) -> str:
    """Return what a page may load: pictures that it holds itself, its own styles, and this very script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def paragraph_html(text: str, kind: str = "") -> str:
    """Return a paragraph of text, with a class of the style sheet."""
    return part(PARTS, "paragraph", text, kind)


def heading_html(text: str) -> str:
    """Return a heading of the third level."""
    return part(PARTS, "heading", text)


def list_html(texts: Iterable[str]) -> str:
    """Return a list of texts, empty for none."""
    return part(PARTS, "list", list(texts))


def table_html(rows: Sequence[dict[str, str]], kind: str = "") -> str:
    """Return rows of text as a table under the names of their columns; a verdict's cell is coloured by its text.

    The script lets a reader sort and filter it, unless its kind, a class of the style sheet, is ``facts``.
    """
    return part(PARTS, "table", rows, kind)


def details_html(summary: str, body: str) -> str:
    """Return HTML that is folded away under a line of text."""
    return part(PARTS, "details", summary, body)


def figure_html(figure: Figure, alt: str, caption: str) -> str:
    """Return a chart as an embedded SVG picture with its alternative text and its caption."""
    drawn = svg_of(figure)
    return part(PARTS, "chart", drawn["svg"], drawn["width"], alt, caption)


def svg_of(figure: Figure) -> dict[str, str]:
    """Return a chart as the templates show it: its SVG in base64, and its width in pixels."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "nonrobust-guidance"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return {
        "svg": base64.b64encode(buffer.getvalue()).decode(),
        "width": str(round(figure.get_figwidth() * 96)),
    }
