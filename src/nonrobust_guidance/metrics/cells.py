"""The cells of a run: which method, scale, seed and target, and where their samples lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from nonrobust_guidance.guidance.classifier import At, ClassifierGuidance
from nonrobust_guidance.guidance.stabilizers import Identity
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.sampling.settings import Guided, Plan, Rejected, Unguided, cell_folder
from nonrobust_guidance.sampling.settings import Method as Entry
from nonrobust_guidance.settings import Choice

ANY_TARGET = "any"
REJECTION = "rejection"
"""The value of `Method.at` for samples that a classifier picks rather than guides."""
REAL, REAL_JUDGED = "real", "real_judged"
"""What factors.csv has in place of a method: test images with their true factors, and with those that the judge
sees."""


@dataclass(frozen=True)
class Method:
    """What an entry of ``sampling.methods`` says; texts are empty where they do not apply.

    Attributes:
        name: its key in the configuration.
        classifier: name of the classifier that guides, or that picks samples; empty for unguided sampling.
        robust: whether that classifier was trained on noised images.
        at: what it classifies and what is differentiated: xt, x0 or x0_detached; for guidance other than the paper's,
            its name; for rejection, ``REJECTION``.
        stabilizer: such as ``ema(beta=0.9)``, chained ones joined by " + ".
        objective: log_prob or logit.
        scales: of the guidance; 0 alone for unguided sampling.
        trust_radius: of the bound on its steps; None if there is no bound.
        sampler: its own, such as ``dpmsolver(order=1)``; empty where it has the run's.
        redrawn: whether guided samples that the guide does not accept are drawn again.
        spacing_power: of its steps; None where they are evenly spaced.
        own_terms: whether it differs from the run in sampler, steps, their spacing, trust radius or drawing again.
    """

    name: str
    classifier: str
    robust: bool
    at: str
    stabilizer: str
    objective: str
    scales: tuple[float, ...]
    trust_radius: float | None = None
    sampler: str = ""
    redrawn: bool = False
    spacing_power: float | None = None
    own_terms: bool = False

    @property
    def guided(self) -> bool:
        """Whether a classifier guides its steps."""
        return not self.unguided and self.at != REJECTION

    @property
    def unguided(self) -> bool:
        """Whether no classifier has a part in it, so that its samples are the same for every target."""
        return not self.classifier

    @property
    def as_in_paper(self) -> bool:
        """Whether it uses the paper's guidance with the run's own sampler, steps and trust radius."""
        return self.at in get_args(At) and not self.own_terms


@dataclass(frozen=True)
class Cell:
    """One file of samples as judged against one target."""

    method: Method
    scale: float
    seed: int
    target: str

    def path(self, samples_folder: Path) -> Path:
        """Return the file; unguided samples are the same for every target."""
        name = ANY_TARGET if self.method.unguided else self.target
        return samples_folder / cell_folder(self.method.name, self.scale, self.seed) / f"{name}.npy"


def list_methods(plan: Plan) -> list[Method]:
    """Return the run's methods, in the order of the configuration."""
    return [_method(name, entry, plan) for name, entry in plan.sampling.methods.items()]


def list_cells(plan: Plan) -> list[Cell]:
    """Return the run's cells: every method at each of its scales, with every seed, for every target."""
    return [
        Cell(method, scale, seed, target)
        for method in list_methods(plan)
        for scale in method.scales
        for seed in plan.sampling.seeds
        for target in plan.sampling.targets
    ]


def self_judge(plan: Plan) -> str:
    """Return the guide that judges unguided samples: the run's first non-robust one, or an empty text."""
    return next((method.classifier for method in list_methods(plan) if method.guided and not method.robust), "")


def middle_scale(scales: Iterable[float]) -> float:
    """Return the middle one of a method's scales by size; where two are in the middle, the smaller."""
    ordered = sorted(scales)
    return float(ordered[(len(ordered) - 1) // 2])


def guide_of(cell: Cell, plan: Plan) -> str:
    """Return the guide whose opinion counts as the guide's own; for unguided samples that is `self_judge`."""
    return cell.method.classifier or self_judge(plan)


def guides_of(run: Measured, checkpoints: Path) -> dict[str, Path]:
    """Return the checkpoints of all classifiers but the judge, by name."""
    return {name: checkpoints / name for name in run.classifiers if name != run.metrics.judge}


def _method(name: str, entry: Entry, plan: Plan) -> Method:
    chain, own = plan.sampling, entry.sampler
    # The run's eta is only for the run's sampler.
    sampler = "" if own is None or (own == chain.sampler and chain.eta == 0) else _describe(own)
    own_terms = bool(sampler) or entry.steps != chain.steps or entry.spacing_power is not None
    if isinstance(entry, Unguided):
        return Method(name, "", False, "", "", "", (0.0,), sampler=sampler, own_terms=own_terms)
    robust = plan.classifiers[entry.classifier].noised
    if isinstance(entry, Rejected):
        return Method(
            *(name, entry.classifier, robust, REJECTION, "", "", (0.0,)), sampler=sampler, own_terms=own_terms
        )
    own_terms = own_terms or entry.trust_radius != chain.trust_radius or entry.reject is not None
    scales = tuple(float(scale) for scale in entry.scales)
    stabilizer = " + ".join(map(_describe, stabilizer_chain(entry)))
    at = entry.own["at"] if entry.kind is ClassifierGuidance else entry.label
    settings = entry.objective, scales, entry.trust_radius, sampler, entry.reject is not None, entry.spacing_power
    return Method(name, entry.classifier, robust, at, stabilizer, *settings, own_terms)


def stabilizer_chain(entry: Guided) -> list[Choice]:
    """Return the stabilizers of a method's entry in order; none for the identity."""
    return [link for link in entry.stabilizer if link.cls is not Identity]


def _describe(link: Choice) -> str:
    arguments = ", ".join(f"{key}={value}" for key, value in link.arguments.items())
    return f"{link.label}({arguments})" if arguments else link.label
