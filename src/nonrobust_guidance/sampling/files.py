"""Files of samples: ``.npy``, uint8 (N, H, W, 3), written part by part and read memory-mapped."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically

Images = NDArray[np.uint8]


def save_samples(path: Path, parts: Sequence[Images]) -> None:
    """Write parts uint8 (B, H, W, 3), in order, as one ``.npy``: byte for byte what `numpy.save` writes.

    The parts may be memory-mapped; no more than one of them is in memory at a time.

    Raises:
        UserError: if the disk is full or not writable.
    """
    shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
    header = {"descr": dtype_to_descr(parts[0].dtype), "fortran_order": False, "shape": shape}

    def write(temporary: Path) -> None:
        # Write through the file's own buffer: where numpy writes to a full disk itself, the error gives no reason.
        with temporary.open("wb") as file:
            write_array_header_1_0(file, header)
            for part in parts:
                file.write(np.ascontiguousarray(part).data)

    write_atomically(path, write)


def load_samples(path: Path, image_size: int | None = None) -> Images:
    """Open the images of one file, uint8 (N, H, W, 3), N at least 1, memory-mapped.

    The SHA-256 in their card tells whether they are still the samples that were drawn.

    Args:
        path: a ``.npy`` file, or another's ``.npz`` with ``arr_0``, which is read into memory.
        image_size: required height and width; by default any.

    Raises:
        UserError: if the file is missing, truncated, of another kind, or holds other images.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; draw these samples first")
    try:
        images = np.load(path, mmap_mode="r")
        if isinstance(images, NpzFile):
            with images as arrays:
                images = arrays["arr_0"]
    except KeyError:
        raise UserError(f"{path} holds no array arr_0, so it is no file of samples; draw it again") from None
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error, NotImplementedError) as error:
        raise UserError(f"{path} is truncated or no array of numbers; delete it and draw it again") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or len(images) == 0:
        found = f"{images.dtype} {images.shape}"
        raise UserError(f"{path} holds {found} where uint8 (N, H, W, 3) is expected; draw it again")
    if image_size is not None and images.shape[1:3] != (image_size, image_size):
        height, width = images.shape[1:3]
        raise UserError(f"{path} holds {height}x{width} images where the data set has {image_size}x{image_size}")
    return images


def merge_shards(shards: Sequence[Path], output: Path) -> None:
    """Write the samples of all shards of a cell, in the order given, into the file that one job would have written.

    Raises:
        UserError: if a shard is missing, damaged, or of images of another size.
    """
    parts = [load_samples(path) for path in shards]
    for path, part in zip(shards, parts, strict=True):
        if part.shape[1:] != parts[0].shape[1:]:
            raise UserError(f"{path} holds images of another size than {shards[0]}; draw the cell again")
    save_samples(output, parts)
