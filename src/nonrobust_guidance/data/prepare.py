"""From the dataset section of a configuration to a dataset on disk."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nonrobust_guidance.data.pictures import Pictures, limit_splits
from nonrobust_guidance.data.sportballs import SportBalls
from nonrobust_guidance.data.storage import write_dataset
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import RECORD, hash_files
from nonrobust_guidance.files import expand_path


def prepare_data(settings: Mapping[str, Any], folder: Path, least: Mapping[str, int] | None = None) -> None:
    """Write the dataset that the configuration's ``dataset`` section describes, replacing the one in ``folder``.

    Args:
        settings: The section.
        folder: Where the dataset goes.
        least: How many images of each class a split has to have, by its name, as a run needs `NEEDED` of them; a folder
            of images is always held to that.

    Raises:
        UserError: A setting or a file that it names cannot be used, a file cannot be fetched, or a class has too few.
    """
    if settings["kind"] == "sportballs":
        _prepare_sportballs(settings, folder, least)
    else:
        pictures = _open_pictures(settings, folder)
        splits = limit_splits(pictures.splits, settings.get("num_images"), settings["seed"])
        empty = [split for split, indices in splits.items() if len(indices) == 0]
        if empty:
            raise UserError(f"dataset {settings['name']} has no images for {' and '.join(empty)}; add some")
        write_dataset(folder, settings, settings["classes"], (), splits, pictures.example, pictures.describe, least)


def _open_pictures(settings: Mapping[str, Any], folder: Path) -> Pictures:
    root = expand_path(settings.get("root", ""), "dataset.root")
    # Each imports its reader itself: torchvision takes seconds.
    match settings["kind"]:
        case "celeba":
            from nonrobust_guidance.data.celeba import CelebAFaces

            return CelebAFaces(root, settings["attribute"], settings["image_size"])
        case "celebahq":
            from nonrobust_guidance.data.celebahq import CelebAHQFaces, fetch_celebahq

            origin = fetch_celebahq(root, settings["repository"], settings["revision"], folder / RECORD)
            pictures = CelebAHQFaces(root, origin, settings["classes"], settings["image_size"], settings["seed"])
            origin.write(folder / RECORD)
            return pictures
        case "folder":
            from nonrobust_guidance.data.image_folder import ImageFolder

            folders = {name: settings.get("folders", {}).get(name, name) for name in settings["classes"]}
            num_images, size = settings.get("num_images"), settings["image_size"]
            return ImageFolder(
                root, folders, size, settings["split"], settings["seed"], settings["center_crop"], num_images
            )
        case kind:
            raise UserError(f"dataset.kind {kind} is unknown; use sportballs, celeba, celebahq or folder")


def _prepare_sportballs(settings: Mapping[str, Any], folder: Path, least: Mapping[str, int] | None) -> None:
    arguments = {key: value for key, value in settings.items() if key not in ("kind", "name", "num_images")}
    if settings.get("sprites"):
        arguments["sprites"] = expand_path(settings["sprites"], "dataset.sprites")
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
    source: dict[str, Any] = {"name": f"drawn by nonrobust-guidance {version('nonrobust-guidance')}"}
    if settings.get("sprites"):
        names = [f"{name}.png" for name in balls.classes]
        source |= {"sprites": str(settings["sprites"]), "sha256": hash_files(arguments["sprites"], names)}
    about = {"source": source, "preprocessing": "none; the images are drawn at their size"}
    write_dataset(folder, resolved, balls.classes, balls.factors, splits, balls.example, lambda: about, least)
