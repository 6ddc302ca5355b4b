"""Which device is chosen, and that nobody crawls on a CPU who was given a GPU."""

import pytest
import torch

from nonrobust_guidance.devices import choose_device, count_processes
from nonrobust_guidance.errors import UserError


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
