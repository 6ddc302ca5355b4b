"""Every method, stabilizer and sampler on one mixture, with and without a trust region, and rejection for comparison.

Not all pairs of everything, but three questions: how the methods compare, all with one sampler; what a stabilizer or a
trust region changes for each; and what the sampler changes, for a few methods that stand for the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from nonrobust_guidance.guidance import DPS, DSG, LGD, MPGD, TFG, UGD, ClassifierGuidance, FreeDoM
from nonrobust_guidance.guidance.method import Guidance
from nonrobust_guidance.guidance.stabilizers import EMA, Adam, Identity, Stabilizer
from nonrobust_guidance.metrics.ground_truth.mixtures import TARGET, Experiment, share_of
from nonrobust_guidance.metrics.ground_truth.variance import VarianceKept, variance_kept
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.sampling.rejection import Rejection
from nonrobust_guidance.sampling.sample import sample_counted
from nonrobust_guidance.sampling.samplers import DDIM, DDPM, DPMSolver
from nonrobust_guidance.sampling.samplers.sampler import Sampler
from nonrobust_guidance.schedule import Schedule

MIXTURE = "scattered"
"""The mixture where a lost component shows in the covariance; on the ring, two opposite components alone have the trace
of all of them."""
FEW_STEPS, MANY_STEPS = 25, 100
SAMPLERS: dict[str, Sampler] = {
    "sde-dpmsolver++": DPMSolver(),
    "dpmsolver++": DPMSolver("dpmsolver++"),
    "ddim(eta=1)": DDIM(1.0),
    "ddim(eta=0)": DDIM(0.0),
    "ddpm": DDPM(),
}
SAMPLER = "sde-dpmsolver++"
TRUST_RADIUS = 8.0
"""The bound D r^2 / 2 on the divergence is then 64 nats in the plane, about that of r = 0.2 for an image of 3,072
numbers."""
CLEANEST, NOISIEST = 0.005, 0.99998
"""Noise levels sqrt(1 - alpha_bar) of the chain's ends: a tenth of a narrow component's width, and noise alone."""


class Contender(NamedTuple):
    """A method with its stabilizer, and the strengths at which it runs, from too weak to too strong."""

    name: str
    scales: tuple[float, ...]
    build: Callable[..., Guidance]
    """Called with classifier, target and strength; the stabilizer and the trust radius are keyword arguments."""
    stabilizer: Stabilizer = Identity()
    robust: bool = False


def _tfg(classifier: Any, target: int, rho: float, **options: Any) -> TFG:
    # mu is a quarter of rho with four steps of ascent, as published for CIFAR-10; sigma fits the size of this plane.
    return TFG(classifier, target, rho, rho / 4, 0.1, iterations=4, **options)


_AT_XT = partial(ClassifierGuidance, at="xt")
_AT_X0 = partial(ClassifierGuidance, at="x0")
_DETACHED = partial(ClassifierGuidance, at="x0_detached")
_LGD, _UGD = partial(LGD, num_draws=4), partial(UGD, ascents=1)
EMA_09, ADAM = EMA(0.9), Adam()
# Adam undoes the length of a gradient. It is left out where the method does so itself (DPS, DSG), and where the
# gradient is weighed against a move that no stabilizer sees (UGD, TFG).
CONTENDERS = [
    Contender("robust_xt", (0.3, 1, 3, 10), _AT_XT, robust=True),
    Contender("nonrobust_xt", (0.003, 0.01, 0.1, 0.3), _AT_XT),
    Contender("nonrobust_xt_ema09", (0.01, 0.03, 0.1, 0.3), _AT_XT, EMA_09),
    Contender("nonrobust_x0", (0.03, 0.1, 0.3, 1), _AT_X0),
    Contender("nonrobust_x0_ema09", (0.03, 0.1, 0.3, 1), _AT_X0, EMA_09),
    Contender("nonrobust_x0_adam", (0.1, 0.3, 1, 3), _AT_X0, ADAM),
    Contender("nonrobust_x0_detached", (0.03, 0.1, 0.3, 1), _DETACHED),
    Contender("nonrobust_x0_detached_ema09", (0.03, 0.1, 0.3, 1), _DETACHED, EMA_09),
    Contender("nonrobust_x0_detached_adam", (0.1, 0.3, 1, 3), _DETACHED, ADAM),
    Contender("dps", (0.001, 0.003, 0.03, 0.1), DPS),
    Contender("dps_ema09", (0.003, 0.03, 0.1, 0.3), DPS, EMA_09),
    Contender("lgd", (0.001, 0.003, 0.01, 0.03), _LGD),
    Contender("lgd_ema09", (0.001, 0.003, 0.01, 0.03), _LGD, EMA_09),
    Contender("lgd_adam", (0.003, 0.01, 0.03, 0.1), _LGD, ADAM),
    Contender("freedom", (0.0003, 0.001, 0.003, 0.01), FreeDoM),
    Contender("freedom_ema09", (0.0003, 0.001, 0.003, 0.01), FreeDoM, EMA_09),
    Contender("freedom_adam", (0.001, 0.003, 0.01, 0.03), FreeDoM, ADAM),
    Contender("mpgd", (0.0003, 0.001, 0.003, 0.01), MPGD),
    Contender("mpgd_ema09", (0.0003, 0.001, 0.003, 0.01), MPGD, EMA_09),
    Contender("mpgd_adam", (0.001, 0.003, 0.01, 0.03), MPGD, ADAM),
    Contender("dsg", (0.1, 0.2, 0.4, 0.8), DSG),
    Contender("dsg_ema09", (0.1, 0.2, 0.4, 0.8), DSG, EMA_09),
    Contender("ugd", (0.0003, 0.001, 0.003, 0.01), _UGD),
    Contender("ugd_ema09", (0.0003, 0.001, 0.003, 0.01), _UGD, EMA_09),
    Contender("tfg", (0.0001, 0.0003, 0.001, 0.01), _tfg),
    Contender("tfg_ema09", (0.0001, 0.0003, 0.001, 0.01), _tfg, EMA_09),
]
WITH_EVERY_SAMPLER = ("robust_xt", "nonrobust_x0", "nonrobust_x0_adam", "mpgd")
"""Three of the paper's methods, which move the score, and one that moves the clean image."""


class Trial(NamedTuple):
    """The result of a method at one strength with one sampler."""

    method: str
    """Name of the contender, "unguided" or "rejection"."""
    sampler: str
    steps: int
    scale: float | None
    trust_radius: float | None
    distance: Interval
    """Energy distance to the exact conditional."""
    class_share: Interval
    """Share whose exact class is the target."""
    variance: VarianceKept
    denoiser_passes: float
    """Forward and backward passes of the denoiser per step and sample."""
    classifier_passes: float
    """The same of the classifier."""


@dataclass
class Counted:
    """A network that counts how often it is called."""

    network: Callable[..., Tensor]
    calls: int = 0

    @property
    def noise_conditional(self) -> bool:
        """Whether it takes t."""
        return bool(getattr(self.network, "noise_conditional", False))

    def __call__(self, *arguments: Tensor) -> Tensor:
        """Return the network's output."""
        self.calls += 1
        return self.network(*arguments)


@dataclass(frozen=True, eq=False)
class Comparison:
    """The trials on an experiment's mixture, with its samples, seed and noise, and levels of its own."""

    experiment: Experiment

    @cached_property
    def trials(self) -> list[Trial]:
        """All of them: the unguided chain and rejection first."""
        planned = list(self.planned())
        return [trial() for trial in tqdm(planned, desc="ground truth, every method", unit="trial")]

    def planned(self) -> Iterator[Callable[[], Trial]]:
        """Yield the trials before they are run."""
        yield partial(self.trial, None, SAMPLER, 0.0)
        yield self.rejection
        for contender in CONTENDERS:
            for trust_radius in (None, TRUST_RADIUS):
                for scale in contender.scales:
                    yield partial(self.trial, contender, SAMPLER, scale, trust_radius)
        chosen = [contender for contender in CONTENDERS if contender.name in WITH_EVERY_SAMPLER]
        for sampler in SAMPLERS:
            if sampler != SAMPLER:
                yield partial(self.trial, None, sampler, 0.0)
                yield from (partial(self.trial, c, sampler, scale) for c in chosen for scale in c.scales)

    def schedule(self, sampler: str) -> Schedule:
        """Return the sampler's chain: many steps for the ancestral one and a quarter of them for the others.

        The levels are evenly spaced in log-SNR, so that few steps draw the unguided mixture almost exactly, down to
        narrow components, and any remaining error comes from guidance. The linear betas of the experiment's own chain
        have too few levels at such small noise.
        """
        many = min(MANY_STEPS, self.experiment.num_steps)
        return even_log_snr(many if sampler == "ddpm" else many * FEW_STEPS // MANY_STEPS)

    def trial(
        self, contender: Contender | None, sampler: str, scale: float, trust_radius: float | None = None
    ) -> Trial:
        """Run a contender, or the unguided chain, at one strength."""
        schedule, mixture = self.schedule(sampler), self.experiment.mixture
        robust = contender is not None and contender.robust
        denoiser = Counted(mixture.denoiser(schedule))
        classifier = Counted(mixture.noisy_classifier(schedule) if robust else mixture.classifier)
        guidance = contender and contender.build(
            classifier, TARGET, scale, stabilizer=contender.stabilizer, trust_radius=trust_radius, on_nonfinite="skip"
        )
        x, _ = sample_counted(
            denoiser, schedule, self.experiment.num_samples, shape=mixture.shape, guidance=guidance,
            noise=self.experiment.noise, dtype=torch.float64, sampler=SAMPLERS[sampler],
        )  # fmt: skip
        # Some samplers do not guide the last step, but the cost of a step should not depend on that.
        forward, classified = (round(network.calls / len(schedule)) for network in (denoiser, classifier))
        through = guidance is not None and guidance.through_network
        passes = forward * (2.0 if through else 1.0), 2.0 * classified
        return self.measured(x, contender.name if contender else "unguided", sampler, scale, trust_radius, *passes)

    def rejection(self) -> Trial:
        """Run rejection with the clean-time classifier, which only sees images without noise here."""
        mixture, schedule = self.experiment.mixture, self.schedule(SAMPLER)
        found = Rejection(mixture.classifier, TARGET).sample(
            mixture.denoiser(schedule), schedule, self.experiment.num_samples, self.experiment.seed,
            shape=mixture.shape, dtype=torch.float64, sampler=SAMPLERS[SAMPLER],
        )  # fmt: skip
        draws = float(found.draws.double().mean())
        return self.measured(found.images, "rejection", SAMPLER, None, None, draws, draws / len(schedule))

    def measured(
        self, x: Tensor, method: str, sampler: str, scale: float | None, trust_radius: float | None, *passes: float
    ) -> Trial:
        """Return the trial that ended in these samples (N, 2, 1, 1)."""
        experiment = self.experiment
        log_joint = experiment.mixture.log_joint(x, torch.ones(len(x), dtype=torch.float64))
        return Trial(
            method,
            sampler,
            len(self.schedule(sampler)),
            scale,
            trust_radius,
            experiment.exact.measure_resampled(x.reshape(-1, 2).numpy(), experiment.counts),
            share_of(experiment.mixture.class_scores(log_joint).argmax(1) == TARGET),
            variance_kept(experiment.mixture, TARGET, x, experiment.counts),
            *passes,
        )


def even_log_snr(num_steps: int) -> Schedule:
    """Return levels from `CLEANEST` to `NOISIEST`, evenly spaced in ``log(alpha_bar / (1 - alpha_bar))``."""
    high, low = (math.log1p(-(level**2)) - 2 * math.log(level) for level in (CLEANEST, NOISIEST))
    alpha_bars = torch.linspace(high, low, num_steps, dtype=torch.float64).sigmoid()
    return Schedule(alpha_bars, torch.arange(num_steps))
