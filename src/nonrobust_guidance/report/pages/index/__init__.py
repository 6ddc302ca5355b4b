"""The first page of a run's report: what was asked, what was run, the results, and where the rest is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.tables import RESULT_FILES
from nonrobust_guidance.report.claims import decide_claims
from nonrobust_guidance.report.claims.answer import how_decided, paragraph
from nonrobust_guidance.report.claims.evidence import read_evidence
from nonrobust_guidance.report.claims.verdict import Verdict
from nonrobust_guidance.report.facts import count_images, what_was_run
from nonrobust_guidance.report.page import page_html, svg_of
from nonrobust_guidance.report.pages import PAGES
from nonrobust_guidance.report.pages.index.first_screen import first_screen
from nonrobust_guidance.report.pages.sampling.figures import accuracy_against_distance
from nonrobust_guidance.report.pages.sampling.tables import best_scales
from nonrobust_guidance.report.render import CONFIG_FILE
from nonrobust_guidance.report.results import ALL_TARGETS, Results
from nonrobust_guidance.report.settings import Reported
from nonrobust_guidance.report.templates import fill

TEMPLATE = "pages/index/index.html"
AUDIT = "audit.html"
CONTENTS = (
    {f"{page.name}.html": page.shows for page in PAGES}
    | {AUDIT: "this run beside the published one, cell by cell"}
    | {file.name: file.holds for file in RESULT_FILES}
    | {CONFIG_FILE: "the configuration that made all this"}
)


def render_index(run: Reported, results_folder: Path, output_html: Path) -> None:
    """Write the first page of a run's report, for readers who have not read the paper.

    It has relative links to the other pages beside it and to the files of the results folder, but needs none of them.

    Raises:
        UserError: if a table or a file of samples is missing or not such a file.
    """
    results = Results.read(run, results_folder)
    verdicts = decide_claims(results)
    body = fill(
        TEMPLATE,
        **counts_of(results),
        facts=what_was_run(results),
        answer=paragraph(results, verdicts),
        together=how_decided(),
        claims=by_claim(verdicts),
        evidence=read_evidence(run, results_folder),
        screen=first_screen(results),
        links=[link_to(file, output_html.parent) for file in files_of(results_folder, output_html)],
        chart=svg_of(accuracy_against_distance(results.over_scales)),
        best=best_scales(results, ALL_TARGETS),
    )
    page = page_html(f"{run.run}: report", body)
    write_atomically(output_html, lambda path: path.write_text(page, encoding="utf-8"))


def by_claim(verdicts: Iterable[Verdict]) -> list[list[Verdict]]:
    """Return the verdicts on each claim together, in the order of their numbers; the first is over all targets."""
    claims: dict[int, list[Verdict]] = {}
    for verdict in verdicts:
        claims.setdefault(verdict.number, []).append(verdict)
    return [claims[number] for number in sorted(claims)]


def counts_of(results: Results) -> dict[str, Any]:
    """Return the names and numbers that describe what was run."""
    run, sampling = results.run, results.run.sampling
    return {
        "run": run.run,
        "dataset": run.dataset.name,
        "classes": results.classes,
        "guided": sum(method.guided for method in results.methods),
        "unguided": len(results.unguided),
        "targets": results.targets,
        "num_samples": sampling.num_samples,
        "seeds": len(sampling.seeds),
        "screened": results.screening is not None,
        "steps": sampling.steps,
        "levels": run.diffusion.schedule.num_steps,
        "sampler": sampling.sampler.label,
        "trust_radius": sampling.trust_radius,
        "images": count_images(results),
        "judge": run.metrics.judge,
    }


def files_of(results_folder: Path, output_html: Path) -> list[Path]:
    """Return the existing pages beside this one and files of the results folder, in reading order."""
    beside = [page for page in sorted(output_html.parent.glob("*.html")) if page.name != output_html.name]
    rank = {name: place for place, name in enumerate(CONTENTS)}
    pages = sorted(beside, key=lambda page: rank.get(page.name, len(rank)))
    names = [name for name in CONTENTS if not name.endswith(".html")]
    return pages + [results_folder / name for name in names if (results_folder / name).is_file()]


def link_to(file: Path, folder: Path) -> dict[str, str]:
    """Return a file's name, its address relative to a folder, and a line on what it is, empty for unknown files."""
    address = quote(Path(os.path.relpath(file, folder)).as_posix())
    return {"name": file.name, "address": address, "words": CONTENTS.get(file.name, "")}
