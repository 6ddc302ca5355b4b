"""The mixture's formulas against scipy, numerical integration and the distributions that sampling must reach."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import nonrobust_guidance as ng

COVARIANCES = [[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.4]], [[0.2, -0.05], [-0.05, 0.1]]]
MEANS = [[0.0, 1.0], [-1.0, 0.5], [1.5, -1.0]]
WEIGHTS = [0.5, 0.2, 0.3]


@pytest.fixture
def mixture():
    return ng.GaussianMixture(MEANS, torch.tensor(COVARIANCES, dtype=torch.float64), WEIGHTS, labels=[0, 1, 0])


def noisy_components(alpha_bar):
    for mean, covariance, weight in zip(MEANS, COVARIANCES, WEIGHTS, strict=True):
        noisy = alpha_bar * np.array(covariance) + (1 - alpha_bar) * np.eye(2)
        yield weight, stats.multivariate_normal(math.sqrt(alpha_bar) * np.array(mean), noisy)


def images(points):
    return torch.as_tensor(np.asarray(points), dtype=torch.float64).reshape(-1, 2, 1, 1)


def test_densities_and_posteriors_match_scipy(mixture):
    points = np.random.default_rng(0).normal(size=(20, 2))
    schedule = ng.Schedule.linear(10, 0.01, 0.3)
    for i in (0, 4, 9):
        alpha_bar = float(schedule.alpha_bars[i])
        joint = np.stack([weight * law.pdf(points) for weight, law in noisy_components(alpha_bar)], axis=1)
        np.testing.assert_allclose(mixture.log_prob(images(points), alpha_bar).exp(), joint.sum(1), rtol=1e-10)
        posterior = mixture.noisy_classifier(schedule)(images(points), torch.full((20,), i)).softmax(1)
        of_class = np.stack([joint[:, 0] + joint[:, 2], joint[:, 1]], axis=1)
        np.testing.assert_allclose(posterior, of_class / of_class.sum(1, keepdims=True), rtol=1e-10)
    clean = np.stack([weight * law.pdf(points) for weight, law in noisy_components(1.0)], axis=1)
    expected = (clean[:, 0] + clean[:, 2]) / clean.sum(1)
    np.testing.assert_allclose(mixture.classifier(images(points)).softmax(1)[:, 0], expected, rtol=1e-10)


def test_denoiser_is_the_score_by_finite_differences(mixture):
    schedule = ng.Schedule.linear(10, 0.01, 0.3)
    points, h = np.random.default_rng(1).normal(size=(5, 2)), 1e-5
    for i in (0, 9):
        alpha_bar = float(schedule.alpha_bars[i])
        log_p = lambda x, abar=alpha_bar: np.log(sum(w * law.pdf(x) for w, law in noisy_components(abar)))  # noqa: E731
        score = np.stack([(log_p(points + h * e) - log_p(points - h * e)) / (2 * h) for e in np.eye(2)], axis=1)
        eps = mixture.denoiser(schedule)(images(points), torch.full((5,), i)).reshape(5, 2)
        np.testing.assert_allclose(eps, -math.sqrt(1 - alpha_bar) * score, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("prediction", ["v", "sample"])
def test_denoiser_says_the_same_in_every_prediction_type(mixture, prediction):
    points, t = images(np.random.default_rng(2).normal(size=(5, 2))), torch.full((5,), 7)
    found = []
    for kind in ("epsilon", prediction):
        schedule = ng.Schedule.linear(10, 0.01, 0.3, prediction=kind)
        output = mixture.denoiser(schedule)(points, t)
        found.append(schedule.predict(output, points, float(schedule.alpha_bars[7])))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_exact_samples_have_the_classes_moments(mixture):
    x = mixture.sample(40_000, seed=3, label=0).reshape(-1, 2).numpy()
    share = np.array([0.5, 0.3]) / 0.8
    means = np.array(MEANS)[[0, 2]]
    mean = share @ means
    second = sum(s * (np.array(COVARIANCES[k]) + np.outer(m, m)) for s, k, m in zip(share, (0, 2), means, strict=True))
    np.testing.assert_allclose(x.mean(0), mean, atol=5 * 1.2 / math.sqrt(40_000))
    np.testing.assert_allclose(np.cov(x.T), second - np.outer(mean, mean), atol=0.05)
    assert torch.equal(mixture.sample(5, seed=3), mixture.sample(5, seed=3))
    assert not torch.equal(mixture.sample(5, seed=3), mixture.sample(5, seed=4))


LINE = ng.GaussianMixture([[-1.0], [1.5]], [0.05, 0.2], [0.3, 0.7])


def line_cdf(label=None):
    shares = [0.3, 0.7] if label is None else [1.0 - label, float(label)]
    return lambda x: (
        shares[0] * stats.norm.cdf(x, -1, math.sqrt(0.05)) + shares[1] * stats.norm.cdf(x, 1.5, math.sqrt(0.2))
    )


def line_distance(num_steps, guided, sampler="ddpm"):
    """Kolmogorov distance between 8,000 samples of the chain and the exact distribution."""
    schedule = ng.Schedule.linear(num_steps, 0.1 / num_steps, 20.0 / num_steps)
    generator = torch.Generator().manual_seed(0)
    guidance = ng.ClassifierGuidance(LINE.noisy_classifier(schedule), target=1, scale=1.0, at="xt") if guided else None
    x = ng.sample(
        LINE.denoiser(schedule), schedule, 8000, guidance=guidance, shape=LINE.shape, clip=False, dtype=torch.float64,
        sampler=sampler, noise=lambda k: torch.randn(8000, 1, 1, 1, generator=generator, dtype=torch.float64),
    )  # fmt: skip
    return stats.kstest(x.flatten().numpy(), line_cdf(1 if guided else None)).statistic


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("guided", [False, True])
def test_sampling_reaches_the_exact_distribution_as_steps_grow(guided, sampler):
    coarse, fine = (line_distance(num_steps, guided, sampler) for num_steps in (25, 400))
    noise = 1.36 / math.sqrt(8000)  # exceeded by exact samples one time in twenty
    assert fine < 1.5 * noise
    assert coarse > 1.3 * fine


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ng.GaussianMixture([0.0, 1.0], 1.0), "give \\(K, D\\)"),
        (lambda: ng.GaussianMixture([[0.0], [1.0]], 1.0, [1.0]), "must fit the 2 means"),
        (lambda: ng.GaussianMixture([[0.0], [1.0]], 1.0, [1.0, 0.0]), "weight of a component"),
        (lambda: ng.GaussianMixture([[0.0], [1.0]], -1.0), "positive definite"),
        (lambda: ng.GaussianMixture([[0.0], [1.0]], 1.0, labels=[0, 2]), "Every class"),
        (lambda: LINE.conditional(2), "label is 2; the classes are 0 to 1"),
    ],
)
def test_guards(make, message):
    with pytest.raises(ValueError, match=message):
        make()
