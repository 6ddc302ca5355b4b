"""The training loop against closed forms, and a training killed against one that was not."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.models.settings import EarlyStopping, Training
from nonrobust_guidance.models.training import batch_indices, learning_rate, parts_of, train, update_average

SETTINGS = Training(
    seed=5,
    steps=12,
    batch_size=4,
    learning_rate=1e-2,
    warmup_steps=3,
    weight_decay=0.01,
    gradient_clip=1.0,
    ema_decay=0.9,
    precision="fp32",
    checkpoint_every=2,
)


class NoisyRegression:
    """A model with dropout and batch statistics, and a loss with noise: everything a resumption could forget."""

    num_examples = 10

    def __init__(self, stop_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))
        self.data = torch.randn(10, 3)
        self.stop_at, self.calls = stop_at, 0

    def batch(self, indices: np.ndarray, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        if self.calls == self.stop_at:
            self.interrupt()
        self.calls += 1
        x = self.data[indices]
        return x + 0.1 * torch.randn(x.shape, generator=generator), x.sum(1)

    def interrupt(self) -> None:
        raise KeyboardInterrupt

    def losses(self, model: nn.Module, *batch: torch.Tensor) -> torch.Tensor:
        noisy, wanted = batch
        return (model(noisy)[:, 0] - wanted).square()


@pytest.mark.parametrize("stop_at", [1, 2, 7, 11])
def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path: Path, stop_at: int) -> None:
    undisturbed = NoisyRegression()
    expected = train(undisturbed, SETTINGS, tmp_path / "a", "a")
    with pytest.raises(KeyboardInterrupt):
        train(NoisyRegression(stop_at), SETTINGS, tmp_path / "b", "b")
    torch.manual_seed(99)  # the global generator must not matter
    resumed = NoisyRegression()
    history = train(resumed, SETTINGS, tmp_path / "b", "b")
    assert resumed.calls == SETTINGS.steps - stop_at // 2 * 2, "it went on from the last state"
    for key, value in undisturbed.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
    assert history == expected
    assert [row["step"] for row in history] == [12]


class Terminated(NoisyRegression):
    """Is sent a signal in the middle of a step."""

    number = signal.SIGUSR1

    def interrupt(self) -> None:
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_training_told_to_stop_saves_the_step_it_is_in_and_goes_on_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(Terminated, "number", number)
    before = signal.getsignal(number)
    undisturbed = NoisyRegression()
    expected = train(undisturbed, SETTINGS, tmp_path / "a", "a")
    told = Terminated(stop_at=6)
    with pytest.raises(UserError, match="b was told to stop and saved its state after step 7; start it again"):
        train(told, SETTINGS, tmp_path / "b", "b")
    assert signal.getsignal(number) == before
    resumed = NoisyRegression()
    assert train(resumed, SETTINGS, tmp_path / "b", "b") == expected
    assert resumed.calls == SETTINGS.steps - 7
    for key, value in undisturbed.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key


class Regression(NoisyRegression):
    """Without what depends on how a batch is cut: batch statistics and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))


def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole, parts = Regression(), Regression()
    parts.model.load_state_dict(whole.model.state_dict())
    expected = train(whole, SETTINGS, tmp_path / "a", "a")
    history = train(parts, SETTINGS.model_copy(update={"accumulation": 2}), tmp_path / "b", "b")
    assert [row["loss"] for row in history] == pytest.approx([row["loss"] for row in expected], rel=1e-5)
    for key, value in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[key], value, rtol=1e-5, atol=1e-6)


def test_parts_are_all_rows_once_and_in_order() -> None:
    rows = torch.arange(24)
    parts = [part for process in range(3) for part in parts_of([rows], process, 3, 4)]
    assert [len(part[0]) for part in parts] == [2] * 12
    assert torch.cat([part[0] for part in parts]).tolist() == list(range(24))


def test_a_batch_that_cannot_be_shared_out_evenly_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a batch of 4 cannot be shared out over 1 processes in 3 parts each; give"):
        train(NoisyRegression(), SETTINGS.model_copy(update={"accumulation": 3}), tmp_path, "a")


def test_a_state_of_other_settings_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(NoisyRegression(stop_at=6), SETTINGS, tmp_path, "first")
    fresh = NoisyRegression()
    train(fresh, SETTINGS.model_copy(update={"learning_rate": 2e-2}), tmp_path, "second")
    assert fresh.calls == SETTINGS.steps


def test_a_truncated_state_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(NoisyRegression(stop_at=6), SETTINGS, tmp_path, "first")
    state = tmp_path / "training-state.safetensors"
    state.write_bytes(state.read_bytes()[:-10])
    fresh = NoisyRegression()
    train(fresh, SETTINGS, tmp_path, "second")
    assert fresh.calls == SETTINGS.steps


def test_the_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    settings = SETTINGS.model_copy(update={"learning_rate": 1.0, "warmup_steps": 4, "steps": 104})
    assert [learning_rate(step, settings) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert learning_rate(54, settings) == pytest.approx(0.5)
    assert learning_rate(104, settings) == pytest.approx(0.0)


def test_an_epoch_shows_every_example_once_and_the_next_in_another_order() -> None:
    settings = SETTINGS.model_copy(update={"seed": 1, "batch_size": 5})
    first = np.concatenate([batch_indices(step, 20, settings) for step in range(4)])
    second = np.concatenate([batch_indices(step, 20, settings) for step in range(4, 8)])
    assert sorted(first) == sorted(second) == list(range(20))
    assert first.tolist() != second.tolist()


def test_averaged_weights_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = {"weight": torch.tensor([[2.0]])}
    nn.init.constant_(model.weight, 4.0)
    update_average(average, model, 0.75)
    assert average["weight"].item() == 2.5  # 0.75 * 2 + 0.25 * 4


def validated(accuracies: list[float], stop_at: int | None = None) -> tuple[NoisyRegression, Callable[[], float]]:
    """Return a training of two steps an epoch, and what its validations will find, by the number of losses computed."""
    objective = NoisyRegression(stop_at)
    return objective, lambda: accuracies[objective.calls // 2 - 1]


def test_training_ends_with_the_first_late_epoch_that_gains_too_little(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"early_stopping": EarlyStopping(min_epochs=3, min_gain=0.01)})
    # The second epoch gains nothing, but is too early; the fourth gains a point, the fifth less.
    objective, validate = validated([0.5, 0.5, 0.7, 0.71, 0.719, 0.9])
    history = train(objective, settings, tmp_path, "a", validate)
    assert objective.calls == 10
    assert [(row["step"], row["validation_accuracy"]) for row in history] == [
        (2, 0.5), (4, 0.5), (6, 0.7), (8, 0.71), (10, 0.719)
    ]  # fmt: skip


def test_a_stopped_training_stops_at_the_same_epoch_after_a_kill(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"early_stopping": EarlyStopping(min_epochs=3, min_gain=0.01)})
    accuracies = [0.5, 0.5, 0.7, 0.71, 0.719, 0.9]
    undisturbed, validate = validated(accuracies)
    expected = train(undisturbed, settings, tmp_path / "a", "a", validate)
    killed, validate = validated(accuracies, stop_at=7)
    with pytest.raises(KeyboardInterrupt):
        train(killed, settings, tmp_path / "b", "b", validate)
    resumed = NoisyRegression()
    history = train(resumed, settings, tmp_path / "b", "b", lambda: accuracies[(6 + resumed.calls) // 2 - 1])
    assert history == expected
    for key, value in undisturbed.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key


def test_without_early_stopping_nothing_is_validated(tmp_path: Path) -> None:
    objective, validate = validated([])
    history = train(objective, SETTINGS, tmp_path, "a", validate)
    assert objective.calls == SETTINGS.steps
    assert "validation_accuracy" not in history[-1]
