"""Sprites: drawn ones are round, a user's folder is read as it is and refused in one sentence."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from sections import prepare

from nonrobust_guidance.data import SportBalls, load_split
from nonrobust_guidance.data.sprites import draw_sprites, load_sprites
from nonrobust_guidance.errors import UserError


def disc(colour: tuple[int, int, int], size: int = 40) -> Image.Image:
    middles = np.arange(size) + 0.5 - size / 2
    inside = np.hypot(middles, middles[:, None]) <= size / 2
    return Image.fromarray(np.dstack([np.full((size, size, 3), colour), inside * 255]).astype(np.uint8), "RGBA")


@pytest.fixture
def folder(tmp_path):
    disc((0, 0, 255)).save(tmp_path / "blue.png")
    disc((255, 0, 0)).save(tmp_path / "red.png")
    return tmp_path


def test_drawn_sprites_are_discs_with_a_soft_edge():
    sprites = draw_sprites()
    assert list(sprites) == ["baseball", "basketball", "volleyball", "soccer"]
    middles = (np.arange(256) + 0.5) / 128 - 1
    radius = np.hypot(middles, middles[:, None])
    for sprite in sprites.values():
        alpha = np.array(sprite)[..., 3]
        assert (alpha[radius < 0.99] == 255).all()
        assert (alpha[radius > 1.01] == 0).all()
        assert ((alpha > 0) & (alpha < 255)).any()
        # A disc fills pi / 4 of its square.
        np.testing.assert_allclose(alpha.mean() / 255, np.pi / 4, rtol=1e-3)


def test_soccer_ball_has_the_five_fold_symmetry_of_its_front_pentagon():
    sprite = draw_sprites()["soccer"]
    turned = sprite.rotate(72, Image.Resampling.BICUBIC)
    plain, turned = np.array(sprite)[..., 0].astype(int), np.array(turned)[..., 0].astype(int)
    other = np.array(sprite.rotate(36, Image.Resampling.BICUBIC))[..., 0].astype(int)
    assert np.abs(turned - plain).mean() < 0.1 * np.abs(other - plain).mean()


def test_folder_gives_the_classes_in_sorted_order(folder):
    balls = SportBalls(image_size=32, sprites=folder)
    assert balls.classes == ("blue", "red")
    np.testing.assert_array_equal(balls.render(0, 0.5, 0.5, 0.5, 30)[16, 16], [0, 0, 255])
    assert SportBalls(sprites=str(folder), classes=["red"]).classes == ("red",)


def test_transparent_parts_are_white(folder):
    balls = SportBalls(image_size=32, sprites=folder)
    image = balls.render(1, 0.5, 0.5, 0.5, 45)
    assert (image[:7] == 255).all()
    # Pure red on white: the covered area, pi / 4 * 16^2, can be read from the blue channel.
    np.testing.assert_allclose((1 - image[..., 2] / 255).sum(), np.pi * 64, rtol=0.02)


def test_prepared_from_a_folder(folder, tmp_path):
    settings = {
        "name": "discs",
        "kind": "sportballs",
        "image_size": 16,
        "sprites": str(folder),
        "classes": ["blue", "red"],
        "num_images": {"train": 8, "validation": 2, "test": 2},
    }
    prepare(settings, tmp_path / "discs")
    assert load_split(tmp_path / "discs", "train").classes == ("blue", "red")


def _opaque(folder):
    disc((0, 0, 0)).convert("RGB").save(folder / "red.png")


def _oblong(folder):
    disc((0, 0, 0)).crop((0, 0, 40, 30)).save(folder / "red.png")


def _jpeg(folder):
    disc((0, 0, 0)).convert("RGB").save(folder / "red.png", "JPEG")


def _cut_off(folder):
    content = (folder / "red.png").read_bytes()
    (folder / "red.png").write_bytes(content[: len(content) // 2])


def _transparent(folder):
    Image.new("RGBA", (8, 8)).save(folder / "red.png")


def _missing(folder):
    (folder / "red.png").unlink()


@pytest.mark.parametrize("spoil", [_opaque, _oblong, _jpeg, _cut_off, _transparent, _missing])
def test_unusable_sprite_is_named(folder, spoil):
    spoil(folder)
    with pytest.raises(UserError, match=r"red\.png") as raised:
        load_sprites(folder, ["blue", "red"])
    assert "\n" not in str(raised.value)


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        load_sprites(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no PNG"):
        load_sprites(tmp_path)


def test_the_papers_setting_with_pictures_of_a_user(folder, tmp_path):
    raw = {
        "dataset": {
            "name": "discs",
            "kind": "sportballs",
            "image_size": 64,
            "independent_draws": False,
            "sprites": str(folder),
            "classes": ["blue", "red"],
            "num_images": {"train": 300, "validation": 10, "test": 10},
        },
        "diffusion": {
            "schedule": {"num_steps": 400, "beta_start": 1.0e-4, "beta_end": 0.02},
            "source": {"folder": "hand"},
        },
        "classifiers": {"guide": {"architecture": "resnet18", "noised": True, "source": {"folder": "hand"}}},
    }
    prepare(raw["dataset"], tmp_path / "data")
    images, labels, factors, classes, _ = load_split(tmp_path / "data", "train")
    assert (images.shape, classes) == ((300, 64, 64, 3), ("blue", "red"))
    offsets = factors[:, 0] * 64 - 16
    assert (offsets.min(), offsets.max()) == (0, 31)
    # One number gives class and geometry: with two classes they agree modulo two.
    np.testing.assert_array_equal(offsets % 2, labels)
    np.testing.assert_array_equal(factors[:, 3] % 2, labels)
    # The ball is of its own colour where the factors say.
    for image, label, (x, y, *_) in zip(images, labels, factors, strict=True):
        assert image[int(y * 64), int(x * 64)].argmax() == (2, 0)[label]
    source = json.loads((tmp_path / "data" / "manifest.json").read_text())["source"]
    assert source["sha256"] == {
        f"{name}.png": hashlib.sha256((folder / f"{name}.png").read_bytes()).hexdigest() for name in ("blue", "red")
    }
