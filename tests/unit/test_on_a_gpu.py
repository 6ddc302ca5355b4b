"""What a GPU would trip over, found without one: torch's meta device has no numbers, and refuses to mix with the CPU.

A tensor that was left on the CPU, or a number that Python would have to wait for, is an error there. What only a GPU
can show is in tests/gpu.
"""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

import nonrobust_guidance as ng
from nonrobust_guidance.guidance import METHODS
from nonrobust_guidance.guidance.method import Guidance
from nonrobust_guidance.guidance.trust import within_trust_region
from nonrobust_guidance.models.diffusion import build_unet
from nonrobust_guidance.models.resuming import TrainingState
from nonrobust_guidance.models.settings import UNet
from nonrobust_guidance.models.training import step_randomness
from nonrobust_guidance.sampling.draw import rows_at_once
from nonrobust_guidance.sampling.samplers import SAMPLERS

META = torch.device("meta")
SCHEDULE = ng.Schedule.linear(40, 1e-3, 0.4).respaced(4)
FIELDS = {name: {method.strength_field: 0.5} for name, method in METHODS.items()}
FIELDS["tfg"] |= {"mu": 0.25, "sigma": 0.001}


@pytest.fixture(scope="module")
def unet() -> UNet2DModel:
    settings = UNet(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4)
    return build_unet(settings, 8, seed=0).eval().to(META)


class Network(nn.Conv2d):
    """The least that is a denoiser with weights."""

    def __init__(self) -> None:
        super().__init__(3, 3, 3, padding=1, device=META)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(x) * t.reshape(-1, 1, 1, 1)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the one number that each guided step has to wait for: whether its gradient is finite."""
    monkeypatch.setattr(
        Guidance, "require_finite", lambda self, climb, x, *_: (climb, torch.zeros(len(x), dtype=bool, device=x.device))
    )


@pytest.fixture
def guide() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 12 * 12, 3))
    return ng.augmented(ng.preprocess(network.eval(), 12)).to(META)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_unguided_chain_stays_on_its_device_and_waits_for_nothing(unet: UNet2DModel, sampler: str) -> None:
    steps = list(ng.trajectory(unet, SCHEDULE, 3, sampler=sampler))
    assert len(steps) == 4 and all(step.x.device == META and step.x0_hat.device == META for step in steps)


@pytest.mark.parametrize(
    ("name", "fields"), [(name, {}) for name in METHODS] + [("classifier", {"at": at}) for at in ("xt", "x0_detached")]
)
def test_a_guided_chain_stays_on_its_device_and_waits_once_a_step(
    guide: nn.Module, unread: None, name: str, fields: dict[str, str]
) -> None:
    target = torch.tensor([0, 1, 2])
    guidance = METHODS[name](guide, target, **FIELDS[name], **fields, stabilizer=ng.Adam(), trust_radius=1.0)
    steps = list(ng.trajectory(Network().eval(), SCHEDULE, 3, guidance=guidance, sampler="dpmsolver", shape=(3, 8, 8)))
    assert steps[0].gradient is not None and steps[0].gradient.device == META
    assert all(step.x.device == META for step in steps)


def test_a_step_that_waits_more_than_once_is_found(guide: nn.Module) -> None:
    guidance = ng.ClassifierGuidance(guide, 0, 1.0)
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors"):
        next(ng.trajectory(Network().eval(), SCHEDULE, 3, guidance=guidance, shape=(3, 8, 8)))


def test_images_on_a_gpu_are_noised_at_timesteps_on_the_cpu() -> None:
    x0 = torch.rand(2, 3, 4, 4, device=META)
    assert SCHEDULE.add_noise(x0, x0, torch.full((2,), int(SCHEDULE.timesteps[1]))).device == META


def test_the_trust_region_is_where_the_state_is() -> None:
    x = torch.rand(2, 3, 4, 4, device=META)
    bounded = within_trust_region(x, x, 0.1)
    assert (bounded.device, bounded.dtype) == (META, torch.float32)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter:UserWarning")
def test_a_training_goes_on_with_its_average_where_its_weights_are(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = TrainingState(tmp_path / "state.safetensors", {})
    state.save(1, [], [], network, optimizer, dict(network.state_dict()))
    there = nn.Linear(3, 2, device=META)
    average = {key: value.clone() for key, value in there.state_dict().items()}
    there_optimizer = torch.optim.AdamW(there.parameters())
    assert state.restore(there, there_optimizer, average)[0] == 1
    assert {value.device for value in average.values()} == {META}
    moments = there_optimizer.state_dict()["state"][0]
    assert {moments["exp_avg"].device, moments["exp_avg_sq"].device} == {META}


@pytest.mark.parametrize(
    ("device", "forked"), [("cpu", []), ("mps", []), ("cuda:1", [torch.device("cuda:1")])], ids=str
)
def test_a_step_starts_no_gpu_that_it_does_not_train_on(
    monkeypatch: pytest.MonkeyPatch, device: str, forked: list[torch.device]
) -> None:
    asked = []
    fork = torch.random.fork_rng
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices=None: asked.append(devices) or fork(devices=[]))
    before = torch.get_rng_state()
    with step_randomness(3, 7, torch.device(device)):
        torch.rand(1)
    assert asked == [forked]
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_start_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even to seed a GPU's generator is asked of torch only when there is something to train on it."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("it seeded a GPU"))
    settings = UNet(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4)
    before = torch.get_rng_state()
    one, same, other = (build_unet(settings, 8, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.conv_in.weight, same.conv_in.weight)
    assert not torch.equal(one.conv_in.weight, other.conv_in.weight)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(1)
        drawn_first = nn.Conv2d(3, 8, 3, padding=1)
    assert torch.equal(one.conv_in.weight, drawn_first.weight)


@pytest.mark.parametrize(
    ("device", "batch_size", "num_samples", "rows"),
    [("cpu", 64, 1000, "auto"), ("cuda", 64, 1000, 64), ("cuda", 64, 10, 10), ("mps", 8, 10, 8)],
)
def test_all_batches_and_shards_of_a_cell_have_one_microbatch(
    device: str, batch_size: int, num_samples: int, rows: int | str
) -> None:
    assert rows_at_once(torch.device(device), batch_size, num_samples) == rows
