"""From a YAML file to a configuration in which nothing is left to look up."""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nonrobust_guidance.config.contradictions import (
    check_early_stopping,
    check_methods,
    check_metrics,
    check_models,
    check_report,
)
from nonrobust_guidance.config.schema import load_schema, resolved, schema_violation
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.yaml_files import parse_yaml, read_yaml, write_yaml

MODEL_SECTIONS = ("dataset", "diffusion", "classifiers")
"""All that the data and the checkpoints are made from; runs of the same dataset may share them."""


def load_config(path: Path, *, complete: bool = True) -> dict[str, Any]:
    """Read a configuration file, check it and fill in the defaults.

    Args:
        path: a YAML file.
        complete: whether all sections must be there, or only `MODEL_SECTIONS`.

    Raises:
        UserError: if the file cannot be read, or a key or value in it is wrong.
    """
    return resolve_config(read_yaml(path), str(path), complete=complete)


def resolve_config(raw: Any, source: str, *, complete: bool = True) -> dict[str, Any]:
    """Return the configuration with all defaults filled in, its keys in the schema's order; twice is the same as once.

    A guided method comes out with its own ``objective``, ``interval``, ``on_nonfinite``, ``num_samples``, ``steps`` and
    a list of stabilizers, an unguided one with ``classifier`` None, ``num_samples`` and ``steps``.

    Args:
        raw: what the file holds.
        source: the file's name, for messages.
        complete: whether all sections must be there, or only `MODEL_SECTIONS`.

    Raises:
        UserError: if a key is unknown or missing, a value is wrong, or two values contradict each other.
    """
    schema = load_schema()
    if not complete:
        schema = {**schema, "required": list(MODEL_SECTIONS)}
    violation = schema_violation(schema, raw)
    if violation:
        raise UserError(f"{source}: {violation}")
    config = _with_defaults(schema, _with_fidelity(raw), schema)
    try:
        config["dataset"] = _with_folders(config["dataset"])
        check_models(config)
        check_early_stopping(config)
        if "metrics" in config:
            check_metrics(config)
        if "sampling" in config:
            check_methods(config)
            _complete_methods(config["sampling"])
            check_report(config)
    except UserError as contradiction:
        raise UserError(f"{source}: {contradiction}") from None
    return config


def write_config(config: Mapping[str, Any], path: Path) -> None:
    """Write a configuration as YAML, and leave the file alone where it already says the same."""
    write_yaml(dict(config), path)


def read_run(files: Iterable[str | Path], assignments: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Read what makes up a run, of which the later wins: its files, and each ``key=value`` of Snakemake's ``--config``.

    Values are YAML, as in the files.

    Raises:
        UserError: if a file cannot be read, or one of them is no mapping or no YAML.
    """
    parts = []
    for path in map(Path, files):
        parts.append(read_yaml(path))
        violation = schema_violation({"type": "object"}, parts[-1])
        if violation:
            raise UserError(f"{path}: {violation}")
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        parts.append({key: parse_yaml(value, f"--config {key}")})
    return parts


def require_run_files(arguments: Sequence[str]) -> None:
    """End the program with one sentence if a file that Snakemake's ``--configfile`` names is none of a run.

    For the profile, which is read first: Snakemake itself ends with a traceback where a file is missing.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    try:
        read_run(parser.parse_known_args(arguments)[0].configfile)
    except UserError as error:
        sys.exit(f"error: {error}")


def sample_files(config: Mapping[str, Any]) -> list[str]:
    """List the files that a run draws, relative to its samples' folder; unguided ones have scale 0 and no target."""
    sampling = config["sampling"]
    return [
        f"{name}/scale-{scale:g}/seed-{seed}/{target}.npy"
        for name, method in sampling["methods"].items()
        for scale in (method["scales"] if method["classifier"] else [0])
        for seed in sampling["seeds"]
        for target in (sampling["targets"] if method["classifier"] else ["any"])
    ]


def _with_fidelity(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with the original code's choices where ``fidelity: paper`` asks for them.

    There SportBalls draws its factors from one number, and guidance toward one of more than two classes follows the
    raw logit. What is written out stays as it is.
    """
    if raw.get("fidelity") != "paper":
        return dict(raw)
    paper = {}
    if raw["dataset"]["kind"] == "sportballs":
        paper["dataset"] = {"independent_draws": False} | raw["dataset"]
    classes = raw["dataset"].get("classes")  # left out, they are the four balls
    if (classes is None or len(classes) > 2) and "sampling" in raw:
        paper["sampling"] = {"objective": "logit"} | raw["sampling"]
    return {**raw, **paper}


def _with_folders(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section with the names alone as ``classes``; where these are a mapping, that becomes ``folders``."""
    filled: dict[str, Any] = {}
    for key, value in dataset.items():
        is_mapping = key == "classes" and isinstance(value, Mapping)
        filled |= {"classes": list(value), "folders": dict(value)} if is_mapping else {key: value}
        if is_mapping and "folders" in dataset:
            raise UserError("dataset.classes, as a mapping, says what dataset.folders says; remove the latter")
    return filled


def _with_defaults(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any]) -> Any:
    schema = resolved(schema, value, root)
    if isinstance(value, list):
        return [_with_defaults(schema.get("items", {}), item, root) for item in value]
    if not isinstance(value, Mapping):
        return value
    known, others = schema.get("properties", {}), schema.get("additionalProperties") or {}
    filled = {}
    for key, part in known.items():
        if key in value:
            filled[key] = _with_defaults(part, value[key], root)
        elif "default" in part:
            filled[key] = _with_defaults(part, copy.deepcopy(part["default"]), root)
    return filled | {key: _with_defaults(others, item, root) for key, item in value.items() if key not in known}


def _complete_methods(sampling: dict[str, Any]) -> None:
    """Give every method its own copy of what it may leave to the run, so that nobody has to look in two places."""
    for name, method in sampling["methods"].items():
        count = {key: method.get(key, sampling[key]) for key in ("num_samples", "steps")}
        if method.get("classifier") is None:
            sampling["methods"][name] = {"classifier": None} | count
            continue
        stabilizer = method.get("stabilizer", [])
        inherited = {
            "objective": sampling["objective"],
            "stabilizer": [stabilizer] if isinstance(stabilizer, dict) else stabilizer,
            "interval": [0.0, 1.0],
            "on_nonfinite": "raise",
        }
        own = {key: value for key, value in method.items() if key != "stabilizer"}
        sampling["methods"][name] = {"classifier": None, "at": None, "scales": None} | inherited | own | count
