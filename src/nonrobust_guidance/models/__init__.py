"""Stage two: the diffusion model and the classifiers, trained or fetched, saved and loaded."""

from nonrobust_guidance.models.classifiers import load_classifier, train_classifier
from nonrobust_guidance.models.diffusion import load_diffusion, train_diffusion
from nonrobust_guidance.models.published import fetch_checkpoint

__all__ = ["fetch_checkpoint", "load_classifier", "load_diffusion", "train_classifier", "train_diffusion"]
