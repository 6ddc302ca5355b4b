"""A folder of images by class, as users have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nonrobust_guidance.data.pictures import NO_FACTORS, Digest, decode_picture, describe_scaling
from nonrobust_guidance.data.storage import Example
from nonrobust_guidance.errors import UserError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}


class ImageFolder:
    """The images under ``<root>/<split>/<class>/``, or under ``<root>/<class>/`` and split by a seeded draw."""

    def __init__(
        self,
        root: Path,
        classes: Sequence[str],
        image_size: int,
        fractions: Mapping[str, float],
        seed: int,
        crop: bool,
    ) -> None:
        """List the images; other files are passed over.

        Args:
            root: The folder.
            classes: Names of the classes' folders, in label order; other folders are passed over.
            image_size: Height and width to which the images are resized.
            fractions: Shares of each class that become ``validation`` and ``test`` where the folder has no splits.
            seed: Of that draw.
            crop: Whether the largest square in the middle is taken, or else the whole image.

        Raises:
            UserError: A folder is missing or has no images.
        """
        self._root, self._size, self._crop, self._digest = root, image_size, crop, Digest()
        self._paths: list[Path] = []
        self._labels: list[int] = []
        self.splits: dict[str, Sequence[int]]
        if not root.is_dir():
            raise UserError(f"dataset.root {root} is no folder; name one with a folder of images for each class")
        if "train" not in classes and (root / "train").is_dir():
            self.splits = {split: self._list_split(names, classes) for split, names in _SPLITS.items()}
        else:
            self.splits = self._draw_splits(
                [self._list_class(root / name, i) for i, name in enumerate(classes)], fractions, seed
            )

    def _list_split(self, names: Sequence[str], classes: Sequence[str]) -> range:
        folder = next((self._root / name for name in names if (self._root / name).is_dir()), None)
        if folder is None:
            raise UserError(f"{self._root} has a folder train and none named {' or '.join(names)}; add it")
        start = len(self._paths)
        for label, name in enumerate(classes):
            self._list_class(folder / name, label)
        return range(start, len(self._paths))

    def _list_class(self, folder: Path, label: int) -> range:
        if not folder.is_dir():
            raise UserError(f"{folder} is missing; add it, or correct dataset.classes")
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not found:
            raise UserError(
                f"{folder} has no images ({', '.join(sorted(SUFFIXES))}); add some, or correct dataset.classes"
            )
        start = len(self._paths)
        self._paths += found
        self._labels += [label] * len(found)
        return range(start, len(self._paths))

    def _draw_splits(
        self, by_class: Sequence[range], fractions: Mapping[str, float], seed: int
    ) -> dict[str, Sequence[int]]:
        drawn: dict[str, list[int]] = {split: [] for split in _SPLITS}
        for label, indices in enumerate(by_class):
            order = np.random.default_rng((seed, label)).permutation(indices).tolist()
            for split in ("validation", "test"):
                count = round(fractions[split] * len(indices))
                drawn[split] += order[:count]
                order = order[count:]
            drawn["train"] += order
        return {split: sorted(indices) for split, indices in drawn.items()}

    def example(self, index: int) -> Example:
        """Read an image.

        Raises:
            UserError: It cannot be read.
        """
        path = self._paths[index]
        content = self._digest.read(path, path.relative_to(self._root).as_posix())
        return Example(decode_picture(content, str(path), self._size, self._crop), self._labels[index], NO_FACTORS)

    def describe(self) -> dict[str, Any]:
        """Return the folder, the checksum of the images that were read, and what was done with them."""
        source = {"name": "folder", "root": str(self._root)} | self._digest.describe()
        return {"source": source, "preprocessing": describe_scaling(self._size, self._crop)}
