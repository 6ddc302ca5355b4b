"""One training loop for every model: steps define it, a kill does not change it."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from nonrobust_guidance.fetching import RECORD
from nonrobust_guidance.files import write_atomically

REPORT_EVERY = 50
STATE_FILE = "training-state.safetensors"
HISTORY_FILE = "history.csv"


class Objective(Protocol):
    """What is trained: a model, and its loss on a batch.

    ``loss`` gets the indices of the batch (B,) and a CPU generator that belongs to this step alone.
    """

    num_examples: int

    @property
    def model(self) -> nn.Module:
        """The network whose weights are trained."""
        ...

    def loss(self, indices: np.ndarray, generator: torch.Generator) -> Tensor:
        """Return the scalar loss of the batch."""
        ...


def train(
    objective: Objective,
    settings: dict[str, Any],
    folder: Path,
    name: str,
    validate: Callable[[], float] | None = None,
) -> list[dict[str, float]]:
    """Train in place and return the history; with the same settings and thread count the weights are the same.

    The order of the examples and all noise are functions of (seed, step), so a training that is killed goes on from
    its last state in ``folder`` and ends with the weights of one that was never killed. At the end the model holds
    the averaged weights where ``ema_decay`` is set.

    Args:
        objective: model and loss.
        settings: seed, steps, batch_size, learning_rate, warmup_steps, weight_decay, gradient_clip, ema_decay (or
            None), precision (fp32, bf16 or auto), checkpoint_every; early_stopping, None or min_epochs and min_gain.
        folder: where ``training-state.safetensors`` lies while the training runs.
        name: shown beside the progress bar.
        validate: gives the accuracy of the model, in [0, 1], on images that it is not trained on; for early_stopping.

    Returns:
        Rows with step, loss (mean since the row before) and learning_rate, and validation_accuracy at the end of an
        epoch if that may be the last.
    """
    model, steps, decay = objective.model, settings["steps"], settings["ema_decay"]
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=settings["weight_decay"])
    average = {key: value.clone() for key, value in model.state_dict().items()} if decay else {}
    state = TrainingState(folder / STATE_FILE, settings, objective.num_examples)
    start, history, unreported = state.restore(model, optimizer, average)
    losses = [torch.tensor(loss) for loss in unreported]
    stopping = settings.get("early_stopping") if validate else None
    epoch = objective.num_examples // min(settings["batch_size"], objective.num_examples)
    bar = tqdm(range(start, steps), desc=name, initial=start, total=steps, unit="step")
    for step in bar:
        rate = learning_rate(step, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with step_randomness(settings["seed"], step) as generator, autocast(settings["precision"]):
            loss = objective.loss(batch_indices(step, objective.num_examples, settings), generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings["gradient_clip"])
        optimizer.step()
        if decay:
            update_average(average, model, min(decay, (1 + step) / (10 + step)))
        losses.append(loss.detach())
        validating = validate is not None and stopping and (step + 1) % epoch == 0
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == steps or validating:
            mean = torch.stack(losses).mean().item()
            losses.clear()
            history.append({"step": step + 1, "loss": mean, "learning_rate": rate})
            bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
        if validate is not None and stopping and validating:
            model.eval()
            history[-1]["validation_accuracy"] = validate()
            model.train()
            if has_converged(history, **stopping):
                bar.close()
                break
        if (step + 1) % settings["checkpoint_every"] == 0 and step + 1 < steps:
            state.save(step + 1, history, [loss.item() for loss in losses], model, optimizer, average)
    if decay:
        model.load_state_dict(average)
    model.eval()
    return history


def has_converged(history: list[dict[str, float]], min_epochs: int, min_gain: float) -> bool:
    """Return whether, after more than ``min_epochs``, the last one added less than ``min_gain`` to the accuracy."""
    accuracies = [row["validation_accuracy"] for row in history if "validation_accuracy" in row]
    return len(accuracies) > max(1, min_epochs) and accuracies[-1] - accuracies[-2] < min_gain


def learning_rate(step: int, settings: dict[str, Any]) -> float:
    """Return the rate of a step: linear warm-up, then a cosine to zero."""
    warmup = settings["warmup_steps"]
    if step < warmup:
        return settings["learning_rate"] * (step + 1) / warmup
    progress = (step - warmup) / max(1, settings["steps"] - warmup)
    return settings["learning_rate"] * 0.5 * (1 + math.cos(math.pi * progress))


def batch_indices(step: int, num_examples: int, settings: dict[str, Any]) -> np.ndarray:
    """Return the example indices (B,) of a step: one permutation an epoch, a function of (seed, epoch) alone."""
    size = min(settings["batch_size"], num_examples)
    batches = num_examples // size
    order = np.random.default_rng((settings["seed"], step // batches)).permutation(num_examples)
    return order[step % batches * size :][:size]


@contextlib.contextmanager
def step_randomness(seed: int, step: int) -> Iterator[torch.Generator]:
    """Yield the generator of a step, and seed the global one, which dropout reads, for the time of the step."""
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=7).digest()
    number = int.from_bytes(digest, "big")
    with torch.random.fork_rng():
        torch.manual_seed(number)
        yield torch.Generator().manual_seed(number + 1)


def autocast(precision: str) -> contextlib.AbstractContextManager[Any]:
    """Return the context the network runs in: fp32, bf16, or auto, which is bf16 on a CPU that computes in it."""
    if precision == "auto":
        precision = "bf16" if torch.cpu.get_capabilities().get("avx512_bf16") else "fp32"
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Move the averaged weights toward the model's; counters and other integers are copied."""
    for key, value in model.state_dict().items():
        if value.dtype.is_floating_point:
            average[key].lerp_(value, 1 - decay)
        else:
            average[key].copy_(value)


class TrainingState:
    """The file from which a killed training goes on; settings that changed make it void."""

    def __init__(self, path: Path, settings: dict[str, Any], num_examples: int) -> None:
        """Name the file; the settings and the number of examples decide whether a state found there is ours."""
        self.path = path
        relevant = {key: value for key, value in settings.items() if key != "checkpoint_every"}
        self.fingerprint = json.dumps([relevant, num_examples], sort_keys=True)

    def save(
        self,
        step: int,
        history: list[dict[str, float]],
        unreported: list[float],
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: dict[str, Tensor],
    ) -> None:
        """Write all that the next step depends on, and the losses since the last row of the history, atomically."""
        moments = {f"{i}.{key}": value for i, s in optimizer.state_dict()["state"].items() for key, value in s.items()}
        parts = {"model": model.state_dict(), "average": average, "optimizer": moments}
        tensors = {f"{part}/{k}": v.contiguous().clone() for part, group in parts.items() for k, v in group.items()}
        progress = {"step": step, "history": history, "unreported": unreported}
        metadata = {"progress": json.dumps(progress), "fingerprint": self.fingerprint}
        write_atomically(self.path, lambda path: save_file(tensors, path, metadata=metadata))

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]
    ) -> tuple[int, list[dict[str, float]], list[float]]:
        """Load the state into the arguments and return (next step, history, losses since its last row).

        Where there is no state of ours that is (0, [], []), and the arguments stay as they are.
        """
        if not self.path.is_file():
            return 0, [], []
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata()
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except SafetensorError:
            return 0, [], []
        if metadata.get("fingerprint") != self.fingerprint:
            return 0, [], []

        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}

        model.load_state_dict(part("model"))
        average.update(part("average"))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in part("optimizer").items():
            index, _, field = key.partition(".")
            moments.setdefault(int(index), {})[field] = tensor
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        progress = json.loads(metadata["progress"])
        return progress["step"], progress["history"], progress["unreported"]


def clear_state(folder: Path) -> None:
    """Remove the training state, once what was trained is saved, and the record of weights that were fetched before."""
    (folder / STATE_FILE).unlink(missing_ok=True)
    (folder / RECORD).unlink(missing_ok=True)


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write the training curve as CSV."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for row in history for key in row)))
            writer.writeheader()
            writer.writerows(history)

    write_atomically(path, write)
