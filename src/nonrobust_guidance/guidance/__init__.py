"""Guidance: from a classifier to the shift of a reverse step."""

from nonrobust_guidance.guidance.classifier import ClassifierGuidance, NonFiniteGradientError
from nonrobust_guidance.guidance.stabilizers import EMA, Adam, ClipNorm, Identity, Normalize, Stabilizer, chain

__all__ = [
    "EMA",
    "Adam",
    "ClassifierGuidance",
    "ClipNorm",
    "Identity",
    "NonFiniteGradientError",
    "Normalize",
    "Stabilizer",
    "chain",
]
