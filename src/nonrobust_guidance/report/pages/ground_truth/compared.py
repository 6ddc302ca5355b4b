"""The comparison of every method, stabilizer and sampler, as its section of the page reads it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.report.pages.ground_truth.measured import (
    AT_X0,
    AT_XT,
    DETACHED,
    FREE,
    ROBUST,
    Mixture,
    number_of,
)
from nonrobust_guidance.report.wording import X0_HAT, X_T

DELIVERS = 0.95
"""A scale counts from this share of samples of the target class on."""
TOLERANCE = 0.1
"""How far the variance kept, of the whole class and within components, may be from 1 for a method to be trusted."""
REJECTION = "rejection"
PLAIN = {
    ROBUST: f"robust at {X_T}",
    AT_XT: f"non-robust at {X_T}",
    AT_X0: f"non-robust at {X0_HAT}",
    DETACHED: f"non-robust at {X0_HAT} detached",
    "dps": "DPS",
    "lgd": "LGD",
    "freedom": "FreeDoM",
    "mpgd": "MPGD",
    "dsg": "DSG",
    "ugd": "UGD",
    "tfg": "TFG",
}
"""The methods without a stabilizer, and what they are called."""
_STABILIZERS = {"_ema09": " + EMA 0.9", "_adam": " + Adam"}
SAMPLERS = {
    "ddpm": "DDPM",
    "ddim(eta=1)": "DDIM, η = 1",
    "ddim(eta=0)": "DDIM, η = 0",
    "sde-dpmsolver++": "SDE-DPM-Solver++",
    "dpmsolver++": "DPM-Solver++ (ODE)",
}
MAIN_SAMPLER = "sde-dpmsolver++"


class Trial(NamedTuple):
    """The result of a method at one scale with one sampler."""

    method: str
    sampler: str
    steps: int
    scale: float
    """NaN for rejection, which has none."""
    trust_radius: float
    """NaN for none."""
    distance: Interval
    class_share: Interval
    variance_kept: Interval
    variance_within: Interval
    denoiser_passes: float
    classifier_passes: float

    @property
    def label(self) -> str:
        """The name of the method in words."""
        return label_of(self.method)

    @property
    def delivers(self) -> bool:
        """Whether enough samples are of the target class."""
        return self.class_share.value >= DELIVERS

    @property
    def keeps_variance(self) -> bool:
        """Whether the class and its components are as wide as they should be, within the tolerance."""
        return all(abs(kept.value - 1.0) <= TOLERANCE for kept in (self.variance_kept, self.variance_within))

    @property
    def trusted(self) -> bool:
        """Whether it delivers the class with its variance."""
        return self.delivers and self.keeps_variance


@dataclass(frozen=True, eq=False)
class Compared:
    """The trials on one mixture."""

    mixture: Mixture

    @cached_property
    def trials(self) -> list[Trial]:
        """All of them, in the order of the table."""
        table = self.mixture.table
        names = ["method", "sampler", "steps", "scale", "trust_radius"]
        groups = table[table["levels"] == "log_snr"].groupby(names, sort=False, dropna=False)
        return [trial_of(key, rows) for key, rows in groups]

    @property
    def trust_radius(self) -> float:
        """The radius of the trust region, where there is one."""
        return max(trial.trust_radius for trial in self.trials if not math.isnan(trial.trust_radius))

    @property
    def few_samples(self) -> bool:
        """Whether the variance of rejection's samples, all of the class, has an interval wider than the tolerance."""
        intervals = [kept for trial in self.of(REJECTION) for kept in (trial.variance_kept, trial.variance_within)]
        return any(kept.high - kept.low > 2 * TOLERANCE for kept in intervals)

    @property
    def methods(self) -> list[str]:
        """The methods that guide, with their stabilizers."""
        return list(dict.fromkeys(t.method for t in self.trials if t.method not in (FREE, REJECTION)))

    @property
    def with_every_sampler(self) -> list[str]:
        """The methods that run with every sampler."""
        return list(dict.fromkeys(t.method for t in self.trials if t.sampler != MAIN_SAMPLER and t.method != FREE))

    def of(self, method: str, *, trust: bool = False, sampler: str = MAIN_SAMPLER) -> list[Trial]:
        """Return a method's trials over the scale, with or without a trust region."""
        found = [trial for trial in self.trials if (trial.method, trial.sampler) == (method, sampler)]
        return [trial for trial in found if math.isnan(trial.trust_radius) != trust]

    def best(self, method: str, *, trust: bool = False, sampler: str = MAIN_SAMPLER) -> Trial:
        """Return the closest of a method's trials that deliver the class; if none does, that with the largest share."""
        return best_of(self.of(method, trust=trust, sampler=sampler))

    def keeps_elsewhere(self, method: str) -> bool:
        """Return whether a method is trusted without a trust region at some scale, but not at its best one."""
        return any(trial.trusted for trial in self.of(method)) and not self.best(method).trusted


def best_of(trials: Sequence[Trial]) -> Trial:
    """Return the closest trial that delivers the class, or if none does, the one with the largest share."""
    by_class = max(trials, key=lambda trial: trial.class_share.value)
    found = [trial for trial in trials if trial.delivers]
    return min(found, key=lambda trial: trial.distance.value, default=by_class)


def trial_of(key: tuple[object, ...], rows: pd.DataFrame) -> Trial:
    """Return the trial of these rows, named by method, sampler, steps, scale and trust radius."""
    method, sampler, steps, scale, trust_radius = map(str, key)
    return Trial(
        method,
        sampler,
        int(steps),
        float(scale),
        float(trust_radius),
        number_of(rows, "distance"),
        number_of(rows, "class_share"),
        number_of(rows, "variance_kept"),
        number_of(rows, "variance_within"),
        number_of(rows, "denoiser_passes").value,
        number_of(rows, "classifier_passes").value,
    )


def label_of(method: str) -> str:
    """Return a method's name in words, such as ``LGD + EMA 0.9``."""
    for ending, stabilizer in _STABILIZERS.items():
        if method.endswith(ending):
            return label_of(method.removesuffix(ending)) + stabilizer
    return {FREE: "unguided", REJECTION: "rejection"}.get(method) or PLAIN[method]


def compared(mixtures: Sequence[Mixture]) -> Compared:
    """Return the comparison, which uses one of the mixtures."""
    return Compared(next(m for m in mixtures if (m.table["levels"] == "log_snr").any()))
