"""What each part of a method does: methods that differ from a base in one setting, and the same ones of other runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import stabilizer_chain
from nonrobust_guidance.metrics.choice import best
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.metrics.tables import COMPARISONS
from nonrobust_guidance.report.claims.guidance import Compared, compare
from nonrobust_guidance.report.facts import Row
from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import AT, method_labels, number, percent
from nonrobust_guidance.sampling.settings import Chain, Guided, Plan

SENTENCES = "pages/ablation/sentences.j2"
SETTINGS = ("classifier", "objective", "steps", "interval", "trust_radius")


class Variant(NamedTuple):
    """A method that differs from its base in one setting, or the base itself, whose setting is empty."""

    method: str
    setting: str
    value: str


class Parts(NamedTuple):
    """What a guided method is made of."""

    settings: dict[str, Any]
    """By name; guidance, stabilizer and sampler by their labels."""
    arguments: dict[str, dict[str, Any]]
    """Arguments of guidance, stabilizer and sampler; those of the last two are prefixed with its name."""

    def differences(self, other: Parts) -> list[str]:
        """Return the names of differing settings, and of differing arguments where a setting is the same."""
        found = [key for key, value in self.settings.items() if value != other.settings[key]]
        for part, own in self.arguments.items():
            if part not in found:
                others = other.arguments[part]
                found += [key for key in own | others if own.get(key) != others.get(key)]
        return found

    def words(self, key: str) -> str:
        """Return a setting or an argument in words for the reader."""
        value = next(part[key] for part in (self.settings, *self.arguments.values()) if key in part)
        return AT.get(value, value) if key == "at" else "none" if value is None else str(value)


def parts_of(entry: Guided, chain: Chain) -> Parts:
    """Return what a guided method is made of, in a run with this chain."""
    links, sampler = stabilizer_chain(entry), chain.sampler_of(entry)
    settings: dict[str, Any] = {key: getattr(entry, key) for key in SETTINGS}
    settings["spacing_power"] = entry.spacing_power
    settings["guidance"] = entry.label
    settings["stabilizer"] = " + ".join(link.label for link in links) or "none"
    settings["sampler"] = name = (entry.sampler or chain.sampler).label
    settings["rejection"] = f"below {entry.reject.threshold:g}" if entry.reject else "none"
    stabilizing: dict[str, Any] = {}
    for link in links:
        stabilizing[f"{link.label} bias_correction"] = False
        stabilizing |= {f"{link.label} {key}": value for key, value in link.arguments.items()}
    solving = {f"{name} {field.name}": getattr(sampler, field.name) for field in dataclasses.fields(cast(Any, sampler))}
    return Parts(settings, {"guidance": entry.own, "stabilizer": stabilizing, "sampler": solving})


def variants_of(plan: Plan, base: str) -> list[Variant]:
    """Return the base, then every method that differs from it in one setting, in the order of the configuration.

    A method with another stabilizer differs in that one setting, whatever the arguments are. The same goes for another
    guidance and another sampler.
    """
    entries = plan.sampling.guided
    own, found = parts_of(entries[base], plan.sampling), [Variant(base, "", "")]
    for name, entry in entries.items():
        other = parts_of(entry, plan.sampling)
        different = own.differences(other)
        if len(different) == 1:
            found.append(Variant(name, different[0], other.words(different[0])))
    return found


def ablation_table(results: Results, base: str) -> list[Row]:
    """Return a row per variant: at its best scale, compared with the base at its own."""
    outcomes = {variant: best_of(results, variant.method) for variant in variants_of(results.run, base)}
    plain = next(iter(outcomes.values()))
    return [
        {
            "changed": variant.setting.replace("_", " ") or "nothing",
            "to": variant.value or method_labels(results.run)[base],
            "best scale": f"{found.scale:g}",
            "held-out accuracy": percent(found.accuracy),
            "distance": number(found.distance),
            "against the base": against(results, found, plain).words if variant.setting else "",
            "samples": str(found.n),
        }
        for variant, found in outcomes.items()
    ]


def answer(results: Results, base: str) -> str:
    """Return which changes of the base make a significant difference, and which way, in a sentence or two."""
    groups: dict[int, list[str]] = {1: [], -1: [], 0: []}
    labels, plain = method_labels(results.run), best_of(results, base)
    for variant in variants_of(results.run, base)[1:]:
        groups[against(results, best_of(results, variant.method), plain).sign].append(
            f"{variant.setting.replace('_', ' ')} {variant.value}"
        )
    return say(SENTENCES, "answer", base=labels[base], better=groups[1], worse=groups[-1], same=groups[0])


def against(results: Results, found: Outcome, plain: Outcome) -> Compared:
    """Return how a variant compares with the base.

    Raises:
        UserError: if the run has not compared them.
    """
    compared = compare(results, found, plain)
    if compared is None:
        table = results.folder / COMPARISONS.name
        raise UserError(f"{table} is missing or has no {found.method.name} beside {plain.method.name}; make it again")
    return compared


def best_of(results: Results, method: str) -> Outcome:
    """Return a method's best outcome over all targets."""
    return best([outcome for outcome in results.outcomes_of(ALL_TARGETS) if outcome.method.name == method])


def read_beside(names: Iterable[str], results_folder: Path, load: Callable[[Path], Measured]) -> list[Results]:
    """Read other runs, from the folders beside this run's.

    Args:
        names: of the runs.
        results_folder: this run's.
        load: reads a run's configuration.

    Raises:
        UserError: if one of them is not there or not complete.
    """
    found = []
    for name in names:
        folder = results_folder.parent / name
        if not (folder / "config.yaml").is_file():
            raise UserError(f"{folder / 'config.yaml'} is missing; make the run '{name}' first")
        found.append(Results.read(load(folder / "config.yaml"), folder))
    return found


def beside_table(results: Results, others: list[Results]) -> list[Row]:
    """Return a row for each method that this run shares with the others, at the best scale of each run."""
    rows = []
    for method in results.methods:
        row = {"method": method_labels(results.run)[method.name]}
        for other in [results, *others]:
            if method.name in {known.name for known in other.methods}:
                found = best_of(other, method.name)
                text = f"{percent(found.accuracy)}, {number(found.distance)}"
                row[other.run.run] = f"{text} at scale {found.scale:g}" if method.guided else text
            else:
                row[other.run.run] = "-"
        rows.append(row)
    return rows
