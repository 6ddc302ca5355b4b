"""One training loop for every model, counted in steps; neither a kill nor more devices change the result."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from nonrobust_guidance.devices import onto
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.models.resuming import TrainingState, stop_signals
from nonrobust_guidance.models.settings import Training
from nonrobust_guidance.records.trainings import STATE_FILE

REPORT_EVERY = 50
HISTORY_FILE = "history.csv"
CPU = torch.device("cpu")


class Objective(Protocol):
    """What is trained: a model, the batch of each step, and the loss on it."""

    num_examples: int

    @property
    def model(self) -> nn.Module:
        """The network whose weights are trained."""
        ...

    def batch(self, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Return what the network and its loss need of the examples at ``indices`` (B,): tensors (B, ...) on the CPU.

        All that is random comes from ``generator``, which belongs to this step alone.
        """
        ...

    def losses(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """Return the loss of each example of a batch or of a part of it, (B,); their mean is what is minimized.

        ``model`` is the network, wrapped where several processes train it.
        """
        ...


def train(
    objective: Objective,
    settings: Training,
    folder: Path,
    name: str,
    validate: Callable[[], float] | None = None,
    device: torch.device = CPU,
    training: Mapping[str, Any] | None = None,
) -> list[dict[str, float]]:
    """Train in place and return the history; with the same settings and thread count the weights are the same.

    The order of the examples and all noise depend only on (seed, step), so a training that is killed continues from its
    last state in ``folder`` and ends with the same weights as one that was never killed. On SIGTERM or SIGUSR1 it saves
    its state before it ends. At the end the model holds the averaged weights where ``ema_decay`` is set.

    Under `accelerate`, each of several processes takes its share of every batch, and each share comes in
    ``accumulation`` parts: the gradient is that of the whole batch whatever their number, up to rounding.

    Args:
        objective: model and loss.
        settings: the section ``training``.
        folder: where ``training-state.safetensors`` lies while the training runs.
        name: shown beside the progress bar.
        validate: gives the accuracy of the model, in [0, 1], on images that it is not trained on; for early_stopping.
        device: where to train; of several processes each takes its own device of that kind.
        training: what identifies this training, so that it does not continue from another's state; by default the
            settings.

    Returns:
        Rows with step, loss (mean since the row before) and learning_rate, and validation_accuracy at the end of each
            epoch that may be the last.

    Raises:
        UserError: if the batch cannot be shared out evenly, or after a signal to stop, with the state saved.
    """
    accelerator = Accelerator(cpu=device.type == "cpu")
    size, accumulation = min(settings.batch_size, objective.num_examples), settings.accumulation
    require_even_parts(size, accelerator.num_processes, accumulation)
    network, steps, decay = objective.model.to(accelerator.device), settings.steps, settings.ema_decay
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=settings.weight_decay)
    average = {key: value.clone() for key, value in network.state_dict().items()} if decay else {}
    state = TrainingState(folder / STATE_FILE, training or settings.recorded())
    start, history, unreported = state.restore(network, optimizer, average)
    losses = [torch.tensor(loss, device=accelerator.device) for loss in unreported]
    model, stepper = accelerator.prepare(network, optimizer)
    stopping = settings.early_stopping if validate else None
    epoch = objective.num_examples // size
    is_main, alone = accelerator.is_main_process, accelerator.num_processes == 1
    bar = tqdm(range(start, steps), desc=name, initial=start, total=steps, unit="step", disable=not is_main)
    with stop_signals() as told_to_stop:
        for step in bar:
            rate = learning_rate(step, settings)
            for group in stepper.param_groups:
                group["lr"] = rate
            stepper.zero_grad(set_to_none=True)
            with step_randomness(settings.seed, step, accelerator.device) as generator:
                batch = objective.batch(batch_indices(step, objective.num_examples, settings), generator)
                parts = parts_of(batch, accelerator.process_index, accelerator.num_processes, accumulation)
                loss = accumulate_gradient(accelerator, model, objective, parts, settings.precision)
            accelerator.clip_grad_norm_(model.parameters(), settings.gradient_clip)
            stepper.step()
            if decay:
                update_average(average, network, min(decay, (1 + step) / (10 + step)))
            told = told_to_stop()
            if not alone:
                # All processes decide together, because one that continued alone would wait for the others forever.
                share = torch.tensor(float(told), device=loss.device)
                loss, share = accelerator.reduce(torch.stack([loss, share]), "mean")
                told = bool(share)
            losses.append(loss)  # kept on its device: reading it now would wait for the GPU to finish the step
            validating = validate is not None and stopping and (step + 1) % epoch == 0
            if (step + 1) % REPORT_EVERY == 0 or step + 1 == steps or validating:
                mean = torch.stack(losses).mean().item()
                losses.clear()
                history.append({"step": step + 1, "loss": mean, "learning_rate": rate})
                bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
            if validate is not None and stopping and validating:
                network.eval()
                history[-1]["validation_accuracy"] = validate()
                network.train()
                if has_converged(history, stopping.min_epochs, stopping.min_gain):
                    bar.close()
                    break
            is_told = told and step + 1 < steps
            if is_main and step + 1 < steps and (is_told or (step + 1) % settings.checkpoint_every == 0):
                state.save(step + 1, history, [loss.item() for loss in losses], network, optimizer, average)
            if is_told:
                bar.close()
                raise UserError(f"{name} was told to stop and saved its state after step {step + 1}; start it again")
    if decay:
        network.load_state_dict(average)
    network.eval()
    return history


def require_even_parts(batch_size: int, processes: int, accumulation: int) -> None:
    """Check that a batch can be shared out evenly.

    Raises:
        UserError: if it cannot.
    """
    if batch_size % (processes * accumulation):
        raise UserError(
            f"a batch of {batch_size} cannot be shared out over {processes} processes in {accumulation} parts each; "
            "give training.batch_size a multiple of their product"
        )


def parts_of(batch: Sequence[Tensor], process: int, processes: int, accumulation: int) -> list[list[Tensor]]:
    """Return a process's parts of a batch: ``accumulation`` lists of tensors (B / processes / accumulation, ...)."""
    rows = len(batch[0]) // (processes * accumulation)
    starts = range(process * accumulation * rows, (process + 1) * accumulation * rows, rows)
    return [[tensor[start : start + rows] for tensor in batch] for start in starts]


def accumulate_gradient(
    accelerator: Accelerator, model: nn.Module, objective: Objective, parts: list[list[Tensor]], precision: str
) -> Tensor:
    """Add up the gradient of this process's parts, averaged over the processes, and return the parts' mean loss."""
    total = torch.zeros((), device=accelerator.device)
    for number, part in enumerate(parts, 1):
        meeting = contextlib.nullcontext() if number == len(parts) else accelerator.no_sync(model)
        with meeting:
            with autocast(precision, accelerator.device):
                losses = objective.losses(model, *(onto(tensor, accelerator.device) for tensor in part))
            loss = losses.mean() / len(parts)
            accelerator.backward(loss)
        total += loss.detach()
    return total


def has_converged(history: list[dict[str, float]], min_epochs: int, min_gain: float) -> bool:
    """Return whether, after more than ``min_epochs``, the last one added less than ``min_gain`` to the accuracy."""
    accuracies = [row["validation_accuracy"] for row in history if "validation_accuracy" in row]
    return len(accuracies) > max(1, min_epochs) and accuracies[-1] - accuracies[-2] < min_gain


def learning_rate(step: int, settings: Training) -> float:
    """Return the rate of a step: linear warm-up, then a cosine to zero."""
    warmup = settings.warmup_steps
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def batch_indices(step: int, num_examples: int, settings: Training) -> np.ndarray:
    """Return the example indices (B,) of a step: one permutation per epoch, which depends only on (seed, epoch)."""
    size = min(settings.batch_size, num_examples)
    batches = num_examples // size
    order = np.random.default_rng((settings.seed, step // batches)).permutation(num_examples)
    return order[step % batches * size :][:size]


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, what torch draws on the CPU, such as initial weights, follows from the seed; this starts no GPU."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextlib.contextmanager
def step_randomness(seed: int, step: int, device: torch.device = CPU) -> Iterator[torch.Generator]:
    """Yield the generator of a step, and seed the global ones, which dropout reads, for the duration of the step.

    Args:
        seed: of the training.
        step: counted from 0.
        device: where the network is trained; the process starts no other GPU.
    """
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=7).digest()
    number = int.from_bytes(digest, "big")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(number)
        yield torch.Generator().manual_seed(number + 1)


def autocast(precision: str, device: torch.device = CPU) -> contextlib.AbstractContextManager[Any]:
    """Return the context the network runs in: fp32, bf16, or auto, which is bf16 where the device computes in it."""
    if precision == "auto":
        precision = "bf16" if computes_in_bf16(device) else "fp32"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def computes_in_bf16(device: torch.device) -> bool:
    """Return whether the device has instructions for bfloat16, so that it is faster in it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Move the averaged weights toward the model's; counters and other integers are copied."""
    for key, value in model.state_dict().items():
        if value.dtype.is_floating_point:
            average[key].lerp_(value, 1 - decay)
        else:
            average[key].copy_(value)


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write the training curve as CSV."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for row in history for key in row)))
            writer.writeheader()
            writer.writerows(history)

    write_atomically(path, write)
