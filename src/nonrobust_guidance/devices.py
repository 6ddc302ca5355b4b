"""Where networks run, and the processes of a training that has several devices."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import MutableMapping, Sequence

import torch
from torch import Tensor

from nonrobust_guidance.errors import UserError

# The variable in which a batch system names a job's GPUs, and its values that mean the job has none.
GIVEN_GPUS = "CUDA_VISIBLE_DEVICES"
NONE_GIVEN = ("", "-1", "NoDevFiles")


def choose_device(
    setting: str = "auto", *, exact: bool = True, environment: MutableMapping[str, str] = os.environ
) -> torch.device:
    """Return the device to compute on, and set how a GPU computes: with the same bits each time.

    Args:
        setting: "auto" (the first of cuda, mps and cpu that is there), "cuda", "mps" or "cpu".
        exact: whether float32 is computed in full precision, which makes samples and scores comparable with a CPU's; a
            training may use TF32, whose mantissa has 10 bits.
        environment: has in CUDA_VISIBLE_DEVICES the GPUs that were given to this job; if the device is cuda, it gets
            the variable that cuBLAS reads before its first product.

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
        setting = next(name for name, is_there in there.items() if is_there)
    if not there[setting]:
        raise UserError(f"device is {setting}, but torch finds none on this machine; set another, or device: auto")
    if setting == "cuda":
        repeat_on_cuda(environment)
    return torch.device(setting)


def repeat_on_cuda(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make CUDA give the same bits each time, so that samples are the same, and a training continued after a kill too.

    Otherwise cuDNN may add up a convolution's gradient in another order from call to call, and so may the gradients of
    bilinear resizing and of fused attention kernels. Operations that still have no fixed order warn when they run.

    Args:
        environment: gets the variable that cuBLAS reads before its first product, unless it is set already.
    """
    environment.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Otherwise torch fills every new tensor, to expose reads of memory that was never written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # With warn_only, fused kernels still have no fixed order; the plain ones do.
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def onto(x: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, going through pinned memory for a GPU.

    From pinned memory the copy is queued with the GPU's other work and Python continues; from other memory both wait
    for all work before it.
    """
    if device.type != "cuda" or x.device.type != "cpu":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def wait_for(device: torch.device) -> None:
    """Return once the device has finished its work; a CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def in_float64(x: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU if its device has no such numbers, as mps."""
    return (x.cpu() if x.device.type == "mps" else x).double()


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
        UserError: if one of them fails; it has already printed why.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The processes handle this signal themselves: each saves its state. Otherwise it would end the launcher first.
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
