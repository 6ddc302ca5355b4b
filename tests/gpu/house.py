"""A tiny run for each device, whose jobs are processes of their own, as Snakemake starts them."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

TINY = Path(__file__).parents[2] / "config" / "tiny.yaml"


def command(*arguments: object) -> list[str]:
    """Return the command line of this package's command, in a process of its own."""
    return [sys.executable, "-m", "nonrobust_guidance.cli", *map(str, arguments), "--threads", "1"]


@dataclass(frozen=True)
class House:
    """A tiny run's data, and a configuration of it for each device."""

    folder: Path

    def config(self, device: torch.device) -> Path:
        return self.folder / f"{device.type}.yaml"

    def train(self, name: str, device: torch.device) -> Path:
        """Train "diffusion" or a classifier on a device, once, and return the checkpoint's folder."""
        output = self.folder / f"on-{device.type}" / name
        job = ["train-diffusion"] if name == "diffusion" else ["train-classifier", "--name", name]
        job += ["--config", self.config(device), "--data", self.folder / "data", "--output", output]
        subprocess.run(command(*job), check=True)
        return output

    def draw(self, output: Path, device: torch.device, method: str, seed: int, *shard: str) -> list[str]:
        """Return the command that draws a cell with the models that were trained on that device."""
        checkpoints = self.folder / f"on-{device.type}"
        cell = ["--method", method, "--scale", "3", "--seed", seed, "--output", output, *shard]
        return command("draw-samples", "--config", self.config(device), "--checkpoints", checkpoints, *cell)


def raw_config(folder: Path, device: torch.device) -> Path:
    """Write the tiny run for a device, with chains long enough on a GPU for two of them to run side by side."""
    config: dict[str, Any] = yaml.safe_load(TINY.read_text())
    config["device"] = device.type
    config["diffusion"]["training"] |= {"steps": 60, "precision": "fp32"}
    config["classifiers"]["nonrobust"]["training"] |= {"steps": 60, "precision": "fp32"}
    config["sampling"] |= {"num_samples": 22, "batch_size": 8, "steps": 20 if device.type == "cuda" else 4}
    path = folder / f"raw-{device.type}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
