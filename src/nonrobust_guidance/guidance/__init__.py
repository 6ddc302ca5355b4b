"""Guidance: from a classifier to the shift of a reverse step, each method a value in a file of its own.

Importing the methods does not import torch: Snakemake reads the fields of these classes.
"""

from nonrobust_guidance.guidance.classifier import ClassifierGuidance
from nonrobust_guidance.guidance.dps import DPS
from nonrobust_guidance.guidance.dsg import DSG
from nonrobust_guidance.guidance.freedom import FreeDoM
from nonrobust_guidance.guidance.lgd import LGD
from nonrobust_guidance.guidance.mpgd import MPGD
from nonrobust_guidance.guidance.tfg import TFG
from nonrobust_guidance.guidance.ugd import UGD

METHODS: dict[str, type] = {
    "classifier": ClassifierGuidance,
    "dps": DPS,
    "lgd": LGD,
    "freedom": FreeDoM,
    "mpgd": MPGD,
    "dsg": DSG,
    "ugd": UGD,
    "tfg": TFG,
}
"""By the name that a run file gives them; the fields of a class are its keys there."""
