"""Data whose diffusion is known in closed form: every method can be compared with the exact answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nonrobust_guidance.schedule import Schedule


class Posterior(NamedTuple):
    """What follows from a noisy point at one noise level, by Bayes' rule."""

    log_joint: Tensor
    """log p(x_t, component), (B, K)."""
    means: Tensor
    """E[x0 | x_t, component], (B, K, D)."""


class GaussianMixture:
    """A mixture of Gaussians in D dimensions whose components are, or belong to, classes.

    Points are images (B, D, 1, 1), so that the whole library accepts them; they need not stay within [-1, 1], so sample
    with ``clip=False``. Everything is computed in float64 and returned in the dtype of its input.

    Attributes:
        means: (K, D) float64.
        covariances: (K, D, D) float64.
        weights: (K,) float64, with sum 1.
        labels: (K,) int64, the class of each component.
    """

    def __init__(
        self,
        means: Tensor | Sequence[Sequence[float]],
        covariances: Tensor | Sequence[float] | float,
        weights: Tensor | Sequence[float] | None = None,
        labels: Tensor | Sequence[int] | None = None,
    ) -> None:
        """Take the components.

        Args:
            means: (K, D).
            covariances: (K, D, D), or a variance for each component (K,), or one for all.
            weights: (K,), proportional to the components' probabilities; by default equal.
            labels: (K,) classes from 0; by default each component is a class of its own.

        Raises:
            ValueError: if shapes do not fit, a covariance is not symmetric positive definite, a weight is not positive,
                or a class has no component.
        """
        self.means = torch.as_tensor(means, dtype=torch.float64)
        if self.means.ndim != 2:
            raise ValueError(f"means are {tuple(self.means.shape)}; give (K, D).")
        count, dimension = self.means.shape
        covariances = torch.as_tensor(covariances, dtype=torch.float64)
        if covariances.ndim < 3:
            covariances = covariances.expand(count)[:, None, None] * torch.eye(dimension, dtype=torch.float64)
        weights = torch.ones(count) if weights is None else torch.as_tensor(weights, dtype=torch.float64)
        labels = torch.arange(count) if labels is None else torch.as_tensor(labels)
        if covariances.shape != (count, dimension, dimension) or weights.shape != (count,) or labels.shape != (count,):
            raise ValueError(f"covariances, weights and labels must fit the {count} means of {dimension} dimensions.")
        if not bool((weights > 0).all()):
            raise ValueError("Every weight of a component must be greater than 0.")
        self.variances, self.axes = torch.linalg.eigh(covariances)  # (K, D), (K, D, D)
        if not torch.allclose(covariances, covariances.mT) or not bool((self.variances > 0).all()):
            raise ValueError("Every covariance must be symmetric and positive definite.")
        self.covariances, self.labels = covariances, labels.long()
        self.weights = weights.double() / weights.sum()
        if sorted(set(self.labels.tolist())) != list(range(self.num_classes)):
            raise ValueError("Every class from 0 to the last label must have a component.")

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a point as an image, (D, 1, 1)."""
        return (self.means.shape[1], 1, 1)

    def posterior(self, x_t: Tensor, alpha_bar: Tensor) -> Posterior:
        """Return what follows from ``x_t = sqrt(abar) x0 + sqrt(1 - abar) eps`` for each component.

        Args:
            x_t: (B, D, 1, 1) or (B, D), float64.
            alpha_bar: of each point, (B,) float64 within [0, 1].
        """
        along, spread = self._along_axes(x_t, alpha_bar)
        gain = alpha_bar.reshape(-1, 1, 1).sqrt() * self.variances / spread * along
        means = self.means + torch.einsum("kij,bkj->bki", self.axes, gain)
        return Posterior(self._log_joint(along, spread), means)

    def log_joint(self, x_t: Tensor, alpha_bar: Tensor) -> Tensor:
        """Return log p(x_t, component) (B, K), the part of `posterior` that a classifier needs."""
        return self._log_joint(*self._along_axes(x_t, alpha_bar))

    def _along_axes(self, x_t: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far ``x_t`` is from each component along its axes, and its variances there, both (B, K, D)."""
        abar = alpha_bar.reshape(-1, 1, 1)
        residual = x_t.reshape(len(x_t), 1, -1) - abar.sqrt() * self.means
        return torch.einsum("kij,bki->bkj", self.axes, residual), abar * self.variances + 1.0 - abar

    def _log_joint(self, along: Tensor, spread: Tensor) -> Tensor:
        log_density = -0.5 * (along.square() / spread + spread.log() + math.log(2.0 * math.pi)).sum(-1)
        return log_density + self.weights.log()

    def class_scores(self, log_joint: Tensor) -> Tensor:
        """Return log p(x, class) (B, number of classes) from log p(x, component) (B, K)."""
        masked = [log_joint[:, self.labels == label].logsumexp(1) for label in range(self.num_classes)]
        return torch.stack(masked, dim=1)

    def classifier(self, x: Tensor) -> Tensor:
        """Return logits (B, number of classes) whose softmax is the exact clean-time posterior of the points ``x``.

        A perfect classifier that never saw noise: given ``x_t``, it treats it as a clean point.
        """
        ones = torch.ones(len(x), dtype=torch.float64, device=x.device)
        return self.class_scores(self.log_joint(x.double(), ones)).to(x.dtype)

    def noisy_classifier(self, schedule: Schedule) -> NoisyClassifier:
        """Return the exact posterior of the class given ``x_t`` and t, the perfect robust classifier."""
        return NoisyClassifier(self, schedule)

    def denoiser(self, schedule: Schedule) -> ExactDenoiser:
        """Return the exact denoiser, with the output that the schedule says its network predicts."""
        return ExactDenoiser(self, schedule)

    def log_prob(self, x: Tensor, alpha_bar: float = 1.0) -> Tensor:
        """Return the log-density (B,) of the points at a noise level; at alpha_bar = 1 that of the data."""
        level = torch.full((len(x),), alpha_bar, dtype=torch.float64, device=x.device)
        return self.log_joint(x.double(), level).logsumexp(1).to(x.dtype)

    def conditional(self, label: int) -> GaussianMixture:
        """Return the exact distribution of one class: a mixture again, with 0 as its only label.

        Raises:
            ValueError: if there is no such class.
        """
        if not 0 <= label < self.num_classes:
            raise ValueError(f"label is {label}; the classes are 0 to {self.num_classes - 1}.")
        own = self.labels == label
        return GaussianMixture(self.means[own], self.covariances[own], self.weights[own], torch.zeros(int(own.sum())))

    def sample(self, num_samples: int, seed: int = 0, label: int | None = None) -> Tensor:
        """Return exact samples (N, D, 1, 1) float64, of all the data or of one class."""
        if label is not None:
            return self.conditional(label).sample(num_samples, seed)
        rng = np.random.default_rng(seed)
        component = torch.from_numpy(rng.choice(len(self.weights), size=num_samples, p=self.weights.numpy()))
        z = torch.from_numpy(rng.standard_normal((num_samples, self.means.shape[1])))
        stretched = self.axes * self.variances.sqrt()[:, None, :]
        x = self.means[component] + torch.einsum("bij,bj->bi", stretched[component], z)
        return x.reshape(num_samples, *self.shape)


@dataclass(frozen=True, eq=False)
class ExactDenoiser:
    """The posterior mean of a mixture's clean points, expressed as epsilon, v or the sample."""

    mixture: GaussianMixture
    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the network's output (B, D, 1, 1) for ``x_t`` (B, D, 1, 1) at the timesteps t (B,)."""
        alpha_bar = self.schedule.alpha_bars_at(t)  # (B, 1, 1, 1)
        log_joint, means = self.mixture.posterior(x_t.double(), alpha_bar.flatten())
        x0 = (log_joint.softmax(1)[:, :, None] * means).sum(1).reshape(x_t.shape)
        a, b = alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt()
        eps = (x_t - a * x0) / b
        return {"epsilon": eps, "v": a * eps - b * x0, "sample": x0}[self.schedule.prediction].to(x_t.dtype)


@dataclass(frozen=True, eq=False)
class NoisyClassifier:
    """The exact posterior of a mixture's classes at every noise level."""

    mixture: GaussianMixture
    schedule: Schedule
    noise_conditional = True

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return logits (B, number of classes) for ``x_t`` (B, D, 1, 1) at the timesteps t (B,)."""
        log_joint = self.mixture.log_joint(x_t.double(), self.schedule.alpha_bars_at(t).flatten())
        return self.mixture.class_scores(log_joint).to(x_t.dtype)
