"""Stage two: the diffusion model and the classifiers, trained, saved and loaded."""

from nonrobust_guidance.models.classifiers import load_classifier, train_classifier
from nonrobust_guidance.models.diffusion import load_diffusion, train_diffusion

__all__ = ["load_classifier", "load_diffusion", "train_classifier", "train_diffusion"]
