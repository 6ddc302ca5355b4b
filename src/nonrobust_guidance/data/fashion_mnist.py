"""Fashion-MNIST (Xiao et al. 2017, Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms).

70,000 grey images of 28 x 28 pixels, black behind the article, 7,000 of each of ten classes; under the MIT licence.
"""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from nonrobust_guidance.data.pictures import NO_FACTORS
from nonrobust_guidance.data.settings import ImageSize, NumImages, OfDataset
from nonrobust_guidance.data.storage import Example
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import require_space, sha256_of
from nonrobust_guidance.files import expand_path, naming
from nonrobust_guidance.settings import CARRIED_OUT, absent
from nonrobust_guidance.settings.types import DIFFERENT
from nonrobust_guidance.settings.types import Path as PathText

_PAGE = "https://github.com/zalandoresearch/fashion-mnist"
_AGAIN = f"remove it, and get it again, from {_PAGE} for instance"
# Where torchvision puts the files under its root, and where Debian's package dataset-fashion-mnist puts them.
_TORCHVISION, _DEBIAN = Path("FashionMNIST", "raw"), Path("/usr/share/datasets/fashion-mnist")
# What torchvision downloads, and the same unpacked.
_NUM_BYTES = 31_000_000 + 55_000_000
_SIDE, _FRAMED = 28, 32
_VALIDATION_SHARE = 0.1

Article = Literal[
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"
]  # fmt: skip
ARTICLES: tuple[Article, ...] = get_args(Article)


class Published(NamedTuple):
    """The unpacked form of one of the four files: the shape of its values, and its SHA-256."""

    shape: tuple[int, ...]
    sha256: str


# Packed, the same file differs from source to source: gzip writes a date and perhaps a name into its header.
PUBLISHED = {
    "train-images-idx3-ubyte": Published(
        (60_000, _SIDE, _SIDE), "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte": Published((60_000,), "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": Published(
        (10_000, _SIDE, _SIDE), "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte": Published((10_000,), "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}


class FashionMNISTData(OfDataset):
    """Fashion-MNIST, ten kinds of articles of clothing."""

    kind: Literal["fashion_mnist"]
    root: Annotated[PathText, CARRIED_OUT] = "data/raw/fashion-mnist"
    """Folder of the four files, as they are published or unpacked, in it or in FashionMNIST/raw; where they are missing
    those of Debian's package dataset-fashion-mnist are read, or torchvision downloads them."""
    classes: Annotated[tuple[Article, ...], Field(min_length=2), DIFFERENT] = ARTICLES
    """Names in label order; images of others are left out."""
    image_size: ImageSize = 32
    """Height and width in pixels: 28 as published, 32 in a black frame of 2 pixels; others are these 32, resized."""
    num_images: NumImages | None = absent()

    def open(self, folder: Path) -> FashionImages:
        """Return the images, downloading them if they are not found.

        Raises:
            UserError: A file is damaged or not the published one, or missing and cannot be downloaded.
        """
        files = find_or_fetch(expand_path(self.root, "dataset.root"))
        return FashionImages(files, self.classes, self.image_size, self.seed)


class FashionImages:
    """The images of some classes; a tenth of the training images of each is drawn by the seed for validation."""

    factors = ()

    def __init__(self, files: Mapping[str, Path], classes: Sequence[str], image_size: int, seed: int) -> None:
        """Read all images and labels, 55 MB.

        Args:
            files: Paths by the names in `PUBLISHED`, those that end in .gz packed.
            classes: Some of `ARTICLES`, in label order.
            image_size: Height and width of the examples.
            seed: Of the draw for validation.

        Raises:
            UserError: A file cannot be read, is damaged, or is not the published one.
        """
        values = {name: read_values(path, PUBLISHED[name]) for name, path in files.items()}
        self._images = np.concatenate([values[f"{part}-images-idx3-ubyte"] for part in ("train", "t10k")])
        self._articles = np.concatenate([values[f"{part}-labels-idx1-ubyte"] for part in ("train", "t10k")])
        self._labels = {ARTICLES.index(name): label for label, name in enumerate(classes)}
        self._size = image_size
        num_train = len(values["train-labels-idx1-ubyte"])
        train, validation = list[int](), list[int]()
        for article in self._labels:
            indices = np.flatnonzero(self._articles[:num_train] == article)
            # The draw in one class does not depend on which other classes there are.
            order = np.random.default_rng((seed, 2, article)).permutation(indices).tolist()
            count = round(_VALIDATION_SHARE * len(order))
            validation += order[:count]
            train += order[count:]
        test = num_train + np.flatnonzero(np.isin(self._articles[num_train:], list(self._labels)))
        self.splits: dict[str, Sequence[int]] = {
            "train": sorted(train),
            "validation": sorted(validation),
            "test": test.tolist(),
        }

    def example(self, index: int) -> Example:
        """Return an image, its grey in three equal channels."""
        grey = fit(self._images[index], self._size)
        return Example(np.repeat(grey[:, :, None], 3, axis=2), self._labels[int(self._articles[index])], NO_FACTORS)

    def describe(self) -> dict[str, Any]:
        """Return the checksums of the files, unpacked, so that it does not matter where they came from."""
        source = {"name": "Fashion-MNIST", "page": _PAGE, "license": "MIT"}
        digests = {name: published.sha256 for name, published in PUBLISHED.items()}
        return {"source": source | {"sha256": digests}, "preprocessing": describe_fitting(self._size)}


def fit(grey: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a published image (28, 28) at another size (size, size), as `describe_fitting` says."""
    if size == _SIDE:
        return grey
    framed = np.pad(grey, (_FRAMED - _SIDE) // 2)
    if size == _FRAMED:
        return framed
    return np.asarray(Image.fromarray(framed).resize((size, size), Image.Resampling.BILINEAR))


def describe_fitting(size: int) -> str:
    """Return what `fit` does, in words."""
    if size == _SIDE:
        return "grey in three equal channels"
    framed = f"a black frame of {(_FRAMED - _SIDE) // 2} pixels around each image, grey in three equal channels"
    if size == _FRAMED:
        return framed
    return f"{framed}; resized to {size} x {size} pixels (Pillow, bilinear with antialiasing)"


def find_or_fetch(root: Path) -> dict[str, Path]:
    """Return the paths of the four files, by their names in `PUBLISHED`; torchvision downloads what is not found.

    Raises:
        UserError: They are not complete and cannot be downloaded, or the disk is too small or not writable.
    """
    found = _find(root)
    if len(found) == len(PUBLISHED):
        return found
    require_space(root, _NUM_BYTES, f"Fashion-MNIST in {root}")
    from torchvision.datasets import FashionMNIST  # takes seconds to import
    from torchvision.datasets.utils import check_integrity

    try:
        with naming(root):
            FashionMNIST(root, download=True)
    except UserError:
        raise
    except Exception as error:  # from urllib, gzip or torchvision, which have no error class in common
        reason = " ".join(str(error).split()) or type(error).__name__
        wrong = [
            name
            for name, md5 in FashionMNIST.resources
            if name.removesuffix(".gz") not in found and not check_integrity(root / _TORCHVISION / name, md5)
        ]
        raise UserError(
            f"Fashion-MNIST cannot be completed in {root} ({reason}): missing or damaged are {', '.join(wrong)}; put "
            f"them there, from {_PAGE}, or install Debian's package dataset-fashion-mnist"
        ) from None
    return _find(root)


def _find(root: Path) -> dict[str, Path]:
    """Return the paths of those of the four files that are there; `PUBLISHED` applies to them wherever they are."""
    folders = (root, root / _TORCHVISION, _DEBIAN)
    found = {}
    for name in PUBLISHED:
        candidates = (folder / file for folder in folders for file in (name, f"{name}.gz"))
        path = next(filter(Path.is_file, candidates), None)
        if path is not None:
            found[name] = path
    return found


def read_values(path: Path, published: Published) -> NDArray[np.uint8]:
    """Read one of the four files with torchvision's reader and check it.

    Returns:
        Its values, of the published shape; labels are the indices of `ARTICLES`.

    Raises:
        UserError: It cannot be read, is damaged, or is another file, such as MNIST's of the same name.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file

    with TemporaryDirectory() as folder:
        plain = _unpacked(path, Path(folder)) if path.suffix == ".gz" else path
        try:
            tensor = (read_image_file if len(published.shape) == 3 else read_label_file)(str(plain))
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); put it there again") from None
        except Exception:  # the reader asserts some properties of the header, and fails in other ways on the rest
            raise UserError(f"{path} is cut short, or no IDX file of such values; {_AGAIN}") from None
        digest = sha256_of(plain)
    if tuple(tensor.shape) != published.shape:
        found, expected = (" x ".join(map(str, shape)) for shape in (tensor.shape, published.shape))
        raise UserError(f"{path} holds {found} values where Fashion-MNIST's has {expected}; {_AGAIN}")
    if digest != published.sha256:
        raise UserError(
            f"{path} has, unpacked, the SHA-256 {digest} where Fashion-MNIST's has {published.sha256}, so that it is "
            f"damaged or of another data set; {_AGAIN}"
        )
    values: NDArray[np.uint8] = tensor.numpy().astype(np.uint8, copy=False)
    return values


def _unpacked(path: Path, folder: Path) -> Path:
    """Unpack a file into a folder, because torchvision's reader does not take packed ones."""
    plain = folder / path.stem
    try:
        with naming(plain), gzip.open(path) as packed, plain.open("wb") as file:
            shutil.copyfileobj(packed, file)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{path} is cut short, or no gzip file; {_AGAIN}") from None
    return plain
