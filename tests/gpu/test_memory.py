"""A GPU whose memory runs out."""

from collections.abc import Iterator

import pytest
import torch
from networks import Close, Networks

import nonrobust_guidance as ng

N = 128


@pytest.fixture
def little(gpu: torch.device) -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, gpu)
    torch.cuda.empty_cache()


def test_a_batch_that_does_not_fit_is_drawn_in_smaller_ones(
    gpu: torch.device, little: None, networks: Networks, close: Close
) -> None:
    there = networks.on(gpu)
    guidance = ng.ClassifierGuidance(there.guide, 1, 10.0)

    def draw(rows: int) -> torch.Tensor:
        return ng.sample(there.unet, there.schedule, N, 3, guidance=guidance, microbatch=rows)

    peaks = {}
    for rows in (N, N // 4):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(gpu)
        whole = draw(rows)
        peaks[rows] = torch.cuda.max_memory_reserved(gpu)
    assert peaks[N // 4] < peaks[N]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(gpu).total_memory
    torch.cuda.set_per_process_memory_fraction((peaks[N // 4] + peaks[N]) / 2 / total, gpu)
    with pytest.warns(RuntimeWarning, match=f"ran out of memory on batches of {N} and go on with {N // 2}"):
        drawn = draw(N)
    close(drawn, whole, 1e-4)


def test_no_step_holds_on_to_the_memory_of_the_one_before(gpu: torch.device, networks: Networks) -> None:
    there = networks.on(gpu)
    guidance = ng.ClassifierGuidance(there.guide, 1, 10.0, stabilizer=ng.Adam())
    held = []
    for _ in ng.trajectory(there.unet, there.schedule, 16, guidance=guidance):
        held.append(torch.cuda.memory_allocated(gpu))
    assert held[1] == held[2]  # the first step fills what the solver and the stabilizer remember
