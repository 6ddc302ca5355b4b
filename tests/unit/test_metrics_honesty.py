"""The metrics cannot be fooled: canvases that show no ball lose by every number, and real balls win."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageFilter
from torch import nn

from nonrobust_guidance.data import SportBalls
from nonrobust_guidance.metrics.distances.extractors import judge_extractor
from nonrobust_guidance.metrics.distances.frechet import Gaussian, frechet_distance
from nonrobust_guidance.metrics.judging import class_probabilities, summarize_probabilities
from nonrobust_guidance.models.classifiers import load_classifier

DEFAULT = yaml.safe_load((Path(__file__).parents[2] / "config" / "default.yaml").read_text())
NUM_CANVASES, NUM_REFERENCE = 256, 600
Images = np.ndarray

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def judge(trained_judge: Path) -> nn.Module:
    return load_classifier(trained_judge)


@pytest.fixture(scope="module")
def balls() -> dict[str, dict[str, Images]]:
    """Training and held-out images (N, H, W, 3) of each class of the default data set."""
    settings = {key: value for key, value in DEFAULT["dataset"].items() if key not in ("kind", "name", "num_images")}
    source = SportBalls(**settings)
    start = sum(DEFAULT["dataset"]["num_images"].values()) - DEFAULT["dataset"]["num_images"]["test"]
    return {
        "train": by_class(source, 0, NUM_REFERENCE),
        "test": by_class(source, start, NUM_CANVASES),
    }


def by_class(source: SportBalls, start: int, count: int) -> dict[str, Images]:
    examples = [source.example(i) for i in range(start, start + 5 * count)]
    return {
        name: np.stack([e.image for e in examples if e.label == label])[:count]
        for label, name in enumerate(source.classes)
    }


@pytest.fixture(scope="module")
def references(judge: nn.Module, balls: dict[str, dict[str, Images]]) -> dict[str, Gaussian]:
    return {name: fit(judge, images) for name, images in balls["train"].items()}


@pytest.fixture(scope="module")
def floors(judge: nn.Module, balls: dict[str, dict[str, Images]], references: dict[str, Gaussian]) -> dict[str, float]:
    """How far held-out images of each class are from its training images."""
    return {name: frechet_distance(fit(judge, images), references[name]) for name, images in balls["test"].items()}


def fit(judge: nn.Module, images: Images) -> Gaussian:
    return Gaussian.fit(np.concatenate([*judge_extractor(judge).stream(images)]))


def shifted(images: Images, shift: np.ndarray) -> Images:
    return (images + shift).clip(0, 255).round().astype(np.uint8)


def white(images: Images, rng: np.random.Generator) -> Images:
    return np.full_like(images, 255)


def off_white(images: Images, rng: np.random.Generator) -> Images:
    return np.broadcast_to(rng.integers(235, 256, (len(images), 1, 1, 1), dtype=np.uint8), images.shape).copy()


def one_colour(images: Images, rng: np.random.Generator) -> Images:
    return np.broadcast_to(rng.integers(0, 256, (len(images), 1, 1, 3), dtype=np.uint8), images.shape).copy()


def tinted(images: Images, rng: np.random.Generator) -> Images:
    return shifted(images, np.array([-70.0, -20.0, 20.0]))


def blurred(images: Images, rng: np.random.Generator) -> Images:
    soften = ImageFilter.GaussianBlur(images.shape[1] / 10)
    return np.stack([np.array(Image.fromarray(image).filter(soften)) for image in images])


def noisy(images: Images, rng: np.random.Generator) -> Images:
    return shifted(images, rng.normal(0, 60, images.shape))


def noise_alone(images: Images, rng: np.random.Generator) -> Images:
    return shifted(np.full_like(images, 128), rng.normal(0, 60, images.shape))


def doubled(images: Images, rng: np.random.Generator) -> Images:
    return np.minimum(images, images[::-1, :, ::-1])


CANVASES = [white, off_white, one_colour, tinted, blurred, noisy, noise_alone]


@pytest.mark.parametrize("target", ["baseball", "basketball", "volleyball", "soccer"])
@pytest.mark.parametrize("spoil", CANVASES, ids=lambda spoil: spoil.__name__)
def test_canvases_are_neither_called_a_ball_nor_near_one(
    spoil: Callable[[Images, np.random.Generator], Images],
    target: str,
    judge: nn.Module,
    balls: dict[str, dict[str, Images]],
    references: dict[str, Gaussian],
    floors: dict[str, float],
) -> None:
    real = balls["test"][target]
    canvases = spoil(real, np.random.default_rng(0))
    assert len(canvases) == NUM_CANVASES
    label = list(balls["test"]).index(target)
    assert summarize_probabilities(class_probabilities(judge, canvases), label, "heldout")["accuracy_heldout"] < 0.02
    assert frechet_distance(fit(judge, canvases), references[target]) > 10 * floors[target]


def test_two_balls_at_once_are_no_ball(judge: nn.Module, balls: dict[str, dict[str, Images]]) -> None:
    for label, images in enumerate(balls["test"].values()):
        called = class_probabilities(judge, doubled(images, np.random.default_rng(0))).argmax(axis=1)
        assert np.mean(called == label) < 0.2  # some pairs lie on each other and are one ball


def test_real_balls_are_accepted_as_what_they_are(judge: nn.Module, balls: dict[str, dict[str, Images]]) -> None:
    for label, images in enumerate(balls["test"].values()):
        assert np.mean(class_probabilities(judge, images).argmax(axis=1) == label) > 0.95


def test_good_unguided_samples_are_accepted(judge: nn.Module) -> None:
    """The first samples of the default run's diffusion model, which this judge has never seen."""
    with np.load(Path(__file__).with_name("unguided.npz")) as file:
        called = class_probabilities(judge, file["arr_0"]).argmax(axis=1)
    assert len(called) == 128
    assert np.mean(called < 4) >= 0.9
    assert np.bincount(called, minlength=4)[:4].min() >= 0.12 * 128
