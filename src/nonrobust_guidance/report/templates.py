"""Markup and sentences, in files beside the code that computes the values to fill in."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nonrobust_guidance.metrics.tables import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNDECIDED
from nonrobust_guidance.report import wording

DECISIONS = (SUPPORTED, NOT_SUPPORTED, UNDECIDED, NOT_TESTED)
"""The verdicts, which a table shows in colour; an n may follow them in the text."""
INTERVAL = re.compile(r"[-+\d.e%]+ \[[^\]]*\]")


def fill(template: str, /, **values: Any) -> str:
    """Return a template filled with its values; in HTML files these are escaped, unless the file says ``safe``."""
    return environment().get_template(template).render(values)


def part(template: str, name: str, /, *values: Any, **named: Any) -> str:
    """Return the output of a macro of a template."""
    return str(getattr(environment().get_template(template).module, name)(*values, **named))


def say(template: str, sentence: str, /, **values: Any) -> str:
    """Return a sentence from a file of sentences, on one line; each is a macro whose arguments are the values."""
    return re.sub(r"[ \n]+", " ", part(template, sentence, **values)).strip(" ")


@cache
def environment() -> Environment:
    """Return the environment that fills all templates: a missing value is an error, never an empty space."""
    made = Environment(
        # The report's own templates by their names, those of other subpackages with the subpackage's name in front.
        loader=FileSystemLoader([Path(__file__).parent, Path(__file__).parents[1]]),
        autoescape=lambda name: bool(name and name.endswith(".html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
        keep_trailing_newline=True,
    )
    made.tests["interval"] = lambda text: bool(INTERVAL.fullmatch(text))
    made.tests["verdict"] = lambda text: text.partition(",")[0] in DECISIONS
    for filling in (wording.percent, wording.points, wording.number, wording.quantity, wording.signed, wording.listed):
        made.filters[filling.__name__] = filling
    made.globals |= {"x_t": wording.X_T, "x0_hat": wording.X0_HAT}
    return made
