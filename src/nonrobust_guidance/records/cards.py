"""Cards: JSON beside a file that records what it was made from, by what and where.

A checkpoint, the samples of a cell and the scores of a method each have one. A card contains no time, so that the same
job on the same machine writes the same card.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import hash_files, sha256_of
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.records.environment import code_hash, commit, library_versions, processor

CARD_FILE = "card.json"


def write_card(
    path: Path,
    configuration: Any,
    inputs: Mapping[str, str],
    made: Iterable[str],
    device: str = "cpu",
    **further: Any,
) -> None:
    """Write a card, after the files that it describes.

    Args:
        path: the card.
        configuration: the settings that the files depend on.
        inputs: SHA-256 of each input that they were made from, by a word for it.
        made: names of the files, relative to the card's folder.
        device: the one that computed them: cpu, cuda or mps.
        **further: what else is worth knowing, such as the seed.
    """
    card = {
        "configuration": configuration,
        **further,
        "inputs": dict(inputs),
        "sha256": hash_files(path.parent, made),
        "code": code_hash(),
        "commit": commit(),
        "versions": library_versions(),
        "device": describe_device(device),
    }
    _write(card, path)


def gather_cards(names: Iterable[str], checkpoints: Path, output: Path) -> None:
    """Write, as JSON, at which step each model's training ended, and with which loss and accuracy.

    Raises:
        UserError: if a card is missing or not a card.
    """
    cards = {name: read_card(checkpoints / name / CARD_FILE) for name in names}
    ends = {name: {"steps": card["steps"], **card["end"]} for name, card in cards.items()}
    _write(ends, output)


def merge_cards(shards: Iterable[Path], path: Path, made: str) -> None:
    """Write the card of a file merged from shards: the shards' own, which must be the same, with the whole's hash.

    Args:
        shards: their cards.
        path: the card.
        made: name of the whole file, beside the card.

    Raises:
        UserError: if one is missing, or they were made from different settings or inputs.
    """
    cards = {shard: read_card(shard) for shard in shards}
    first = next(iter(cards.values()))
    for shard, card in cards.items():
        if [card["configuration"], card["inputs"]] != [first["configuration"], first["inputs"]]:
            raise UserError(f"{shard} was made from other settings or checkpoints than the other shards; draw it again")
    _write({**first, "sha256": hash_files(path.parent, [made])}, path)


def read_card(path: Path) -> dict[str, Any]:
    """Read a card.

    Raises:
        UserError: if it is missing or not a card.
    """
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(card["inputs"], dict) and isinstance(card["sha256"], dict):
            return dict(card)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; make again what it describes") from None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path} is no card; make again what it describes")


def weights_hash(folder: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights.

    Raises:
        UserError: if it has none.
    """
    files = sorted(path for path in folder.rglob("*.safetensors") if not path.name.startswith("training-state"))
    if len(files) != 1:
        raise UserError(f"{folder} holds {len(files)} files of weights where a checkpoint has one; train or fetch it")
    return sha256_of(files[0])


def describe_device(kind: str) -> dict[str, Any]:
    """Return a device's kind and name, and the threads that this process computes on."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else os.cpu_count()
    name = torch.cuda.get_device_name() if torch is not None and kind == "cuda" else processor()
    return {"kind": kind, "name": name, "threads": threads}


def _write(content: Mapping[str, Any], path: Path) -> None:
    text = json.dumps(content, indent=2, default=str) + "\n"
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
