"""The page that opens a run: what was asked, what was run, what came out, and where the rest is."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.tables import RESULT_FILES
from nonrobust_guidance.report.claims import decide_claims
from nonrobust_guidance.report.claims.answer import paragraph
from nonrobust_guidance.report.claims.tables import claim_table
from nonrobust_guidance.report.facts import count_images, what_was_run
from nonrobust_guidance.report.page import details_html, figure_html, page_html, paragraph_html, table_html
from nonrobust_guidance.report.pages import PAGES
from nonrobust_guidance.report.pages.sampling.figures import accuracy_against_distance
from nonrobust_guidance.report.pages.sampling.tables import best_scales
from nonrobust_guidance.report.pictures import methods_side_by_side, strips_html
from nonrobust_guidance.report.render import CONFIG_FILE
from nonrobust_guidance.report.results import ALL_TARGETS, Results
from nonrobust_guidance.report.wording import X0_HAT, X_T, listed

PAPER = '<a href="https://arxiv.org/abs/2507.00687">Vaeth et al. (ECML PKDD 2025)</a>'

AUDIT = "audit.html"

ASKED = (
    "A diffusion model draws an image in many small steps, from noise alone to the image, without being told what to "
    "draw. A classifier can steer it: at every step the image is moved a little toward what the classifier finds more "
    "like the class asked for. That is known to work with a <b>robust</b> classifier, one trained on images with noise "
    "of every strength, which is what it sees on the way. An ordinary one, trained on clean images only "
    f"(<b>non-robust</b>), has never seen such images. {PAPER} ask how to steer with it all the same, and give two "
    f"ingredients: show it, in place of the noisy image {X_T}, the one-step guess {X0_HAT} of where the drawing will "
    "end; and <b>stabilize</b> its gradient over the steps, as an optimizer would (EMA, Adam). This run repeats that "
    "and checks what they claim."
)

DECIDED = (
    "Numbers in brackets are 95% intervals. A claim is supported, or not supported, only where an interval lies wholly "
    "on one side of what decides it; otherwise this run has too few images to tell. Nothing corrects for making "
    "several comparisons."
)

CONTENTS = (
    {f"{page.name}.html": page.shows for page in PAGES}
    | {AUDIT: "this run beside the published one, cell by cell"}
    | {file.name: file.holds for file in RESULT_FILES}
    | {CONFIG_FILE: "the configuration that made all this"}
)


def render_index(config: Mapping[str, Any], results_folder: Path, output_html: Path) -> None:
    """Write the page that opens a run, for who has not read the paper.

    It links the other pages beside it and, relative to itself, the files of the results folder; it needs none of them.

    Raises:
        UserError: if a table or a file of samples is missing or none.
    """
    results = Results.read(config, results_folder)
    verdicts = decide_claims(results)
    target = results.targets[-1]
    body = [
        "<h1>Guiding diffusion with a classifier that never saw noise</h1>",
        "<h2>What was asked</h2>",
        f"<p>{ASKED}</p>",
        "<h2>What was run</h2>",
        paragraph_html(summary(results)),
        details_html("Data, models, settings, machine and versions", table_html(what_was_run(results), "facts")),
        "<h2>The answer</h2>",
        paragraph_html(paragraph(results, verdicts), "answer"),
        "<h2>The paper's claims</h2>",
        table_html(claim_table(verdicts)),
        paragraph_html(DECIDED),
        "<h2>All that it made</h2>",
        links_html(files_of(results_folder, output_html), output_html.parent),
        f"<h2>The same starting noise, asked for {html.escape(target)}</h2>",
        strips_html(
            methods_side_by_side(results, target),
            "Each method at its best scale; the first samples, unselected. A column starts from the same noise in "
            "every row, so what differs is the guidance alone.",
        ),
        "<h2>Asked for a class, who delivers?</h2>",
        figure_html(
            accuracy_against_distance(results),
            alt="Held-out accuracy against distance to real images, one line a method, one row of panels a target",
            caption="The share of samples that a judge, which guides no method, calls the class asked for, against the "
            "Fréchet distance between the samples and real images of the class. Good methods are at the top left. A "
            "line is a method, a point one of its guidance scales, with 95% intervals.",
        ),
        "<h2>Each method at its best scale</h2>",
        table_html(best_scales(results, ALL_TARGETS)),
    ]
    page = page_html(f"{config['run']}: report", "\n".join(body))
    write_atomically(output_html, lambda path: path.write_text(page, encoding="utf-8"))


def summary(results: Results) -> str:
    """Return what was run in two sentences."""
    config, sampling = results.config, results.config["sampling"]
    guided = [method for method in results.methods if method.guided]
    seeds = sampling["seeds"]
    return (
        f"Run {config['run']}, on {config['dataset']['name']} ({listed(results.classes)}): {len(guided)} ways of "
        f"guiding and {len(results.unguided) or 'no'} without a guide, each asked for {listed(results.targets)} at "
        f"every one of its scales, {sampling['num_samples']} images at a time with {len(seeds)} "
        f"seed{'s' * (len(seeds) > 1)}, {sampling['steps']} steps an image. That makes {count_images(results)} images, "
        f"all shown to the classifier {config['metrics']['judge']}, which guides none of them and may also answer none "
        "of these."
    )


def files_of(results_folder: Path, output_html: Path) -> list[Path]:
    """Return the pages beside this one and the files of the results folder that are there, in the order of a reader."""
    beside = [page for page in sorted(output_html.parent.glob("*.html")) if page.name != output_html.name]
    rank = {name: place for place, name in enumerate(CONTENTS)}
    pages = sorted(beside, key=lambda page: rank.get(page.name, len(rank)))
    names = [name for name in CONTENTS if not name.endswith(".html")]
    return pages + [results_folder / name for name in names if (results_folder / name).is_file()]


def links_html(files: Iterable[Path], folder: Path) -> str:
    """Return links to files, relative to a folder, with a line of what each is."""
    items = []
    for file in files:
        relative = quote(Path(os.path.relpath(file, folder)).as_posix())
        words = CONTENTS.get(file.name)
        items.append(
            f'<li><a href="{relative}">{html.escape(file.name)}</a>{": " + html.escape(words) if words else ""}</li>'
        )
    return f"<ul>{''.join(items)}</ul>"
