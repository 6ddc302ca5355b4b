"""Sections of a run file as values, for tests of the stages that take them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nonrobust_guidance import data
from nonrobust_guidance.config import Models, Run, parse_config, parse_models
from nonrobust_guidance.data import Dataset

SOURCE = {"source": {"folder": "hand"}}
DIFFUSION = {"schedule": {"num_steps": 40, "beta_start": 1.0e-4, "beta_end": 0.02}, **SOURCE}
GUIDE = {"architecture": "resnet18", "noised": True, **SOURCE}


def models_of(**sections: Any) -> Models:
    """Return the sections of data and models, those that are left out with published weights."""
    dataset = {"name": "d", "kind": "celeba"}
    return parse_models(
        {"dataset": dataset, "diffusion": DIFFUSION, "classifiers": {"guide": GUIDE}} | sections, "test.yaml"
    )


def dataset_of(raw: Mapping[str, Any]) -> Dataset:
    """Return the section ``dataset`` that this describes."""
    return models_of(dataset=raw).dataset


def prepare(raw: Mapping[str, Any], folder: Path, least: Mapping[str, int] | None = None) -> None:
    """Prepare the data that this describes."""
    data.prepare_data(dataset_of(raw), folder, least)


TRAINING = {"seed": 1, "steps": 10, "batch_size": 4, "learning_rate": 0.001}


def run_of(config: Mapping[str, Any]) -> Run:
    """Return a run of which only what a test is about is given; the judge is trained, the guides are published."""
    dataset = {
        "name": "toys",
        "kind": "folder",
        "root": "toys",
        "classes": ["cup", "ball"],
        **config.get("dataset", {}),
    }
    targets = dataset["classes"][:1]
    metrics = {"judge": "judge", **config.get("metrics", {})}
    given = {"strong": {"noised": True}, "weak": {"noised": False}, metrics["judge"]: {"noised": False}}
    judge, guide = {"architecture": "judge_cnn", "training": TRAINING}, {"architecture": "resnet18", **SOURCE}
    classifiers = {
        name: {**(judge if name == metrics["judge"] else guide), **section}
        for name, section in config.get("classifiers", given).items()
    }
    return parse_config(
        {
            "run": "toy",
            **config,
            "dataset": dataset,
            "diffusion": {**DIFFUSION, **config.get("diffusion", {})},
            "classifiers": classifiers,
            "sampling": {"steps": 4, "num_samples": 6, "seeds": [0], "targets": targets, **config.get("sampling", {})},
            "metrics": metrics,
        },
        "test.yaml",
    )
