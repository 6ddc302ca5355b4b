"""From the dataset section of a configuration to a dataset on disk."""

from collections.abc import Mapping
from pathlib import Path

from nonrobust_guidance.data.pictures import limit_splits
from nonrobust_guidance.data.settings import Dataset
from nonrobust_guidance.data.storage import write_dataset
from nonrobust_guidance.errors import UserError


def prepare_data(dataset: Dataset, folder: Path, least: Mapping[str, int] | None = None) -> None:
    """Write the dataset that a section ``dataset`` describes, replacing the one in ``folder``.

    Args:
        dataset: The section.
        folder: Where the dataset goes.
        least: How many images of each class a split needs, by its name; a run needs `NEEDED`, which a folder of images
            has to have in any case.

    Raises:
        UserError: A setting or a file that it names cannot be used, a file cannot be fetched, or a class has too few
            images.
    """
    pictures = dataset.open(folder)
    limits = dataset.num_images.counts() if dataset.num_images else None
    splits = limit_splits(pictures.splits, limits, dataset.seed)
    empty = [split for split, indices in splits.items() if len(indices) == 0]
    if empty:
        raise UserError(f"dataset {dataset.name} has no images for {' and '.join(empty)}; add some")
    write_dataset(
        folder,
        dataset.recorded(),
        dataset.classes,
        pictures.factors,
        splits,
        pictures.example,
        pictures.describe,
        least,
    )
