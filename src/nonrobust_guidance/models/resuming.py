"""What a stopped training leaves behind, so that the next one can continue from it."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nonrobust_guidance.fetching import RECORD
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.records.trainings import STATE_FILE

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Inside this context SIGTERM and SIGUSR1 are only noted; yields a function that tells whether one has come.

    Batch systems send them to a job some time before they end it. Outside the main thread, where Python cannot handle
    signals, nothing is noted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in STOP_SIGNALS}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class TrainingState:
    """The file from which a killed training continues; a file left by another training is ignored."""

    def __init__(self, path: Path, training: Mapping[str, Any]) -> None:
        """Take the file, and what identifies this training, in JSON values."""
        self.path, self.training = path, json.dumps(training, sort_keys=True)

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
        metadata = {"progress": json.dumps(progress), "training": self.training}
        write_atomically(self.path, lambda path: save_file(tensors, path, metadata=metadata))

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]
    ) -> tuple[int, list[dict[str, float]], list[float]]:
        """Load the state into the arguments and return (next step, history, losses since its last row).

        If this training has no saved state, return (0, [], []) and leave the arguments as they are.
        """
        if not self.path.is_file():
            return 0, [], []
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata()
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except SafetensorError:
            return 0, [], []
        if metadata.get("training") != self.training:
            return 0, [], []

        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}

        model.load_state_dict(part("model"))
        for key, tensor in part("average").items():
            average[key] = tensor.to(average[key].device)  # the file is read onto the CPU
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in part("optimizer").items():
            index, _, field = key.partition(".")
            moments.setdefault(int(index), {})[field] = tensor
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        progress = json.loads(metadata["progress"])
        return progress["step"], progress["history"], progress["unreported"]


def clear_state(folder: Path) -> None:
    """Remove the training state once the model is saved, and the record of any weights that were fetched before."""
    (folder / STATE_FILE).unlink(missing_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
