"""What scores are made of, on both devices: probabilities, features, and the distances between them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import CPU, Close
from numpy.typing import NDArray

from nonrobust_guidance.metrics.distances.extractors import judge_extractor, load_extractor
from nonrobust_guidance.metrics.distances.frechet import Gaussian, frechet_distance
from nonrobust_guidance.metrics.judging import class_probabilities
from nonrobust_guidance.metrics.signatures.observed import Observed
from nonrobust_guidance.models.classifiers import load_classifier

FEATURES = 1e-4  # of the largest
N = 300


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    """Blurred noise in bright colours, uint8 (N, 32, 32, 3): more than a batch."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, size=(N, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def test_the_judge_gives_the_same_probabilities(
    on: torch.device, trained_judge: Path, images: NDArray[np.uint8]
) -> None:
    found, expected = (class_probabilities(load_classifier(trained_judge, device), images) for device in (on, CPU))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    sure = np.sort(expected, axis=1)[:, -2] < expected.max(axis=1) - 2e-4
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(found.argmax(axis=1)[sure], expected.argmax(axis=1)[sure])


def test_features_and_their_frechet_distance_are_the_same(
    on: torch.device, trained_judge: Path, images: NDArray[np.uint8], close: Close
) -> None:
    both = []
    for device in (on, CPU):
        extractor = judge_extractor(load_classifier(trained_judge, device))
        features = np.concatenate(list(extractor.stream(images)))
        both.append((features, frechet_distance(Gaussian.fit(features[: N // 2]), Gaussian.fit(features[N // 2 :]))))
    (found, distance), (expected, wanted) = both
    close(torch.from_numpy(found), torch.from_numpy(expected), FEATURES)
    assert distance == pytest.approx(wanted, rel=1e-3)


def test_the_judge_sees_the_same_factors(on: torch.device, trained_judge: Path, images: NDArray[np.uint8]) -> None:
    found, expected = (Observed.of(load_classifier(trained_judge, device), images) for device in (on, CPU))
    assert (found.called == expected.called).mean() > 0.99
    # Position and size are regressed. The angle is the best of 360, and two that are as good may change places.
    np.testing.assert_allclose(found.factors[:, :-1], expected.factors[:, :-1], atol=1e-3)


def test_inception_gives_the_same_features(
    on: torch.device, detector: Path, images: NDArray[np.uint8], close: Close
) -> None:
    found, expected = (load_extractor("inception", detector, device).embed(images[:20]) for device in (on, CPU))
    close(torch.from_numpy(found), torch.from_numpy(expected), FEATURES)
