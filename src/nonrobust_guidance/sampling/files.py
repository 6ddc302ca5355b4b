"""Reading samples: ``.npz`` with ``arr_0`` uint8 (N, H, W, 3), the field's exchange format."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonrobust_guidance.errors import UserError

CHUNK = 2**24
LOCAL_HEADER = 30


def load_samples(path: Path, image_size: int | None = None) -> NDArray[np.uint8]:
    """Open the images of one file, uint8 (N, H, W, 3), N at least 1: memory-mapped where they are stored as they are.

    Their checksum has been compared, so that what is read later is what was written.

    Args:
        path: the ``.npz`` file.
        image_size: required height and width; left out, any.

    Raises:
        UserError: if the file is missing, truncated, of another kind, or holds other images.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; draw these samples first")
    try:
        with zipfile.ZipFile(path) as archive:
            if "arr_0.npy" not in archive.namelist():
                raise UserError(f"{path} holds no array arr_0, so it is no file of samples; draw it again")
            entry = archive.getinfo("arr_0.npy")
            with archive.open(entry) as member:
                while member.read(CHUNK):
                    pass
        if entry.compress_type == zipfile.ZIP_STORED:
            images = map_stored(path, entry)
        else:
            with np.load(path) as arrays:
                images = arrays["arr_0"]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise UserError(f"{path} is truncated or no .npz archive of numbers; delete it and draw it again") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or len(images) == 0:
        found = f"{images.dtype} {images.shape}"
        raise UserError(f"{path} holds {found} where uint8 (N, H, W, 3) is expected; draw it again")
    if image_size is not None and images.shape[1:3] != (image_size, image_size):
        height, width = images.shape[1:3]
        raise UserError(f"{path} holds {height}x{width} images where the data set has {image_size}x{image_size}")
    return images


def map_stored(path: Path, entry: zipfile.ZipInfo) -> NDArray[np.uint8]:
    """Map the array of an uncompressed member of an archive into memory.

    Raises:
        ValueError: if the member is no array of numbers.
    """
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        header = file.read(LOCAL_HEADER)
        # The lengths of the name and of the extra field, after which the member itself begins.
        file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("its header is of another version than that of an array of numbers")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject:
            raise ValueError("it holds objects")
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", file.tell(), shape, order="F" if fortran_order else "C")
