"""Cells too big for one job: drawn in shards, and merged into the file that one job would have written."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.sampling.files import load_samples

Images = NDArray[np.uint8]


def save_samples(path: Path, parts: Sequence[Images]) -> None:
    """Write parts uint8 (B, H, W, 3), in order, as ``arr_0`` of one ``.npz``: byte for byte what `numpy.savez` writes.

    The parts may be memory-mapped; no more than one of them is in memory at a time.
    """
    shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
    header = {"descr": np.lib.format.dtype_to_descr(parts[0].dtype), "fortran_order": False, "shape": shape}

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as archive, archive.open("arr_0.npy", "w", force_zip64=True) as file:
            write_array_header_1_0(file, header)
            for part in parts:
                file.write(np.ascontiguousarray(part).data)

    write_atomically(path, write)


def merge_shards(shards: Sequence[Path], output: Path) -> None:
    """Write the samples of all shards, in the order given, into one file.

    Raises:
        UserError: if a shard is missing, damaged, or of images of another size.
    """
    parts = [load_samples(path) for path in shards]
    for path, part in zip(shards, parts, strict=True):
        if part.shape[1:] != parts[0].shape[1:]:
            raise UserError(f"{path} holds images of another size than {shards[0]}; draw the cell again")
    save_samples(output, parts)
