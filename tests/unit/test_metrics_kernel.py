"""The kernel distance against sums by hand, torchmetrics, clean-fid, its expectation, and simulation."""

import numpy as np
import pytest
import torch
from cleanfid.fid import kernel_distance
from torchmetrics.image.kid import poly_mmd

from nonrobust_guidance.metrics.distances import kernel
from nonrobust_guidance.metrics.distances.kernel import KernelDistance


def kernel_of(a: float, b: float) -> float:
    return (a * b + 1) ** 3


def test_two_points_each_by_hand() -> None:
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])
    across = [kernel_of(a, b) for a in (1, 2) for b in (0, 3)]
    expected = kernel_of(1, 2) + kernel_of(0, 3) - 2 * np.mean(across)
    assert KernelDistance(y).measure(x, 10, seed=0).value == pytest.approx(expected)


@pytest.mark.parametrize("block", [1, 4_000_000])
def test_it_agrees_with_torchmetrics(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "BLOCK_ENTRIES", block)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 16)) * 1.2 + 0.1, rng.normal(size=(80, 16))
    expected = float(poly_mmd(torch.from_numpy(x), torch.from_numpy(y), degree=3, gamma=None, coef=1.0))
    assert KernelDistance(y).measure(x, 5, seed=0).value == pytest.approx(expected, rel=1e-9)


def test_it_agrees_with_clean_fid() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 8)) + 0.3, rng.normal(size=(60, 8))
    # Its subsets, of all 60 rows each, are all the same.
    assert KernelDistance(y).measure(x, 5, seed=0).value == pytest.approx(kernel_distance(y, x, 2), rel=1e-9)


def test_samples_of_unequal_number_are_unbiased_about_the_closed_form() -> None:
    # In one dimension (xy + 1)^3 compares the first three moments: 3 (m1 - m1')^2 + 3 (m2 - m2')^2 + (m3 - m3')^2.
    rng = np.random.default_rng(2)
    m = np.array([[0.5, 1.25, 0.5**3 + 3 * 0.5], [0.0, 1.0, 0.0]])
    expected = np.array([3, 3, 1]) @ (m[0] - m[1]) ** 2
    draws = [
        KernelDistance(rng.normal(size=(150, 1))).measure(rng.normal(size=(40, 1)) + 0.5, 1, seed=0).value
        for _ in range(600)
    ]
    assert np.mean(draws) == pytest.approx(expected, abs=4 * np.std(draws) / np.sqrt(600))
    assert min(draws) < 0  # unbiased, so below zero at times


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_interval_covers_the_distance_to_the_reference(shift: float) -> None:
    rng = np.random.default_rng(3)
    reference = KernelDistance(rng.normal(size=(400, 4)))
    truth = np.mean([reference.measure(rng.normal(size=(2000, 4)) + shift, 1, seed=0).value for _ in range(20)])
    covered = []
    for trial in range(200):
        _, low, high = reference.measure(rng.normal(size=(100, 4)) + shift, 100, seed=trial)
        covered.append(low <= truth <= high)
    assert np.mean(covered) >= 0.88


def test_identical_rows_and_too_few() -> None:
    reference = KernelDistance(np.zeros((3, 2)))
    assert reference.measure(np.zeros((5, 2)), 20, seed=0) == pytest.approx((0, 0, 0))
    for seed in range(5):  # resampled twice, two rows may come out as one each time
        assert np.isfinite(reference.measure(np.eye(2), 2, seed)).all()
    with pytest.raises(ValueError, match="two rows"):
        reference.measure(np.zeros((1, 2)), 5, seed=0)
    with pytest.raises(ValueError, match="two rows"):
        KernelDistance(np.zeros((1, 2)))
