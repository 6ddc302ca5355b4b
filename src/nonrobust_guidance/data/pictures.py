"""Other people's pictures: decoded, made square and scaled one at a time, and what a dataset of them records."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from nonrobust_guidance.data.storage import Example
from nonrobust_guidance.errors import UserError

NO_FACTORS = np.zeros(0, dtype=np.float32)

# Formats that Pillow recognizes but cannot decode itself, or only with another program, such as a PostScript
# interpreter.
_NO_PICTURES = frozenset({"BUFR", "EPS", "FPX", "GRIB", "HDF5", "IPTC", "MIC", "MPEG", "WMF"})
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's names of modes with 16 bits a channel, which it cuts to 8. BGR;16 has 16 bits a pixel.
_CUT = re.compile(r"(?!BGR).*;16[BLN]")


class Pictures(Protocol):
    """A source of labelled images.

    Attributes:
        splits: The indices of the images of train, validation and test, each ascending.
        factors: Names of the factors of each image, empty where nothing is known.
    """

    splits: dict[str, Sequence[int]]
    factors: tuple[str, ...]

    def example(self, index: int) -> Example | None:
        """Read an image; the indices of a split are asked for in order. None where it is to be left out."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return ``source`` and ``preprocessing`` for the manifest, once all images have been read."""
        ...


class Digest:
    """One SHA-256 over many files: over lines with the name and SHA-256 of each, in the order of reading."""

    def __init__(self) -> None:
        """Start with no file."""
        self._lines, self.count = hashlib.sha256(), 0

    @staticmethod
    def read(path: Path) -> bytes:
        """Return the content of a file.

        Raises:
            UserError: The file cannot be read.
        """
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); put it there again") from None

    def take(self, content: bytes, name: str) -> None:
        """Add a file under that name, which may contain any bytes."""
        line = f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        self._lines.update(line.encode("utf-8", "surrogateescape"))
        self.count += 1

    def describe(self) -> dict[str, Any]:
        """Return how many files there were, and the digest."""
        return {"images": self.count, "sha256_of_images": self._lines.hexdigest()}


@cache
def picture_formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that it decodes by itself."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in _NO_PICTURES)


@cache
def picture_suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, of files in these formats."""
    formats = picture_formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def decode_picture(content: bytes, name: str, size: int, crop: bool = False) -> NDArray[np.uint8]:
    """Decode an image file and scale it to uint8 (size, size, 3).

    It is rotated as its EXIF data say, if they can be read. Transparent areas become white, and an animation gives its
    first picture. More than 8 bits a channel are refused, in grey as in colour, because it is unknown which 8 to keep.

    Args:
        content: The file's bytes.
        name: For messages.
        size: Height and width in pixels.
        crop: Whether to take the largest square in the middle, instead of the whole image whatever its proportions.

    Raises:
        UserError: It cannot be decoded, has too many pixels for Pillow, or more than 8 bits a channel.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            return _decode(content, size, crop)
    except Image.DecompressionBombError as error:
        reason = f"too large: {str(error).partition(',')[0]}"
    except MemoryError:
        reason = "too large for the memory"
    except ValueError as error:
        reason = str(error)
    except Exception:  # decoders raise many kinds on bad files: struct.error, IndexError, KeyError, ...
        reason = "damaged, or of an unknown format"
    raise UserError(f"{name} cannot be used as an image ({reason}); replace it, or remove it")


def _decode(content: bytes, size: int, crop: bool) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=picture_formats()) as opened:
        if _has_deep_channels(opened, content):
            raise ValueError("more than 8 bits a channel")
        picture = _upright(opened)
        if picture.has_transparency_data:
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
        picture = picture.convert("RGB")
        width, height = picture.size
        side = min(width, height)
        left, top = ((width - side) / 2, (height - side) / 2) if crop else (0, 0)
        right, bottom = (left + side, top + side) if crop else (width, height)
        scaled = picture.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
        return np.asarray(scaled)


def _upright(opened: Image.Image) -> Image.Image:
    """Return a picture rotated as its EXIF data say.

    `PIL.ImageOps.exif_transpose` also rewrites these data, and fails where it cannot.
    """
    opened.load()
    try:
        turn = _TURNS.get(opened.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # unreadable data: leave the picture as it is
        turn = None
    return opened if turn is None else opened.transpose(turn)


def _has_deep_channels(opened: Image.Image, content: bytes) -> bool:
    """Return whether a picture that is not yet decoded has more than 8 bits a channel, which Pillow mostly cuts."""
    if opened.mode.startswith(("I", "F")):
        return True
    if opened.format == "JPEG2000":
        # The depth of the first component, in the first segment of the code stream (ISO/IEC 15444-1, A.5.1).
        start = content.find(b"\xff\x4f\xff\x51")
        return (content[start + 42] & 0x7F) + 1 > 8
    if opened.format == "AVIF":
        # The box with the bits of each channel (ISO/IEC 23008-12, 6.5.6).
        start = content.find(b"pixi")
        return start >= 0 and content[start + 9] > 8
    for codec, _, _, arguments in getattr(opened, "tile", []):
        raw_mode, *others = arguments if isinstance(arguments, tuple) else (arguments,)
        if codec == "SGI16" or _CUT.fullmatch(str(raw_mode)):
            return True
        if codec in ("ppm", "ppm_plain") and others and others[0] > 255:
            return True
    return False


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

    A larger number keeps every index that a smaller one draws.
    """
    limited = dict(splits)
    for split, count in (num_images or {}).items():
        indices = np.asarray(splits[split])
        if count < len(indices):
            limited[split] = np.sort(np.random.default_rng((seed, 1)).permutation(indices)[:count]).tolist()
    return limited
