"""Reading samples: ``.npz`` with ``arr_0`` uint8 (N, H, W, 3), the field's exchange format."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonrobust_guidance.errors import UserError


def load_samples(path: Path, image_size: int | None = None) -> NDArray[np.uint8]:
    """Read the images of one file, uint8 (N, H, W, 3), N at least 1.

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
