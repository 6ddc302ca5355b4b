"""Sampling: the reverse chain and the images it ends in."""

from nonrobust_guidance.sampling.sample import Samples, sample, sample_counted
from nonrobust_guidance.sampling.trajectory import Step, trajectory

__all__ = ["Samples", "Step", "sample", "sample_counted", "trajectory"]
