"""Which device is chosen, and that nobody crawls on a CPU who was given a GPU."""

from collections.abc import Iterator

import pytest
import torch

from nonrobust_guidance.devices import choose_device, count_processes, in_float64, onto
from nonrobust_guidance.errors import UserError

FUSED = ("flash", "mem_efficient", "cudnn")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leaves torch as it was set, however a test would have a GPU compute."""
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn
    tf32, deterministic, fill = cudnn.allow_tf32, cudnn.deterministic, torch.utils.deterministic
    filled, fused = fill.fill_uninitialized_memory, {name: is_fused(name) for name in FUSED}
    yield
    torch.set_float32_matmul_precision(matmul)
    cudnn.allow_tf32, cudnn.deterministic, fill.fill_uninitialized_memory = tf32, deterministic, filled
    torch.use_deterministic_algorithms(False)
    for name, enabled in fused.items():
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(enabled)


def is_fused(name: str) -> bool:
    return getattr(torch.backends.cuda, f"{name}_sdp_enabled")()


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch):
    """Lets this machine have the devices named."""

    def let(*devices: str, gpus: int = 1) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in devices)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in devices)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus if "cuda" in devices else 0)

    return let


@pytest.mark.parametrize(
    ("devices", "chosen"), [(("cuda", "mps"), "cuda"), (("cuda",), "cuda"), (("mps",), "mps"), ((), "cpu")]
)
def test_auto_is_the_first_that_is_there(has, devices, chosen):
    has(*devices)
    assert choose_device("auto", environment={}).type == chosen


@pytest.mark.parametrize("given", ["0", "2,3", "GPU-8932f937"])
def test_a_job_that_was_given_a_gpu_never_falls_back_to_the_cpu(has, given):
    has()
    with pytest.raises(UserError, match=f"CUDA_VISIBLE_DEVICES is {given}.*set device: cpu"):
        choose_device("auto", environment={"CUDA_VISIBLE_DEVICES": given})
    assert choose_device("cpu", environment={"CUDA_VISIBLE_DEVICES": given}).type == "cpu"


@pytest.mark.parametrize("given", ["", "-1", "NoDevFiles"])
def test_a_job_that_was_given_none_computes_without(has, given):
    has()
    assert choose_device("auto", environment={"CUDA_VISIBLE_DEVICES": given}).type == "cpu"


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_named(has, name):
    has()
    with pytest.raises(UserError, match=f"device is {name}, but torch finds none"):
        choose_device(name, environment={})


def test_only_a_training_may_round_float32(has):
    has()
    choose_device("cpu", exact=False)
    assert torch.get_float32_matmul_precision() == "high" and torch.backends.cudnn.allow_tf32
    choose_device("cpu")
    assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32


def test_there_is_a_process_for_each_gpu_unless_a_number_is_set(has):
    has("cuda", gpus=4)
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert [count_processes(setting, cuda) for setting in ("auto", 1, 4)] == [4, 1, 4]
    assert [count_processes(setting, cpu) for setting in ("auto", 1, 2)] == [1, 1, 2]
    with pytest.raises(UserError, match=r"training\.processes is 5, but this job has 4 GPUs"):
        count_processes(5, cuda)


def test_a_gpu_computes_the_same_bits_each_time(has):
    has("cuda")
    environment = {"CUDA_VISIBLE_DEVICES": "0"}
    choose_device("auto", environment=environment)
    assert environment["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch.backends.cudnn.deterministic and torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not any(is_fused(name) for name in FUSED)
    assert not torch.utils.deterministic.fill_uninitialized_memory
    # What the user set stays, and a CPU needs none of it.
    environment = {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}
    choose_device("cuda", environment=environment)
    assert environment == {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}
    assert choose_device("cpu", environment=environment).type == "cpu"


def test_a_cpu_is_left_as_it_is(has):
    has()
    choose_device("auto", environment={})
    assert not torch.are_deterministic_algorithms_enabled() and all(is_fused(name) for name in FUSED)


class OnDevice:
    """Stands for a tensor on a device that this machine lacks, and remembers how it is moved."""

    def __init__(self, device: str, *moves: object) -> None:
        self.device, self.moves = torch.device(device), moves

    def pin_memory(self):
        return OnDevice(self.device.type, *self.moves, "pinned")

    def to(self, device, non_blocking=False):
        return OnDevice(device.type, *self.moves, "in turn" if non_blocking else "at once")

    def cpu(self):
        return torch.tensor([0.1])


@pytest.mark.parametrize(
    ("start", "end", "moves"),
    [
        ("cpu", "cuda", ("pinned", "in turn")),  # unpinned, a copy in turn could read what has changed meanwhile
        ("cuda", "cuda", ("at once",)),
        ("cpu", "cpu", ("at once",)),
        ("cpu", "mps", ("at once",)),
    ],
)
def test_a_tensor_comes_to_a_gpu_by_way_of_pinned_memory(start, end, moves):
    assert onto(OnDevice(start), torch.device(end)).moves == moves


def test_mps_has_its_float64_on_the_cpu():
    wide = in_float64(OnDevice("mps"))
    assert (wide.device.type, wide.dtype, wide.item()) == ("cpu", torch.float64, torch.tensor(0.1).item())
    assert in_float64(torch.empty(1, device="meta")).device.type == "meta"
