"""What a guided image costs, with every method and sampler, in interleaved rounds.

Unguided, with diffusers' own pipeline on the same weights too.

python benchmarks/sampling_speed.py --threads 2
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler

import nonrobust_guidance as ng
from nonrobust_guidance.config import load_config
from nonrobust_guidance.models.classifiers import build_from_card, ready_to_guide
from nonrobust_guidance.models.diffusion import build_unet
from nonrobust_guidance.models.settings import UNet
from nonrobust_guidance.sampling.samplers.sampler import Sampler

CONFIG = Path(__file__).parents[1] / "config" / "default.yaml"
# Twice the work of the default run's U-Net, with which the classifier would be a larger part of the cost.
UNET = UNet(block_out_channels=(32, 64, 64), layers_per_block=1, norm_num_groups=8)
BASE = "unguided"
SAMPLERS: dict[str, Sampler] = {"ddpm": ng.DDPM(), "ddim": ng.DDIM(eta=1.0), "dpmsolver": ng.DPMSolver()}
# Each has one recurrence and one draw, and TFG is as published for CIFAR-10. The strength does not change the cost.
METHODS: dict[str, Callable[[Any], ng.Guidance]] = {
    "xt": lambda classifier: ng.ClassifierGuidance(classifier, 0, 1.0, at="xt"),
    "x0": lambda classifier: ng.ClassifierGuidance(classifier, 0, 1.0, at="x0"),
    "x0_detached": lambda classifier: ng.ClassifierGuidance(classifier, 0, 1.0, at="x0_detached"),
    "dps": lambda classifier: ng.DPS(classifier, 0, 1.0),
    "lgd": lambda classifier: ng.LGD(classifier, 0, 1.0),
    "freedom": lambda classifier: ng.FreeDoM(classifier, 0, 1.0),
    "mpgd": lambda classifier: ng.MPGD(classifier, 0, 1.0),
    "dsg": lambda classifier: ng.DSG(classifier, 0, 0.1),
    "ugd": lambda classifier: ng.UGD(classifier, 0, 1.0),
    "tfg": lambda classifier: ng.TFG(classifier, 0, 1.0, 0.25, 0.001, iterations=4),
}
THEIRS = ("ddpm", "unguided by diffusers")
# Bars for the cost: at most one more pass of the classifier and, through the U-Net, one backward pass.
BARS = {"xt": 1.4, "x0_detached": 1.15, "mpgd": 1.15, "x0": 2.15, "dps": 2.15, "freedom": 2.15}

Way = tuple[str, str]
"""A way of drawing images: the sampler, and the method or the name for none."""


def build_ways(
    device: torch.device, num_images: int, num_steps: int, samplers: Sequence[str], methods: Sequence[str]
) -> dict[Way, Callable[[], Any]]:
    """Return the ways of drawing this many images in this many steps; weights are random, which costs the same."""
    run = load_config(CONFIG)
    size, noise, guide = run.dataset.image_size, run.diffusion.schedule, run.classifiers["nonrobust"]
    card = {"architecture": guide.architecture, "input_size": guide.input_size or size}
    card |= {"classes": list(run.dataset.classes), "factors": []}
    unet = build_unet(UNET, size, seed=0).eval().requires_grad_(False).to(device)
    classifier = ready_to_guide(build_from_card(card)).to(device)
    scheduler = DDPMScheduler(
        num_train_timesteps=noise.num_steps,
        beta_start=noise.beta_start,
        beta_end=noise.beta_end,
        timestep_spacing="trailing",
    )
    pipeline = DDPMPipeline(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    schedule = ng.Schedule.from_diffusers(scheduler).respaced(num_steps)

    def theirs() -> Any:
        return pipeline(num_images, num_inference_steps=num_steps, output_type="np").images

    def ours(sampler: str, method: str) -> Callable[[], Any]:
        guidance = None if method == BASE else METHODS[method](classifier)
        return lambda: ng.sample(unet, schedule, num_images, guidance=guidance, sampler=SAMPLERS[sampler]).cpu()

    ways = {(sampler, method): ours(sampler, method) for sampler in samplers for method in (BASE, *methods)}
    return {THEIRS: theirs, **ways} if THEIRS[0] in samplers else ways


def measure(
    ways: dict[Way, Callable[[], Any]], rounds: int, clock: Callable[[], float], seed: int
) -> dict[Way, np.ndarray]:
    """Return the seconds of each way in each round, (rounds,); the order changes from round to round."""
    seconds: dict[Way, list[float]] = {way: [] for way in ways}
    rng = np.random.default_rng(seed)
    for draw in ways.values():
        draw()
    for _ in range(rounds):
        for i in rng.permutation(len(ways)):
            way = list(ways)[i]
            start = clock()
            ways[way]()
            seconds[way].append(clock() - start)
    return {way: np.array(values) for way, values in seconds.items()}


def median_interval(values: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Return the median of the values (N,) and its 95% bootstrap interval."""
    resampled = np.random.default_rng(seed).choice(values, (10_000, len(values)))
    low, high = np.quantile(np.median(resampled, axis=1), [0.025, 0.975])
    return float(np.median(values)), float(low), float(high)


def format_table(seconds: dict[Way, np.ndarray], num_images: int, seed: int) -> str:
    """Return the table: images per second, and the cost of an image in units of an unguided one of ours."""
    lines = ["| sampler | method | images per second | cost over unguided (95%) | bar |", "|---|---|---|---|---|"]
    for (sampler, method), values in seconds.items():
        ratio, low, high = median_interval(values / seconds[sampler, BASE], seed)
        cost = "1" if method == BASE else f"{ratio:.2f} ({low:.2f} to {high:.2f})"
        bar = "at least 1" if (sampler, method) == THEIRS else f"at most {BARS[method]}" if method in BARS else ""
        lines.append(f"| {sampler} | {method} | {num_images / np.median(values):.2f} | {cost} | {bar} |")
    return "\n".join(lines)


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="of torch on the CPU")
    parser.add_argument("--images", type=int, default=32, help="drawn together; a CPU runs them 32 at a time")
    parser.add_argument("--steps", type=int, default=50, help="of a drawing; the last of ddpm is not guided")
    parser.add_argument("--samplers", nargs="+", choices=list(SAMPLERS), default=list(SAMPLERS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the order and of the bootstrap")
    parser.add_argument("--cpu-time", action="store_true", help="in place of wall time, for a busy machine; one thread")
    options = parser.parse_args()
    if options.cpu_time and options.threads != 1:
        parser.error("--cpu-time counts every thread's time; use it with --threads 1")
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ways = build_ways(device, options.images, options.steps, options.samplers, options.methods)
    clock = time.process_time if options.cpu_time else time.perf_counter
    seconds = measure(ways, options.rounds, clock, options.seed)
    print(format_table(seconds, options.images, options.seed))
    cpu = f"{platform.machine()}, {options.threads} threads"
    print(
        f"\n{options.rounds} rounds of {options.images} images in {options.steps} steps, float32, on "
        f"{torch.cuda.get_device_name() if device.type == 'cuda' else cpu}; "
        f"torch {torch.__version__}, diffusers {diffusers.__version__}."
    )


if __name__ == "__main__":
    main()
