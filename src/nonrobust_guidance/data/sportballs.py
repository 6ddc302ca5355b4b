"""SportBalls: one ball on a white canvas, an endless dataset in which the index is the image.

Source: arXiv 2507.00687, whose dataset draws its factors from generators reseeded with the same index.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nonrobust_guidance.data.sprites import draw_sprites, load_sprites
from nonrobust_guidance.data.storage import Example

_SUPERSAMPLING = 4


class SportBalls:
    """Images of one ball each; every image is a function of the settings, the seed and its index.

    A frame of ``ball_size`` x ``ball_size`` canvases lies at a whole-pixel offset from 0 up to, not including, the
    canvas less the frame; the ball sits in the frame's middle, its diameter a whole number of hundredths of the frame.
    """

    factors = ("x", "y", "size", "rotation")

    def __init__(
        self,
        seed: int = 0,
        image_size: int = 64,
        ball_size: float = 0.5,
        scale_range: Sequence[float] = (0.3, 0.8),
        independent_draws: bool = True,
        sprites: str | Path | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        """Choose what is drawn; the defaults are the paper's 64 x 64 setting with independent factors.

        Args:
            seed: Non-negative; another seed is another dataset.
            image_size: Height and width of the canvas in pixels.
            ball_size: Side of the ball's frame as a fraction of the canvas, in (0, 1).
            scale_range: Ball diameter as a fraction of the frame, lowest (included) and highest (excluded), in (0, 1].
            independent_draws: Draw every factor on its own; False repeats the paper's draws, where one random number
                gives class, x, rotation and size, so that with four classes x mod 4 = rotation mod 4 = class.
            sprites: Folder with one RGBA ``<class>.png`` per class; by default the balls are drawn by this package.
            classes: Class names in label order; by default all that the sprites offer.

        Raises:
            ValueError: An argument is out of range.
            UserError: A sprite cannot be used.
        """
        if seed < 0:
            raise ValueError(f"seed {seed} must not be negative")
        low, high = (round(100 * scale) for scale in scale_range)
        frame = round(image_size * ball_size)
        if not 0 < frame < image_size:
            raise ValueError(f"ball_size {ball_size} must leave a frame smaller than the canvas of {image_size} pixels")
        if not 0 < low < high <= 100:
            raise ValueError(f"scale_range {list(scale_range)} must rise within 0 to 1, by 0.01 at least")
        if classes is not None and not 0 < len(classes) == len(set(classes)):
            raise ValueError(f"classes {list(classes)} must be one or more names without repetition")
        pictures = draw_sprites() if sprites is None else load_sprites(Path(sprites), classes)
        unknown = [name for name in classes or () if name not in pictures]
        if unknown:
            raise ValueError(f"class {unknown[0]} is none of the drawn balls {', '.join(pictures)}")
        self.seed = seed
        self.image_size = image_size
        self.independent_draws = independent_draws
        self.classes = tuple(classes or pictures)
        self._sprites = [_on_white(pictures[name]) for name in self.classes]
        self._scaled: dict[tuple[int, int], Image.Image] = {}
        self._frame = frame
        self._low = low
        self._choices = np.array([len(self.classes), image_size - frame, image_size - frame, high - low, 360])

    def example(self, index: int) -> Example:
        """Draw image number ``index``.

        Returns:
            Image uint8 (H, W, 3), label, and factors float32 (4,): centre x and y and diameter as fractions of the
            canvas, rotation in whole degrees counter-clockwise.
        """
        words = np.random.SeedSequence(self.seed, spawn_key=(index,)).generate_state(5)
        if not self.independent_draws:
            words[[1, 3, 4]] = words[0]
        label, x, y, hundredths, rotation = (int(choice) for choice in words % self._choices)
        centre = np.array([x, y]) + self._frame / 2
        size = (self._low + hundredths) / 100 * self._frame
        factors = np.array([*centre / self.image_size, size / self.image_size, rotation], dtype=np.float32)
        return Example(self.render(label, *factors.tolist()), label, factors)

    def render(self, label: int, x: float, y: float, size: float, rotation: float) -> NDArray[np.uint8]:
        """Draw a ball with given factors (units as in ``example``) as uint8 (H, W, 3)."""
        pixels = self.image_size * _SUPERSAMPLING
        sprite = self._sprite(label, max(1, round(size * pixels)))
        cosine, sine = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
        # From canvas to sprite, both measured from the ball's centre; the sprite has a white margin of one pixel.
        inverse = np.array([[cosine, -sine], [sine, cosine]]) * (sprite.width - 2) / (size * pixels)
        shift = sprite.width / 2 - inverse @ (np.array([x, y]) * pixels)
        matrix = (*inverse[0], shift[0], *inverse[1], shift[1])
        canvas = sprite.transform(
            (pixels, pixels), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor="white"
        )
        return np.array(canvas.reduce(_SUPERSAMPLING))

    def _sprite(self, label: int, pixels: int) -> Image.Image:
        """Return the sprite at its size on the supersampled canvas, where turning it needs no further averaging."""
        if (label, pixels) not in self._scaled:
            margined = Image.new("RGB", (pixels + 2, pixels + 2), "white")
            margined.paste(self._sprites[label].resize((pixels, pixels), Image.Resampling.BILINEAR), (1, 1))
            self._scaled[label, pixels] = margined
        return self._scaled[label, pixels]


def _on_white(sprite: Image.Image) -> Image.Image:
    canvas = Image.new("RGBA", sprite.size, "white")
    canvas.alpha_composite(sprite)
    return canvas.convert("RGB")
