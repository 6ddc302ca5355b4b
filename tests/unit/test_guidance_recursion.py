"""The guided chain of one Gaussian with a quadratic log p: its mean and covariance by an exact recursion.

Every step is affine in the state and in the stabilizer's mean, so the chain stays Gaussian. The recursion below is
written in numpy from the paper's formulas and shares nothing with the library but the betas.
"""

import numpy as np
import pytest
import torch

import nonrobust_guidance as ng

MEAN = np.array([0.5, -0.3])
COVARIANCE = np.array([[0.6, 0.2], [0.2, 0.3]])
GOAL = np.array([1.0, 1.0])
PRECISION = np.array([[1.5, 0.3], [0.3, 0.8]])
BETAS = np.linspace(0.02, 0.35, 20)
NUM_SAMPLES = 20_000
EYE = np.eye(2)


def quadratic_classifier(x):
    """Return logits (B, 2) of which the first is -1/2 (x - GOAL)^T PRECISION (x - GOAL)."""
    away = x.reshape(len(x), 2) - torch.from_numpy(GOAL).to(x)
    value = -0.5 * torch.einsum("bi,ij,bj->b", away, torch.from_numpy(PRECISION).to(x), away)
    return torch.stack([value, torch.zeros_like(value)], dim=1)


def exact_moments(at, scale, ema_beta=0.0, sampler="ddpm", eta=0.0):
    """Return mean and covariance of the last state; the augmented state is (x, m), m the stabilizer's mean."""
    alpha_bars = np.cumprod(1 - BETAS)
    state_mean, state_cov = np.zeros(4), np.diag([1.0, 1.0, 0.0, 0.0])
    for i in reversed(range(len(BETAS))):
        abar, abar_prev, beta = alpha_bars[i], alpha_bars[i - 1] if i else 1.0, BETAS[i]
        noisy = abar * COVARIANCE + (1 - abar) * EYE
        gain = np.sqrt(abar) * COVARIANCE @ np.linalg.inv(noisy)
        x0, x0_offset = gain, MEAN - gain @ (np.sqrt(abar) * MEAN)  # x0_hat = x0 x + x0_offset
        # gradient = pull x + push
        if at == "xt":
            pull, push = -PRECISION, PRECISION @ GOAL
        else:
            back = x0.T if at == "x0" else np.sqrt(abar) * EYE
            pull, push = -back @ PRECISION @ x0, back @ PRECISION @ (GOAL - x0_offset)
        posterior_variance = beta * (1 - abar_prev) / (1 - abar)
        if sampler == "ddpm":
            weight_x0 = np.sqrt(abar_prev) * beta / (1 - abar)
            weight_x = np.sqrt(1 - beta) * (1 - abar_prev) / (1 - abar)
            carry, offset = weight_x0 * x0 + weight_x * EYE, weight_x0 * x0_offset
            reach, sigma = scale * posterior_variance, np.sqrt(posterior_variance)
        else:
            sigma = eta * np.sqrt(posterior_variance)
            direction = np.sqrt(1 - abar_prev - sigma**2)
            eps, eps_offset = (EYE - np.sqrt(abar) * x0) / np.sqrt(1 - abar), -np.sqrt(abar / (1 - abar)) * x0_offset
            carry = np.sqrt(abar_prev) * x0 + direction * eps
            offset = np.sqrt(abar_prev) * x0_offset + direction * eps_offset
            reach = scale * (np.sqrt(abar_prev / abar) * (1 - abar) - direction * np.sqrt(1 - abar))
        keep, take = ema_beta, 1 - ema_beta
        step = np.block([[carry + reach * take * pull, reach * keep * EYE], [take * pull, keep * EYE]])
        shift = np.concatenate([offset + reach * take * push, take * push])
        noise = np.diag([sigma**2, sigma**2, 0.0, 0.0])
        state_mean, state_cov = step @ state_mean + shift, step @ state_cov @ step.T + noise
    return state_mean[:2], state_cov[:2, :2]


@pytest.mark.parametrize("at", ["xt", "x0", "x0_detached"])
@pytest.mark.parametrize(
    ("stabilizer", "ema_beta", "sampler", "eta"),
    [
        (ng.Identity(), 0.0, "ddpm", 0.0),
        (ng.EMA(0.8), 0.8, "ddpm", 0.0),
        (ng.Identity(), 0.0, "ddim", 0.0),
        (ng.EMA(0.6), 0.6, "ddim", 0.7),
    ],
    ids=["ddpm", "ddpm-ema", "ddim", "ddim-ema-eta"],
)
def test_mean_and_covariance_follow_the_recursion(at, stabilizer, ema_beta, sampler, eta):
    schedule = ng.Schedule.from_betas(torch.from_numpy(BETAS))
    mixture = ng.GaussianMixture(MEAN[None], torch.from_numpy(COVARIANCE)[None])
    guidance = ng.ClassifierGuidance(quadratic_classifier, 0, 0.7, at=at, objective="logit", stabilizer=stabilizer)
    generator = torch.Generator().manual_seed(1)
    x = ng.sample(
        mixture.denoiser(schedule), schedule, NUM_SAMPLES, guidance=guidance, shape=(2, 1, 1), clip=False,
        dtype=torch.float64, sampler=sampler, eta=eta,
        noise=lambda k: torch.randn(NUM_SAMPLES, 2, 1, 1, generator=generator, dtype=torch.float64),
    ).reshape(-1, 2).numpy()  # fmt: skip
    mean, covariance = exact_moments(at, 0.7, ema_beta, sampler, eta)
    unguided = exact_moments(at, 0.0, ema_beta, sampler, eta)[0]
    variances = np.diag(covariance)
    assert np.abs(mean - unguided).max() > 0.1  # the guidance is there to be seen
    assert np.all(np.abs(x.mean(0) - mean) < 4.5 * np.sqrt(variances / NUM_SAMPLES))
    error = np.sqrt((np.outer(variances, variances) + covariance**2) / NUM_SAMPLES)
    assert np.all(np.abs(np.cov(x.T) - covariance) < 4.5 * error)


def test_ddim_with_eta_1_shifts_by_beta_over_root_alpha():
    # Algebra: the two places where eps enters add up to beta_t / sqrt(alpha_t) s g; the ancestral step has Sigma_t s g.
    schedule = ng.Schedule.from_betas(torch.from_numpy(BETAS))
    mixture = ng.GaussianMixture(MEAN[None], torch.from_numpy(COVARIANCE)[None])
    guidance = ng.ClassifierGuidance(quadratic_classifier, 0, 0.7, at="xt", objective="logit")
    options = {"shape": (2, 1, 1), "clip": False, "dtype": torch.float64, "sampler": "ddim", "eta": 1.0}
    guided = next(ng.trajectory(mixture.denoiser(schedule), schedule, 3, guidance=guidance, **options))
    plain = next(ng.trajectory(mixture.denoiser(schedule), schedule, 3, **options))
    expected = BETAS[-1] / np.sqrt(1 - BETAS[-1]) * 0.7 * guided.gradient
    torch.testing.assert_close(guided.x - plain.x, expected, atol=1e-12, rtol=1e-9)


def test_detached_gradient_is_the_jacobians_for_standard_normal_data():
    # There x0_hat = sqrt(alpha_bar) x_t, so the factor that stands in for the Jacobian is the Jacobian.
    schedule = ng.Schedule.from_betas(torch.from_numpy(BETAS))
    mixture = ng.GaussianMixture([[0.0, 0.0]], 1.0)
    images = [
        ng.sample(
            mixture.denoiser(schedule), schedule, 5, shape=(2, 1, 1), clip=False, dtype=torch.float64,
            guidance=ng.ClassifierGuidance(quadratic_classifier, 0, 0.7, at=at, objective="logit"),
        )
        for at in ("x0", "x0_detached")
    ]  # fmt: skip
    torch.testing.assert_close(*images, atol=1e-12, rtol=1e-9)


def test_detached_ancestral_step_moves_x0_hat():
    # The claim of the docstring: the same as x0_hat + scale sqrt(alpha_t) (1 - alpha_bar_{t-1}) grad in the mean.
    schedule = ng.Schedule.from_betas(torch.from_numpy(BETAS))
    mixture = ng.GaussianMixture(MEAN[None], torch.from_numpy(COVARIANCE)[None])
    guidance = ng.ClassifierGuidance(quadratic_classifier, 0, 0.7, at="x0_detached", objective="logit")
    options = {"shape": (2, 1, 1), "clip": False, "dtype": torch.float64}
    guided = next(ng.trajectory(mixture.denoiser(schedule), schedule, 3, guidance=guidance, **options))
    plain = next(ng.trajectory(mixture.denoiser(schedule), schedule, 3, **options))
    abar, abar_prev, beta = np.cumprod(1 - BETAS)[-1], np.cumprod(1 - BETAS)[-2], BETAS[-1]
    away = guided.x0_hat.reshape(3, 2) - torch.from_numpy(GOAL)
    move = 0.7 * np.sqrt(1 - beta) * (1 - abar_prev) * (-away @ torch.from_numpy(PRECISION))
    expected = np.sqrt(abar_prev) * beta / (1 - abar) * move
    torch.testing.assert_close((guided.x - plain.x).reshape(3, 2), expected, atol=1e-12, rtol=1e-9)
