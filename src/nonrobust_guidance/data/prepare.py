"""From the dataset section of a configuration to a dataset on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nonrobust_guidance.data.sportballs import SportBalls
from nonrobust_guidance.data.storage import write_dataset
from nonrobust_guidance.errors import UserError


def prepare_data(settings: Mapping[str, Any], folder: Path) -> None:
    """Write the dataset that the configuration's ``dataset`` section describes, replacing the one in ``folder``.

    Raises:
        UserError: A setting or a file that it names cannot be used.
    """
    match settings["kind"]:
        case "sportballs":
            _prepare_sportballs(settings, folder)
        case kind:
            raise UserError(f"dataset.kind {kind} is unknown; use sportballs")


def _prepare_sportballs(settings: Mapping[str, Any], folder: Path) -> None:
    arguments = {key: value for key, value in settings.items() if key not in ("kind", "name", "num_images")}
    try:
        balls = SportBalls(**arguments)
    except ValueError as error:
        raise UserError(f"the dataset section cannot be used: {error}") from None
    splits, start = {}, 0
    for split in ("train", "validation", "test"):
        stop = start + settings["num_images"][split]
        splits[split] = range(start, stop)
        start = stop
    resolved = {**settings, "image_size": balls.image_size}
    write_dataset(folder, resolved, balls.classes, balls.factors, splits, balls.example)
