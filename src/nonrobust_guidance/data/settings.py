"""What all sections ``dataset`` have in common; each kind of data has its own class beside its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Protocol

from nonrobust_guidance.data.pictures import Pictures
from nonrobust_guidance.settings import Settings, absent
from nonrobust_guidance.settings.types import Count, Name, Number, Seed

ImageSize = Annotated[int, Number(whole=True, least=8, most=4096)]


class NumImages(Settings):
    """How many images each split has; for sources with a fixed number, the most that are taken, drawn by the seed."""

    train: Count | None = absent()
    validation: Count | None = absent()
    test: Count | None = absent()

    def counts(self) -> dict[str, int]:
        """Return the numbers that are given, by split."""
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: count for split, count in given.items() if count is not None}


class Dataset(Protocol):
    """A section ``dataset``, of any kind; a list of them is `datasets.DATASETS`."""

    @property
    def name(self) -> str:
        """Name of the folder under data/; runs of the same dataset share it and its checkpoints."""
        ...

    @property
    def kind(self) -> str:
        """Which class of `datasets.DATASETS` this is; for one from a user's file, the name of its class."""
        ...

    @property
    def seed(self) -> int:
        """Of all that is drawn."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in label order."""
        ...

    @property
    def image_size(self) -> int:
        """Height and width in pixels."""
        ...

    @property
    def num_images(self) -> NumImages | None:
        """How many images, where that is limited."""
        ...

    def open(self, folder: Path) -> Pictures:
        """Return the images and how they are split, fetching what is missing.

        Args:
            folder: where the dataset goes, and the record of what was fetched.

        Raises:
            UserError: if a file or a folder cannot be used or fetched.
        """
        ...

    def resolved(self) -> dict[str, Any]:
        """Return the section as JSON values."""
        ...

    def recorded(self) -> dict[str, Any]:
        """Return what the images depend on."""
        ...


class OfDataset(Settings):
    """What every kind of data has in common, and first.

    A kind of data extends it by ``classes``, ``image_size``, ``num_images`` and `Dataset.open`, which are fields or
    properties, and by whatever else its key in a run file may say.
    """

    name: Name
    """Name of the folder under data/; runs of the same dataset share it and its checkpoints."""
    kind: str
    """Which kind of data it is."""
    seed: Seed = 0
    """Of all that is drawn."""
