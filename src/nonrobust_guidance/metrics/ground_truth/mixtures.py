"""Experiments on mixtures of Gaussians, where the distribution that a method should draw from is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache, partial
from math import cos, pi, sin
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from nonrobust_guidance.ground_truth import GaussianMixture
from nonrobust_guidance.guidance.classifier import At, ClassifierGuidance
from nonrobust_guidance.guidance.method import StepContext
from nonrobust_guidance.guidance.stabilizers import EMA, Adam, Identity, Stabilizer
from nonrobust_guidance.metrics.cells import Method
from nonrobust_guidance.metrics.distances.energy import EnergyDistance
from nonrobust_guidance.metrics.ground_truth.variance import VarianceKept, variance_kept
from nonrobust_guidance.metrics.statistics.intervals import Interval, resample_counts, wilson_interval
from nonrobust_guidance.sampling.denoiser import predict
from nonrobust_guidance.sampling.noise import Noise, SampleNoise
from nonrobust_guidance.sampling.sample import sample
from nonrobust_guidance.schedule import Schedule

SEED = 0
TARGET = 0
NARROW, BROAD = 0.05, 0.15
"""Standard deviations of the target class's components, and of the other's."""
RESAMPLES, REPEATS = 100, 40
# The scales of every method go from too weak to too strong; at x_t, where the chain diverges, they end before numbers
# overflow. The robust classifier is the exact posterior of the noisy point, the non-robust one that of a clean point.
METHODS = {
    method.name: method
    for method in (
        Method("unguided", "", False, "", "", "", (0.0,)),
        Method("robust_xt", "exact", True, "xt", "", "log_prob", (0.1, 0.3, 1, 3, 10)),
        Method("nonrobust_xt", "clean_time", False, "xt", "", "log_prob", (0.003, 0.01, 0.03, 0.1)),
        Method("nonrobust_x0", "clean_time", False, "x0", "", "log_prob", (0.003, 0.01, 0.03, 0.1, 0.3, 1)),
        Method(
            "nonrobust_x0_ema09",
            "clean_time",
            False,
            "x0",
            "ema(beta=0.9)",
            "log_prob",
            (0.01, 0.03, 0.1, 0.3, 1, 3),
        ),
        Method(
            "nonrobust_x0_ema099",
            "clean_time",
            False,
            "x0",
            "ema(beta=0.99)",
            "log_prob",
            (0.03, 0.1, 0.3, 1, 3, 10),
        ),
        Method("nonrobust_x0_adam", "clean_time", False, "x0", "adam", "log_prob", (0.03, 0.1, 0.3, 1, 3, 10)),
        Method(
            "nonrobust_x0_detached", "clean_time", False, "x0_detached", "", "log_prob", (0.01, 0.03, 0.1, 0.3, 1, 3)
        ),
    )
}
UNGUIDED, ROBUST = METHODS["unguided"], METHODS["robust_xt"]
STABILIZERS: dict[str, Stabilizer] = {
    "": Identity(),
    "ema(beta=0.9)": EMA(0.9),
    "ema(beta=0.99)": EMA(0.99),
    "adam": Adam(),
}
READINGS = {"exact": ROBUST, "xt": METHODS["nonrobust_xt"], "x0": METHODS["nonrobust_x0"]}
"""Each posterior at each input that it sees, as the method that guides with it."""


class Outcome(NamedTuple):
    """The result of a method at a scale."""

    method: Method
    scale: float
    points: NDArray[np.float64]
    """(N, 2)."""
    distance: Interval
    """Energy distance to the exact conditional."""
    class_share: Interval
    """Share whose exact class is the target."""
    fullest_share: float
    """Largest share of one component among the samples of the target class."""
    variance: VarianceKept
    """That of the samples of the target class, over that of the exact conditional."""


class Accuracy(NamedTuple):
    """How often a posterior names the right class at one noise level."""

    reading: str
    t: int
    noise_level: float
    n: int
    accuracy: Interval


@dataclass(frozen=True, eq=False)
class Experiment:
    """A mixture and a chain: everything that is measured on them, determined by the seed.

    Attributes:
        name: the mixture's, in the report.
        mixture: in the plane, within [-1, 1]; class 0 is the target.
        num_samples: of each method at each scale.
        num_steps: T; the betas are linear from 0.1 / T to 20 / T, so that the chain ends at noise alone.
        seed: of all noise.
    """

    name: str
    mixture: GaussianMixture
    num_samples: int
    num_steps: int
    seed: int = 0

    @cached_property
    def schedule(self) -> Schedule:
        """The noise schedule."""
        return Schedule.linear(self.num_steps, 0.1 / self.num_steps, 20.0 / self.num_steps)

    @cached_property
    def exact(self) -> EnergyDistance:
        """The distance to the exact conditional."""
        return EnergyDistance(self.mixture.conditional(TARGET))

    @cached_property
    def floor(self) -> Interval:
        """Distance of as many exact samples of the conditional."""
        return self.exact.floor(self.num_samples, REPEATS, self.seed)

    @property
    def noise(self) -> Noise:
        """The noise that `sample` itself would draw from the seed; shared by all methods, chains and mixtures."""
        return remembered_noise(self.seed, self.num_samples, self.mixture.shape)

    @cached_property
    def counts(self) -> NDArray[np.float64]:
        """How often each sample is drawn in each bootstrap replicate, (RESAMPLES, N); shared by all methods."""
        return resample_counts(self.num_samples, RESAMPLES, self.seed)

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Every method at each of its scales, the unguided chain first."""
        cells = [(method, scale) for method in METHODS.values() for scale in method.scales]
        return [self.outcome(*cell) for cell in tqdm(cells, desc=f"ground truth, {self.name}", unit="cell")]

    def guidance(self, method: Method, scale: float) -> ClassifierGuidance:
        """Return the method's guidance toward the target class."""
        classifier = self.mixture.noisy_classifier(self.schedule) if method.robust else self.mixture.classifier
        at: At = method.at  # type: ignore[assignment]
        return ClassifierGuidance(classifier, TARGET, scale, at, stabilizer=STABILIZERS[method.stabilizer])

    def draw(self, method: Method, scale: float) -> Tensor:
        """Return samples (N, 2, 1, 1) float64."""
        return sample(
            self.mixture.denoiser(self.schedule), self.schedule, self.num_samples, shape=self.mixture.shape,
            guidance=self.guidance(method, scale) if scale else None, noise=self.noise, dtype=torch.float64,
        )  # fmt: skip

    def outcome(self, method: Method, scale: float) -> Outcome:
        """Draw samples and measure them."""
        x = self.draw(method, scale)
        log_joint = self.mixture.log_joint(x, torch.ones(len(x), dtype=torch.float64))
        right = self.mixture.class_scores(log_joint).argmax(1) == TARGET
        components = torch.bincount(log_joint.argmax(1), minlength=log_joint.shape[1])[self.mixture.labels == TARGET]
        points = x.reshape(-1, 2).numpy()
        return Outcome(
            method,
            scale,
            points,
            self.exact.measure(points, RESAMPLES, self.seed),
            share_of(right),
            float(components.max() / components.sum().clamp(min=1)),
            variance_kept(self.mixture, TARGET, x, self.counts),
        )

    def chain_error(self, method: Method, scale: float) -> Interval:
        """Return how far a method's samples are from what it should draw: the conditional, or unguided, the mixture."""
        law = self.exact if scale else EnergyDistance(self.mixture)
        return law.measure(self.draw(method, scale).reshape(-1, 2).numpy(), RESAMPLES, self.seed)

    @cached_property
    def convergence(self) -> list[tuple[int, Interval, Interval]]:
        """For growing T, the errors of the exact guidance at scale 1 and of the unguided chain."""
        chains = [replace(self, num_steps=int(factor * self.num_steps)) for factor in (0.5, 1, 2, 4)]
        return [(chain.num_steps, chain.chain_error(ROBUST, 1.0), chain.chain_error(UNGUIDED, 0.0)) for chain in chains]

    def noised(self, level: int) -> tuple[Tensor, Tensor]:
        """Return exact samples, noised to a level 0 .. T-1 (N, 2, 1, 1), and their classes (N,)."""
        labels = range(self.mixture.num_classes)
        shares = [float(self.mixture.weights[self.mixture.labels == label].sum()) for label in labels]
        counts = [max(1, round(share * self.num_samples)) for share in shares]
        x0 = torch.cat([self.mixture.sample(counts[label], self.seed + label, label) for label in labels])
        z = SampleNoise(self.seed, range(len(x0)), self.mixture.shape)(level).double()
        x_t = self.schedule.add_noise(x0, z, torch.full((len(x0),), level))
        return x_t, torch.repeat_interleave(torch.tensor(counts))

    def logits(self, reading: str, x_t: Tensor, level: int) -> Tensor:
        """Return a posterior's logits (N, number of classes) for the noisy points (N, 2, 1, 1)."""
        t = torch.full((len(x_t),), level)
        if reading == "exact":
            return self.mixture.noisy_classifier(self.schedule)(x_t, t)
        if reading == "xt":
            return self.mixture.classifier(x_t)
        output, alpha_bar = self.mixture.denoiser(self.schedule)(x_t, t), float(self.schedule.alpha_bars[level])
        return self.mixture.classifier(self.schedule.predict(output, x_t, alpha_bar).x0_hat)

    def accuracies(self, num_levels: int = 15) -> Iterator[Accuracy]:
        """Yield how often each posterior names the right class of noised points, over the noise levels."""
        amplitudes = (1 - self.schedule.alpha_bars).sqrt().numpy()
        wanted = np.linspace(amplitudes[0], amplitudes[-1], num_levels)
        for level in np.unique(np.abs(amplitudes[:, None] - wanted).argmin(0)).tolist():
            x_t, labels = self.noised(level)
            noise_level = float(amplitudes[level])
            for reading in READINGS:
                right = self.logits(reading, x_t, level).argmax(1) == labels
                yield Accuracy(reading, level, noise_level, len(right), share_of(right))

    @cached_property
    def under_noise(self) -> list[Accuracy]:
        """The accuracies over the noise levels."""
        return list(self.accuracies())

    @property
    def telling_level(self) -> int:
        """The level at which the clean-time posterior at x_t is furthest behind the exact one."""
        exact, clean = ({a.t: a.accuracy.value for a in self.under_noise if a.reading == r} for r in ("exact", "xt"))
        return max(exact, key=lambda t: exact[t] - clean[t])

    def gradients(self, method: Method, x_t: Tensor, level: int) -> Tensor:
        """Return a method's gradients (N, 2) at noisy points (N, 2, 1, 1), before any stabilizer."""
        network = partial(predict, self.mixture.denoiser(self.schedule), self.schedule, clip=True, autocast=None)
        transition = list(self.schedule.transitions())[-1 - level]
        return self.guidance(method, 1.0).evaluate(network, x_t, StepContext(transition)).gradient.reshape(-1, 2)


@lru_cache(maxsize=1)
def remembered_noise(seed: int, num_samples: int, shape: tuple[int, ...]) -> Noise:
    """Return the seeded noise of samples 0 .. N-1, each part drawn once: here drawing takes longer than a step."""
    return cache(SampleNoise(seed, range(num_samples), shape).__call__)


def share_of(right: Tensor) -> Interval:
    """Return the share of the points (N,) that are right, with Wilson's interval."""
    successes = int(right.sum())
    return Interval(successes / len(right), *wilson_interval(successes, len(right)))


def experiments(num_samples: int, num_steps: int, seed: int = 0) -> list[Experiment]:
    """Return the two experiments: components in a ring, all placed alike, and scattered ones."""
    mixtures = {"ring": ring(), "scattered": scattered()}
    return [Experiment(name, mixture, num_samples, num_steps, seed) for name, mixture in mixtures.items()]


def ring() -> GaussianMixture:
    """Return eight components around a circle, the classes in turn."""
    means = [(0.7 * cos(i * pi / 4), 0.7 * sin(i * pi / 4)) for i in range(8)]
    return interleaved(means, [i % 2 for i in range(8)])


def scattered() -> GaussianMixture:
    """Return four components of the target class among five others, in no order."""
    own = [(-0.6, 0.55), (0.65, 0.2), (0.35, -0.6), (-0.3, -0.7)]
    others = [(0.1, 0.65), (-0.15, -0.05), (-0.65, -0.2), (0.7, 0.75), (0.3, 0.1)]
    return interleaved([*own, *others], [TARGET] * len(own) + [1] * len(others))


def interleaved(means: list[tuple[float, float]], labels: list[int]) -> GaussianMixture:
    """Return equally likely round components, narrow ones for the target class and broad ones for the other."""
    return GaussianMixture(means, [NARROW**2 if label == TARGET else BROAD**2 for label in labels], labels=labels)
