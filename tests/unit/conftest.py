"""What several tests share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from nonrobust_guidance.config import load_config
from nonrobust_guidance.data import prepare_data
from nonrobust_guidance.metrics.cells import list_cells
from nonrobust_guidance.metrics.intervals import wilson_interval
from nonrobust_guidance.models import train_classifier
from nonrobust_guidance.report.results import Results

Cells = Mapping[str, Sequence[tuple[int, float]]]
"""For each method, scale by scale, how many of 64 samples (unguided: of 128) are right, and the distance."""


class FakeRun:
    """A run that never was: its results written as the other stages would, from numbers that a test chooses."""

    N = 64
    METHODS: ClassVar[dict[str, Any]] = {
        "free": {"classifier": None, "num_samples": 128},
        "strong_xt": {"classifier": "strong", "at": "xt", "scales": [1, 10], "stabilizer": []},
        "weak_xt": {"classifier": "weak", "at": "xt", "scales": [10], "stabilizer": []},
        "weak_x0": {"classifier": "weak", "at": "x0", "scales": [3], "stabilizer": []},
        "weak_ema": {
            "classifier": "weak",
            "at": "x0",
            "scales": [10, 30],
            "stabilizer": [{"name": "ema", "beta": 0.9}],
        },
        "weak_adam": {"classifier": "weak", "at": "x0", "scales": [0.1], "stabilizer": [{"name": "adam"}]},
    }
    PAPER: ClassVar[Cells] = {
        "free": [(32, 9.0)],
        "strong_xt": [(50, 4.0), (64, 2.0)],
        "weak_xt": [(3, 60.0)],
        "weak_x0": [(62, 5.0)],
        "weak_ema": [(62, 3.5), (60, 9.0)],
        "weak_adam": [(63, 2.2)],
    }
    NOISE: ClassVar = {
        ("strong", "xt"): (490, 480, 130),
        ("weak", "xt"): (500, 130, 125),
        ("weak", "x0"): (500, 450, 140),
    }

    @classmethod
    def config(
        cls, targets: Sequence[str] = ("cup", "ball"), methods: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        training = {"steps": 10, "batch_size": 4, "seed": 1}
        return {
            "run": "toy",
            "dataset": {"name": "toys", "classes": ["cup", "ball", "pen", "hat"]},
            "diffusion": {
                "name": "unet",
                "schedule": {"num_steps": 400, "beta_start": 0.0001, "beta_end": 0.05},
                "training": training,
            },
            "classifiers": {
                name: {"architecture": "net", "noised": name == "strong", "training": training}
                for name in ("strong", "weak", "judge")
            },
            "sampling": {
                "sampler": "ddpm",
                "steps": 50,
                "num_samples": cls.N,
                "seeds": [0],
                "targets": list(targets),
                "methods": dict(methods or cls.METHODS),
            },
            "metrics": {"judge": "judge", "extractor": "judge", "bootstrap": {"resamples": 9, "seed": 0}},
        }

    @classmethod
    def write(
        cls, folder: Path, config: dict[str, Any], cells: Cells | None = None, half_width: float = 0.3
    ) -> Results:
        """Write metrics.csv, noise_accuracy.csv and samples; distances have intervals of plus and minus the width."""
        rows = []
        for cell in list_cells(config):
            right, distance = (cells or cls.PAPER)[cell.method.name][cell.method.scales.index(cell.scale)]
            n = config["sampling"]["methods"][cell.method.name].get("num_samples", cls.N)
            low, high = wilson_interval(right, n)
            row = {"method": cell.method.name, "scale": cell.scale, "target": cell.target, "seed": cell.seed, "n": n}
            row |= {"accuracy_self": 1.0, "accuracy_heldout": right / n}
            row |= {"accuracy_heldout_low": low, "accuracy_heldout_high": high}
            row |= {f"share_{name}": 0.2 for name in config["dataset"]["classes"]} | {"none_share": 0.2}
            for column in ("fd_judge", "fd_judge_conditional"):
                row |= {
                    column: distance,
                    f"{column}_low": distance - half_width,
                    f"{column}_high": distance + half_width,
                }
            rows.append(row | {"fd_judge_conditional_real": 1.5, "warning": ""})
            path = cell.path(folder / "samples")
            path.parent.mkdir(parents=True, exist_ok=True)
            shade = np.full((16, 8, 8, 3), 10 * len(rows) % 256, dtype=np.uint8)
            np.savez(path, shade)
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(folder / "metrics.csv", index=False, float_format="%.6g")
        cls.noise_table(cls.NOISE).to_csv(folder / "noise_accuracy.csv", index=False)
        return Results.read(config, folder)

    @staticmethod
    def noise_table(right: Mapping[tuple[str, str], Sequence[int]]) -> pd.DataFrame:
        """Return the table in which so many of 500 images are right at t = 0, 200 and 399."""
        rows = []
        for (classifier, at), counts in right.items():
            for t, count in zip((0, 200, 399), counts, strict=True):
                low, high = wilson_interval(count, 500)
                row = {"classifier": classifier, "at": at, "t": t, "n": 500, "accuracy": count / 500}
                rows.append(row | {"accuracy_low": low, "accuracy_high": high})
        return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def trained_judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of the default run's judge, trained here as it is there; two to three minutes."""
    root = Path(__file__).parents[2]
    config = load_config(root / "config" / "default.yaml")
    folder = tmp_path_factory.mktemp("judge")
    prepare_data(config["dataset"], folder / "data")
    train_classifier(config, "judge", folder / "data", folder / "judge")
    return folder / "judge"


@pytest.fixture
def fake() -> type[FakeRun]:
    return FakeRun
