"""The device that is held to the CPU, and the networks that run on both.

`--on cpu` rehearses the tests themselves where no GPU is: it shows that they run, and nothing of a GPU.
"""

import subprocess

import pytest
import torch
from house import House, command, raw_config
from networks import CPU, Close, Networks

import nonrobust_guidance as ng
from nonrobust_guidance.config import load_config, write_config
from nonrobust_guidance.devices import choose_device
from nonrobust_guidance.models.classifiers import build_from_card, ready_to_guide
from nonrobust_guidance.models.diffusion import build_unet
from nonrobust_guidance.models.settings import UNet
from nonrobust_guidance.models.training import seeded

NO_TESTS_RAN = 5


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--on", choices=["cuda", "cpu"], default="cuda", help="what is held to the CPU; cpu rehearses")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--on") == "cuda" and not torch.cuda.is_available():
        pytest.exit(
            "torch finds no GPU on this machine, so nothing was tested on one; call make test-gpu where nvidia-smi "
            "lists one",
            returncode=NO_TESTS_RAN,
        )


def pytest_report_header(config: pytest.Config) -> str:
    on_gpu = config.getoption("--on") == "cuda"
    return f"on {torch.cuda.get_device_name()}" if on_gpu else "a rehearsal on the CPU: it shows nothing of a GPU"


@pytest.fixture(scope="session")
def on(request: pytest.FixtureRequest) -> torch.device:
    """The device that is held to the CPU, as a run's jobs choose it: float32 without TF32, the same bits each time."""
    return choose_device(request.config.getoption("--on"))


@pytest.fixture
def gpu(on: torch.device) -> torch.device:
    """A device with memory of its own."""
    if on.type != "cuda":
        pytest.skip("only a GPU has this")
    return on


@pytest.fixture(scope="session")
def networks() -> Networks:
    settings = UNet(block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=4, attention_levels=(1,))
    unet = build_unet(settings, 32, seed=0).eval().requires_grad_(False)
    with seeded(1):
        card = {"architecture": "mobilenet_v3_small", "classes": ["a", "b", "c", "d"], "factors": [], "input_size": 64}
        guide = ng.smoothed(ready_to_guide(build_from_card(card)))
    return Networks(unet, guide, ng.Schedule.linear(40, 1e-3, 0.1).respaced(4))


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, on: torch.device) -> House:
    house = House(tmp_path_factory.mktemp("house"))
    for device in {on, CPU}:
        write_config(load_config(raw_config(house.folder, device)), house.config(device))
    subprocess.run(
        command("prepare-data", "--config", house.config(CPU), "--output", house.folder / "data"), check=True
    )
    return house


@pytest.fixture(scope="session")
def close() -> Close:
    """Requires two tensors to differ by no more than a share of the largest value of the second."""

    def require(found: torch.Tensor, expected: torch.Tensor, bound: float) -> None:
        found, expected = found.double().cpu(), expected.double().cpu()
        error = float((found - expected).abs().max() / expected.abs().max())
        assert error <= bound, f"they differ by {error:.2e} of the largest value, and {bound:.0e} is allowed"

    return require
