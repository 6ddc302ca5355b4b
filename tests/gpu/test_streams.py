"""Several cells on one GPU at the same time, and a cell in shards: the bytes of one after another."""

import contextlib
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from house import House
from networks import Networks

import nonrobust_guidance as ng
from nonrobust_guidance.sampling.files import merge_shards

METHOD = "nonrobust_x0"
CELL = f"{METHOD}/scale-3"

pytestmark = pytest.mark.timeout(900)  # processes that each import torch, several of them after each other


def test_two_processes_draw_what_one_after_another_does(on: torch.device, house: House, tmp_path: Path) -> None:
    for name in ("diffusion", "nonrobust"):
        house.train(name, on)
    for seed in (0, 1):
        subprocess.run(house.draw(tmp_path / "alone", on, METHOD, seed), check=True)
    beside = [subprocess.Popen(house.draw(tmp_path / "beside", on, METHOD, seed)) for seed in (0, 1)]
    assert [process.wait() for process in beside] == [0, 0]
    cells = [path.relative_to(tmp_path / "alone") for path in sorted((tmp_path / "alone").rglob("*.npy"))]
    assert len(cells) == 4  # two seeds, two targets
    for cell in cells:
        assert (tmp_path / "alone" / cell).read_bytes() == (tmp_path / "beside" / cell).read_bytes()
    zero, one = (np.load(tmp_path / "alone" / CELL / f"seed-{seed}" / "baseball.npy") for seed in (0, 1))
    assert not np.array_equal(zero, one)


def test_shards_hold_what_the_whole_cell_does(on: torch.device, house: House, tmp_path: Path) -> None:
    for name in ("diffusion", "nonrobust"):
        house.train(name, on)
    subprocess.run(house.draw(tmp_path, on, METHOD, 0), check=True)
    shards, cell = ("0-9", "9-22"), tmp_path / CELL / "seed-0"  # neither is a multiple of the batch of 8
    for shard in shards:
        subprocess.run(house.draw(tmp_path, on, METHOD, 0, "--shard", shard), check=True)
    merge_shards([cell / shard / "baseball.npy" for shard in shards], tmp_path / "merged.npy")
    assert (tmp_path / "merged.npy").read_bytes() == (cell / "baseball.npy").read_bytes()


def test_two_streams_of_one_process_take_turns(on: torch.device, networks: Networks) -> None:
    there = networks.on(on)
    chains = {seed: ng.ClassifierGuidance(there.guide, seed, 10.0, stabilizer=ng.Adam()) for seed in (0, 1)}

    def chain(seed: int) -> object:
        return ng.trajectory(there.unet, there.schedule, 8, seed, guidance=chains[seed], microbatch=None)

    expected = {seed: list(chain(seed))[-1].x.cpu() for seed in chains}
    streams = {seed: stream_on(on) for seed in chains}
    running, last = {seed: chain(seed) for seed in chains}, {}
    for _ in range(len(there.schedule)):
        for seed, steps in running.items():
            with streams[seed]:
                last[seed] = next(steps).x
    if on.type == "cuda":
        torch.cuda.synchronize(on)
    for seed in chains:
        assert torch.equal(last[seed].cpu(), expected[seed])


class Stream(contextlib.AbstractContextManager):
    """A stream of a GPU's work that can be entered again and again; on a CPU there is one anyway."""

    def __init__(self, stream: "torch.cuda.Stream | None") -> None:
        self.stream = stream

    def __enter__(self) -> None:
        self.inner = torch.cuda.stream(self.stream) if self.stream else contextlib.nullcontext()
        self.inner.__enter__()

    def __exit__(self, *error: object) -> None:
        self.inner.__exit__(*error)


def stream_on(device: torch.device) -> Stream:
    if device.type != "cuda":
        return Stream(None)
    torch.cuda.synchronize(device)  # the weights are there before another stream reads them
    return Stream(torch.cuda.Stream(device))
