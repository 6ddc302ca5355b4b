"""Pictures of the balls: drawn here as views of a unit sphere, or read from a folder of PNG files."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nonrobust_guidance.errors import UserError

Array = NDArray[np.float64]

_RESOLUTION = 256
_SUPERSAMPLING = 4
_GOLDEN = (1 + 5**0.5) / 2


def draw_sprites() -> dict[str, Image.Image]:
    """Draw the four balls of SportBalls.

    Returns:
        RGBA pictures of 256 x 256 pixels by class name, in class order; the ball touches all sides, its edge is soft.
    """
    return {name: _draw_ball(name) for name in _PAINTS}


def load_sprites(folder: Path, classes: Sequence[str] | None = None) -> dict[str, Image.Image]:
    """Read one ``<class>.png`` per class.

    Args:
        folder: Holds square RGBA pictures of any size, each ball touching all four sides.
        classes: Class names in order; by default the sorted names of all PNG files.

    Raises:
        UserError: The folder or a picture is missing, or a picture is not a square RGBA PNG with something on it.
    """
    if not folder.is_dir():
        raise UserError(f"the sprites folder {folder} does not exist; create it with one <class>.png per class")
    names = list(classes) if classes is not None else sorted(path.stem for path in folder.glob("*.png"))
    if not names:
        raise UserError(f"the sprites folder {folder} holds no PNG file; add one <class>.png per class")
    return {name: _load_sprite(folder / f"{name}.png") for name in names}


def _load_sprite(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            picture.load()
    except FileNotFoundError:
        raise UserError(f"the sprite {path} does not exist; add it or take its class out of dataset.classes") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError(f"the sprite {path} cannot be read as PNG; save it again as an RGBA PNG") from None
    if picture.mode != "RGBA":
        raise UserError(f"the sprite {path} has mode {picture.mode}; save it as RGBA, transparent outside the ball")
    if picture.width != picture.height:
        raise UserError(f"the sprite {path} is {picture.width} x {picture.height} pixels; crop it to a square")
    if picture.getchannel("A").getextrema() == (0, 0):
        raise UserError(f"the sprite {path} is fully transparent; paint a ball on it")
    return picture


@cache
def _draw_ball(name: str) -> Image.Image:
    n = _RESOLUTION * _SUPERSAMPLING
    u = (np.arange(n) + 0.5) * 2 / n - 1
    x, y = np.meshgrid(u, -u)
    r2 = x**2 + y**2
    z = np.sqrt(np.clip(1 - r2, 0, None))
    paint, rim = _PAINTS[name]
    colour = paint(np.stack([x, y, z])) * (0.78 + 0.22 * z**0.7)[..., None]
    colour[r2 > 0.93**2] = rim
    premultiplied = np.dstack([colour, np.ones_like(z)]) * (r2 <= 1)[..., None]
    pixels = premultiplied.reshape(_RESOLUTION, _SUPERSAMPLING, _RESOLUTION, _SUPERSAMPLING, 4).mean(axis=(1, 3))
    pixels[..., :3] /= np.maximum(pixels[..., 3:], 1e-6)
    return Image.fromarray((pixels * 255).round().astype(np.uint8), "RGBA")


def _rgb(*levels: int) -> Array:
    return np.array(levels) / 255


def _paint_baseball(p: Array) -> Array:
    """White leather; each seam is an arc around a point beside the ball, with ticks across."""
    x, y, _ = p
    colour = np.broadcast_to(_rgb(255, 255, 255), (*x.shape, 3)).copy()
    for side in (-1, 1):
        dx = x - side * 1.25
        distance = np.hypot(dx, y) - 0.83
        angle = np.arctan2(y, -side * dx)
        tick = (np.abs(distance) < 0.15) & (np.abs(angle / 0.2 % 1 - 0.5) < 0.2)
        colour[(np.abs(distance) < 0.075) | tick] = _rgb(225, 15, 25)
    return colour


def _paint_basketball(p: Array) -> Array:
    """Orange rubber with a cross and two arcs."""
    x, y, _ = p
    colour = np.broadcast_to(_rgb(250, 125, 25), (*x.shape, 3)).copy()
    arcs = np.minimum(np.abs(np.hypot(x - 1.25, y) - 0.8), np.abs(np.hypot(x + 1.25, y) - 0.8))
    lines = np.minimum(np.minimum(np.abs(x), np.abs(y)), arcs)
    colour[lines < 0.055] = _rgb(25, 15, 10)
    return colour


def _paint_volleyball(p: Array) -> Array:
    """Six faces of a cube, seen along its diagonal, each of three strips."""
    diagonal = np.array([[1, -1, 0], [1, 1, -2], [1, 1, 1]]) / np.sqrt([[2], [6], [3]])
    q = np.einsum("ij,i...->j...", diagonal, p)
    face = np.abs(q).argmax(axis=0)[None]
    height = np.take_along_axis(q, face, axis=0)[0]
    across = np.take_along_axis(q, (face + 1) % 3, axis=0)[0] / np.abs(height)
    along = np.take_along_axis(q, (face + 2) % 3, axis=0)[0] / np.abs(height)
    strip = np.clip(np.floor((across + 1) * 1.5), 0, 2).astype(int)
    strips = np.stack([_rgb(25, 70, 200), _rgb(255, 210, 0), _rgb(250, 250, 250)])
    colour = strips[strip]
    seams = np.minimum(np.abs(np.abs(across) - 1 / 3), np.minimum(1 - np.abs(across), 1 - np.abs(along)))
    colour[seams < 0.04] = _rgb(20, 30, 80)
    return colour


def _paint_soccer(p: Array) -> Array:
    """White truncated icosahedron with black pentagons, one of them in front."""
    signs = np.array([(a, b) for a in (-1, 1) for b in (-1, 1)])
    corners = [np.roll([0, a, b * _GOLDEN], k) for a, b in signs for k in range(3)]
    pentagons = np.array(corners) / np.hypot(1, _GOLDEN)
    cube = [np.array([a, b, c]) for a, b in signs for c in (-1, 1)]
    rest = [np.roll([a / _GOLDEN, 0, b * _GOLDEN], k) for a, b in signs for k in range(3)]
    hexagons = np.array(cube + rest) / 3**0.5
    front = pentagons[np.argmax(pentagons @ [0.0, 1.0, 2.0])]
    right = np.cross([0, 1, 0], front)
    right /= np.linalg.norm(right)
    frame = np.stack([right, np.cross(front, right), front])
    q = np.einsum("ij,i...->j...", frame, p)
    # A ray from the centre leaves through the face with the largest n.q / h, n its normal and h its distance from the
    # centre; at edge length 1 these are 2.32744 and 2.26728.
    by_pentagon = np.max(np.tensordot(pentagons, q, axes=1), axis=0) / 2.32744
    towards = np.sort(np.tensordot(hexagons, q, axes=1), axis=0)[-2:] / 2.26728
    colour = np.broadcast_to(_rgb(255, 255, 255), (*by_pentagon.shape, 3)).copy()
    colour[towards[1] - towards[0] < 0.016] = _rgb(90, 90, 90)
    colour[by_pentagon > towards[1] - 0.004] = _rgb(10, 10, 10)
    return colour


_PAINTS: dict[str, tuple[Callable[[Array], Array], Array]] = {
    "baseball": (_paint_baseball, _rgb(150, 150, 155)),
    "basketball": (_paint_basketball, _rgb(60, 30, 10)),
    "volleyball": (_paint_volleyball, _rgb(20, 30, 80)),
    "soccer": (_paint_soccer, _rgb(70, 70, 70)),
}

BALLS = tuple(_PAINTS)
"""The classes that are drawn here, in label order."""
