"""From a YAML file to a run in which nothing is left to look up."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from nonrobust_guidance.config.run import Models, Run
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.sampling.settings import cell_folder
from nonrobust_guidance.settings import sentence_of
from nonrobust_guidance.settings.mistakes import WrongTypeError
from nonrobust_guidance.yaml_files import parse_yaml, read_yaml, write_yaml

M = TypeVar("M", bound=Models)


def load_config(path: Path) -> Run:
    """Read a run file, check it and fill in the defaults.

    Raises:
        UserError: if the file cannot be read, or a key or value in it is wrong.
    """
    return parse_config(read_yaml(path), str(path))


def load_models(path: Path) -> Models:
    """Read the sections of data and models, from a file of these alone or from a run file.

    Raises:
        UserError: if the file cannot be read, or a key or value in it is wrong.
    """
    return parse_models(read_yaml(path), str(path))


def parse_config(raw: Any, source: str) -> Run:
    """Return the run that a file says, all defaults filled in; of `Run.resolved` it is the same run again.

    Args:
        raw: what the file holds.
        source: the file's name, for messages.

    Raises:
        UserError: if a key is unknown or missing, a value is wrong, or two values contradict each other.
    """
    return _parse(Run, raw, source)


def parse_models(raw: Any, source: str) -> Models:
    """Return the sections of data and models that a file says; a file of a whole run is held to all of it.

    Raises:
        UserError: as `parse_config` does.
    """
    is_run = isinstance(raw, Mapping) and any(key in Run.model_fields and key not in Models.model_fields for key in raw)
    return _parse(Run if is_run else Models, raw, source)


def _parse(kind: type[M], raw: Any, source: str) -> M:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{source}: {sentence_of(error)}") from None
    except UserError as contradiction:
        raise UserError(f"{source}: {contradiction}") from None


def write_config(config: Models, path: Path) -> None:
    """Write a configuration as YAML, and leave the file alone where it already says the same."""
    write_yaml(config.resolved(), path)


def read_run(files: Iterable[str | Path], assignments: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Read what makes up a run, of which the later wins: its files, and each ``key=value`` of Snakemake's ``--config``.

    Values are YAML, as in the files.

    Raises:
        UserError: if a file cannot be read, or one of them is no mapping or no YAML.
    """
    parts = []
    for path in map(Path, files):
        parts.append(read_yaml(path))
        if not isinstance(parts[-1], Mapping):
            raise UserError(f"{path}: the file {WrongTypeError(parts[-1], 'a mapping')}")
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


def sample_files(run: Measured) -> list[str]:
    """List the files that a run draws, relative to its samples' folder; unguided ones have scale 0 and no target."""
    return [
        f"{cell_folder(name, scale, seed)}/{target}.npy"
        for name, method in run.sampling.methods.items()
        for scale in method.drawn_scales
        for seed in run.sampling.seeds
        for target in (run.sampling.targets if method.classifier else ["any"])
    ]
