"""What a run is said to cost, against the networks' calls counted while it draws, and by hand."""

from pathlib import Path

import pytest
import torch
from sections import dataset_of

import nonrobust_guidance as ng
from nonrobust_guidance import cost
from nonrobust_guidance.config import Run, load_config, parse_config

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture
def tiny() -> Run:
    """The tiny run: 6 samples a cell, 12 unguided, in 4 steps, for two targets, with one seed."""
    return load_config(CONFIG / "tiny.yaml")


def test_the_tiny_run_counted_by_hand(tiny):
    found = cost.estimate_cost(tiny)
    # robust_xt has two scales and the seven other guided methods one: nine times two targets, six samples each.
    assert found.samples == 12 + 9 * 2 * 6
    assert found.cells == 2 + 9 * 2
    # Every step of every sample goes forward, and the last one is not guided: three of four steps go back, of the
    # five methods at x0 (robust, plain, EMA twice, Adam).
    assert found.passes[cost.SAMPLING] == (120 * 4, 5 * 2 * 6 * 3, 0)
    assert found.passes[cost.GUIDANCE] == (9 * 2 * 6 * 3, 9 * 2 * 6 * 3, 0)
    assert found.passes["U-Net, training"] == (30 * 16, 0, 30 * 16)
    assert found.passes["classifier judge, training"] == (20 * 16, 0, 20 * 16)
    assert found.sample_bytes == 120 * 16 * 16 * 3
    assert found.data_bytes == 320 * 16 * 16 * 3


@pytest.mark.parametrize(("at", "interval"), [("xt", [0.0, 1.0]), ("x0", [0.3, 0.8]), ("x0_detached", [0.0, 0.9])])
def test_passes_are_those_that_the_engine_makes(tiny, at, interval):
    method = {"classifier": "robust", "at": at, "scales": [1], "interval": interval, "num_samples": 5, "steps": 10}
    raw = tiny.resolved()
    raw["sampling"] |= {"methods": {"only": method}, "targets": ["baseball"]}
    tiny = parse_config(raw, "")
    seen = {"unet": 0, "classifier": 0}

    def denoiser(x, t):
        seen["unet"] += len(x)
        return 0.1 * x

    def classifier(x):
        seen["classifier"] += len(x)
        return x.flatten(1)[:, :2]

    schedule = tiny.diffusion.schedule.make().respaced(10)
    guidance = ng.ClassifierGuidance(classifier, target=0, scale=1.0, at=at, interval=tuple(interval))
    ng.sample(denoiser, schedule, 5, guidance=guidance, shape=(3, 8, 8))
    found = cost.estimate_cost(tiny).passes
    assert found[cost.SAMPLING].forward == seen["unet"] == 50
    assert found[cost.GUIDANCE].forward == seen["classifier"] > 0
    assert found[cost.SAMPLING].to_input == (seen["classifier"] if at == "x0" else 0)


@pytest.mark.parametrize(
    ("guidance", "fields"),
    [
        ("dps", {}),
        ("lgd", {"num_draws": 3}),
        ("freedom", {"recurrences": 2}),
        ("mpgd", {"sampler": "ddim"}),
        ("dsg", {}),
        ("ugd", {"recurrences": 2, "ascents": 3}),
        ("tfg", {"mu": 0.1, "sigma": 0.1, "recurrences": 2, "iterations": 4, "num_draws": 2}),
        ("tfg", {"mu": 0.0, "sigma": 0.1, "iterations": 4, "sampler": "dpmsolver"}),
    ],
)
def test_passes_of_other_guidance_are_those_that_the_engine_makes(tiny, guidance, fields):
    method = {"classifier": "robust", "guidance": guidance, "scales": [0.5], "num_samples": 5, "steps": 10, **fields}
    raw = tiny.resolved()
    raw["sampling"] |= {"methods": {"only": method}, "targets": ["baseball"]}
    run = parse_config(raw, "")
    seen = {"unet": 0, "through": 0, "classifier": 0, "back": 0}

    def counted(x, name):
        seen[name] += len(x)
        return x

    def denoiser(x, t):
        counted(x, "unet")
        return 0.1 * x if not x.requires_grad else 0.1 * watched(x, "through")

    def classifier(x):
        return watched(counted(x, "classifier"), "back").flatten(1)[:, :2]

    def watched(x, name):
        through = x.clone()
        if through.requires_grad:
            through.register_hook(lambda gradient: counted(gradient, name))
        return through

    drawn = run.sampling.methods["only"]
    schedule, sampler = run.diffusion.schedule.make().respaced(10), run.sampling.sampler_of(drawn)
    ng.sample(denoiser, schedule, 5, guidance=drawn.make(classifier, 0, 0.5), sampler=sampler, shape=(3, 8, 8))
    found = cost.estimate_cost(run).passes
    assert found[cost.SAMPLING] == (seen["unet"], seen["through"], 0)
    assert found[cost.GUIDANCE] == (seen["classifier"], seen["back"], 0)
    assert seen["back"] > 0


def test_hours_are_passes_over_throughput(tiny):
    found = cost.estimate_cost(tiny)
    sampling, training = found.passes[cost.SAMPLING], found.passes["U-Net, training"]
    expected = (sampling.forward + sampling.to_input + 3 * training.forward) / 100 / 3600
    assert found.hours({cost.UNET: 100.0}) == pytest.approx(expected)
    assert found.hours({cost.UNET: 50.0}) == pytest.approx(2 * expected)
    assert found.hours({cost.UNET: 100.0, cost.CLASSIFIER: 1e-3}) > expected
    text = cost.format_cost(tiny.run, found, {cost.UNET: 100.0}, "as given")
    assert "20 cells, 120 samples" in text
    assert "the classifiers' passes not counted" in text


def test_throughput_is_measured_on_the_runs_own_networks(tiny, monkeypatch):
    monkeypatch.setattr(cost, "MEASURED_SECONDS", 0.05)
    rates = cost.measure_throughput(tiny, torch.device("cpu"))
    assert rates.keys() == {cost.UNET, cost.CLASSIFIER}
    assert min(rates.values()) > 0


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, 70_000),
        ({"classes": ["bag", "coat"]}, 14_000),
        ({"num_images": {"train": 300, "validation": 20, "test": 100}}, 420),
        ({"num_images": {"validation": 20}}, 70_000),  # the other splits are whole
    ],
)
def test_the_images_of_fashion_mnist_are_those_of_its_classes_and_limits(changes, size):
    assert cost.dataset_size(dataset_of({"name": "fashion", "kind": "fashion_mnist", **changes})) == size
