"""The benchmark of a GPU: what it makes of numbers, and its way through the networks, rehearsed on the CPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ROOT = BENCHMARKS.parent
sys.path.append(str(BENCHMARKS))

import gpu  # noqa: E402
from gpu_table import Row, covered, format_table, search_batch_size, waiting_share  # noqa: E402

from nonrobust_guidance.config import load_config  # noqa: E402

HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}


def saturating(batch: int) -> float:
    """Return the rate where a batch takes 10 ms, and 1 ms more for each image: 1000 b / (10 + b)."""
    return 1000 * batch / (10 + batch)


def test_the_batch_is_doubled_while_that_brings_enough() -> None:
    # Doubling b brings 2 (10 + b) / (10 + 2b): 1.38 at 8, 1.24 at 16, 1.14 at 32, 1.07 at 64, 1.04 at 128.
    assert search_batch_size(saturating) == (128, pytest.approx(128000 / 138))
    assert search_batch_size(saturating, growth=0.2) == (32, pytest.approx(32000 / 42))
    assert search_batch_size(saturating, largest=100) == (64, pytest.approx(64000 / 74))
    assert search_batch_size(lambda batch: 5.0) == (8, 5.0)


def test_the_batch_is_one_that_fits() -> None:
    def with_room_for(most: int, batch: int) -> float:
        if batch > most:
            raise torch.cuda.OutOfMemoryError
        return float(batch)

    assert search_batch_size(lambda batch: with_room_for(50, batch)) == (32, 32.0)
    assert search_batch_size(lambda batch: with_room_for(8, batch)) == (8, 8.0)
    with pytest.raises(torch.OutOfMemoryError):
        search_batch_size(lambda batch: with_room_for(7, batch))


def test_a_drawing_in_smaller_batches_counts_as_one_that_does_not_fit() -> None:
    import warnings

    def halved() -> None:
        warnings.warn("The networks ran out of memory on batches of 8 and go on with 4.", RuntimeWarning, stacklevel=1)

    with pytest.raises(torch.OutOfMemoryError, match="batches of 8"):
        gpu.images_per_second(halved, 8, torch.device("cpu"), 0.0)


@pytest.mark.parametrize(
    ("intervals", "length"),
    [([], 0), ([(1, 3)], 2), ([(5, 6), (1, 3)], 3), ([(1, 4), (2, 3), (3, 6)], 5), ([(0, 1), (1, 2), (0, 2)], 2)],
)
def test_what_overlaps_is_covered_once(intervals: list[tuple[float, float]], length: float) -> None:
    assert covered(intervals) == length


def test_the_gpu_waits_for_what_is_not_covered() -> None:
    assert waiting_share(busy=3.0, wall=4.0) == 0.25
    assert waiting_share(busy=4.1, wall=4.0) == 0.0  # the profiled drawing took a little longer


def test_the_table_compares_with_float32_of_the_same_guidance() -> None:
    rows = [
        Row("float32", "xt", 64, 100.0, 0.25, 1.25, 0.0),
        Row("bf16", "xt", 128, 250.0, 0.5, 0.75, 0.0123),
        Row("bf16", "x0", 32, 40.0, 0.0, 2.0, 0.02),
    ]
    assert format_table(rows).splitlines()[2:] == [
        "| float32 | xt | 64 | 100.0 | 1.00 | 25% | 1.2 | 0.0% |",
        "| bf16 | xt | 128 | 250.0 | 2.50 | 50% | 0.8 | 1.2% |",
        "| bf16 | x0 | 32 | 40.0 |  | 0% | 2.0 | 2.0% |",
    ]


def test_its_way_through_the_networks() -> None:
    subject = gpu.Subject.of(load_config(ROOT / "config" / "tiny.yaml"), 2, torch.device("cpu"))
    rows = gpu.measure(subject, ["float32", "bf16, channels last"], ["unguided", "x0"], seconds=0.0, largest=8)
    assert [(row.way, row.at, row.batch) for row in rows] == [
        (way, at, 8) for at in ("unguided", "x0") for way in ("float32", "bf16, channels last")
    ]
    assert all(row.rate > 0 and row.waiting == 1.0 for row in rows)  # a CPU has no kernels of a GPU
    assert [row.deviation < 1e-5 for row in rows] == [True, False, True, False]
    assert all(row.deviation < 0.05 for row in rows)


def test_a_run_of_published_networks_has_no_size_to_build() -> None:
    with pytest.raises(ValueError, match="takes published networks"):
        gpu.Subject.of(load_config(ROOT / "config" / "paper-celebahq.yaml"), 2, torch.device("cpu"))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([BENCHMARKS / "gpu.py"], 1, "error: this measures a CUDA GPU, and torch finds none on this machine; call it"),
        (["-m", "pytest", "-p", "no:cacheprovider", ROOT / "tests" / "gpu"], 5, "Exit: torch finds no GPU on this"),
    ],
    ids=["benchmark", "tests"],
)
def test_without_a_gpu_one_sentence_says_so_and_nothing_passes(arguments: list, code: int, says: str) -> None:
    import os

    command = [sys.executable, *map(str, arguments)]
    run = subprocess.run(command, env={**os.environ, **HIDDEN}, capture_output=True, text=True, cwd=ROOT)
    assert (run.returncode, run.stdout) == (code, "")
    assert run.stderr.startswith(says) and run.stderr.count("\n") == 1
