"""Pages that open offline and need no other file: plain HTML, one small style sheet, one small script, pictures.

The script (``page.js``) only adds to what is there: without it a page shows the same tables and pictures. Each page
forbids the browser to load anything from elsewhere, and to run any script but this one.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files

from matplotlib import rc_context
from matplotlib.figure import Figure

INTERVAL = re.compile(r"[-+\d.e%]+ \[[^\]]*\]")
STYLE = """
:root { color-scheme: light; --ink: #1c1c22; --soft: #5d5d68; --line: #e2e2e8; --accent: #332288; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 60rem; color: var(--ink); background: #fff;
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 3rem 0 .6rem; padding-top: 1.2rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
p, li { max-width: 46rem; }
a { color: var(--accent); }
.answer { font-size: 1.08rem; max-width: none; border-left: 4px solid var(--accent); margin: 1.2rem 0;
  padding: .8rem 1.1rem; background: #f6f5fb; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; line-height: 1.4; }
th, td { text-align: left; vertical-align: top; padding: .45rem .7rem .45rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; border-bottom: 2px solid #c9c9d2; }
td { font-variant-numeric: tabular-nums; }
td.interval { white-space: nowrap; }
td.verdict { font-weight: 600; min-width: 6.5rem; }
td.supported { color: #0b6b3a; } td.not-supported { color: #a3182f; }
td.undecided-at-this-n { color: #8a5a00; } td.not-tested { color: var(--soft); }
figure { margin: 1.5rem 0; }
figure > img { max-width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .86rem; line-height: 1.5; margin-top: .5rem; max-width: 46rem; }
img.pixels { display: block; width: 100%; image-rendering: pixelated; }
.strip { display: grid; grid-template-columns: 12.5rem 1fr; gap: .9rem; align-items: center; padding: .3rem 0; }
.strip .name { line-height: 1.3; font-size: .86rem; }
.strip b { display: block; padding-left: 1rem; position: relative; font-weight: 600; }
.strip b::before { content: ""; position: absolute; left: 0; top: .28em; width: .62em; height: .62em;
  border-radius: 50%; background: var(--dot); }
.strip small { display: block; color: var(--soft); font-size: .78rem; }
.strip .name small { padding-left: 1rem; }
.strip .scales { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: .8rem; }
button.sort { all: unset; cursor: pointer; white-space: nowrap; }
button.sort::after { content: "\\2195"; padding-left: .3em; opacity: .45; }
th[aria-sort] button.sort::after { opacity: 1; color: var(--accent); }
th[aria-sort=ascending] button.sort::after { content: "\\2191"; }
th[aria-sort=descending] button.sort::after { content: "\\2193"; }
button:focus-visible, img:focus-visible, input:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.filter { display: flex; gap: 1rem; align-items: baseline; margin: 1rem 0 -.4rem; font-size: .88rem;
  color: var(--soft); }
.filter input { font: inherit; padding: .3rem .5rem; border: 1px solid #c9c9d2; border-radius: 4px; width: 14rem; }
main img[role=button] { cursor: zoom-in; }
dialog.enlarged { width: 96vw; max-width: 96vw; max-height: 96vh; padding: 1rem; border: 0; border-radius: 6px;
  cursor: zoom-out; }
dialog.enlarged::backdrop { background: rgb(20 20 30 / .75); }
dialog.enlarged img { display: block; width: 100%; max-height: 72vh; object-fit: contain; margin: .6rem 0; }
dialog.enlarged p { cursor: text; color: var(--soft); font-size: .9rem; margin: 0; }
dialog.enlarged button { display: block; margin-left: auto; font: inherit; cursor: pointer; }
details { margin: 1rem 0; } summary { cursor: pointer; color: var(--accent); }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .86rem; }
@media (max-width: 42rem) {
  body { padding-top: 1.5rem; } h1 { font-size: 1.5rem; } .answer { font-size: 1rem; }
  .strip { grid-template-columns: 1fr; gap: .2rem; } .scroll table { min-width: 36rem; }
}
"""


def page_html(title: str, body: str, footer: str = "") -> str:
    """Return a whole page; the title is text, body and footer are HTML."""
    name, script = (
        html.escape(title),
        files("nonrobust_guidance.report").joinpath("page.js").read_text(encoding="utf-8"),
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{content_policy(script)}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{name}</title>\n'
        f'<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n'
        f"<footer>{footer}</footer>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def content_policy(script: str) -> str:
    """Return what a page may load: pictures that it holds itself, its own styles, and this very script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def paragraph_html(text: str, kind: str = "") -> str:
    """Return a paragraph of text, with a class of the style sheet."""
    return f'<p class="{kind}">{html.escape(text)}</p>' if kind else f"<p>{html.escape(text)}</p>"


def heading_html(text: str) -> str:
    """Return a heading of the third level."""
    return f"<h3>{html.escape(text)}</h3>"


def list_html(texts: Iterable[str]) -> str:
    """Return a list of texts, empty for none."""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def table_html(rows: Sequence[dict[str, str]], kind: str = "") -> str:
    """Return rows of text as a table under the names of their columns; a verdict's cell is coloured by its text.

    The script lets a reader sort and filter it, unless its kind, a class of the style sheet, is ``facts``.
    """
    opening = f'<table class="{kind}">' if kind else "<table>"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = "\n".join(f"<tr>{''.join(cell_html(*cell) for cell in row.items())}</tr>" for row in rows)
    return f'<div class="scroll">{opening}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def cell_html(column: str, text: str) -> str:
    """Return one cell; a number with its interval stays in one line."""
    kind = ""
    if column == "verdict":
        kind = f' class="verdict {html.escape(text.replace(" ", "-"), quote=True)}"'
    elif INTERVAL.fullmatch(text):
        kind = ' class="interval"'
    return f"<td{kind}>{html.escape(text)}</td>"


def details_html(summary: str, body: str) -> str:
    """Return HTML that is folded away under a line of text."""
    return f"<details><summary>{html.escape(summary)}</summary>\n{body}\n</details>"


def figure_html(figure: Figure, alt: str, caption: str) -> str:
    """Return a chart as an embedded SVG picture with its alternative text and its caption."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "nonrobust-guidance"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    width = round(figure.get_figwidth() * 96)
    picture = f'<img alt="{html.escape(alt, quote=True)}" width="{width}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure>{picture}<figcaption>{html.escape(caption)}</figcaption></figure>"
