"""The cells of a run: which method, scale, seed and target, and where their samples lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANY_TARGET = "any"
REAL, REAL_JUDGED = "real", "real_judged"
"""What factors.csv has in place of a method: test images with their true factors, and with those the judge sees."""


@dataclass(frozen=True)
class Method:
    """What an entry of ``sampling.methods`` says; the texts are empty where it does not apply.

    Attributes:
        name: its key in the configuration.
        classifier: name of the guiding classifier; empty for unguided sampling.
        robust: whether that classifier was trained on noised images.
        at: what it classifies and what is differentiated: xt, x0 or x0_detached.
        stabilizer: such as ``ema(beta=0.9)``, chained ones joined by " + ".
        objective: log_prob or logit.
        scales: of the guidance; 0 alone for unguided sampling.
    """

    name: str
    classifier: str
    robust: bool
    at: str
    stabilizer: str
    objective: str
    scales: tuple[float, ...]

    @property
    def guided(self) -> bool:
        """Whether a classifier guides."""
        return bool(self.classifier)


@dataclass(frozen=True)
class Cell:
    """One file of samples as judged against one target."""

    method: Method
    scale: float
    seed: int
    target: str

    def path(self, samples_folder: Path) -> Path:
        """Return the file; unguided samples are the same for every target."""
        name = self.target if self.method.guided else ANY_TARGET
        return samples_folder / self.method.name / f"scale-{self.scale:g}" / f"seed-{self.seed}" / f"{name}.npy"


def list_methods(config: Mapping[str, Any]) -> list[Method]:
    """Return the run's methods, in the order of the configuration."""
    sampling = config["sampling"]
    return [_method(name, entry or {}, sampling, config["classifiers"]) for name, entry in sampling["methods"].items()]


def list_cells(config: Mapping[str, Any]) -> list[Cell]:
    """Return the run's cells: every method at each of its scales, with every seed, for every target."""
    sampling = config["sampling"]
    return [
        Cell(method, scale, seed, target)
        for method in list_methods(config)
        for scale in method.scales
        for seed in sampling["seeds"]
        for target in sampling["targets"]
    ]


def self_judge(config: Mapping[str, Any]) -> str:
    """Return the guide that is shown unguided samples: the run's first non-robust one, or an empty text."""
    return next((method.classifier for method in list_methods(config) if method.guided and not method.robust), "")


def middle_scale(scales: Iterable[float]) -> float:
    """Return the middle one of a method's scales by size, of two in the middle the smaller."""
    ordered = sorted(scales)
    return float(ordered[(len(ordered) - 1) // 2])


def guide_of(cell: Cell, config: Mapping[str, Any]) -> str:
    """Return whose opinion is the guide's own: of unguided samples that of `self_judge`."""
    return cell.method.classifier or self_judge(config)


def _method(name: str, entry: Mapping[str, Any], sampling: Mapping[str, Any], classifiers: Mapping[str, Any]) -> Method:
    classifier = entry.get("classifier")
    if not classifier:
        return Method(name, "", False, "", "", "", (0.0,))
    objective = entry.get("objective") or sampling.get("objective") or "log_prob"
    robust = bool(classifiers[classifier].get("noised"))
    scales = tuple(float(scale) for scale in entry["scales"])
    stabilizer = " + ".join(map(_describe, stabilizer_chain(entry)))
    return Method(name, classifier, robust, entry["at"], stabilizer, objective, scales)


def stabilizer_chain(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the stabilizers of a method's entry in order, each with its name and arguments; none for the identity."""
    settings = entry.get("stabilizer") or []
    chain = [settings] if isinstance(settings, Mapping) else settings
    return [link for link in chain if link["name"] != "identity"]


def _describe(link: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{key}={value}" for key, value in link.items() if key != "name")
    return f"{link['name']}({arguments})" if arguments else str(link["name"])
