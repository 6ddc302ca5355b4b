"""Published checkpoints in place of training: checked, and made to count as up to date for Snakemake.

The order matters. DVC brings the manifest and the checkpoints; Snakemake prepares the arrays, whose job writes the
manifest anew; and only then is what was restored younger than what it was made from.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nonrobust_guidance.audit.integrity import changed_by_card
from nonrobust_guidance.audit.tracked import DATA_FILE, Tracked, read_data_file, read_file
from nonrobust_guidance.cards import CARD_FILE, read_card
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import sha256_of

MANIFEST = "manifest.json"


def restore_checkpoints(config: Mapping[str, Any], config_file: Path) -> None:
    """Bring the run's published checkpoints if they are missing, prepare its data, and let both count as made.

    A checkpoint counts as made where each of its files is what ``data.dvc`` says and its card says that it was trained
    on these data with these settings. Any other is left to Snakemake, which trains it again if it has to.

    Raises:
        UserError: if DVC cannot bring a file, or Snakemake fails.
    """
    folder = Path("data", config["dataset"]["name"])
    tracked = [file for file in read_data_file(read_file(DATA_FILE)) if file.path.is_relative_to(folder)]
    if not tracked:
        return _say(f"{DATA_FILE} holds nothing of {folder}: its models are trained here")
    missing = [str(file.path) for file in tracked if not file.path.is_file()]
    if missing:
        _run(["dvc", "pull", *missing])
    snakemake = ["snakemake", "--configfile", str(config_file)]
    _run([*snakemake, "--quiet", "all", "--", "data"])
    wanted = settings_of_models(config)
    usable: list[Tracked] = []
    for name, settings in wanted.items():
        files = [file for file in tracked if file.path.is_relative_to(folder / "checkpoints" / name)]
        reason = unusable(files, folder, name, settings)
        if reason:
            _say(f"{folder / 'checkpoints' / name} is not restored: {reason}")
            continue
        usable += files
    outdated = not_up_to_date(snakemake, usable)
    if outdated:
        _run([*snakemake, "--quiet", "all", "--touch", "--force", "--", *outdated])
    _say(f"{len(usable)} of {len(tracked) - 1} files of published checkpoints are in use, as {DATA_FILE} says")


def settings_of_models(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return, for each model that the run trains, what its card must say of its configuration."""
    models = {config["diffusion"]["name"]: config["diffusion"]}
    noise = {"schedule": config["diffusion"]["schedule"]}
    for name, classifier in config["classifiers"].items():
        models[name] = dict(classifier) | (noise if classifier["noised"] else {})
    return {name: settings for name, settings in models.items() if "source" not in settings}


def require_publishable(config: Mapping[str, Any]) -> None:
    """Check that every checkpoint that the run trains is what its card says, made by committed code, from these data.

    Raises:
        UserError: if one is not, or its files are not what the card says.
    """
    folder = Path("data", config["dataset"]["name"])
    for name, settings in settings_of_models(config).items():
        checkpoint = folder / "checkpoints" / name
        card = read_card(checkpoint / CARD_FILE)
        reason = next(changed_by_card(checkpoint / CARD_FILE), "") or mismatch(card, settings, folder)
        if not reason and (not card["commit"] or card["commit"].endswith("-dirty")):
            reason = f"its card names no commit that made it, but '{card['commit']}'"
        if reason:
            raise UserError(f"{checkpoint} cannot be published: {reason}; train it again")


def mismatch(card: Mapping[str, Any], settings: Any, folder: Path) -> str:
    """Return in words what of a checkpoint's card is not that of the run; empty if all is."""
    if card["configuration"] != settings:
        return "it was trained with other settings, as its card says"
    if card["inputs"].get("data") != sha256_of(folder / MANIFEST):
        return "it was trained on other data, as its card says"
    return ""


def unusable(files: Sequence[Tracked], folder: Path, name: str, settings: Any) -> str:
    """Return why a checkpoint cannot stand for its training, in words; empty if it can."""
    changed = next((file for file in files if file.differs()), None)
    if not files:
        return f"{DATA_FILE} does not name it"
    if changed:
        return f"{changed.path} is not what {DATA_FILE} says"
    reason = mismatch(read_card(folder / "checkpoints" / name / CARD_FILE), settings, folder)
    if reason:
        # Snakemake knows of restored files their age alone, and trains those again that are older than the data; an age
        # of zero it takes for none.
        for file in files:
            os.utime(file.path, (1, 1))
    return reason


def not_up_to_date(snakemake: Sequence[str], files: Sequence[Tracked]) -> list[str]:
    """Return those of the files that Snakemake would make again, or has no record of, such as the log of the job."""
    names = {str(file.path) for file in files}
    if not names:
        return []
    listed = subprocess.run([*snakemake, "--summary", "--", *sorted(names)], capture_output=True, text=True)
    if listed.returncode:
        raise UserError(f"snakemake --summary failed: {listed.stderr.strip().splitlines()[-1]}")
    header, *lines = [line.split("\t") for line in listed.stdout.splitlines() if "\t" in line]
    rows = [dict(zip(header, line, strict=False)) for line in lines]
    return [
        row["output_file"]
        for row in rows
        if row["output_file"] in names and (row["log-file(s)"] == "-" or row["plan"] != "no update")
    ]


def _run(command: Sequence[str]) -> None:
    try:
        code = subprocess.run(command).returncode
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not on the PATH; activate the environment first") from None
    if code:
        raise UserError(f"{' '.join(command[:2])} failed, as it says above; nothing was restored")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
