"""From a YAML file to a run in which every value is filled in."""

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
    """Read the sections of data and models, from a file with only these or from a run file.

    Raises:
        UserError: if the file cannot be read, or a key or value in it is wrong.
    """
    return parse_models(read_yaml(path), str(path))


def parse_config(raw: Any, source: str) -> Run:
    """Return the run that a file describes, all defaults filled in; from `Run.resolved` it gives the same run again.

    Args:
        raw: the content of the file.
        source: the file's name, for messages.

    Raises:
        UserError: if a key is unknown or missing, a value is wrong, or two values contradict each other.
    """
    return _parse(Run, raw, source)


def parse_models(raw: Any, source: str) -> Models:
    """Return the sections of data and models in a file; in a file of a whole run, everything is checked.

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
    """Write a configuration as YAML, leaving a file that already has the same content untouched."""
    write_yaml(config.resolved(), path)


def read_run(files: Iterable[str | Path], assignments: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Read the parts of a run, later ones overriding earlier ones: its files, and Snakemake's ``--config`` values.

    Each assignment is ``key=value``, with the value in YAML, as in the files.

    Raises:
        UserError: if a file cannot be read, or one of them is not a mapping or not YAML.
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
    """End the program with one sentence if a file named by Snakemake's ``--configfile`` is not a run file.

    It is called from the profile, which is read first, because Snakemake itself ends with a traceback if a file is
    missing.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    try:
        read_run(parser.parse_known_args(arguments)[0].configfile)
    except UserError as error:
        sys.exit(f"error: {error}")


def sample_files(run: Measured) -> list[str]:
    """List the files of samples that a run draws, relative to their folder; scale 0 and no target if unguided."""
    return [
        f"{cell_folder(name, scale, seed)}/{target}.npy"
        for name, method in run.sampling.methods.items()
        for scale in method.drawn_scales
        for seed in run.sampling.seeds
        for target in (run.sampling.targets if method.classifier else ["any"])
    ]
