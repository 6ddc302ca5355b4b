"""Samplers: each a value that says how one reverse step is made, in a file of its own.

Importing them does not import torch: Snakemake reads the fields of these classes.
"""

from nonrobust_guidance.sampling.samplers.ddim import DDIM
from nonrobust_guidance.sampling.samplers.ddpm import DDPM
from nonrobust_guidance.sampling.samplers.dpmsolver import DPMSolver

SAMPLERS: dict[str, type] = {"ddpm": DDPM, "ddim": DDIM, "dpmsolver": DPMSolver}
"""By the name that a run file gives them; the fields of a class are its keys there."""
