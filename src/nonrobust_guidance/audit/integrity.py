"""Files that differ from what was published or recorded: each is named, with what it should have been."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from nonrobust_guidance.audit.record import SUMMARY
from nonrobust_guidance.audit.tracked import DATA_FILE, LOCK_FILE, committed, locked_files, read_data_file, read_file
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import sha256_of
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.metrics.tables import PUBLISHED
from nonrobust_guidance.records.cards import CARD_FILE, read_card


def find_changed(run: Measured, results_folder: Path, published_folder: Path) -> Iterator[str]:
    """Yield a sentence for every file that does not match the last commit, a manifest or a card.

    Args:
        run: the run.
        results_folder: of the run.
        published_folder: the run's files that git holds.
    """
    yield from changed_published(published_folder, [file.name for file in PUBLISHED if file.belongs_to(run)])
    data = Path("data", run.dataset.name)
    yield from changed_tracked()
    yield from changed_arrays(data)
    for card in sorted([*data.glob(f"checkpoints/*/{CARD_FILE}"), *results_folder.glob("samples/**/*.json")]):
        yield from changed_by_card(card)
    for card in sorted(results_folder.glob("scores/*.json")):
        yield from changed_by_card(card, results_folder / "samples")


def changed_tracked() -> Iterator[str]:
    """Yield the inputs and checkpoints that do not match the committed ``data.dvc``."""
    for file in read_data_file(committed(DATA_FILE)):
        if file.differs():
            yield _sentence(file.path, f"the committed {DATA_FILE} says")


def changed_published(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """Yield the published tables that do not match ``dvc.lock``: those of the last commit, and those here."""
    for where, lock, read in (
        (" of the last commit", committed(LOCK_FILE), committed),
        ("", read_file(LOCK_FILE), read_file),
    ):
        locked = {file.path: file.md5 for file in locked_files(lock, folder)}
        for path in (folder / name for name in (*names, SUMMARY)):
            content = read(path.as_posix())
            if content is None:
                yield f"{path}{where} is missing: nothing is published of this run; see docs/audit.md"
            elif hashlib.md5(content, usedforsecurity=False).hexdigest() != locked.get(path):
                yield _sentence(f"{path}{where}", f"its {LOCK_FILE} says")


def changed_arrays(folder: Path) -> Iterator[str]:
    """Yield the arrays that do not match the manifest of their dataset."""
    try:
        splits = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["splits"]
        expected = {
            folder / split / name: digest for split in splits for name, digest in splits[split]["sha256"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        yield f"{folder / 'manifest.json'} is missing or no manifest; run dvc pull"
        return
    for path, digest in expected.items():
        if not path.is_file() or sha256_of(path) != digest:
            yield _sentence(path, "the manifest says")


def changed_by_card(path: Path, inputs_folder: Path | None = None) -> Iterator[str]:
    """Yield the files that do not match a card and, given a folder, its inputs there that do not match it."""
    try:
        card = read_card(path)
    except UserError as error:
        yield str(error)
        return
    expected = {path.parent / name: digest for name, digest in card["sha256"].items()}
    if inputs_folder:
        expected |= {inputs_folder / name: digest for name, digest in card["inputs"].items() if name.endswith(".npy")}
    for file, digest in expected.items():
        if not file.is_file() or sha256_of(file) != digest:
            yield _sentence(file, f"{path} says")


def _sentence(path: Path | str, says: str) -> str:
    return f"{path} is not what {says}"
