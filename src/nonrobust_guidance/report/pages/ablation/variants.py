"""What each part of a method does: methods that differ from a base in one setting, and the same ones of other runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import stabilizer_chain
from nonrobust_guidance.report.claims.guidance import compare
from nonrobust_guidance.report.facts import Row
from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results, best
from nonrobust_guidance.report.templates import say
from nonrobust_guidance.report.wording import AT, method_labels, number, percent
from nonrobust_guidance.yaml_files import read_yaml

SENTENCES = "pages/ablation/sentences.j2"
SETTINGS = ("classifier", "at", "objective", "steps", "interval")


class Variant(NamedTuple):
    """A method that differs from its base in one setting, or the base itself, whose setting is empty."""

    method: str
    setting: str
    value: str


def settings_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a guided method's settings by name; those of its stabilizers carry the stabilizer's name."""
    links = stabilizer_chain(entry)
    settings: dict[str, Any] = {key: entry.get(key) for key in SETTINGS}
    settings["stabilizer"] = " + ".join(link["name"] for link in links) or "none"
    for link in links:
        settings[f"{link['name']} bias_correction"] = False
        settings |= {f"{link['name']} {key}": value for key, value in link.items() if key != "name"}
    return settings


def variants_of(config: Mapping[str, Any], base: str) -> list[Variant]:
    """Return the base, then every method that differs from it in one setting, in the order of the configuration.

    A method with other stabilizers differs in that one setting, whatever their arguments are.
    """
    entries = {name: entry for name, entry in config["sampling"]["methods"].items() if entry.get("classifier")}
    own, found = settings_of(entries[base]), [Variant(base, "", "")]
    for name, entry in entries.items():
        other = settings_of(entry)
        arguments = set(own) | set(other) if own["stabilizer"] == other["stabilizer"] else {*SETTINGS, "stabilizer"}
        different = sorted(key for key in arguments if own.get(key) != other.get(key))
        if len(different) == 1:
            value = AT.get(other[different[0]], other[different[0]]) if different == ["at"] else other[different[0]]
            found.append(Variant(name, different[0], str(value)))
    return found


def ablation_table(results: Results, base: str) -> list[Row]:
    """Return a row a variant: at its best scale, and held against the base at its own."""
    outcomes = {variant: best_of(results, variant.method) for variant in variants_of(results.config, base)}
    plain = next(iter(outcomes.values()))
    return [
        {
            "changed": variant.setting.replace("_", " ") or "nothing",
            "to": variant.value or method_labels(results.config)[base],
            "best scale": f"{found.scale:g}",
            "held-out accuracy": percent(found.accuracy),
            "distance": number(found.distance),
            "against the base": compare(found, plain)[1] if variant.setting else "",
            "samples": str(found.n),
        }
        for variant, found in outcomes.items()
    ]


def answer(results: Results, base: str) -> str:
    """Return which changes of the base are told apart from it, and which way, in a sentence or two."""
    groups: dict[int, list[str]] = {1: [], -1: [], 0: []}
    labels, plain = method_labels(results.config), best_of(results, base)
    for variant in variants_of(results.config, base)[1:]:
        sign, _ = compare(best_of(results, variant.method), plain)
        groups[sign].append(f"{variant.setting.replace('_', ' ')} {variant.value}")
    return say(SENTENCES, "answer", base=labels[base], better=groups[1], worse=groups[-1], same=groups[0])


def best_of(results: Results, method: str) -> Outcome:
    """Return a method's best outcome over all targets."""
    return best([outcome for outcome in results.outcomes_of(ALL_TARGETS) if outcome.method.name == method])


def read_beside(config: Mapping[str, Any], results_folder: Path) -> list[Results]:
    """Read the runs that ``report.beside`` names, from the folders beside this run's.

    Raises:
        UserError: if one of them is not there or not complete.
    """
    found = []
    for name in config["report"]["beside"]:
        folder = results_folder.parent / name
        if not (folder / "config.yaml").is_file():
            raise UserError(f"{folder / 'config.yaml'} is missing; make the run '{name}' first")
        found.append(Results.read(read_yaml(folder / "config.yaml"), folder))
    return found


def beside_table(results: Results, others: list[Results]) -> list[Row]:
    """Return a row for each method that this run shares with the others, at the best scale of each run."""
    rows = []
    for method in results.methods:
        row = {"method": method_labels(results.config)[method.name]}
        for run in [results, *others]:
            if method.name in {other.name for other in run.methods}:
                found = best_of(run, method.name)
                text = f"{percent(found.accuracy)}, {number(found.distance)}"
                row[run.config["run"]] = f"{text} at scale {found.scale:g}" if method.guided else text
            else:
                row[run.config["run"]] = "-"
        rows.append(row)
    return rows
