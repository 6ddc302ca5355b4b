"""What is valid runs: the extremes that a configuration may have are put to the code that uses them.

It is long because every bound is put to what uses it.
"""

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator
from diffusers import DDPMScheduler

from nonrobust_guidance.config import Run, load_config, parse_config, sample_files, write_config
from nonrobust_guidance.cost import estimate_cost
from nonrobust_guidance.data.pictures import limit_splits
from nonrobust_guidance.data.settings import Dataset
from nonrobust_guidance.data.sportballs import SportBallsData
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.cells import list_cells
from nonrobust_guidance.metrics.distances.features import choose_rows
from nonrobust_guidance.metrics.distances.neighbours import Manifold
from nonrobust_guidance.metrics.gradients.noise_accuracy import noise_levels
from nonrobust_guidance.metrics.ground_truth.mixtures import experiments
from nonrobust_guidance.metrics.settings import GroundTruth, Metrics
from nonrobust_guidance.metrics.statistics.intervals import resampled_interval
from nonrobust_guidance.models.classifiers import build_from_card
from nonrobust_guidance.models.diffusion import build_unet
from nonrobust_guidance.models.preprocessing import preprocess
from nonrobust_guidance.models.settings import NoiseSchedule, Training, UNet
from nonrobust_guidance.models.sources import ClassifierSource
from nonrobust_guidance.models.training import (
    batch_indices,
    learning_rate,
    parts_of,
    require_even_parts,
    step_randomness,
    update_average,
)
from nonrobust_guidance.sampling.draw import split_batches
from nonrobust_guidance.sampling.noise import SampleNoise
from nonrobust_guidance.sampling.sample import sample
from nonrobust_guidance.sampling.settings import Guided, Sampling
from nonrobust_guidance.schedule import Schedule

TINY = Path(__file__).parents[2] / "config" / "tiny.yaml"
Key = tuple[Any, ...]


def full() -> dict[str, Any]:
    """Return a run in which every number that may be left out is there."""
    config = yaml.safe_load(TINY.read_text())
    config["diffusion"]["unet"] |= {"attention_levels": [1], "attention_head_dim": 8}
    config["diffusion"]["training"] |= {"processes": 2, "weight_decay": 0.1, "accumulation": 2, "gradient_clip": 1}
    del config["classifiers"]["nonrobust"]
    stopping = {"min_epochs": 3, "min_gain": 0.01}
    config["classifiers"]["robust"]["training"] |= {"ema_decay": 0.9, "early_stopping": stopping}
    config["sampling"] |= {"sampler": "ddim", "eta": 0.5, "shard_size": 5}
    stabilizers = [
        {"name": "ema", "beta": 0.9, "bias_correction": True},
        {"name": "adam", "beta1": 0.9, "beta2": 0.99, "eps": 1e-4},
        {"name": "clip_norm", "max_norm": 2.0},
    ]
    guided = {"classifier": "robust", "at": "x0", "stabilizer": stabilizers, "interval": [0.1, 0.9], "scales": [3, 0.5]}
    config["sampling"]["methods"] = {"unguided": {"steps": 3}, "guided": guided | {"num_samples": 4, "steps": 5}}
    return parse_config(config, "full.yaml").resolved()


def fetched() -> dict[str, Any]:
    """Return a run on a folder of images with published models."""
    config = full()
    numbers = {"train": 50, "validation": 10, "test": 20}
    config["dataset"] = {"name": "d", "kind": "folder", "root": "r", "classes": ["baseball", "basketball"]}
    config["dataset"] |= {"image_size": 32, "num_images": numbers, "split": {"validation": 0.2, "test": 0.3}}
    config["diffusion"] = {"schedule": config["diffusion"]["schedule"], "source": {"folder": "f"}}
    source = {"folder": "f", "mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}
    config["classifiers"]["robust"] = {"architecture": "resnet18", "noised": True, "input_size": 64, "source": source}
    return parse_config(config, "fetched.yaml").resolved()


RUNS = {"full": full(), "fetched": fetched()}


def leaves(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield all of a configuration that is no mapping and no list, wherever it stands."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        yield key, value
    else:
        for part, inner in parts:
            yield from leaves(inner, (*key, part))


def numbers(config: dict[str, Any]) -> Iterator[tuple[Key, float]]:
    """Yield every number of a configuration."""
    for key, value in leaves(config):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield key, value


def changed(config: dict[str, Any], key: Key, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(config)
    *parents, last = key
    section: Any = config
    for parent in parents:
        section = section[parent]
    section[last] = value
    return config


def accepted(config: dict[str, Any], key: Key, value: Any) -> Run | None:
    """Return the configuration with another number, or None where that is refused, in one sentence about a key."""
    try:
        return parse_config(changed(config, key, value), "mine.yaml")
    except UserError as error:
        sentence = str(error)
        assert sentence.startswith("mine.yaml: ")
        assert "\n" not in sentence
        assert len(sentence) < 600
        assert any(str(part) in sentence for part in key if isinstance(part, str))
        return None


def furthest(config: dict[str, Any], key: Key, known: float, ladder: list[float]) -> float:
    """Return the last number that is accepted on the way out, to six digits where it is no whole one.

    Args:
        config: the run.
        key: of the number.
        known: a number that is accepted.
        ladder: where to look, outermost first; a number in between is found by bisection.
    """
    outside = None
    for rung in ladder:
        if accepted(config, key, rung) is not None:
            inside = rung
            break
        outside = rung
    else:
        inside = known
    while outside is not None and (middle := between(inside, outside)) not in (inside, outside):
        if accepted(config, key, middle) is not None:
            inside = middle
        else:
            outside = middle
    return inside


def between(inside: float, outside: float) -> float:
    if isinstance(inside, int) and isinstance(outside, int):
        return (inside + outside) // 2
    return float(f"{(inside + outside) / 2:.6g}")


def once(function: Callable[..., None]) -> Callable[..., None]:
    """Leave out a call with the same settings as before."""
    done = set()

    def called(*settings: Any) -> None:
        text = repr(settings)
        if text not in done:
            function(*settings)
            done.add(text)

    return called


def use(run: Run, folder: Path) -> None:
    """Put all numbers of a configuration to the constructors and functions that its run calls with them."""
    dataset, sampling, schedule = run.dataset, run.sampling, run.diffusion.schedule
    use_as_files(run, folder)
    use_schedule(schedule, [entry.steps for entry in (sampling, *sampling.methods.values())])
    use_dataset(dataset)
    use_unet(run.diffusion.unet, dataset.image_size)
    for classifier in run.classifiers.values():
        use_classifier(classifier.architecture, classifier.input_size, dataset.image_size, classifier.source)
    for model in (run.diffusion, *run.classifiers.values()):
        if model.training:
            use_training(model.training, dataset.num_images.train)
    use_sampling(sampling, schedule)
    use_metrics(run.metrics)
    use_ground_truth(run.report.ground_truth)
    assert estimate_cost(run).samples > 0


def use_as_files(run: Run, folder: Path) -> None:
    write_config(run, folder / "config.yaml")
    assert load_config(folder / "config.yaml") == run
    assert json.loads(json.dumps(run.resolved())) == run.resolved() == load_config(folder / "config.yaml").resolved()
    files = sample_files(run)
    assert len(set(files)) == len(files)
    for cell in list_cells(run):
        assert cell.path(Path()).as_posix() in files
        assert float(f"{cell.scale:g}") == cell.scale
        assert float(cell.seed) == cell.seed
        write_atomically(cell.path(folder), lambda path: path.write_text(""))
        # The longest name of a log, of the rule that merges shards.
        log = f"{cell.method.name}_scale-{cell.scale:g}_seed-{cell.seed}_{cell.target}.log"
        write_atomically(folder / log, lambda path: path.write_text(""))


@once
def use_schedule(noise: NoiseSchedule, steps: list[int]) -> None:
    scheduler = DDPMScheduler(num_train_timesteps=noise.num_steps, beta_start=noise.beta_start, beta_end=noise.beta_end)
    for schedule in (Schedule.from_diffusers(scheduler), noise.make()):
        # In float32, in which chains are computed, the image's amplitude can be divided by.
        assert torch.isfinite(1 / schedule.alpha_bars.sqrt().float()).all()
        for kept in steps:
            assert len(schedule.respaced(kept)) == kept > 1


@once
def use_dataset(dataset: Dataset) -> None:
    size, counts = dataset.image_size, dataset.num_images.counts()
    if isinstance(dataset, SportBallsData):
        balls = dataset.open(Path())
        if size <= 512:
            assert balls.example(sum(counts.values()) - 1).image.shape == (size, size, 3)
    else:
        assert dataset.split.validation + dataset.split.test < 1
    splits = dict.fromkeys(("train", "validation", "test"), range(100))
    for split, indices in limit_splits(splits, counts, dataset.seed).items():
        assert len(indices) == min(100, counts[split])
        assert split == "validation" or counts[split] >= 2 * len(dataset.classes)


@once
def use_unet(settings: UNet | None, size: int) -> None:
    if settings is not None:
        with torch.device("meta"):
            x = torch.zeros(2, 3, size, size)
            assert build_unet(settings, size, seed=0)(x, torch.zeros(2, dtype=torch.long)).sample.shape == x.shape


@once
def use_classifier(architecture: str, input_size: int | None, size: int, source: ClassifierSource | None) -> None:
    card = {"architecture": architecture, "classes": ["a", "b", "c"], "factors": [], "input_size": input_size or size}
    with torch.device("meta"):
        assert build_from_card(card)(torch.zeros(2, 3, size, size)).shape == (2, 3)
    if source is not None:
        seen = preprocess(lambda images: images, input_size, source.mean, source.std)
        assert torch.isfinite(seen(torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)).square()).all()


@once
def use_ground_truth(settings: GroundTruth) -> None:
    for experiment in experiments(settings.num_samples, settings.num_steps):
        assert len(experiment.schedule) == settings.num_steps


@once
def use_training(settings: Training, num_images: int) -> None:
    images = min(num_images, 500)
    size, processes = min(settings.batch_size, images), settings.processes
    processes = 1 if processes == "auto" else processes
    if num_images <= 500:
        require_even_parts(size, processes, settings.accumulation)
        parts = parts_of([torch.zeros(size)], processes - 1, processes, settings.accumulation)
        assert all(len(part[0]) for part in parts)
    network = torch.nn.Linear(3, 3)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=settings.weight_decay)
    for step in (0, settings.steps - 1):
        assert len(batch_indices(step, images, settings)) == size
        rate = learning_rate(step, settings)
        optimizer.param_groups[0]["lr"] = rate
        with step_randomness(settings.seed, step):
            network(torch.rand(2, 3)).sum().backward()
        Accelerator(cpu=True).clip_grad_norm_(network.parameters(), settings.gradient_clip)
        optimizer.step()
        if settings.ema_decay:
            update_average(average, network, settings.ema_decay)
    assert all(torch.isfinite(value).all() for value in [*average.values(), *network.parameters()])
    torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)


@once
def use_sampling(sampling: Sampling, noise: NoiseSchedule) -> None:
    """Draw a sample of every guided cell with a network that predicts no noise and a linear classifier, in float32."""
    schedule = noise.make()
    classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    for method in sampling.methods.values():
        options = {"sampler": sampling.sampler_of(method), "shape": (3, 4, 4)}
        last = range(method.num_samples)[-2:]
        assert split_batches(last, sampling.batch_size)
        if sampling.shard_size:
            assert len(range(0, method.num_samples, sampling.shard_size)) <= 10_000
        chain = schedule.respaced(min(method.steps, 20))
        for scale in method.scales if isinstance(method, Guided) else ():
            guidance = method.make(classifier, 1, scale)
            for seed in sampling.seeds:
                images = sample(silent, chain, 2, seed, guidance=guidance, first_index=last[0], **options)
                assert torch.isfinite(images).all()


def silent(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Predict no noise, through which gradients run."""
    return 0 * x_t


@once
def use_metrics(metrics: Metrics) -> None:
    bootstrap, values = metrics.bootstrap, np.linspace(0, 1, 5)
    assert math.isfinite(resampled_interval(values, np.median, bootstrap.resamples, bootstrap.seed).low)
    assert choose_rows(10, metrics.feature_rows, bootstrap.seed).sum() == min(10, metrics.feature_rows)
    assert len(Manifold.of(np.eye(3), metrics.neighbours).radii) == 3
    SampleNoise(bootstrap.seed, range(2), (3, 4, 4))(0)
    for count in (metrics.noise_levels, metrics.sensitivity.levels):
        assert 1 <= len(noise_levels(4, count)) <= 4
    for count in (metrics.num_noise_images, metrics.sensitivity.num_images):
        assert 1 <= len(noise_levels(50, count)) <= 50


KEYS = dict(numbers(RUNS["full"]))
CASES = [("full", key, value) for key, value in KEYS.items()]
CASES += [("fetched", key, value) for key, value in numbers(RUNS["fetched"]) if key not in KEYS]
POWERS = [*range(300, 30, -30), *range(30, 0, -3)]
# From far out inward: upward and downward, for whole numbers and for others.
LADDERS: dict[type, tuple[list[float], list[float]]] = {
    int: ([*(10**power for power in POWERS), 5], [*(-(10**power) for power in POWERS), -5, 0]),
    float: (
        [*(float(f"1e{power}") for power in POWERS), 5.0],
        [*(float(f"-1e{power}") for power in POWERS), -5.0, 0.0, *(float(f"1e-{power}") for power in POWERS)],
    ),
}
STRANGE = [0, -1, 1, 2, 0.5, -0.5, 1.5, 1e-300, 1e300, 2**31, 2**53, 2**63, 2**64, 10**400, -(10**400)]
STRANGE += [math.inf, -math.inf, math.nan, True, "1", "1e-3", None, [1]]


@pytest.mark.parametrize(
    ("run", "key", "value"), [pytest.param(*case, id=".".join(map(str, case[1]))) for case in CASES]
)
def test_every_number_at_its_bounds_is_used_or_refused(tmp_path, run, key, value):
    config = RUNS[run]
    found = [furthest(config, key, value, ladder) for ladder in LADDERS[type(value)]]
    assert found[1] <= value <= found[0]
    for i, number in enumerate([*found, *STRANGE]):
        resolved = accepted(config, key, number)
        assert i > 1 or resolved is not None
        if resolved is not None:
            use(resolved, tmp_path / str(i))


TEXTS = [key for key, value in leaves(RUNS["full"]) if isinstance(value, str)]
ODD = [
    "",
    "a" * 80,
    "a" * 81,
    "a" * 10_000,
    "a\n",
    "a\0b",
    "../a",
    "a/b",
    " a",
    "é",
    "-a",
    "None",
    "NA",
    "1e5",
    "01",
    "true",
]


@pytest.mark.parametrize("key", TEXTS, ids=lambda key: ".".join(map(str, key)))
def test_any_text_is_used_or_refused(tmp_path, key):
    for i, text in enumerate(ODD):
        resolved = accepted(RUNS["full"], key, text)
        if resolved is not None:
            use_as_files(resolved, tmp_path / str(i))


@pytest.mark.parametrize("name", ODD, ids=lambda name: repr(name[:20]))
def test_names_of_classes_methods_and_classifiers_are_those_of_files(tmp_path, name):
    config = changed(RUNS["fetched"], ("sampling", "methods", name), RUNS["fetched"]["sampling"]["methods"]["guided"])
    config["classifiers"][name] = RUNS["fetched"]["classifiers"]["robust"]
    config["dataset"]["classes"][0] = config["sampling"]["targets"][0] = name
    if len(name) < 81 and name.isascii() and name.replace("_", "").isalnum() and name == name.lower():
        use_as_files(parse_config(config, "mine.yaml"), tmp_path)
    else:
        with pytest.raises(UserError) as caught:
            parse_config(config, "mine.yaml")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600


ARCHITECTURES = ["judge_cnn", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "resnet18", "resnet34"]
ARCHITECTURES += ["resnet50", "convnext_tiny", "densenet121", "vgg11_bn"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_sees_the_smallest_images_that_it_may(architecture):
    config = changed(RUNS["full"], ("classifiers", "other"), RUNS["full"]["classifiers"]["judge"])
    key = ("classifiers", "other", "input_size")
    config["classifiers"]["other"] = config["classifiers"]["other"] | {"architecture": architecture}
    smallest = next(size for size in range(1, 100) if accepted(config, key, size))
    assert smallest < 33
    # In training, a batch of the fewest images that a part may have.
    training = {"batch_size": 1, "accumulation": 1}
    config["classifiers"]["other"]["training"] = config["classifiers"]["other"]["training"] | training
    config["classifiers"]["other"]["input_size"] = smallest
    fewest = next(size for size in (1, 2) if accepted(config, ("classifiers", "other", "training", "batch_size"), size))
    card = {"architecture": architecture, "classes": ["a", "b", "c"], "factors": [], "input_size": smallest}
    with torch.device("meta"):
        assert build_from_card(card).train()(torch.zeros(fewest, 3, 16, 16)).shape == (fewest, 3)
