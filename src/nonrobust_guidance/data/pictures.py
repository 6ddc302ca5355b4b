"""Pictures of others: decoded, squared and scaled one at a time, and what a dataset made of them has to tell."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nonrobust_guidance.data.storage import Example
from nonrobust_guidance.errors import UserError

NO_FACTORS = np.zeros(0, dtype=np.float32)


class Pictures(Protocol):
    """A source of labelled images.

    Attributes:
        splits: The indices of the images of train, validation and test, each ascending.
    """

    splits: dict[str, Sequence[int]]

    def example(self, index: int) -> Example:
        """Read an image; the indices of a split are asked for in order."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return ``source`` and ``preprocessing`` for the manifest, once all images have been read."""
        ...


class Digest:
    """One SHA-256 over many files: of a line with the name and the SHA-256 of each, in the order of reading."""

    def __init__(self) -> None:
        """Start with no file."""
        self._lines, self.count = hashlib.sha256(), 0

    def read(self, path: Path, name: str) -> bytes:
        """Return the content of a file and take it in under that name.

        Raises:
            UserError: The file cannot be read.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); put it there again") from None
        self._lines.update(f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode())
        self.count += 1
        return content

    def describe(self) -> dict[str, Any]:
        """Return how many files there were, and the digest."""
        return {"images": self.count, "sha256_of_images": self._lines.hexdigest()}


def decode_picture(content: bytes, name: str, size: int, crop: bool = False) -> NDArray[np.uint8]:
    """Decode an image file and scale it to uint8 (size, size, 3).

    It is turned as its EXIF data say; what is transparent becomes white.

    Args:
        content: The file's bytes.
        name: For messages.
        size: Height and width in pixels.
        crop: Whether the largest square in the middle is taken, or else the whole image, whatever its proportions.

    Raises:
        UserError: It cannot be decoded, or has more than 8 bits a channel.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith(("I", "F")):
                raise ValueError("more than 8 bits a channel")
            if picture.has_transparency_data:
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
            picture = picture.convert("RGB")
            width, height = picture.size
            side = min(width, height)
            left, top = ((width - side) / 2, (height - side) / 2) if crop else (0, 0)
            right, bottom = (left + side, top + side) if crop else (width, height)
            scaled = picture.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
            return np.asarray(scaled)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error) if isinstance(error, ValueError) else "damaged, or of an unknown format"
        raise UserError(f"{name} cannot be used as an image ({reason}); replace it, or remove it") from None


def describe_scaling(size: int, crop: bool = False) -> str:
    """Return what ``decode_picture`` does, in words."""
    part = "the largest square in the middle" if crop else "the whole image, its proportions not kept,"
    return (
        "decoded to 8-bit RGB, turned as EXIF says, transparent pixels white; "
        f"{part} resized to {size} x {size} pixels (Pillow, bilinear with antialiasing)"
    )


def limit_splits(
    splits: Mapping[str, Sequence[int]], num_images: Mapping[str, int] | None, seed: int
) -> dict[str, Sequence[int]]:
    """Return at most ``num_images`` indices of each split, drawn without replacement and in order.

    A greater number keeps all that a smaller one draws.
    """
    limited = dict(splits)
    for split, count in (num_images or {}).items():
        indices = np.asarray(splits[split])
        if count < len(indices):
            limited[split] = np.sort(np.random.default_rng((seed, 1)).permutation(indices)[:count]).tolist()
    return limited
