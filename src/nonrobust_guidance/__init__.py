"""Diffusion classifier guidance with classifiers that never saw noise (Vaeth et al. 2025)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nonrobust_guidance.ground_truth import GaussianMixture
    from nonrobust_guidance.guidance.classifier import ClassifierGuidance, NonFiniteGradientError
    from nonrobust_guidance.guidance.dps import DPS
    from nonrobust_guidance.guidance.dsg import DSG
    from nonrobust_guidance.guidance.freedom import FreeDoM
    from nonrobust_guidance.guidance.lgd import LGD
    from nonrobust_guidance.guidance.method import Guidance
    from nonrobust_guidance.guidance.mpgd import MPGD
    from nonrobust_guidance.guidance.stabilizers import EMA, Adam, ClipNorm, Identity, Normalize, chain
    from nonrobust_guidance.guidance.tfg import TFG
    from nonrobust_guidance.guidance.ugd import UGD
    from nonrobust_guidance.models.augmentation import augmented
    from nonrobust_guidance.models.ensemble import ensemble
    from nonrobust_guidance.models.preprocessing import preprocess
    from nonrobust_guidance.models.smoothing import smoothed
    from nonrobust_guidance.models.weights import load_torchvision_classifier
    from nonrobust_guidance.sampling.pipeline import GuidedPipeline
    from nonrobust_guidance.sampling.rejection import Rejection
    from nonrobust_guidance.sampling.sample import sample
    from nonrobust_guidance.sampling.samplers import DDIM, DDPM, DPMSolver
    from nonrobust_guidance.sampling.trajectory import Step, trajectory
    from nonrobust_guidance.schedule import Schedule

__all__ = [
    "DDIM",
    "DDPM",
    "DPS",
    "DSG",
    "EMA",
    "LGD",
    "MPGD",
    "TFG",
    "UGD",
    "Adam",
    "ClassifierGuidance",
    "ClipNorm",
    "DPMSolver",
    "FreeDoM",
    "GaussianMixture",
    "Guidance",
    "GuidedPipeline",
    "Identity",
    "NonFiniteGradientError",
    "Normalize",
    "Rejection",
    "Schedule",
    "Step",
    "augmented",
    "chain",
    "ensemble",
    "load_torchvision_classifier",
    "preprocess",
    "sample",
    "smoothed",
    "trajectory",
]

_HOME = {
    "DDIM": "sampling.samplers",
    "DDPM": "sampling.samplers",
    "DPS": "guidance.dps",
    "DSG": "guidance.dsg",
    "EMA": "guidance.stabilizers",
    "LGD": "guidance.lgd",
    "MPGD": "guidance.mpgd",
    "TFG": "guidance.tfg",
    "UGD": "guidance.ugd",
    "Adam": "guidance.stabilizers",
    "ClassifierGuidance": "guidance.classifier",
    "ClipNorm": "guidance.stabilizers",
    "DPMSolver": "sampling.samplers",
    "FreeDoM": "guidance.freedom",
    "GaussianMixture": "ground_truth",
    "Guidance": "guidance.method",
    "GuidedPipeline": "sampling.pipeline",
    "Identity": "guidance.stabilizers",
    "NonFiniteGradientError": "guidance.classifier",
    "Normalize": "guidance.stabilizers",
    "Rejection": "sampling.rejection",
    "Schedule": "schedule",
    "Step": "sampling.trajectory",
    "augmented": "models.augmentation",
    "chain": "guidance.stabilizers",
    "ensemble": "models.ensemble",
    "load_torchvision_classifier": "models.weights",
    "preprocess": "models.preprocessing",
    "sample": "sampling.sample",
    "smoothed": "models.smoothing",
    "trajectory": "sampling.trajectory",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds, and errors and configs do not need it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
