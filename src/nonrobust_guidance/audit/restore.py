"""Published checkpoints: fetched where they are missing, and checked before they are published."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from nonrobust_guidance.audit.integrity import changed_by_card
from nonrobust_guidance.audit.tracked import DATA_FILE, read_data_file, read_file
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.models.origins import fetched_models, trained_models
from nonrobust_guidance.models.settings import Models
from nonrobust_guidance.records.cards import CARD_FILE, read_card
from nonrobust_guidance.records.trainings import mismatches


def restore_checkpoints(run: Models) -> None:
    """Fetch the run's published files that are missing, and say which checkpoints it cannot use, and why.

    Raises:
        UserError: if DVC cannot fetch a file.
    """
    folder = Path("data", run.dataset.name)
    tracked = [file for file in read_data_file(read_file(DATA_FILE)) if file.path.is_relative_to(folder)]
    if not tracked:
        return _say(f"{DATA_FILE} holds nothing of {folder}: its models are trained here")
    missing = [str(file.path) for file in tracked if not file.path.is_file()]
    if missing:
        _pull(missing)
    found = mismatches(run.dataset.recorded(), trained_models(run), fetched_models(run), folder)
    for name, reason in found.items():
        changed = [file.path for file in tracked if file.path.parts[3:4] == (name,) and file.differs()]
        if reason:
            _say(f"{folder / 'checkpoints' / name} is another training than the run's: {reason}")
        elif changed:
            _say(f"{changed[0]} is not what {DATA_FILE} says; it is used as it is")
    _say(f"{sum(not reason for reason in found.values())} of {len(found)} trained checkpoints are in use as they are")


def require_publishable(run: Models) -> None:
    """Check that every checkpoint that the run trains is what its card says, made by committed code, from these data.

    Raises:
        UserError: if one is not, or its files are not what the card says.
    """
    folder = Path("data", run.dataset.name)
    found = mismatches(run.dataset.recorded(), trained_models(run), fetched_models(run), folder)
    for name in trained_models(run):
        path = folder / "checkpoints" / name / CARD_FILE
        card = read_card(path)
        reason = next(changed_by_card(path), "") or found[name]
        if not reason and not re.fullmatch("[0-9a-f]+", str(card.get("commit"))):
            reason = f"its card names no commit that made it, but '{card.get('commit')}'"
        if reason:
            raise UserError(f"{path.parent} cannot be published: {reason}; train it again")


def _pull(files: list[str]) -> None:
    from dvc.repo import Repo

    try:
        # Without Git, which this does not need and an archive of the code does not have.
        with Repo(config={"core": {"no_scm": True}}) as repo:
            repo.pull(targets=files)
    except Exception as error:
        # DVC's own errors, or whatever the library of a team's remote raises.
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":.")
        missing = next((file for file in files if not Path(file).is_file()), files[0])
        raise UserError(
            f"{missing} cannot be brought from the DVC remote ({reason}); get the project's shipped/ again, or train "
            "with make retrain"
        ) from None


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
