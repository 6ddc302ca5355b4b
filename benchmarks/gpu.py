"""What drawing costs on a CUDA GPU, with the U-Net in several layouts and precisions, compiled, and as one CUDA graph.

Each is drawn with at the batch size that measuring chose. The table says too for which share of the time the GPU waits
for Python, how much memory is taken, and how far the predicted noise is off that in float32.

python benchmarks/gpu.py --config config/paper-sportballs-small.yaml
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from gpu_table import BASE, Row, covered, format_table, search_batch_size, waiting_share
from torch import Tensor, nn
from torch.autograd import DeviceType

import nonrobust_guidance as ng
from nonrobust_guidance.config import load_config
from nonrobust_guidance.devices import choose_device, wait_for
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.models.classifiers import build_from_card, describe_network, ready_to_guide
from nonrobust_guidance.models.diffusion import build_unet
from nonrobust_guidance.sampling.denoiser import predict
from nonrobust_guidance.sampling.noise import SampleNoise

CONFIG = Path(__file__).parents[1] / "config" / "paper-sportballs-small.yaml"
UNGUIDED = "unguided"
GUIDED = (UNGUIDED, "xt", "x0", "x0_detached")
THROUGH_UNET = "x0"
COMPARED = 8  # images that are compared with those in float32; no batch is smaller
NO_GPU = "error: this measures a CUDA GPU, and torch finds none on this machine; call it where nvidia-smi lists one"


@dataclass(frozen=True)
class Way:
    """How the U-Net is run.

    Attributes:
        dtype: of its weights.
        autocast: dtype in which its layers compute, if it is a different one.
        channels_last: whether its weights, and so its images, are laid out channels last.
        form: "eager" layer by layer, "compiled" by torch.compile, or "graph", one CUDA graph of its forward pass.
    """

    dtype: torch.dtype = torch.float32
    autocast: torch.dtype | None = None
    channels_last: bool = False
    form: Literal["eager", "compiled", "graph"] = "eager"


BF16 = Way(torch.bfloat16, channels_last=True)
WAYS = {
    BASE: Way(),
    "float32, channels last": Way(channels_last=True),
    "bf16 autocast": Way(autocast=torch.bfloat16),
    "bf16": Way(torch.bfloat16),
    "bf16, channels last": BF16,
    "bf16, channels last, torch.compile": replace(BF16, form="compiled"),
    "bf16, channels last, CUDA graph": replace(BF16, form="graph"),
}


class Graph:
    """A U-Net's forward pass as one CUDA graph: for batches of one shape, without gradients."""

    def __init__(self, unet: nn.Module, x: Tensor, t: Tensor) -> None:
        """Record the pass for images like x (B, C, H, W), in the dtype of the weights, and t (B,)."""
        self.x, self.t, self.graph = x.clone(), t.clone(), torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.no_grad():
            with torch.cuda.stream(aside):  # what libraries set up in their first calls must not be recorded
                for _ in range(3):
                    unet(self.x, self.t)
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(self.graph):
                self.output = unet(self.x, self.t).sample

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the U-Net's output for x (B, C, H, W) and t (B,)."""
        self.x.copy_(x)
        self.t.copy_(t)
        self.graph.replay()
        return self.output.clone()


@dataclass(frozen=True)
class Subject:
    """The networks to draw with: a run's, with random weights, which cost the same.

    Attributes:
        unet: in float32.
        classifier: the guide, in float32.
        schedule: with as many levels as a drawing has steps.
        size: side of the images in pixels.
        device: where all of them are.
    """

    unet: nn.Module
    classifier: nn.Module
    schedule: ng.Schedule
    size: int
    device: torch.device

    @classmethod
    def of(cls, run: Measured, num_steps: int, device: torch.device) -> Subject:
        """Build the U-Net and the first guide that a run would train.

        Raises:
            ValueError: if the run uses published ones, whose size is not in its file.
        """
        guides = [classifier for name, classifier in run.classifiers.items() if name != run.metrics.judge]
        if run.diffusion.unet is None or not guides or guides[0].training is None:
            raise ValueError("the run takes published networks; give one that trains its own")
        size = run.dataset.image_size
        unet = build_unet(run.diffusion.unet, size, seed=0).eval().requires_grad_(False).to(device)
        card = {"classes": list(run.dataset.classes), "factors": [], "input_size": guides[0].input_size or size}
        classifier = ready_to_guide(build_from_card(describe_network(guides[0]) | card)).to(device)
        return cls(unet, classifier, run.diffusion.schedule.make().respaced(num_steps), size, device)

    def denoiser(self, way: Way, rows: int) -> Any:
        """Return the U-Net, run in that way on batches of ``rows`` images."""
        layout = torch.channels_last if way.channels_last else torch.preserve_format
        # Not with diffusers' own to(), which warns about layers to keep in float32, though this U-Net has none.
        unet = nn.Module.to(copy.deepcopy(self.unet), dtype=way.dtype, memory_format=layout)
        if way.form == "compiled":
            return torch.compile(unet)
        if way.form == "graph":
            x = torch.zeros(rows, 3, self.size, self.size, device=self.device, dtype=way.dtype)
            return Graph(unet, x, torch.zeros(rows, device=self.device, dtype=torch.int64))
        return unet

    def steps(self, denoiser: Any, way: Way, at: str, rows: int) -> Iterator[ng.Step]:
        """Yield the steps of drawing ``rows`` images, guided at ``at`` or not at all."""
        guidance = None if at == UNGUIDED else ng.ClassifierGuidance(self.classifier, 0, 1.0, at=at)
        options: dict[str, Any] = {"microbatch": None, "autocast": way.autocast, "device": self.device}
        return ng.trajectory(
            denoiser, self.schedule, rows, guidance=guidance, shape=(3, self.size, self.size), **options
        )

    @torch.no_grad()
    def predicted_noise(self, denoiser: Any, way: Way, rows: int) -> Tensor:
        """Return the U-Net's output for noise at the first step, (B, C, H, W)."""
        x = SampleNoise(0, range(rows), (3, self.size, self.size))(0).to(self.device)
        return predict(denoiser, self.schedule, x, next(self.schedule.transitions()), autocast=way.autocast).eps

    def draw(self, denoiser: Any, way: Way, at: str, rows: int) -> None:
        """Draw ``rows`` images, without keeping any step."""
        for _ in self.steps(denoiser, way, at, rows):
            pass


def images_per_second(draw: Callable[[], Any], rows: int, device: torch.device, seconds: float) -> float:
    """Return the images per second when drawing ``rows`` of them, timed for some seconds after a drawing to warm up.

    Raises:
        torch.OutOfMemoryError: if they do not fit into the GPU's memory all at once.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The networks ran out of memory", RuntimeWarning)
        try:
            draw()
        except RuntimeWarning as warning:
            raise torch.OutOfMemoryError(str(warning)) from None
    wait_for(device)
    drawn, start = 0, time.perf_counter()
    while drawn == 0 or time.perf_counter() - start < seconds:
        draw()
        wait_for(device)
        drawn += rows
    return drawn / (time.perf_counter() - start)


def kernel_times(draw: Callable[[], Any], device: torch.device) -> list[tuple[float, float]]:
    """Return when each kernel and copy of a drawing started and ended on the GPU, in seconds."""
    with torch.profiler.profile() as profile:
        draw()
        wait_for(device)
    return [
        (event.time_range.start / 1e6, event.time_range.end / 1e6)
        for event in profile.events()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    ]


def measure(subject: Subject, ways: Sequence[str], guided: Sequence[str], seconds: float, largest: int) -> list[Row]:
    """Measure all ways; a compiled or recorded U-Net gets the batch size that was found for it layer by layer."""
    expected = subject.predicted_noise(subject.unet, Way(), COMPARED)
    rows: list[Row] = []
    sizes: dict[tuple[Way, str], int] = {}
    for at in guided:
        for name in ways:
            way, eager = WAYS[name], replace(WAYS[name], form="eager")
            if way.form == "graph" and at == THROUGH_UNET:
                continue  # a recorded forward pass has no backward pass
            if (eager, at) not in sizes:
                rate = partial(rate_of, subject, eager, at, seconds)
                sizes[eager, at], _ = search_batch_size(rate, first=COMPARED, largest=largest)
            rows.append(measure_way(subject, name, at, sizes[eager, at], seconds, expected))
    return rows


def measure_way(subject: Subject, name: str, at: str, batch: int, seconds: float, expected: Tensor) -> Row:
    """Measure one way at a batch size; expected is the noise that is predicted in float32, (COMPARED, C, H, W)."""
    way, on_gpu = WAYS[name], subject.device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    denoiser = subject.denoiser(way, batch)
    draw = partial(subject.draw, denoiser, way, at, batch)
    rate = images_per_second(draw, batch, subject.device, seconds)
    memory = torch.cuda.max_memory_reserved() / 2**30 if on_gpu else 0.0
    waiting = waiting_share(covered(kernel_times(draw, subject.device)), batch / rate)
    found = subject.predicted_noise(denoiser, way, batch)[:COMPARED]
    return Row(name, at, batch, rate, waiting, memory, float((found - expected).abs().max() / expected.abs().max()))


def rate_of(subject: Subject, way: Way, at: str, seconds: float, rows: int) -> float:
    """Return the images a second of one way at a batch size."""
    draw = partial(subject.draw, subject.denoiser(way, rows), way, at, rows)
    return images_per_second(draw, rows, subject.device, seconds)


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=CONFIG, help="the run whose networks are drawn with")
    parser.add_argument("--steps", type=int, default=10, help="of a drawing")
    parser.add_argument("--seconds", type=float, default=3.0, help="for which each is timed")
    parser.add_argument("--largest", type=int, default=4096, help="batch that is tried")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--guided", nargs="+", choices=GUIDED, default=list(GUIDED))
    parser.add_argument(
        "--tf32", action="store_true", help="in float32 multiply in TF32, as no job of a run that draws"
    )
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(NO_GPU)
    device = choose_device("cuda", exact=not options.tf32)
    run = load_config(options.config)
    try:
        subject = Subject.of(run, options.steps, device)
    except ValueError as error:
        parser.error(f"{options.config}: {error}")
    print(format_table(measure(subject, options.ways, options.guided, options.seconds, options.largest)))
    print(
        f"\n{options.steps} steps of DDPM, {subject.size} x {subject.size} pixels, the networks of "
        f"{options.config.name}, {'with' if options.tf32 else 'without'} TF32; {torch.cuda.get_device_name()}, "
        f"torch {torch.__version__}, CUDA {torch.version.cuda}, diffusers {diffusers.__version__}."
    )


if __name__ == "__main__":
    main()
