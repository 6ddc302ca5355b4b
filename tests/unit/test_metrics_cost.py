"""What samples cost: passes counted while they are drawn, against what is counted from the configuration."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_networks import Brightness, Flat
from torch import nn

import nonrobust_guidance as ng
from nonrobust_guidance import cost
from nonrobust_guidance.config import Run, load_config, parse_config
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cost import table
from nonrobust_guidance.metrics.cost.passes import counting
from nonrobust_guidance.metrics.tables import COST
from nonrobust_guidance.report.pages import pages_of
from nonrobust_guidance.sampling.settings import Unguided

CONFIG = Path(__file__).parents[2] / "config"
X0 = {"classifier": "nonrobust", "at": "x0", "scales": [1]}
METHODS = {
    "free": {},
    "xt": X0 | {"at": "xt"},
    "x0": X0 | {"scales": [1, 10, 100], "steps": 10},
    "part": X0 | {"interval": [0.3, 0.8], "steps": 10},
    "detached": X0 | {"at": "x0_detached"},
    "twice": {"classifier": "robust", "guidance": "freedom", "recurrences": 2, "scales": [1]},
    "fast": X0 | {"sampler": "dpmsolver", "trust_radius": 2.0},
}


def run_with(methods, **settings) -> Run:
    raw = load_config(CONFIG / "tiny.yaml").resolved()
    raw["sampling"] |= {"methods": methods}
    raw["metrics"] |= {"cost": settings} if settings else {}
    return parse_config(raw, "mine.yaml")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Take small networks in place of checkpoints."""
    schedule = ng.Schedule.linear(40, 1e-3, 0.4)
    monkeypatch.setattr(table, "load_diffusion", lambda path, device: (Flat().eval().requires_grad_(False), schedule))
    monkeypatch.setattr(table, "load_classifier", lambda path, device: Brightness(4).eval())
    monkeypatch.setattr(table, "weights_hash", lambda path: path.name)


def measured(run, folder):
    table.measure_cost(run, Path(), Path("checkpoints"), folder / "cost.csv")
    return pd.read_csv(folder / "cost.csv").set_index("method")


def test_passes_are_counted_forward_and_back():
    layer, x = nn.Linear(3, 2), torch.zeros(5, 3, requires_grad=True)
    with counting(layer) as passes:
        layer(x[:3]).sum().backward()
        with torch.no_grad():
            layer(x)
        layer(x)  # whose gradient nobody asks for
    layer(x)
    assert (passes.forward, passes.backward) == (3 + 5 + 5, 3)


def test_counted_passes_are_those_that_the_configuration_says(tmp_path):
    run = run_with(METHODS, rounds=2, batch_size=32)
    found = measured(run, tmp_path)
    assert list(found.index) == list(METHODS)
    for name, row in found.iterrows():
        told = cost.estimate_cost(run_with({name: METHODS[name]}))
        unet, guide = (told.passes[what] for what in (cost.SAMPLING, cost.GUIDANCE))
        assert row["unet_forward"] * told.samples == unet.forward
        assert row["unet_backward"] * told.samples == unet.to_input
        assert row["classifier_forward"] * told.samples == guide.forward
        assert row["classifier_backward"] * told.samples == guide.to_input
    # By hand: of four steps the paper's guidance leaves out the last; FreeDoM makes each one twice.
    assert tuple(found.loc["free", ["unet_forward", "unet_backward", "classifier_forward"]]) == (4, 0, 0)
    assert tuple(found.loc["xt", ["unet_forward", "unet_backward", "classifier_forward"]]) == (4, 0, 3)
    assert tuple(found.loc["twice", ["unet_forward", "unet_backward"]]) == (8, 8)
    assert found.loc["x0", "scale"] == 10
    assert (found["attempts"] == 1).all()


def test_rejection_counts_every_attempt(tmp_path):
    methods = {"kept": {"reject": {"classifier": "nonrobust"}}}
    row = measured(run_with(methods, rounds=2, batch_size=8), tmp_path).loc["kept"]
    assert row["batch_size"] == 4 * 8
    rejection, drawn = ng.Rejection(Brightness(4).eval(), target=0), table.load_diffusion("", "")
    schedule = drawn[1].respaced(4)
    # The first round is toward class 0 and the second, with the next samples, toward class 1.
    needed = [
        replace(rejection, target=target).sample(drawn[0], schedule, 32, first_index=32 * target).draws.sum()
        for target in (0, 1)
    ]
    attempts = row["attempts"] * 64
    assert sum(needed) <= attempts < sum(needed) + 2 * 2 * 32  # some are drawn ahead, to fill batches of 32
    assert attempts % 32 == 0
    assert row["unet_forward"] * 64 == 4 * attempts
    assert row["classifier_forward"] * 64 == attempts
    assert row["unet_backward"] == row["classifier_backward"] == 0


def test_seconds_are_of_64_images_the_median_and_the_range():
    rounds = [table.Measurement(seconds, 1.0, 64, 0, 0, 0) for seconds in (2.0, 5.0, 3.0)]
    row = table.summary(rounds, Unguided(num_samples=2, steps=4), batch_size=16)
    assert [row[name] for name in ("seconds", "seconds_least", "seconds_most")] == [12.0, 8.0, 20.0]
    assert (row["cpu_seconds"], row["unet_forward"]) == (4.0, 4.0)


def test_a_killed_measurement_loses_one(tmp_path, monkeypatch):
    methods = {name: METHODS[name] for name in ("free", "xt", "detached")}
    run, measure, done = run_with(methods, rounds=2, batch_size=2), table.Bench.measure, []

    def until(limit):
        def counted(bench, name, number):
            if len(done) == limit:
                raise KeyboardInterrupt
            done.append((number, name))
            return measure(bench, name, number)

        monkeypatch.setattr(table.Bench, "measure", counted)

    until(4)
    with pytest.raises(KeyboardInterrupt):
        measured(run, tmp_path)
    assert not (tmp_path / "cost.csv").exists()
    until(None)
    found = measured(run, tmp_path)
    # Every method once a round, the second round backward, and nothing twice.
    assert done == [(0, "free"), (0, "xt"), (0, "detached"), (1, "detached"), (1, "xt"), (1, "free")]
    assert list(found.index) == list(methods)
    assert [path.name for path in tmp_path.iterdir()] == ["cost.csv"]


def test_what_was_measured_of_other_settings_is_not_kept(tmp_path):
    one = table.Measurement(1.0, 1.0, 1, 0, 0, 0)
    first = table.Kept(tmp_path / "parts", "a" * 64)
    first.save(0, "free", one)
    assert table.Kept(tmp_path / "parts", "a" * 64).load(0, "free") == one
    assert not table.Kept(tmp_path / "parts", "b" * 64).has(0, "free")
    assert not first.has(0, "free")


def test_a_run_that_does_not_ask_has_neither_table_nor_page(tmp_path):
    plain, asked = run_with(METHODS), run_with(METHODS, rounds=1)
    assert COST.belongs_to(asked) and not COST.belongs_to(plain)
    assert "frontier" not in pages_of(plain.report, plain)
    assert "frontier" in pages_of(asked.report, asked)
    assert "cost" not in plain.metrics.recorded()
    with pytest.raises(UserError, match=r"add metrics\.cost"):
        measured(plain, tmp_path)


def test_the_table_has_the_columns_that_readers_rely_on(tmp_path):
    found = measured(run_with({"free": {}}, rounds=1, batch_size=2), tmp_path)
    assert [found.index.name, *found.columns] == COST.columns
    assert np.isfinite(found[["seconds", "cpu_seconds"]]).all(axis=None)
    assert found.loc["free", "threads"] == torch.get_num_threads()
