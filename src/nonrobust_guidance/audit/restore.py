"""Published checkpoints: brought where they are missing, and checked before they are published."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nonrobust_guidance.audit.integrity import changed_by_card
from nonrobust_guidance.audit.tracked import DATA_FILE, read_data_file, read_file
from nonrobust_guidance.cards import CARD_FILE, read_card
from nonrobust_guidance.errors import UserError, missing_program
from nonrobust_guidance.trainings import checkpoint_settings, mismatches


def restore_checkpoints(config: Mapping[str, Any]) -> None:
    """Bring those of the run's published files that are missing, and say which checkpoints it cannot use, and why.

    Raises:
        UserError: if DVC cannot bring a file.
    """
    folder = Path("data", config["dataset"]["name"])
    tracked = [file for file in read_data_file(read_file(DATA_FILE)) if file.path.is_relative_to(folder)]
    if not tracked:
        return _say(f"{DATA_FILE} holds nothing of {folder}: its models are trained here")
    missing = [str(file.path) for file in tracked if not file.path.is_file()]
    if missing:
        _pull(missing)
    found = mismatches(config, folder)
    for name, reason in found.items():
        changed = [file.path for file in tracked if file.path.parts[3:4] == (name,) and file.differs()]
        if reason:
            _say(f"{folder / 'checkpoints' / name} is another training than the run's: {reason}")
        elif changed:
            _say(f"{changed[0]} is not what {DATA_FILE} says; it is used as it is")
    _say(f"{sum(not reason for reason in found.values())} of {len(found)} trained checkpoints are in use as they are")


def require_publishable(config: Mapping[str, Any]) -> None:
    """Check that every checkpoint that the run trains is what its card says, made by committed code, from these data.

    Raises:
        UserError: if one is not, or its files are not what the card says.
    """
    folder = Path("data", config["dataset"]["name"])
    found = mismatches(config, folder)
    for name in checkpoint_settings(config):
        path = folder / "checkpoints" / name / CARD_FILE
        card = read_card(path)
        reason = next(changed_by_card(path), "") or found[name]
        if not reason and (not card["commit"] or card["commit"].endswith("-dirty")):
            reason = f"its card names no commit that made it, but '{card['commit']}'"
        if reason:
            raise UserError(f"{path.parent} cannot be published: {reason}; train it again")


def _pull(files: list[str]) -> None:
    try:
        code = subprocess.run(["dvc", "pull", *files]).returncode
    except FileNotFoundError:
        raise UserError(missing_program("dvc")) from None
    if code:
        raise UserError("dvc pull failed, as it says above; nothing was restored")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
