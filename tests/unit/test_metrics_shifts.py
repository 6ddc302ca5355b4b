"""Colours, distances of distributions and shares, against values worked out by hand or by another library."""

import colorsys
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from nonrobust_guidance.metrics.distances.transport import Transport, weighted_median
from nonrobust_guidance.metrics.settings import Bootstrap
from nonrobust_guidance.metrics.signatures import colours
from nonrobust_guidance.metrics.signatures.colours import Colours, colour_distance
from nonrobust_guidance.metrics.signatures.shifts import compare_colours, compare_factors, real_subsets, share
from nonrobust_guidance.metrics.statistics.intervals import wilson_interval

BOOTSTRAP = Bootstrap(resamples=50, seed=0)
NAMES = ("x", "y", "size", "rotation")


def flat(*rgb: tuple[int, int, int], size: int = 4) -> np.ndarray:
    """Return images of one colour each."""
    return np.broadcast_to(np.array(rgb, dtype=np.uint8)[:, None, None], (len(rgb), size, size, 3)).copy()


def noise(n: int, seed: int, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (n, size, size, 3), dtype=np.uint8)


def rows(transport: Transport) -> np.ndarray:
    return np.arange(transport.n)


def distance(values: np.ndarray, reference: np.ndarray, period: float | None = None) -> float:
    transport = Transport(np.asarray(values, float), np.asarray(reference, float), period)
    return transport.distance(rows(transport))


@pytest.mark.parametrize(
    ("colour", "saturation"),
    [((255, 0, 0), 1), ((0, 0, 9), 1), ((255, 255, 0), 1), ((77, 77, 77), 0), ((0, 0, 0), 0), ((200, 100, 150), 0.5)],
)
def test_saturation_of_pure_colours(colour: tuple[int, int, int], saturation: float) -> None:
    assert Colours.of(flat(colour)).saturation == pytest.approx([saturation])


def test_colours_are_those_of_the_standard_library_pixel_by_pixel() -> None:
    images = noise(3, 0)
    measured = Colours.of(images)
    for i, image in enumerate(images / 255):
        pixels = image.reshape(-1, 3)
        assert measured.mean[i] == pytest.approx([math.fsum(channel) / len(pixels) for channel in pixels.T])
        assert measured.median[i] == pytest.approx([sorted(channel)[17:19] @ np.full(2, 0.5) for channel in pixels.T])
        assert measured.saturation[i] == pytest.approx(np.mean([colorsys.rgb_to_hsv(*p)[1] for p in pixels]), rel=1e-6)
    assert Colours.of(flat((9, 99, 199))).contrast == pytest.approx([0])
    # Half of the pixels black and half white: every channel deviates by 1/2.
    halves = np.concatenate([flat((0, 0, 0)), flat((255, 255, 255))], axis=1)
    assert Colours.of(halves).contrast == pytest.approx([0.5])


def test_the_median_is_the_background_and_the_mean_is_not() -> None:
    small, large = (np.full((1, 10, 10, 3), 255, dtype=np.uint8) for _ in range(2))
    small[:, :3, :3], large[:, :6, :6] = 0, 0
    a, b = Colours.of(small), Colours.of(large)
    assert colour_distance(a.median, b.median) == 0
    assert colour_distance(a.mean, b.mean) == pytest.approx((36 - 9) / 100)


def test_batches_do_not_change_the_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(7, 1)
    together = Colours.of(images)
    monkeypatch.setattr(colours, "BATCH_PIXELS", 2 * 36)
    apart = Colours.of(images)
    for name in ("mean", "median", "saturation", "contrast"):
        np.testing.assert_array_equal(getattr(apart, name), getattr(together, name))


def test_a_tint_is_the_shift_that_was_put_in() -> None:
    real = noise(40, 2)
    tinted = (real + np.array([0, 30, -15])).astype(np.uint8)  # no value leaves 0 .. 255
    row = compare_colours(Colours.of(tinted), Colours.of(noise(80, 3)), Colours.of(real), BOOTSTRAP)
    assert (row["red_shift"], row["green_shift"], row["blue_shift"]) == pytest.approx((0, 30 / 255, -15 / 255))
    assert row["colour_shift"] == pytest.approx(math.sqrt((30**2 + 15**2) / 3) / 255)
    assert row["median_shift"] == pytest.approx(row["colour_shift"])
    for name in ("colour_shift", "green_shift", "blue_shift", "saturation_shift"):
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert row["blue_shift_high"] < 0 < row["green_shift_low"]
    # As many other images of the same kind are less than a tenth of that off.
    assert 0 < row["colour_shift_real"] < 0.1 * row["colour_shift"]


def test_a_grey_cast_takes_the_saturation() -> None:
    reds, greys = Colours.of(flat((200, 0, 0), (100, 0, 0))), Colours.of(flat((200, 200, 200), (100, 100, 100)))
    row = compare_colours(greys, reds, reds, BOOTSTRAP)
    assert (row["saturation_shift"], row["saturation_shift_low"], row["saturation_shift_high"]) == (-1, -1, -1)
    assert row["saturation_shift_real"] == 0


def test_the_order_of_the_samples_does_not_matter() -> None:
    images, rng = noise(20, 4), np.random.default_rng(0)
    order = rng.permutation(20)
    factors, reference = rng.normal(size=(20, 4)), rng.normal(size=(30, 4))
    test = Colours.of(noise(20, 5))
    first, second = (compare_colours(Colours.of(i), test, test, BOOTSTRAP) for i in (images, images[order]))
    third, fourth = (compare_factors(f, reference, reference, NAMES, BOOTSTRAP) for f in (factors, factors[order]))
    for a, b in ((first, second), (third, fourth)):
        names = [name for name in a if not name.endswith(("_low", "_high"))]
        assert [a[name] for name in names] == pytest.approx([b[name] for name in names])


Numbers = st.lists(st.floats(-50, 50), min_size=1, max_size=12)


@given(Numbers, Numbers)
def test_the_distance_on_the_line_is_scipys(values: list[float], reference: list[float]) -> None:
    assert distance(values, reference) == pytest.approx(wasserstein_distance(values, reference), abs=1e-9)


def test_resampled_rows_are_as_if_they_were_the_values() -> None:
    rng = np.random.default_rng(1)
    values, reference, chosen = rng.normal(size=9), rng.normal(size=14), rng.integers(9, size=9)
    transport = Transport(values, reference)
    assert transport.distance(chosen) == pytest.approx(wasserstein_distance(values[chosen], reference))


@pytest.mark.parametrize("shift", [-0.3, 0.0, 2.5])
def test_the_distance_of_a_shifted_distribution_is_the_shift(shift: float) -> None:
    values = np.random.default_rng(2).normal(size=50)
    assert distance(values + shift, values) == pytest.approx(abs(shift), abs=1e-12)


@pytest.mark.parametrize(
    ("values", "reference", "expected"),
    [
        ([350], [10], 20),  # the short way round
        ([0], [180], 180),
        ([0, 90, 180, 270], [45, 135, 225, 315], 45),
        ([0, 120, 240], [240, 0, 120], 0),
        ([0, 0], [0, 180], 90),  # half of it goes half around
        ([359, 1], [0, 0], 1),
        ([-10], [370], 20),  # angles of any turn
    ],
)
def test_the_distance_on_the_circle_by_hand(values: list[float], reference: list[float], expected: float) -> None:
    assert distance(values, reference, 360) == pytest.approx(expected)


def test_the_distance_on_the_circle_is_that_of_the_best_cyclic_match() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        a, b = np.sort(rng.uniform(0, 360, (2, 6)))
        matches = [np.abs((a - np.roll(b, k) + 180) % 360 - 180).mean() for k in range(6)]
        assert distance(a, b, 360) == pytest.approx(min(matches))


def test_turning_both_sides_changes_no_distance() -> None:
    a, b = np.random.default_rng(4).uniform(0, 360, (2, 15))
    assert distance((a + 77) % 360, (b + 77) % 360, 360) == pytest.approx(distance(a, b, 360))


def test_weighted_median() -> None:
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0])) == 2
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([5.0, 1.0, 1.0])) == 3


def test_factors_that_were_moved_are_found_moved() -> None:
    rng = np.random.default_rng(5)
    real = np.stack([*rng.uniform(0.3, 0.7, (3, 60)), rng.uniform(0, 90, 60)], axis=1)
    moved = real + np.array([0.1, 0, -0.2, 300])
    row = compare_factors(moved, real, real, NAMES, BOOTSTRAP)
    assert (row["x_shift"], row["y_shift"], row["size_shift"]) == pytest.approx((0.1, 0, -0.2))
    assert (row["x_distance"], row["y_distance"], row["size_distance"]) == pytest.approx((0.1, 0, 0.2))
    assert row["rotation_distance"] == pytest.approx(60)  # the short way
    assert "rotation_shift" not in row
    assert row["size_shift_high"] < 0 < row["x_shift_low"]
    assert row["size_shift_real"] == pytest.approx(0)  # all sixty real images, against themselves


def test_a_factor_may_spread_without_a_shift() -> None:
    real, wide = np.array([[0.4], [0.6]]), np.array([[0.3], [0.7]])
    row = compare_factors(wide, real, real, ["x"], BOOTSTRAP)
    assert (row["x_shift"], row["x_distance"]) == pytest.approx((0, 0.1))


def test_too_few_rows_have_no_numbers_but_the_same_columns() -> None:
    real = np.random.default_rng(6).uniform(size=(9, 4))
    full = compare_factors(real, real, real, NAMES, BOOTSTRAP)
    for few in ((real[:1], real, real), (real, real[:0], real), (real, real, real[:0])):
        row = compare_factors(*few, NAMES, BOOTSTRAP)
        assert list(row) == list(full)
        assert all(math.isnan(number) for number in row.values())
    seen = Colours.of(noise(3, 7))
    row = compare_colours(seen.take(np.array([0])), seen, seen, BOOTSTRAP)
    assert list(row) == list(compare_colours(seen, seen, seen, BOOTSTRAP))
    assert all(math.isnan(number) for number in row.values())


def test_a_share_has_wilsons_interval_and_that_of_real_images_beside_it() -> None:
    row = share("lost", np.array([True, False, False, False]), np.array([True, False]))
    low, high = wilson_interval(1, 4)
    assert row == {"lost": 0.25, "lost_low": low, "lost_high": high, "lost_real": 0.5}
    assert all(math.isnan(number) for number in share("lost", np.zeros(0, bool), np.zeros(0, bool)).values())


def test_real_subsets_are_drawn_without_replacement() -> None:
    subsets = real_subsets(30, 10, 0)
    assert len(subsets) > 1
    assert all(len(set(subset.tolist())) == 10 for subset in subsets)
    assert [subset.tolist() for subset in real_subsets(3, 10, 0)] == [[0, 1, 2]]
