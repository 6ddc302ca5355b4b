"""Markup and sentences, in files beside the code that computes what is filled in."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nonrobust_guidance.metrics.tables import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNDECIDED
from nonrobust_guidance.report import wording

DECISIONS = (SUPPORTED, NOT_SUPPORTED, UNDECIDED, NOT_TESTED)
"""The verdicts, which a table shows in colour; an n may follow."""
INTERVAL = re.compile(r"[-+\d.e%]+ \[[^\]]*\]")


def fill(template: str, /, **values: Any) -> str:
    """Return a template with its values; in files of HTML these are escaped, unless the file says ``safe``."""
    return environment().get_template(template).render(values)


def part(template: str, name: str, /, *values: Any, **named: Any) -> str:
    """Return what a macro of a template gives."""
    return str(getattr(environment().get_template(template).module, name)(*values, **named))


def say(template: str, sentence: str, /, **values: Any) -> str:
    """Return a sentence of a file of sentences, in one line; each is a macro, whose arguments are the values."""
    return re.sub(r"[ \n]+", " ", part(template, sentence, **values)).strip(" ")


@cache
def environment() -> Environment:
    """Return what fills all templates: a value that is missing is an error, never an empty place."""
    made = Environment(
        # The report's own by their names, other rooms' with the room's.
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
