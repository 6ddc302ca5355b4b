"""Files that are not what was published or recorded of them: each is named, with what it should have been."""

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
    """Yield a sentence for every file that is not what the last commit, a manifest or a card says.

    Args:
        run: the run.
        results_folder: of the run.
        published_folder: what git holds of it.
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
    """Yield the inputs and checkpoints that the committed ``data.dvc`` does not vouch for."""
    for file in read_data_file(committed(DATA_FILE)):
        if file.differs():
            yield _sentence(file.path, f"the committed {DATA_FILE} says")


def changed_published(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """Yield the published tables that ``dvc.lock`` does not vouch for: those of the last commit, and those here."""
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
    """Yield the arrays that the manifest of a dataset does not vouch for."""
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
    """Yield the files that a card does not vouch for, and with a folder, those in it that it was made from."""
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
