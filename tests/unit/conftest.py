"""What several of the unit tests read."""

from pathlib import Path

import pytest

from nonrobust_guidance.metrics.ground_truth.table import measure_ground_truth
from nonrobust_guidance.metrics.settings import GroundTruth


@pytest.fixture(scope="session")
def known_answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ground_truth.csv and ground_truth.npz of 20 samples and 50 steps."""
    path = tmp_path_factory.mktemp("results")
    settings = GroundTruth(num_samples=20, num_steps=50)
    measure_ground_truth(settings, path / "ground_truth.csv", path / "ground_truth.npz")
    return path
