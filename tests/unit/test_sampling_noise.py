"""The seeded noise: a function of (seed, i, k) alone, standard normal, and never the same twice."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nonrobust_guidance.sampling.noise import SampleNoise

SHAPE = (1, 4, 4)
numbers = st.integers(0, 2**64 - 1)


@given(seed=numbers, index=numbers, k=st.integers(0, 2000), neighbours=st.lists(numbers, max_size=3))
def test_noise_of_a_sample_does_not_depend_on_its_neighbours(seed, index, k, neighbours):
    alone = SampleNoise(seed, [index], SHAPE)(k)
    together = SampleNoise(seed, [*neighbours, index], SHAPE)(k)
    assert torch.equal(alone[0], together[-1])


@given(st.lists(st.tuples(numbers, numbers, st.integers(0, 2000)), min_size=2, max_size=2, unique=True))
def test_other_seeds_samples_and_steps_have_other_noise(keys):
    first, second = (SampleNoise(seed, [index], SHAPE)(k) for seed, index, k in keys)
    assert not torch.equal(first, second)


def test_noise_is_standard_normal_and_uncorrelated():
    noise = torch.stack([SampleNoise(7, range(64), (3, 16, 16))(k) for k in range(4)]).numpy()
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    rows = noise.reshape(4 * 64, -1)
    correlations = np.corrcoef(rows)[np.triu_indices(len(rows), k=1)]
    assert np.abs(correlations).max() < 6 / np.sqrt(rows.shape[1])


def test_noise_does_not_touch_the_global_generators():
    before = torch.get_rng_state()
    SampleNoise(0, range(3), SHAPE)(0)
    assert torch.equal(before, torch.get_rng_state())


def test_noise_of_the_largest_seed():
    assert SampleNoise(2**64 - 1, [2**64 - 1], SHAPE)(0).isfinite().all()


@pytest.mark.parametrize("index", [0, 3])
def test_noise_is_the_same_on_every_machine(index):
    # Philox is defined by integers; recorded once, it fails if numpy changes its stream.
    key = np.array([5, index], dtype=np.uint64)
    raw = np.random.Philox(key=key, counter=np.array([0, 0, 0, 2], dtype=np.uint64)).random_raw(3)
    again = np.random.Philox(key=5 + (index << 64), counter=2 << 192).random_raw(3)
    assert raw.tolist() == again.tolist()


def test_every_use_has_noise_of_its_own_and_the_plain_one_is_the_step_of_the_first_recurrence():
    source = SampleNoise(3, [5], (2, 4, 4))
    uses = [(), ("step", 2), ("step", 3), ("renoise", 1), ("renoise", 2)]
    uses += [("smooth", r, m) for r in (1, 2) for m in (1, 2)] + [("augment", r, m) for r in (1, 2) for m in (1, 2)]
    drawn = [source(k, *use).flatten() for k in (1, 2) for use in uses]
    for i, first in enumerate(drawn):
        for second in drawn[:i]:
            assert not torch.equal(first, second)
    assert torch.equal(source(2), source(2, "step", 1))
    together = SampleNoise(3, range(4, 7), (2, 4, 4))
    assert torch.equal(together(2, "smooth", 2, 1)[1], source(2, "smooth", 2, 1)[0])
