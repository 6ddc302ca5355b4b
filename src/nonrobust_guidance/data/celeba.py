"""CelebA (Liu et al. 2015, Deep learning face attributes in the wild), two classes by one of its attributes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torchvision.datasets import CelebA
from torchvision.datasets.utils import check_integrity

from nonrobust_guidance.data.pictures import NO_FACTORS, Digest, decode_picture, describe_scaling
from nonrobust_guidance.data.storage import Example
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import hash_files, require_space

_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
_IMAGES = "img_align_celeba"
# The archive and what is unpacked from it.
_NUM_BYTES = 3_100_000_000
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}


class _Files(CelebA):
    """torchvision's reader, with its files in the root itself."""

    base_folder = ""


class CelebAFaces:
    """The aligned images of 178 x 218 pixels; label 1 is who has the attribute, label 0 who has not."""

    def __init__(self, root: Path, attribute: str, image_size: int) -> None:
        """Read the lists, downloading and unpacking what is missing of the dataset.

        Args:
            root: Holds, or gets, ``img_align_celeba.zip`` or the folder ``img_align_celeba``, and the five lists.
            attribute: One of the 40, such as Male.
            image_size: Height and width to which the images are resized.

        Raises:
            UserError: A file is missing or damaged and cannot be downloaded, or the attribute is unknown.
        """
        self._root, self._attribute, self._size, self._digest = root, attribute, image_size, Digest()
        fetch_celeba(root)
        self._names: list[str] = []
        self._labels: list[int] = []
        self.splits: dict[str, Sequence[int]] = {}
        for split, theirs in _SPLITS.items():
            files = _Files(root, split=theirs)
            if attribute not in files.attr_names:
                known = ", ".join(filter(None, files.attr_names))
                raise UserError(f"dataset.attribute is '{attribute}', which CelebA does not have; use one of {known}")
            start = len(self._names)
            self._names += files.filename
            self._labels += files.attr[:, files.attr_names.index(attribute)].to(torch.int64).tolist()
            self.splits[split] = range(start, len(self._names))

    def example(self, index: int) -> Example:
        """Read an image.

        Raises:
            UserError: It is missing or damaged.
        """
        path = self._root / _IMAGES / self._names[index]
        content = self._digest.read(path)
        self._digest.take(content, self._names[index])
        return Example(decode_picture(content, str(path), self._size), self._labels[index], NO_FACTORS)

    def describe(self) -> dict[str, Any]:
        """Return the checksums of the lists and of the images that were read, and the attribute."""
        lists = [name for _, _, name in CelebA.file_list if name.endswith(".txt")]
        source = {"name": "CelebA, aligned and cropped", "page": _PAGE, "attribute": self._attribute}
        source |= {"sha256": hash_files(self._root, lists)} | self._digest.describe()
        return {"source": source, "preprocessing": describe_scaling(self._size)}


def fetch_celeba(root: Path) -> None:
    """Let torchvision download, check and unpack what ``root`` has not yet.

    Raises:
        UserError: The disk is too small, or a file is missing or damaged and cannot be downloaded.
    """
    if not (root / _IMAGES).is_dir():
        require_space(root, _NUM_BYTES, f"CelebA in {root}")
    try:
        _Files(root, download=True)
    except Exception as error:  # of gdown, requests, zipfile, torchvision: what they have in common is that it failed
        wrong = [name for _, md5, name in CelebA.file_list if not check_integrity(str(root / name), md5)]
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"CelebA cannot be completed in {root} ({reason}): missing or damaged are {', '.join(wrong) or _IMAGES}; "
            f"download them from {_PAGE} and put them there"
        ) from None
