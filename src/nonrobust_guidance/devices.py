"""Where networks run, and the processes of a training that has several devices."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence

import torch

from nonrobust_guidance.errors import UserError

# What a batch system sets for a job to say which GPUs are the job's; these values say that none is.
GIVEN_GPUS = "CUDA_VISIBLE_DEVICES"
NONE_GIVEN = ("", "-1", "NoDevFiles")


def choose_device(
    setting: str = "auto", *, exact: bool = True, environment: Mapping[str, str] = os.environ
) -> torch.device:
    """Return the device to compute on, and set how a GPU multiplies.

    Args:
        setting: "auto" (the first of cuda, mps and cpu that is there), "cuda", "mps" or "cpu".
        exact: whether float32 is float32, which makes samples and scores comparable with a CPU's; a training may use
            TF32, whose mantissa has 10 bits.
        environment: says in CUDA_VISIBLE_DEVICES which GPUs were given to this job.

    Raises:
        UserError: if the device is not there, or a job that was given a GPU would have to do without it.
    """
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.allow_tf32 = not exact
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    given = environment.get(GIVEN_GPUS, "")
    if setting == "auto" and given not in NONE_GIVEN and not there["cuda"]:
        raise UserError(
            f"this job was given a GPU ({GIVEN_GPUS} is {given}), but torch cannot use it; mend the driver or torch on "
            "this machine, or set device: cpu to compute without it"
        )
    if setting == "auto":
        return torch.device(next(name for name, is_there in there.items() if is_there))
    if not there[setting]:
        raise UserError(f"device is {setting}, but torch finds none on this machine; set another, or device: auto")
    return torch.device(setting)


def count_processes(setting: int | str, device: torch.device) -> int:
    """Return how many processes train together: as many as set, or with "auto" one for each GPU of the job.

    Raises:
        UserError: if there are fewer GPUs than processes.
    """
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    if setting == "auto":
        return max(1, gpus)
    if device.type == "cuda" and int(setting) > gpus:
        raise UserError(f"training.processes is {setting}, but this job has {gpus} GPUs; ask for more, or set auto")
    return int(setting)


def is_one_of_several() -> bool:
    """Return whether this process is one of those that `run_in_processes` started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def run_in_processes(processes: int, arguments: Sequence[str]) -> None:
    """Run the command line with these arguments in several processes on this machine, under torch's own launcher.

    Raises:
        UserError: if one of them fails; it has said why itself.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Their own business: each saves its state. Without this the signal would end the launcher first.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="training",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.5,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "nonrobust_guidance.cli", *arguments)
    except ChildFailedError as error:
        raise UserError(f"one of {processes} processes ended early; what it said stands above") from error
