"""Augmented classifiers: how images move, whose noise moves them, and classifiers around each other."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import nonrobust_guidance as ng
from nonrobust_guidance.sampling.noise import SampleNoise

SHAPE = (3, 8, 8)
SCHEDULE = ng.Schedule.linear(400, 1e-4, 0.05).respaced(4)


def denoiser(x, t):
    return 0.1 * x


def network(seed=0, num_logits=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, num_logits)).eval()


def images(count=5, seed=0):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def drawn(count, batch=5):
    return [images(batch, seed=100 + m) for m in range(count)]


def z_for(*rows):
    """Return noise whose first entries are the normal quantiles of these numbers."""
    z = torch.zeros(len(rows), *SHAPE, dtype=torch.float64)
    z.flatten(1)[:, :3] = torch.from_numpy(stats.norm.ppf(np.array(rows)))
    return z


def test_an_image_is_shifted_flipped_and_filled_from_its_border():
    x = torch.arange(8.0) + 10.0 * torch.arange(8.0)[:, None]  # its entry is 10 row + column
    x = x.expand(3, 3, 8, 8)
    # With a quarter of 8 there are five shifts, -2 .. 2, each with a fifth of the probability.
    found = ng.augmented(network(), shift=0.25).augment(x, z_for((0.99, 0.5, 0.9), (0.5, 0.3, 0.9), (0.5, 0.01, 0.1)))
    down, left, flipped = found[:, 1]
    assert down[:, 0].tolist() == [0, 0, 0, 10, 20, 30, 40, 50]
    assert left[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 7]
    # Shifted two to the left, and then left and right change places.
    assert flipped[0].tolist() == [7, 7, 7, 6, 5, 4, 3, 2]
    assert torch.equal(found[:, 0], found[:, 2])


def test_shifts_and_flips_are_as_likely_as_they_should_be():
    count = 20_000
    x = (torch.arange(8.0) + 10.0 * torch.arange(8.0)[:, None]).expand(count, 1, 8, 8)
    z = SampleNoise(3, range(count), (1, 2, 2))(0)
    found = ng.augmented(network(), shift=0.25).augment(x, z)
    ascending = found[:, 0, 4, 4] > found[:, 0, 4, 3]
    down, right = (
        4 - (found[:, 0, 4, 4] // 10),
        torch.where(ascending, 4 - found[:, 0, 4, 4] % 10, 3 - found[:, 0, 4, 4] % 10),
    )
    table = np.zeros((5, 5, 2))
    for cell in zip(down.int().tolist(), right.int().tolist(), ascending.int().tolist(), strict=True):
        table[cell[0] + 2, cell[1] + 2, cell[2]] += 1
    assert stats.chisquare(table.ravel()).pvalue > 1e-3


def test_the_gradient_runs_back_through_shift_and_flip():
    around = ng.augmented(network(), shift=0.25, num_draws=2)
    weight, noise = images(2, seed=9).double(), z_for((0.9, 0.2, 0.1), (0.1, 0.7, 0.8))
    assert torch.autograd.gradcheck(lambda x: around.augment(x, noise), images(2).double().requires_grad_())
    # The augmentation is linear, so its gradient is its transpose.
    x = images(2).double().requires_grad_()
    value = (around.augment(x, noise) * weight).sum()
    (gradient,) = torch.autograd.grad(value, x)
    torch.testing.assert_close((gradient * x).sum(), value)


def test_the_logits_are_the_mean_over_the_draws():
    plain, noise = network(), drawn(3)
    views = [ng.augmented(plain).augment(images(), z) for z in noise]
    found = ng.augmented(plain, num_draws=3)(images(), noise=noise)
    torch.testing.assert_close(found, sum(plain(view) for view in views) / 3)
    nothing = ng.augmented(plain, shift=0.0, flip=False)
    assert torch.equal(nothing(images(), noise=noise[:1]), plain(images()))


def test_an_augmentation_does_not_touch_the_global_generators():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    ng.augmented(network())(images(), noise=drawn(1))
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002


def test_each_gets_the_noise_that_it_needs():
    a, b, noise = network(0), network(1), drawn(8)
    inner = ng.augmented(a, num_draws=2)
    both = ng.ensemble([inner, b, ng.preprocess(ng.augmented(b), mean=(0.5,) * 3, std=(0.5,) * 3)])
    assert both.num_noise_draws == 3
    expected = (inner(images(), noise=noise[:2]) + b(images()) + ng.augmented(b)(images(), noise=noise[2:3])) / 3
    torch.testing.assert_close(both(images(), noise=noise[:3]), expected)

    outer = ng.augmented(both, num_draws=2)
    assert ng.smoothed(outer).num_noise_draws == outer.num_noise_draws == 8
    first, second = outer.augment(images(), noise[0]), outer.augment(images(), noise[4])
    expected = (both(first, noise=noise[1:4]) + both(second, noise=noise[5:8])) / 2
    torch.testing.assert_close(outer(images(), noise=noise), expected)


def test_a_member_in_training_mode_is_named():
    with_dropout = nn.Sequential(network(), nn.Dropout(0.5)).eval()
    with_dropout[1].train()
    for around in (ng.ensemble([network(), with_dropout]), ng.augmented(with_dropout), ng.smoothed(with_dropout)):
        with pytest.raises(ValueError, match="1 is in training mode"):
            ng.ClassifierGuidance(around, 0, 1.0)
    for around in (ng.ensemble([network(), network().train()]), ng.augmented(network().train())):
        with pytest.raises(ValueError, match="classifier is in training mode"):
            ng.ClassifierGuidance(around, 0, 1.0)
        ng.ClassifierGuidance(around.eval(), 0, 1.0)


def first_gradient(classifier, at="xt", **options):
    guidance = ng.ClassifierGuidance(classifier, 1, 5.0, at=at)
    return next(ng.trajectory(denoiser, SCHEDULE, 2, guidance=guidance, shape=SHAPE, **options)).gradient


def test_an_augmented_classifier_is_guided_by_the_samplers_noise():
    plain = network()
    x = SampleNoise(0, range(2), SHAPE)(0).requires_grad_()
    zs = [SampleNoise(0, range(2), SHAPE)(1, "augment", 1, m) for m in (1, 2)]
    around = ng.augmented(plain, num_draws=2)
    mean = sum(plain(around.augment(x, z)) for z in zs) / 2
    (expected,) = torch.autograd.grad(mean.log_softmax(1)[:, 1].sum(), x)
    torch.testing.assert_close(first_gradient(around), expected)

    guidance = ng.ClassifierGuidance(ng.preprocess(around), 1, 5.0, at="x0")
    options = {"guidance": guidance, "shape": SHAPE, "microbatch": 2}
    together = ng.sample(denoiser, SCHEDULE, 5, **options)
    assert torch.equal(together, ng.sample(denoiser, SCHEDULE, 5, batch_size=2, **options))
    assert torch.equal(together[3:4], ng.sample(denoiser, SCHEDULE, 1, first_index=3, **options))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ng.augmented("resnet"), TypeError, "a str, is not callable"),
        (lambda: ng.augmented(network(), shift=1.0), ValueError, "shift is 1.0"),
        (lambda: ng.augmented(network(), shift=-0.1), ValueError, "shift is -0.1"),
        (lambda: ng.augmented(network(), num_draws=0), ValueError, "num_draws is 0"),
        (lambda: ng.augmented(network())(images()), ValueError, r"given 0 tensors .*noise=\[...\] of 1"),
        (lambda: ng.augmented(network())(images(), noise=drawn(2)), ValueError, "given 2 tensors"),
        (lambda: ng.augmented(network())(images(), noise=[images()[:, 0, 0, :2]]), ValueError, "Noise of 2 entries"),
    ],
)
def test_what_cannot_be_is_named(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value) and str(caught.value).count("The classifier cannot") <= 1
