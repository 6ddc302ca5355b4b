"""CelebA (Liu et al. 2015, Deep learning face attributes in the wild), two classes by one of its attributes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from nonrobust_guidance.data.pictures import NO_FACTORS, Digest, decode_picture, describe_scaling
from nonrobust_guidance.data.settings import ImageSize, NumImages, OfDataset
from nonrobust_guidance.data.storage import Example
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import hash_files, require_space
from nonrobust_guidance.files import expand_path
from nonrobust_guidance.settings import absent
from nonrobust_guidance.settings.types import Pair
from nonrobust_guidance.settings.types import Path as PathText

_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
_KAGGLE_PAGE = "https://www.kaggle.com/datasets/jessicali9530/celeba-dataset"
_KAGGLE_LISTS = ("list_attr_celeba.csv", "list_eval_partition.csv")
_IMAGES = "img_align_celeba"
# The archive and what is unpacked from it.
_NUM_BYTES = 3_100_000_000
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}


Attribute = Literal[
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
]  # fmt: skip


class CelebAData(OfDataset):
    """CelebA, two classes by one of its attributes."""

    kind: Literal["celeba"]
    root: PathText = "data/raw/celeba"
    """Folder with img_align_celeba.zip, unpacked or not, and the lists; torchvision downloads what is missing. Or a
    folder with the contents of Kaggle's archive."""
    attribute: Attribute = "Male"
    """Images that have it get label 1."""
    classes: Pair
    """Names of labels 0 and 1; for the attribute Male, by default female and male."""
    image_size: ImageSize = 64
    """Height and width in pixels."""
    num_images: NumImages | None = absent()

    @model_validator(mode="before")
    @classmethod
    def _name_classes_of_male(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and "classes" not in raw and raw.get("attribute", "Male") == "Male":
            return {**raw, "classes": ["female", "male"]}
        return raw

    def open(self, folder: Path) -> CelebAFaces:
        """Return the faces, downloading what is missing.

        Raises:
            UserError: A file is missing or damaged and cannot be downloaded.
        """
        return CelebAFaces(expand_path(self.root, "dataset.root"), self.attribute, self.image_size)


class CelebAFaces:
    """The aligned images of 178 x 218 pixels; label 1 has the attribute, label 0 does not."""

    factors = ()

    def __init__(self, root: Path, attribute: str, image_size: int) -> None:
        """Read the lists, downloading and unpacking what is missing of the dataset, unless they are Kaggle's.

        Args:
            root: Holds, or gets, ``img_align_celeba.zip`` or the folder ``img_align_celeba``, and the five lists; or
                holds what Kaggle's archive has, whose lists are CSV and whose images lie one folder deeper.
            attribute: One of the 40, such as Male.
            image_size: Height and width to which the images are resized.

        Raises:
            UserError: A file is missing or damaged and cannot be downloaded, or the attribute is unknown.
        """
        self._root, self._attribute, self._size, self._digest = root, attribute, image_size, Digest()
        self._names: list[str] = []
        self._labels: list[int] = []
        self.splits: dict[str, Sequence[int]] = {}
        if (root / _KAGGLE_LISTS[0]).is_file() and not (root / "list_attr_celeba.txt").is_file():
            self._page, self._lists, splits = _KAGGLE_PAGE, list(_KAGGLE_LISTS), read_kaggle(root, attribute)
        else:
            self._page, self._lists = _PAGE, [name for name in _checksums() if name.endswith(".txt")]
            fetch_celeba(root)
            splits = read_lists(root, attribute)
        for split, names, labels in splits:
            start = len(self._names)
            self._names += names
            self._labels += labels
            self.splits[split] = range(start, len(self._names))
        self._images = root / _IMAGES
        if (self._images / _IMAGES).is_dir():
            self._images /= _IMAGES

    def example(self, index: int) -> Example:
        """Read an image.

        Raises:
            UserError: It is missing or damaged.
        """
        path = self._images / self._names[index]
        content = self._digest.read(path)
        self._digest.take(content, self._names[index])
        return Example(decode_picture(content, str(path), self._size), self._labels[index], NO_FACTORS)

    def describe(self) -> dict[str, Any]:
        """Return the checksums of the lists and of the images that were read, and the attribute."""
        source = {"name": "CelebA, aligned and cropped", "page": self._page, "attribute": self._attribute}
        source |= {"sha256": hash_files(self._root, self._lists)} | self._digest.describe()
        return {"source": source, "preprocessing": describe_scaling(self._size)}


def read_lists(root: Path, attribute: str) -> Iterator[tuple[str, list[str], list[int]]]:
    """Yield each split's name, the names of its images, and their labels, from torchvision's files.

    Raises:
        UserError: The attribute is unknown.
    """
    for split, theirs in _SPLITS.items():
        files = _open_files(root, split=theirs)
        if attribute not in files.attr_names:
            known = ", ".join(filter(None, files.attr_names))
            raise UserError(f"dataset.attribute is '{attribute}', which CelebA does not have; use one of {known}")
        labels = files.attr[:, files.attr_names.index(attribute)].long()
        yield split, files.filename, labels.tolist()


def read_kaggle(root: Path, attribute: str) -> Iterator[tuple[str, list[str], list[int]]]:
    """Yield the same from the lists of Kaggle's archive: CSV with a header, the image's name in the first column.

    Raises:
        UserError: A file is missing or not the expected one, or the lists are not of the same images.
    """
    if not (root / _IMAGES).is_dir():
        raise UserError(f"{root} has Kaggle's lists and no folder {_IMAGES}; unpack all of {_KAGGLE_PAGE} there")
    of_attributes, of_splits = (root / name for name in _KAGGLE_LISTS)
    labels = _read_column(of_attributes, attribute, {"-1": 0, "1": 1})
    partition = _read_column(of_splits, "partition", {"0": 0, "1": 1, "2": 2})
    if labels.keys() != partition.keys():
        name = min(labels.keys() ^ partition.keys())
        raise UserError(f"{name} is in one of {of_attributes} and {of_splits} alone; get both from {_KAGGLE_PAGE}")
    for number, split in enumerate(_SPLITS):
        names = [name for name, theirs in partition.items() if theirs == number]
        yield split, names, [labels[name] for name in names]


def _read_column(path: Path, column: str, meaning: dict[str, int]) -> dict[str, int]:
    """Return what a column of one of Kaggle's lists means for each image, in order."""
    values: dict[str, int] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            index = next(rows, []).index(column)
            for row in filter(None, rows):
                if row[0] in values:
                    raise ValueError(f"{row[0]} is listed twice")
                values[row[0]] = meaning[row[index].strip()]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); put it there again") from None
    except (ValueError, KeyError, IndexError, csv.Error):
        raise UserError(
            f"{path} is not Kaggle's list of {column} at line {rows.line_num}; get it again from {_KAGGLE_PAGE}"
        ) from None
    return values


def fetch_celeba(root: Path) -> None:
    """Let torchvision download, check and unpack what ``root`` does not have yet.

    Raises:
        UserError: The disk is too small, or a file is missing or damaged and cannot be downloaded.
    """
    if not (root / _IMAGES).is_dir():
        require_space(root, _NUM_BYTES, f"CelebA in {root}")
    try:
        _open_files(root, download=True)
    except Exception as error:  # from gdown, requests, zipfile or torchvision, which have no error class in common
        from torchvision.datasets.utils import check_integrity

        wrong = [name for name, md5 in _checksums().items() if not check_integrity(str(root / name), md5)]
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"CelebA cannot be completed in {root} ({reason}): missing or damaged are {', '.join(wrong) or _IMAGES}; "
            f"download them from {_PAGE} and put them there"
        ) from None


def _open_files(root: Path, **options: Any) -> Any:
    """Return torchvision's reader, with its files in the root itself; torchvision takes seconds to import."""
    from torchvision.datasets import CelebA

    return type("Files", (CelebA,), {"base_folder": ""})(root, **options)


def _checksums() -> dict[str, str]:
    """Return the MD5 of torchvision's files, by their names."""
    from torchvision.datasets import CelebA

    return {name: md5 for _, md5, name in CelebA.file_list}
