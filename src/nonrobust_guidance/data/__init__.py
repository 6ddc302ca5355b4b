"""Datasets: drawn or read, written once as arrays with a manifest, opened memory-mapped."""

from nonrobust_guidance.data.datasets import DATASETS
from nonrobust_guidance.data.prepare import prepare_data
from nonrobust_guidance.data.settings import Dataset
from nonrobust_guidance.data.sportballs import SportBalls
from nonrobust_guidance.data.storage import NEEDED, Example, Split, load_split, verify_dataset, write_dataset

__all__ = [
    "DATASETS",
    "NEEDED",
    "Dataset",
    "Example",
    "Split",
    "SportBalls",
    "load_split",
    "prepare_data",
    "verify_dataset",
    "write_dataset",
]
