"""Rejection: which attempts are kept, how many it takes, and that neither depends on how the work is split."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

import nonrobust_guidance as ng
from nonrobust_guidance.guidance.method import Guidance, Move
from nonrobust_guidance.sampling.noise import SampleNoise
from nonrobust_guidance.sampling.rejection import AttemptNoise

SHAPE = (3, 8, 8)
SCHEDULE = ng.Schedule.linear(400, 1e-4, 0.05).respaced(4)
# One step whose network predicts the sample: what is drawn is the network's output for x_T, which is standard normal.
ONE_STEP = ng.Schedule(torch.tensor([0.1]), torch.tensor([7]), prediction="sample", clip=False)
NORMAL = {"denoiser": lambda x, t: x, "schedule": ONE_STEP, "shape": (1, 1, 1)}


def steep(x):
    """Return the one logit of a classifier whose boundary is 0."""
    return 4.0 * x.flatten()


class Mixing(nn.Module):
    """A network whose bits depend on the shape of its batch, as those of a U-Net do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x, t):
        return self.last(torch.tanh(self.first(x)))


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


@pytest.fixture
def drawing():
    return {"denoiser": Mixing().eval().requires_grad_(False), "schedule": SCHEDULE, "seed": 5, "shape": SHAPE}


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_normal_is_cut_at_the_boundary_after_a_geometric_number_of_draws():
    found = ng.Rejection(steep, target=1).sample(num_samples=4000, **NORMAL)
    assert found.accepted.all() and found.images.shape == (4000, 1, 1, 1)
    assert stats.kstest(found.images.flatten(), stats.halfnorm.cdf).pvalue > 1e-3
    np.testing.assert_allclose(
        found.probabilities, special.expit(4.0 * found.images.double().flatten().numpy()), rtol=1e-6
    )
    counts = np.bincount(found.draws.clamp(max=8))[1:]
    expected = 4000 * np.append(0.5 ** np.arange(1, 8), 0.5**7)
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_the_threshold_is_where_it_says():
    # sigmoid(4 x) is at least 0.9 from log(9) / 4 on.
    edge = math.log(9.0) / 4.0
    found = ng.Rejection(steep, target=1, threshold=0.9).sample(num_samples=2000, **NORMAL)
    assert found.images.min() >= edge
    law = stats.truncnorm(edge, np.inf)
    assert stats.kstest(found.images.flatten(), law.cdf).pvalue > 1e-3
    share = stats.norm.sf(edge)
    assert abs(found.draws.double().mean() - 1 / share) < 5 * math.sqrt(1 - share) / share / math.sqrt(2000)


@pytest.mark.parametrize("weights", [None, [0.5, 0.3, 0.2]], ids=["balanced", "rare"])
def test_a_mixture_gives_its_class_at_the_price_of_its_share(weights):
    mixture = ng.GaussianMixture([[-2.0, 0.0], [2.0, 0.0], [0.0, 3.0]], covariances=0.1, weights=weights)
    schedule = ng.Schedule.linear(num_steps=200, beta_start=1e-4, beta_end=0.06)
    found = ng.Rejection(mixture.classifier, target=2).sample(
        mixture.denoiser(schedule), schedule, 800, shape=mixture.shape, clip=False, sampler="ddim", dtype=torch.float64
    )
    share = 1 / 3 if weights is None else 0.2
    assert found.accepted.all()
    assert abs(found.draws.double().mean() - 1 / share) < 5 * math.sqrt(1 - share) / share / math.sqrt(800)
    expected = 800 * np.append(share * (1 - share) ** np.arange(6), (1 - share) ** 6)
    assert stats.chisquare(np.bincount(found.draws.clamp(max=7))[1:], expected).pvalue > 1e-3
    # The classes are 11 standard deviations apart, so that what is accepted is the class.
    for points, middle in zip(found.images.flatten(1).T.numpy(), (0.0, 3.0), strict=True):
        assert stats.kstest(points, stats.norm(middle, math.sqrt(0.1)).cdf).pvalue > 1e-3


def test_what_is_accepted_at_once_is_the_unguided_sample(drawing):
    unguided = ng.sample(num_samples=12, **drawing)
    found = ng.Rejection(network(), target=1, threshold=0.35).sample(num_samples=12, **drawing)
    at_once = found.draws == 1
    probabilities = network()(unguided).softmax(1)[:, 1]
    assert torch.equal(at_once, probabilities >= 0.35) and 0 < at_once.sum() < 12
    assert torch.equal(found.images[at_once], unguided[at_once])
    assert equal(ng.Rejection(network(), 1, threshold=0.0).sample(num_samples=12, **drawing)[:1], [unguided])


def test_a_sample_depends_on_its_seed_and_index_alone(drawing):
    rejection = ng.Rejection(network(), target=1, threshold=0.35)
    together = rejection.sample(num_samples=12, **drawing)
    assert together.draws.max() > 2
    for batch_size in (1, 5, 40):
        assert equal(together, rejection.sample(num_samples=12, batch_size=batch_size, **drawing))
    jobs = [rejection.sample(num_samples=n, first_index=i, **drawing) for i, n in ((9, 3), (0, 4), (4, 5))]
    for whole, parts in zip(together, zip(*(jobs[i] for i in (1, 2, 0)), strict=True), strict=True):
        assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(together.images, rejection.sample(num_samples=12, **{**drawing, "seed": 6}).images)


def test_the_first_accepted_attempt_is_kept():
    # Attempts of the sample with index 9, one by one, as they follow from the noise.
    attempts = torch.cat([AttemptNoise(3, [(9, attempt)], (1, 1, 1))(0) for attempt in range(30)]).flatten()
    found = ng.Rejection(steep, target=1, threshold=0.99).sample(num_samples=1, seed=3, first_index=9, **NORMAL)
    first = int((attempts >= math.log(99.0) / 4.0).nonzero()[0])
    assert first > 1
    assert found.draws.tolist() == [first + 1] and found.images.item() == attempts[first]


def test_only_samples_that_wait_are_drawn_again_and_in_full_batches():
    sizes, judged = [], []

    def judge(x):
        judged.append(len(x))
        return steep(x)

    def counted(x, t):
        sizes.append(len(x))
        return x

    found = ng.Rejection(judge, target=1).sample(num_samples=64, seed=1, **{**NORMAL, "denoiser": counted})
    assert set(sizes) == {64} and judged == sizes
    # One by one they would be as many calls as the most patient sample waits.
    assert len(sizes) <= 5 < found.draws.max()
    # With batches of one nothing is drawn that is not counted.
    sizes.clear()
    judged.clear()
    again = ng.Rejection(judge, 1).sample(num_samples=64, seed=1, batch_size=1, **{**NORMAL, "denoiser": counted})
    assert len(sizes) == len(judged) == again.draws.sum() == found.draws.sum()
    assert set(sizes) == set(judged) == {1}


def test_rows_that_would_fill_up_a_microbatch_are_attempts(drawing):
    class Counting(Mixing):
        calls = 0

        def forward(self, x, t):
            Counting.calls += 1
            assert len(x) == 32
            return super().forward(x, t)

    found = ng.Rejection(network(), 1, threshold=0.35).sample(
        num_samples=2, **{**drawing, "denoiser": Counting().eval()}
    )
    assert found.accepted.all() and Counting.calls == 4


def test_samples_that_wait_fill_no_more_microbatches_than_they_need():
    class Counting(nn.Module):
        rows = 0

        def forward(self, x, t):
            Counting.rows += len(x)
            return x

    # Nine in ten attempts are accepted. 70 samples fill three microbatches of 32, and the few that wait then fill one.
    threshold = special.expit(4.0 * stats.norm.ppf(0.1))
    found = ng.Rejection(steep, 1, threshold).sample(
        num_samples=70, microbatch=32, **{**NORMAL, "denoiser": Counting().eval()}
    )
    assert found.accepted.all() and found.draws.max() > 1
    assert Counting.rows == 4 * 32


@dataclass(frozen=True, eq=False)
class Push(Guidance):
    """Adds its scale to every image, upward for class 1 and downward for class 0."""

    scale: float

    def reach(self, step):
        return 1.0

    def move(self, climb, stabilized, step):
        signs = 2.0 * self.targets(len(stabilized)) - 1.0
        return Move(x=self.scale * signs.reshape(-1, 1, 1, 1).expand_as(stabilized))


def test_guided_attempts_are_drawn_again_where_guidance_fails():
    # Guided, the images are normal around 1, and all above 0 are accepted.
    found = ng.Rejection(steep, target=1, guidance=Push(steep, 0, scale=1.0)).sample(num_samples=4000, **NORMAL)
    assert found.accepted.all()
    assert stats.kstest(found.images.flatten(), stats.truncnorm(-1.0, math.inf, loc=1.0).cdf).pvalue > 1e-3
    share = stats.norm.cdf(1.0)
    error = math.sqrt((1 - share) / share**2 / 4000)  # of the mean of a geometric number
    assert found.draws.double().mean().item() == pytest.approx(1 / share, abs=4 * error)


def test_guided_attempts_have_the_targets_of_their_samples():
    target = torch.tensor([0, 1] * 200)
    found = ng.Rejection(steep, target, guidance=Push(steep, 0, scale=1.0)).sample(num_samples=400, **NORMAL)
    signed = (2 * target - 1) * found.images.flatten()
    assert (signed > 0).all() and signed.mean().item() == pytest.approx(
        stats.truncnorm.mean(-1, math.inf, loc=1), abs=0.2
    )
    assert found.draws.double().mean() < 1.4  # of pushes the wrong way it would be 6


def test_what_is_accepted_at_once_is_the_guided_sample(drawing):
    guidance = ng.ClassifierGuidance(network(), 1, 2.0, at="xt")
    rejection = ng.Rejection(network(), 1, 0.4, guidance)
    guided, found = ng.sample(num_samples=12, guidance=guidance, **drawing), rejection.sample(num_samples=12, **drawing)
    at_once = found.draws == 1
    assert 0 < at_once.sum() < 12
    assert torch.equal(found.images[at_once], guided[at_once])
    assert equal(found, rejection.sample(num_samples=12, batch_size=5, **drawing))
    parts = [rejection.sample(num_samples=n, first_index=i, **drawing).images for i, n in ((0, 5), (5, 7))]
    assert torch.equal(found.images, torch.cat(parts))


def test_samples_that_are_never_accepted_are_marked_and_the_others_kept():
    rejection = ng.Rejection(steep, target=1, threshold=0.99)
    complete = rejection.sample(num_samples=20, **NORMAL)
    with pytest.warns(RuntimeWarning, match=r"of 20 samples were not accepted within max_draws; .*raise max_draws"):
        found = rejection.sample(num_samples=20, max_draws=4, **NORMAL)
    late = complete.draws > 4
    assert 0 < late.sum() < 20 and torch.equal(found.accepted, ~late)
    assert torch.equal(found.images[~late], complete.images[~late])
    assert found.draws[late].eq(4).all() and torch.equal(found.draws[~late], complete.draws[~late])
    attempts = torch.stack([AttemptNoise(0, [(i, j) for i in range(20)], (1, 1, 1))(0).flatten() for j in range(4)])
    assert torch.equal(found.images[late].flatten(), attempts.amax(dim=0)[late])
    assert (found.probabilities[late] < 0.99).all()


def test_each_sample_may_have_a_target_of_its_own():
    targets = torch.tensor([0, 1, 1, 0, 1, 0])
    found = ng.Rejection(steep, targets).sample(num_samples=6, **NORMAL)
    assert torch.equal(found.images.flatten() > 0, targets.bool())


class Told(nn.Module):
    noise_conditional = True

    def forward(self, x, t):
        assert t.tolist() == [7] * len(x)
        return steep(x)


def test_a_classifier_that_is_told_t_is_told_the_least():
    assert equal(
        ng.Rejection(Told().eval(), 1).sample(num_samples=5, **NORMAL),
        ng.Rejection(steep, 1).sample(num_samples=5, **NORMAL),
    )


def test_an_augmented_classifier_judges_by_seeded_noise(drawing):
    rejection = ng.Rejection(ng.preprocess(ng.augmented(network(), num_draws=2)), target=1, threshold=0.35)
    torch.manual_seed(0)
    together = rejection.sample(num_samples=8, **drawing)
    torch.manual_seed(1)
    assert equal(together, rejection.sample(num_samples=8, batch_size=3, **drawing))
    plain = ng.Rejection(ng.preprocess(network()), target=1, threshold=0.0).sample(num_samples=8, **drawing)
    assert not torch.equal(plain.probabilities, together.probabilities)


def test_noise_of_attempts_is_that_of_philox_at_their_counter():
    noise = AttemptNoise(5, [(3, 0), (3, 2)], (1, 4, 4))(6)
    assert torch.equal(noise[:1], SampleNoise(5, [3], (1, 4, 4))(6))
    generator = np.random.Generator(np.random.Philox(key=5 + (3 << 64), counter=(6 + (2 << 32)) << 192))
    np.testing.assert_array_equal(noise[1].flatten(), generator.standard_normal(16, dtype=np.float32))


def test_noise_of_attempts_is_standard_normal_and_uncorrelated():
    noise = torch.stack([AttemptNoise(7, [(i, j) for i in range(8) for j in range(8)], SHAPE)(k) for k in range(3)])
    rows = noise.reshape(-1, math.prod(SHAPE)).numpy()
    assert stats.kstest(rows.ravel(), "norm").pvalue > 1e-3
    correlations = np.corrcoef(rows)[np.triu_indices(len(rows), k=1)]
    assert np.abs(correlations).max() < 6 / math.sqrt(rows.shape[1])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ng.Rejection("resnet", 1), TypeError, "a str, is not callable"),
        (lambda: ng.Rejection(steep, 0.5), TypeError, "target is 0.5"),
        (lambda: ng.Rejection(steep, 1, threshold=1.5), ValueError, "threshold is 1.5"),
        (lambda: ng.Rejection(steep, 1, threshold=math.nan), ValueError, "threshold is nan"),
        (lambda: ng.Rejection(nn.Linear(1, 1), 1), ValueError, "in training mode"),
        (
            lambda: draw(guidance=ng.ClassifierGuidance(steep, 1, 1.0)),
            TypeError,
            "takes no guidance here; give it as Rejection",
        ),
        (lambda: draw(noise=lambda k: torch.zeros(3, 1, 1, 1)), TypeError, "takes no noise here; leave it out"),
        (lambda: draw(max_draws=0), ValueError, "max_draws is 0"),
        (lambda: draw(batch_size=0), ValueError, "batch_size is 0"),
        (lambda: draw(num_samples=0), ValueError, "num_samples is 0"),
        (lambda: draw(seed=-1), ValueError, "seed -1"),
        (lambda: draw(target=torch.tensor([0, 1])), ValueError, "2 targets for 3 samples"),
        (lambda: draw(target=2), ValueError, "Target 2 is none of the classifier's 2 classes"),
        (lambda: draw(classifier=lambda x: steep(x) * math.nan), ValueError, "logits are not finite"),
        (lambda: draw(classifier=nn.Linear(2, 2).eval()), ValueError, "cannot take images"),
        (lambda: draw(classifier=nn.Linear(2, 2).eval().to("meta")), ValueError, "classifier is on meta"),
        (lambda: draw(denoiser=lambda x, t: x * math.nan), ValueError, "denoiser's output was not finite"),
    ],
)
def test_what_cannot_be_drawn_is_named(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def draw(classifier=steep, target=1, num_samples=3, **options):
    return ng.Rejection(classifier, target).sample(num_samples=num_samples, **{**NORMAL, **options})


def test_nothing_is_warned_of_where_all_are_accepted():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw()
