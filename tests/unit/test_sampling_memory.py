"""A GPU's memory that runs out: the networks get smaller batches, and the images are the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nonrobust_guidance as ng
from nonrobust_guidance.sampling import draw as drawing
from nonrobust_guidance.sampling.draw import draw_samples
from nonrobust_guidance.sampling.settings import Chain

SCHEDULE = ng.Schedule.linear(40, 1e-3, 0.4).respaced(5)
TARGETS = torch.tensor([0, 1] * 7)


class Small(nn.Module):
    """A denoiser that works entry by entry, so that no kernel can round otherwise, and takes so many images at most."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.3), requires_grad=False)
        self.most, self.batches = most, []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.batches.append(len(x))
        if len(x) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.weight * x


def classify(x: Tensor) -> Tensor:
    return x[:, 0].flatten(1)[:, :2]


def images(network: nn.Module, **options: Any) -> Tensor:
    guidance = ng.ClassifierGuidance(classify, TARGETS, 3.0, stabilizer=ng.Adam())
    return ng.sample(network.eval(), SCHEDULE, 14, 5, guidance=guidance, shape=(3, 4, 4), **options)


@pytest.mark.parametrize(("most", "sizes"), [(14, [14]), (7, [14, 7]), (6, [14, 7, 3]), (1, [14, 7, 3, 1])])
@pytest.mark.filterwarnings("ignore:The networks ran out of memory:RuntimeWarning")
def test_batches_are_halved_until_they_fit_and_stay_so(most: int, sizes: list[int]) -> None:
    network = Small(most)
    drawn = images(network, microbatch=14)
    assert torch.equal(drawn, images(Small(14)))
    assert list(dict.fromkeys(network.batches)) == sizes
    assert network.batches.count(sizes[-1]) == -(-14 // sizes[-1]) * len(SCHEDULE)  # no step is made twice


@pytest.mark.filterwarnings("ignore:The networks ran out of memory:RuntimeWarning")
def test_unguided_samples_and_the_gradients_way_back_are_halved_too() -> None:
    unguided = [ng.sample(Small(n).eval(), SCHEDULE, 14, shape=(3, 4, 4), microbatch=14) for n in (3, 14)]
    assert torch.equal(*unguided)
    assert torch.equal(images(FullOnTheWayBack(4), microbatch=14), images(Small(14)))


class FullOnTheWayBack(Small):
    """Runs out of memory in its backward pass alone."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        most, self.most = self.most, len(x)
        output, self.most = super().forward(x, t), most
        if output.requires_grad:
            output.register_hook(lambda gradient: self.require(len(gradient)))
        return output

    def require(self, rows: int) -> None:
        if rows > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")


def test_what_was_done_is_said() -> None:
    with pytest.warns(RuntimeWarning, match="ran out of memory on batches of 14 and go on with 7"):
        images(Small(7), microbatch=14)


@pytest.mark.filterwarnings("ignore:The networks ran out of memory:RuntimeWarning")
def test_a_single_image_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError, match=r"2\.00 GiB"):
        images(Small(0), microbatch=14)


@pytest.mark.filterwarnings("ignore:The networks ran out of memory:RuntimeWarning")
def test_a_cell_is_drawn_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fake: Any) -> None:
    monkeypatch.setattr(drawing, "load_classifier", lambda *_: classify)
    monkeypatch.setattr(drawing, "weights_hash", lambda _: "none")
    mine = {"classifier": "weak", "at": "x0", "scales": [3], "num_samples": 14, "steps": 5}
    sampling = fake.run(methods={"mine": mine}).sampling
    rest = (sampling.part(Chain), {"cup": 0, "ball": 1}, tmp_path, tmp_path)
    for name, most in {"whole": 32, "small": 3}.items():
        network = Sized(most).eval()
        monkeypatch.setattr(drawing, "load_diffusion", lambda *_, network=network: (network, SCHEDULE))
        draw_samples("mine", sampling.methods["mine"], 3.0, {0: tmp_path / name}, *rest, batch_size=8)
        assert (max(network.batches), min(network.batches)) == (32, 2 if most == 3 else 32)  # 32, 16, 8, 4, 2
    for target in ("cup", "ball"):
        whole, small = (tmp_path / name / f"{target}.npy" for name in ("whole", "small"))
        assert whole.read_bytes() == small.read_bytes()
        assert np.load(whole).shape == (14, 4, 4, 3)


class Sized(Small):
    """Says what images it makes, as a diffusers model does."""

    class config:  # noqa: N801 (diffusers' name)
        sample_size, in_channels = 4, 3
