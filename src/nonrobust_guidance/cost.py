"""What a run will cost, counted from its configuration alone, before anything is prepared or trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from nonrobust_guidance.data import Dataset
from nonrobust_guidance.data.settings import NumImages
from nonrobust_guidance.devices import wait_for
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.guidance.method import Guidance
from nonrobust_guidance.metrics.cells import list_cells
from nonrobust_guidance.metrics.screening import screening_of, variants, with_one_candidate
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.models.classifiers import build_from_card, describe_network, ready_to_guide
from nonrobust_guidance.models.diffusion import build_unet
from nonrobust_guidance.models.settings import Models, NoiseSchedule
from nonrobust_guidance.sampling.settings import Chain, Guided, Method, Rejected, Sampling, acceptance_of
from nonrobust_guidance.sampling.trajectory import acts_in

MEASURED_SECONDS = 2.0
MEASURED_BATCH = 32
UNET, CLASSIFIER = "U-Net", "classifier"
SAMPLING, GUIDANCE, TRAINING = f"{UNET}, sampling", f"{CLASSIFIER}, guidance", "training"

# The number of images in all splits, for the sources whose size is known without fetching them.
PUBLISHED_SIZES = {"celeba": 162_770 + 19_867 + 19_962, "celebahq": 30_000}
# The same for one class, where a run need not have all classes.
PUBLISHED_CLASS_SIZES = {"fashion_mnist": 7_000}


class Passes(NamedTuple):
    """Images that go forward through a network, and gradients that go back: to the input, or to the weights too."""

    forward: int
    to_input: int = 0
    to_weights: int = 0

    @property
    def equivalent(self) -> int:
        """The same work in forward passes: a gradient costs one for the input and one more for the weights."""
        return self.forward + self.to_input + 2 * self.to_weights


@dataclass(frozen=True)
class Cost:
    """What a run does if all models are trained from scratch, without scoring and analyses.

    Attributes:
        cells: rows of metrics.csv, including the screening's.
        samples: drawn in all.
        unsearched: samples that the run would draw without its ``sampling.search``; None if it has none.
        passes: by network and purpose, such as "U-Net, sampling"; in single images.
        sample_bytes: of the files of samples, at most.
        data_bytes: of the prepared data set, at most; None where its size is not known yet.
    """

    cells: int
    samples: int
    passes: Mapping[str, Passes]
    sample_bytes: int
    data_bytes: int | None
    unsearched: int | None = None

    def hours(self, throughput: Mapping[str, float]) -> float:
        """Return the hours that the passes take at these forward passes a second, counting only the networks named."""
        known = [
            (throughput[network], p) for what, p in self.passes.items() if (network := network_of(what)) in throughput
        ]
        return sum(p.equivalent / rate for rate, p in known) / 3600


def estimate_cost(run: Measured) -> Cost:
    """Count what a run does.

    Rejection of unguided samples is assumed to need as many attempts as there are classes, which is right if they are
    equally frequent and well apart, and that of guided samples a single attempt, which is the least possible. A
    guidance from a user's file counts one pass through its classifier in a step, unless it says otherwise with
    `Guidance.num_classifier_passes`; that of an ensemble or a smoothed classifier counts as one.
    """
    size, num_images = run.dataset.image_size, dataset_size(run.dataset)
    drawn = [screening_of(run), with_one_candidate(run)] if variants(run) else [run]
    sampling, guidance = zip(*(passes_of(part) for part in drawn), strict=True)
    samples = sum(map(num_samples, drawn))
    return Cost(
        cells=sum(len(list_cells(part)) for part in drawn),
        samples=samples,
        passes={SAMPLING: add(sampling), GUIDANCE: add(guidance)} | training_passes(run),
        sample_bytes=samples * size * size * 3,
        data_bytes=None if num_images is None else num_images * size * size * 3,
        unsearched=num_samples(run) if variants(run) else None,
    )


def passes_of(run: Measured) -> tuple[Passes, Passes]:
    """Return the passes through the U-Net and through the classifiers when a run's samples are drawn."""
    sampling = run.sampling
    tried = {name: num_drawn(method, sampling) * attempts_of(method, run) for name, method in sampling.methods.items()}
    forward = sum(n * sampling.methods[name].steps for name, n in tried.items())
    backward = asked = 0
    for method in sampling.guided.values():
        guidance = example_of(method)
        acting = num_drawn(method, sampling) * guided_steps(run.diffusion.schedule, sampling, method)
        made = acting * guidance.recurrences
        forward += made - acting
        backward += made if guidance.through_network else 0
        asked += made * guidance.num_classifier_passes
    picked = sum(tried[name] for name, method in sampling.methods.items() if acceptance_of(method))
    return Passes(forward, backward), Passes(asked + picked, asked)


def add(parts: Iterable[Passes]) -> Passes:
    """Return the sum of several passes."""
    return Passes(*map(sum, zip(*parts, strict=True)))


def num_samples(run: Measured) -> int:
    """Return how many samples a run draws at all its scales, with one value for keys that a method varies."""
    return sum(num_drawn(method, run.sampling) for method in run.sampling.methods.values())


def num_drawn(method: Method, sampling: Sampling) -> int:
    """Return how many samples a method draws, over its scales, targets and seeds."""
    files = len(sampling.seeds) * len(method.drawn_scales)
    if method.classifier:
        files *= len(sampling.targets)
    return files * method.num_samples


def attempts_of(method: Method, run: Measured) -> int:
    """Return how many chains a sample is assumed to need: one, or in rejection of unguided samples one per class."""
    return min(len(run.dataset.classes), method.reject.max_draws) if isinstance(method, Rejected) else 1


def guided_steps(noise: NoiseSchedule, chain: Chain, method: Guided) -> int:
    """Return at how many steps of a method's chain its guidance acts; recurrences are not counted."""
    schedule, sampler, guidance = method.levels_of(noise.make()), chain.sampler_of(method), example_of(method)
    return sum(acts_in(guidance, sampler, step, schedule) for step in schedule.transitions())


def example_of(method: Guided) -> Guidance:
    """Return a guided method's guidance, with a stand-in for its classifier."""
    return method.make(lambda images: images, 0, method.scales[0])


def training_passes(run: Models) -> dict[str, Passes]:
    """Return the passes of the models that the run trains itself."""
    trainings = {UNET: run.diffusion.training}
    trainings |= {f"{CLASSIFIER} {name}": classifier.training for name, classifier in run.classifiers.items()}
    images = {name: training.steps * training.batch_size for name, training in trainings.items() if training}
    return {f"{name}, {TRAINING}": Passes(n, to_weights=n) for name, n in images.items()}


def dataset_size(dataset: Dataset) -> int | None:
    """Return how many images are prepared at most; None where a folder would have to be counted first."""
    limits = dataset.num_images.counts() if dataset.num_images else {}
    if len(limits) == len(NumImages.model_fields):
        return sum(limits.values())
    if dataset.kind in PUBLISHED_CLASS_SIZES:
        return PUBLISHED_CLASS_SIZES[dataset.kind] * len(dataset.classes)
    return PUBLISHED_SIZES.get(dataset.kind)


def network_of(what: str) -> str:
    """Return whose passes an entry counts: "U-Net" or "classifier"; all classifiers count as the one timed."""
    return UNET if what.startswith(UNET) else CLASSIFIER


def measure_throughput(run: Measured, device: torch.device) -> dict[str, float]:
    """Return how many images a second go forward through the run's networks, with random weights, on a device.

    Raises:
        UserError: if the networks are published ones, whose size is not in the configuration.
    """
    size = run.dataset.image_size
    guides = [classifier for name, classifier in run.classifiers.items() if name != run.metrics.judge]
    if run.diffusion.unet is None:
        raise UserError("diffusion.source names a published U-Net, which is not here to be timed; give --throughput")
    unet = build_unet(run.diffusion.unet, size, seed=0).eval().to(device)
    x = torch.randn(MEASURED_BATCH, 3, size, size, device=device)
    rates = {UNET: images_per_second(lambda: unet(x, 0), device)}
    if guides:
        card: dict[str, Any] = {"classes": list(run.dataset.classes), "factors": []}
        card |= describe_network(guides[0]) | {"input_size": guides[0].input_size or size}
        classifier = ready_to_guide(build_from_card(card)).to(device)
        rates[CLASSIFIER] = images_per_second(lambda: classifier(x), device)
    return rates


@torch.no_grad()
def images_per_second(forward: Callable[[], Any], device: torch.device) -> float:
    """Return the rate of a forward pass of a batch, timed for two seconds after one pass to warm up."""
    forward()
    wait_for(device)
    batches, start = 0, time.perf_counter()
    while time.perf_counter() - start < MEASURED_SECONDS:
        forward()
        wait_for(device)
        batches += 1
    return batches * MEASURED_BATCH / (time.perf_counter() - start)


def format_cost(name: str, cost: Cost, throughput: Mapping[str, float], origin: str) -> str:
    """Return the cost as lines of text.

    Args:
        name: the run's.
        cost: of the run.
        throughput: forward passes a second by network.
        origin: where the throughput is from, in words.
    """
    lines = [
        f"run {name}: {cost.cells:,} cells, {cost.samples:,} samples",
        f"{'images through':32} {'forward':>18} {'and back':>18}",
    ]
    lines += [
        f"{what:32} {p.forward:18,} {p.to_input + p.to_weights:18,}" for what, p in cost.passes.items() if p.forward
    ]
    data = "unknown until it is prepared" if cost.data_bytes is None else readable(cost.data_bytes)
    if cost.unsearched is not None:
        lines.append(f"without sampling.search, every scale on all samples: {cost.unsearched:,} samples")
    lines.append(f"disk: samples {readable(cost.sample_bytes)}, data {data}")
    rates = ", ".join(f"{network} {rate:,.0f}" for network, rate in throughput.items())
    lines.append(f"images forward a second, {origin}: {rates}")
    trained = Cost(0, 0, {what: p for what, p in cost.passes.items() if what.endswith(TRAINING)}, 0, 0)
    hours = cost.hours(throughput)
    left_out = "" if CLASSIFIER in throughput else ", the classifiers' passes not counted"
    training = trained.hours(throughput)
    lines.append(
        f"about {hours:,.2f} device-hours, {training:,.2f} of them training{left_out}; scoring and analyses come on top"
    )
    return "\n".join(lines)


def readable(num_bytes: int) -> str:
    """Return a number of bytes in MB or GB."""
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"
