"""What colours an image has: numbers that depend on one image only, so that data of any size can be read in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BATCH_PIXELS = 2**20


@dataclass(frozen=True)
class Colours:
    """The colours of N images, every number in 0 .. 1.

    Attributes:
        mean: (N, 3), red, green and blue, averaged over the pixels.
        median: (N, 3), each channel's median over the pixels: the background's colour, where it fills more than half.
        saturation: (N,), HSV's ``(max - min) / max`` of a pixel's channels, 0 for black, averaged over the pixels.
        contrast: (N,), standard deviation over the pixels, root mean square over the channels; 0 for one flat colour.
    """

    mean: Array
    median: Array
    saturation: Array
    contrast: Array

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> Colours:
        """Measure images, uint8 (N, H, W, 3) with N at least 1; a memory-mapped array is read part by part."""
        size = max(1, BATCH_PIXELS // (images.shape[1] * images.shape[2]))
        starts = range(0, len(images), size)
        return cls.join([cls._of_batch(np.asarray(images[start : start + size])) for start in starts])

    @classmethod
    def join(cls, parts: Sequence[Colours]) -> Colours:
        """Return the colours of all images of the parts, in their order."""
        columns = zip(*((part.mean, part.median, part.saturation, part.contrast) for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    @classmethod
    def _of_batch(cls, images: NDArray[np.uint8]) -> Colours:
        # Make each channel contiguous, which is four times as fast.
        pixels = np.ascontiguousarray(images.reshape(len(images), -1, 3).transpose(0, 2, 1))  # (B, 3, H * W)
        highest, lowest = pixels.max(axis=1).astype(np.float32), pixels.min(axis=1).astype(np.float32)
        saturation = np.divide(highest - lowest, highest, out=np.zeros_like(highest), where=highest > 0)
        return cls(
            mean=pixels.mean(axis=2) / 255,
            median=np.median(pixels, axis=2) / 255,
            saturation=saturation.mean(axis=1, dtype=np.float64),
            contrast=np.sqrt(pixels.var(axis=2).mean(axis=1)) / 255,
        )

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.mean)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Colours:
        """Return the colours of some of the images."""
        return Colours(self.mean[rows], self.median[rows], self.saturation[rows], self.contrast[rows])


def colour_distance(a: Array, b: Array) -> Array:
    """Return the root mean square over the channels of a - b (..., 3): a tint of 0.1 in every channel is 0.1 away."""
    return np.sqrt(np.square(a - b).mean(axis=-1))
