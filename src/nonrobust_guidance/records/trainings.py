"""Trainings: which one a folder holds, whether it is the one that a run needs, and that none is lost unasked.

A training is identified by its settings and its data. Both are in the card of a checkpoint, and in the state from which
an unfinished training continues.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import sha256_of
from nonrobust_guidance.records.cards import CARD_FILE, read_card, write_card
from nonrobust_guidance.settings import Settings

STATE_FILE = "training-state.safetensors"
REPLACE_VARIABLE = "REPLACE_TRAININGS"
"""The environment variable that names the models whose trainings may be replaced."""


def identify(settings: Settings, manifest: Path) -> dict[str, Any]:
    """Return what identifies a training: its settings, and the SHA-256 of the manifest of its data.

    Args:
        settings: all that the model depends on.
        manifest: of the data.
    """
    return {"configuration": settings.recorded(), "data": sha256_of(manifest)}


def write_checkpoint_card(
    folder: Path,
    settings: Settings,
    seed: int,
    history: list[dict[str, float]],
    manifest: Path,
    made: Iterable[str],
    device: str,
) -> None:
    """Write the card of a checkpoint that was just trained.

    Args:
        folder: the checkpoint.
        settings: all that it depends on.
        seed: of the training.
        history: of the training, up to its end.
        manifest: of the data that it was trained on.
        made: the files of the checkpoint, relative to its folder.
        device: the one that trained it: cpu, cuda or mps.
    """
    end = {key: value for key, value in history[-1].items() if key in ("loss", "validation_accuracy")}
    write_card(
        folder / CARD_FILE,
        settings.recorded(),
        {"data": sha256_of(manifest)},
        made,
        device,
        seed=seed,
        steps=history[-1]["step"],
        end=end,
        history="history.csv",
    )


def mismatches(
    dataset: Mapping[str, Any], trained: Mapping[str, Settings], fetched: Iterable[str], folder: Path
) -> dict[str, str]:
    """Return in words how the trainings in the folders of the run's models differ from the run's; empty if they do not.

    A model whose training has not begun, or is the run's own but unfinished, is left out.

    Args:
        dataset: what the data depend on, as recorded in their manifest.
        trained: all that each model that the run trains depends on, by name.
        fetched: names of the models whose weights are fetched.
        folder: of the dataset, with the manifest and ``checkpoints``.
    """
    manifest = folder / "manifest.json"
    try:
        is_current = json.loads(manifest.read_bytes())["settings"] == dict(dataset)
        data = sha256_of(manifest) if is_current else None
    except (OSError, ValueError, KeyError, TypeError):
        data = None
    found = {}
    for name, settings in trained.items():
        reason = _how_other(folder / "checkpoints" / name, settings, data)
        if reason is not None:
            found[name] = reason
    for name in fetched:
        checkpoint = folder / "checkpoints" / name
        if any((checkpoint / file).exists() for file in (CARD_FILE, STATE_FILE)):
            found[name] = "it was trained and not fetched"
    return found


def is_trained(folder: Path, settings: Settings, manifest: Path, *, replace: bool) -> bool:
    """Return whether a folder holds the complete result of this very training, so that nothing is left to do.

    Args:
        folder: the checkpoint.
        settings: all that it depends on.
        manifest: of the data to train on.
        replace: whether what the folder holds may be replaced, whatever it is.

    Raises:
        UserError: if it holds another training, complete or not, that may not be replaced.
    """
    if replace or not manifest.is_file():
        return False
    reason = _how_other(folder, settings, sha256_of(manifest))
    if reason:
        raise UserError(f"{folder} holds another training: {reason}; {_leave(folder)}")
    if reason == "":
        print(f"{folder} stands: it was trained with these settings on these data", file=sys.stderr)
    return reason == ""


def require_untrained(folder: Path) -> None:
    """Check that a folder is free for weights to be fetched.

    Raises:
        UserError: if it holds a training, complete or not.
    """
    if any((folder / file).exists() for file in (CARD_FILE, STATE_FILE)):
        raise UserError(f"{folder} holds a training; {_leave(folder)}")


def read_state(path: Path) -> dict[str, str]:
    """Return the metadata of an unfinished training's state, empty where it cannot be read; the tensors are not read.

    The format is that of safetensors: the length of a JSON header in eight bytes, then the header.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                return {}
            metadata = json.loads(file.read(length)).get("__metadata__")
    except (OSError, ValueError, AttributeError, struct.error):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _leave(folder: Path) -> str:
    return f"use another folder, or add --replace to the command, or --config replace=[{folder.name}] to snakemake"


def _how_other(folder: Path, settings: Settings, data: str | None) -> str | None:
    """Return how a folder's training differs from the wanted one; empty if it does not, None if there is none."""
    wanted = {"configuration": settings.recorded(), "data": data}
    if (folder / CARD_FILE).is_file():
        try:
            card = read_card(folder / CARD_FILE)
            found = {"configuration": _recorded(card["configuration"], settings), "data": card["inputs"].get("data")}
            is_complete = all((folder / name).is_file() for name in card["sha256"])
        except (UserError, KeyError, TypeError, AttributeError):
            return "its card cannot be read"
        if is_complete:
            return _difference(found, wanted)
    if (folder / STATE_FILE).is_file():
        try:
            found = json.loads(read_state(folder / STATE_FILE)["training"])
            reason = _difference(found, wanted)
        except (KeyError, ValueError, TypeError, AttributeError):
            reason = "its state cannot be read"
        return f"half of it is done, and {reason}" if reason else None
    return None


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    other = list(_differing(found["configuration"], wanted["configuration"]))
    if other:
        return other[0] + (f", and {len(other) - 1} more settings are others" if other[1:] else "")
    return "" if found["data"] == wanted["data"] and wanted["data"] else "it was trained on other data"


def _differing(found: Any, wanted: Any, key: str = "") -> Iterator[str]:
    """Yield a clause for each setting that differs."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for name in dict.fromkeys([*found, *wanted]):
            yield from _differing(found.get(name), wanted.get(name), f"{key}.{name}".removeprefix("."))
    elif found != wanted:
        was, now = ("not set" if value is None else json.dumps(value) for value in (found, wanted))
        yield f"its {key} is {was} and not {now}"


def _recorded(configuration: Any, like: Settings) -> Any:
    """Return a card's settings as they would be recorded now, or unchanged if they are no longer valid."""
    try:
        return type(like).model_validate(configuration).recorded()
    except ValidationError:
        return configuration
