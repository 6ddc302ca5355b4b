"""Screen, then confirm: each method's candidates on few samples, and the chosen one on fresh samples.

The best of several numbers is too good on the very samples by which it was chosen. So a run with ``sampling.search``
screens every candidate of a method (a scale, with values of the keys that it varies) with a seed of its own. The chosen
candidates make the confirmed run, which draws with the run's seeds. Both are runs like any other, made from the one
that the user wrote, here and in `selection`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from nonrobust_guidance.metrics.settings import Measured

FOLDER = "screening"
"""Folder of the screening's results, within those of the run."""

R = TypeVar("R", bound=Measured)


class Variant(NamedTuple):
    """A method of the screening: one of the run's, with one value of each key that it varies.

    Attributes:
        method: the run's method.
        changes: the values, by key; none where the method varies nothing.
    """

    method: str
    changes: Mapping[str, Any]


def variants(run: Measured) -> dict[str, Variant]:
    """Return what a screening draws, by the names that its methods have there; empty where there is nothing to choose.

    A method with a single candidate is not screened. A method that varies only its scale keeps its name; the variants
    of any other are numbered: ``adam__1``, ``adam__2``.
    """
    if run.sampling.search is None:
        return {}
    found: dict[str, Variant] = {}
    for name, method in run.sampling.guided.items():
        if method.vary or len(method.scales) > 1:
            numbered = enumerate(method.varied, start=1)
            found |= {f"{name}__{i}" if method.vary else name: Variant(name, changes) for i, changes in numbered}
    return found


def screening_of(run: R) -> R:
    """Return the run of a screening: few samples of every candidate, with the screening's seed.

    Raises:
        UserError: if a variant is not a valid method.
    """
    search = run.sampling.search
    if search is None:
        raise ValueError("The run has no sampling.search.")
    methods = run.resolved()["sampling"]["methods"]
    drawn = {
        name: {**without(methods[variant.method], "vary"), **variant.changes, "num_samples": search.num_samples}
        for name, variant in variants(run).items()
    }
    own = {"num_samples": search.num_samples, "seeds": [search.seed], "shard_size": None, "methods": drawn}
    return with_sampling(run, without(run.resolved()["sampling"], "search") | own)


def with_one_candidate(run: R) -> R:
    """Return the confirmed run as it might be, with the first candidate of every method in place of the best."""
    methods = run.resolved()["sampling"]["methods"]
    for variant in reversed(variants(run).values()):
        settings = methods[variant.method]
        methods[variant.method] = {**without(settings, "vary"), **variant.changes, "scales": settings["scales"][:1]}
    return with_sampling(run, run.resolved()["sampling"] | {"methods": methods})


def without(settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return settings without one of their keys."""
    return {name: value for name, value in settings.items() if name != key}


def with_sampling(run: R, sampling: Mapping[str, Any]) -> R:
    """Return the run with another section ``sampling``."""
    return type(run).model_validate({**run.resolved(), "sampling": sampling})
