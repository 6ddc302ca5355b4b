"""Precision, recall, density and coverage: worked out by hand, against prdc, and on data with known answers."""

import math

import numpy as np
import pytest
from prdc import compute_prdc

from nonrobust_guidance.metrics.distances import neighbours
from nonrobust_guidance.metrics.distances.neighbours import (
    Fidelity,
    Manifold,
    compare_manifolds,
    equal_parts,
    mean_fidelity,
)


def test_points_on_a_line_by_hand() -> None:
    real = Manifold.of(np.array([[0.0], [1.0], [3.0], [10.0]]), 1)
    fake = Manifold.of(np.array([[0.5], [2.0], [30.0]]), 1)
    assert list(real.radii) == [1, 1, 2, 7]
    assert list(fake.radii) == [1.5, 1.5, 28]
    # 0.5 is within the balls of 0 and 1; 2 within those of 1 and 3, whose ends count; 30 within none.
    # Of the real points 0, 1 and 3 are within 1.5 of a sample and 10 within 28 of 30; in its own ball none has 10.
    assert compare_manifolds(real, fake) == (2 / 3, 1.0, 4 / 3, 3 / 4)


@pytest.mark.parametrize("k", [1, 5])
def test_it_agrees_with_prdc(k: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(neighbours, "WORKING_MEMORY", 0.01)  # several blocks of distances
    rng = np.random.default_rng(k)
    real, fake = rng.normal(size=(120, 6)), rng.normal(size=(90, 6)) * 0.7 + 0.4
    expected = compute_prdc(real, fake, k)
    found = compare_manifolds(Manifold.of(real, k), Manifold.of(fake, k))._asdict()
    assert found == pytest.approx({name: float(expected[name]) for name in found})


def test_known_answers() -> None:
    rng = np.random.default_rng(0)
    real = Manifold.of(rng.normal(size=(500, 2)), 5)
    alike = compare_manifolds(real, Manifold.of(rng.normal(size=(500, 2)), 5))
    assert min(alike.precision, alike.recall, alike.coverage) > 0.9
    assert alike.density == pytest.approx(1, abs=0.1)
    collapsed = compare_manifolds(real, Manifold.of(rng.normal(size=(500, 2)) * 0.01, 5))
    assert collapsed.precision == 1
    assert collapsed.recall < 0.05
    assert collapsed.coverage < 0.1
    elsewhere = compare_manifolds(real, Manifold.of(rng.normal(size=(500, 2)) + 100, 5))
    assert elsewhere == (0, 0, 0, 0)


def test_too_few_rows_give_no_number() -> None:
    many, few = Manifold.of(np.random.default_rng(0).normal(size=(50, 2)), 5), Manifold.of(np.zeros((4, 2)), 5)
    found = compare_manifolds(many, few)
    assert math.isnan(found.recall)
    assert not any(math.isnan(number) for number in (found.precision, found.density, found.coverage))
    found = compare_manifolds(few, many)
    assert not math.isnan(found.recall)
    assert all(math.isnan(number) for number in (found.precision, found.density, found.coverage))


def test_few_samples_are_held_against_as_many_real_ones() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2000, 4)), rng.normal(size=(64, 4))
    parts = equal_parts(real, 64, 5, seed=0)
    assert len(parts) == 20
    rows = np.concatenate([part.rows for part in parts])
    assert rows.shape == (20 * 64, 4)
    assert len(np.unique(rows, axis=0)) == len(rows)  # disjoint
    generated = Manifold.of(fake, 5)
    found = mean_fidelity(parts, generated)
    expected = [compute_prdc(part.rows, fake, 5) for part in parts]
    for name in Fidelity._fields:
        assert getattr(found, name) == pytest.approx(np.mean([values[name] for values in expected]))
    # Of as many from the same distribution, Naeem et al. expect 1 - 2^-k to be covered.
    assert found.coverage == pytest.approx(1 - 2**-5, abs=0.05)
    assert compare_manifolds(Manifold.of(real, 5), generated).coverage < 0.2
    assert [len(part.rows) for part in equal_parts(real[:50], 64, 5, seed=0)] == [50]
