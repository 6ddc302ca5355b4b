"""A short training on both devices, and one that is stopped."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from house import House
from networks import CPU, Close
from torch import Tensor, nn

from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.models.diffusion import load_diffusion
from nonrobust_guidance.models.settings import Training
from nonrobust_guidance.models.training import train

# A training may multiply in TF32, whose mantissa has 10 bits, and 60 steps carry its rounding along.
LOSSES = 0.05

pytestmark = pytest.mark.timeout(900)  # four trainings, each a process


def losses(folder: Path) -> list[float]:
    with (folder / "history.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", ["diffusion", "nonrobust"])
def test_the_loss_falls_as_on_the_cpu(on: torch.device, house: House, name: str) -> None:
    found, expected = (losses(house.train(name, device)) for device in (on, CPU))
    assert len(found) == len(expected) == 2
    assert found == pytest.approx(expected, rel=LOSSES)
    assert found[-1] < found[0]


def test_the_checkpoints_load_on_either_device(on: torch.device, house: House, close: Close) -> None:
    folder, guide = house.train("diffusion", on), house.train("nonrobust", on)
    assert json.loads((folder / "card.json").read_text())["device"]["kind"] == on.type
    x, t = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1, torch.tensor([0, 10, 20, 39])
    with torch.no_grad():
        found, expected = (load_diffusion(folder, d)[0](x.to(d), t.to(d)).sample for d in (on, CPU))
        logits, wanted = (load_classifier(guide, d)(x.to(d)) for d in (on, CPU))
    close(found, expected, 1e-4)
    close(logits, wanted, 1e-3)


class NoisyRegression:
    """Convolutions, dropout and noise: everything that a training on a GPU could draw or add up otherwise."""

    num_examples = 32

    def __init__(self, stop_at: int | None = None) -> None:
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()]
        self.model: nn.Module = nn.Sequential(*layers, nn.Linear(8 * 64, 1))
        self.data = torch.randn(32, 3, 8, 8)
        self.stop_at, self.calls = stop_at, 0

    def batch(self, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, ...]:
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.calls += 1
        x = self.data[indices]
        return x + 0.1 * torch.randn(x.shape, generator=generator), x.mean((1, 2, 3))

    def losses(self, model: nn.Module, *batch: Tensor) -> Tensor:
        noisy, wanted = batch
        return (model(noisy)[:, 0] - wanted).square()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_that_was_stopped_ends_with_the_same_weights(
    on: torch.device, tmp_path: Path, precision: str
) -> None:
    rates = {"learning_rate": 1e-2, "warmup_steps": 3, "ema_decay": 0.9}
    settings = Training(seed=5, steps=12, batch_size=8, precision=precision, checkpoint_every=2, **rates)
    undisturbed, resumed = NoisyRegression(), NoisyRegression()
    expected = train(undisturbed, settings, tmp_path / "a", "a", device=on)
    with pytest.raises(KeyboardInterrupt):
        train(NoisyRegression(stop_at=7), settings, tmp_path / "b", "b", device=on)
    history = train(resumed, settings, tmp_path / "b", "b", device=on)
    assert resumed.calls == 12 - 6, "it went on from the last state"
    assert history == expected
    for key, value in undisturbed.model.state_dict().items():
        assert value.device.type == on.type and torch.equal(value, resumed.model.state_dict()[key]), key
    assert all(weight.dtype == torch.float32 for weight in undisturbed.model.parameters())
