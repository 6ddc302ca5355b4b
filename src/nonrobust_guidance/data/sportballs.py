"""SportBalls: one ball on a white canvas, an endless dataset in which the index is the image.

Source: arXiv 2507.00687, whose dataset draws its factors from generators reseeded with the same index.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import model_validator

from nonrobust_guidance.data.settings import ImageSize, NumImages, OfDataset
from nonrobust_guidance.data.sprites import BALLS, draw_sprites, load_sprites
from nonrobust_guidance.data.storage import Example
from nonrobust_guidance.fetching import hash_files
from nonrobust_guidance.files import expand_path
from nonrobust_guidance.settings import SettingError, instead
from nonrobust_guidance.settings.types import OR_NULL, Count, Flag, Names, Range, Share
from nonrobust_guidance.settings.types import Path as PathText
from nonrobust_guidance.yaml_files import quoted

_SUPERSAMPLING = 4


class NumDrawn(NumImages):
    """How many images of each split are drawn."""

    train: Count
    validation: Count
    test: Count


class SportBallsData(OfDataset):
    """Balls that are drawn."""

    kind: Literal["sportballs"]
    image_size: ImageSize = 64
    """Height and width in pixels."""
    classes: Names = BALLS
    """Names in label order; each is a ball that the package draws, or a picture among the sprites."""
    sprites: Annotated[PathText | None, OR_NULL] = None
    """Folder with one square RGBA <class>.png per class."""
    ball_size: Share = 0.5
    """Side of the ball's frame as a fraction of the canvas."""
    scale_range: Range = (0.3, 0.8)
    """Ball diameter as a fraction of its frame, lowest and highest."""
    independent_draws: Flag = True
    """False repeats the paper's draws, in which the class leaks into the geometry."""
    num_images: NumDrawn

    @model_validator(mode="after")
    def _require_balls(self) -> Self:
        size, share, (low, high) = self.image_size, self.ball_size, self.scale_range
        for i, name in enumerate(self.classes):
            if self.sprites is None and name not in BALLS:
                raise SettingError(f"is {quoted(name)}, which is unknown; {instead(name, BALLS)}", "classes", i)
        if low >= high:
            raise SettingError(f"goes from {low} to {high}; give the lower end first", "scale_range")
        if not 0 < round(100 * low) < round(100 * high):
            raise SettingError(
                f"goes from {low} to {high} and is drawn in hundredths; give ends at least 0.01 and that far apart",
                "scale_range",
            )
        if not 0 < round(size * share) < size:
            raise SettingError(
                f"is {share}, a frame of {round(size * share)} pixels in images of {size}; give one that has pixels "
                "and leaves some",
                "ball_size",
            )
        return self

    def open(self, folder: Path) -> "DrawnBalls":
        """Return the balls.

        Raises:
            UserError: A sprite cannot be used.
        """
        return DrawnBalls(self)


class SportBalls:
    """Images of one ball each; every image depends only on the settings, the seed and its index.

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
            classes: Class names in label order; by default all that have a sprite.

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


class DrawnBalls:
    """The balls of a dataset: the first indices are for training, the next for validation, the last for test."""

    factors = SportBalls.factors

    def __init__(self, settings: SportBallsData) -> None:
        """Open the sprites, if there are any.

        Raises:
            UserError: A sprite cannot be used.
        """
        sprites = None if settings.sprites is None else expand_path(settings.sprites, "dataset.sprites")
        balls = SportBalls(
            settings.seed,
            settings.image_size,
            settings.ball_size,
            settings.scale_range,
            settings.independent_draws,
            sprites,
            settings.classes,
        )
        self.example, self.splits, start = balls.example, dict[str, Sequence[int]](), 0
        for split, count in settings.num_images.counts().items():
            self.splits[split] = range(start, start + count)
            start += count
        self._source: dict[str, Any] = {"name": f"drawn by nonrobust-guidance {version('nonrobust-guidance')}"}
        if sprites is not None:
            hashes = hash_files(sprites, [f"{name}.png" for name in settings.classes])
            self._source |= {"sprites": str(settings.sprites), "sha256": hashes}

    def describe(self) -> dict[str, Any]:
        """Return who draws them, and the checksums of the sprites."""
        return {"source": self._source, "preprocessing": "none; the images are drawn at their size"}


def _on_white(sprite: Image.Image) -> Image.Image:
    canvas = Image.new("RGBA", sprite.size, "white")
    canvas.alpha_composite(sprite)
    return canvas.convert("RGB")
