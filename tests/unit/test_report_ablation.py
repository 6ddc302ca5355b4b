"""The ablation page: which methods differ from a base in one setting, and what is said of them."""

import copy
from pathlib import Path

import pytest

from nonrobust_guidance.config import load_config, write_config
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.report.pages.ablation import figures, variants
from nonrobust_guidance.report.render import render_page
from nonrobust_guidance.report.results import Results

EMA = {"name": "ema", "beta": 0.9}
BASE = {"classifier": "weak", "at": "x0", "scales": [3], "stabilizer": [EMA], "steps": 50, "objective": "log_prob"}
METHODS = {
    "free": {"classifier": None, "num_samples": 128},
    "base": BASE,
    "beta": BASE | {"stabilizer": [EMA | {"beta": 0.5}], "scales": [10]},
    "debiased": BASE | {"stabilizer": [EMA | {"bias_correction": True}]},
    "adam": BASE | {"stabilizer": [{"name": "adam", "beta1": 0.9}]},
    "raw": BASE | {"stabilizer": []},
    "logit": BASE | {"objective": "logit"},
    "steps": BASE | {"steps": 25},
    "detached": BASE | {"at": "x0_detached"},
    "two_at_once": BASE | {"steps": 25, "objective": "logit"},
    "strong": BASE | {"classifier": "strong"},
}
CELLS = {name: [(32, 5.0)] for name in METHODS} | {"logit": [(63, 5.0)], "steps": [(10, 9.0)]}


@pytest.fixture
def results(fake, tmp_path) -> Results:
    return fake.write(tmp_path / "results" / "toy", fake.config(methods=copy.deepcopy(METHODS)), CELLS)


def test_a_change_is_one_setting_and_no_more(fake):
    found = {c.method: (c.setting, c.value) for c in variants.variants_of(fake.run(methods=METHODS), "base")}
    assert found == {
        "base": ("", ""),
        "beta": ("ema beta", "0.5"),
        "debiased": ("ema bias_correction", "True"),
        "adam": ("stabilizer", "adam"),
        "raw": ("stabilizer", "none"),
        "logit": ("objective", "logit"),
        "steps": ("steps", "25"),
        "detached": ("at", "x̂₀ detached"),
        "strong": ("classifier", "strong"),
    }


def test_guidance_sampler_and_trust_region_are_settings_too(fake):
    ema, lgd = {**BASE, "scales": [1]}, {"classifier": "weak", "guidance": "lgd", "scales": [1], "stabilizer": [EMA]}
    methods = {
        "base": ema,
        "bounded": ema | {"trust_radius": 2},
        "fast": ema | {"sampler": "dpmsolver"},
        "same": ema | {"sampler": {"name": "ddpm"}, "objective": "logit"},
        "lgd": lgd,
        "draws": lgd | {"num_draws": 4},
        "lgd_by_ddim": lgd | {"sampler": "ddim"},
    }
    run = fake.run(methods=methods)
    found = {c.method: (c.setting, c.value) for c in variants.variants_of(run, "base")}
    assert found == {
        "base": ("", ""),
        "bounded": ("trust_radius", "2"),
        "fast": ("sampler", "dpmsolver"),
        "same": ("objective", "logit"),
        "lgd": ("guidance", "lgd"),
        "draws": ("guidance", "lgd"),
    }
    found = {c.method: (c.setting, c.value) for c in variants.variants_of(run, "lgd")}
    assert found == {
        "lgd": ("", ""),
        "base": ("guidance", "classifier"),
        "draws": ("num_draws", "4"),
        "lgd_by_ddim": ("sampler", "ddim"),
    }
    solvers = {"first": {"name": "dpmsolver", "order": 1}, "second": {"name": "dpmsolver", "order": 2}}
    run = fake.run(
        methods={"base": ema | {"sampler": "dpmsolver"}} | {n: ema | {"sampler": s} for n, s in solvers.items()}
    )
    assert variants.variants_of(run, "base")[1:] == [("first", "dpmsolver order", "1")]


def test_the_table_says_what_is_told_apart(results):
    rows = {(row["changed"], row["to"]): row for row in variants.ablation_table(results, "base")}
    assert rows["objective", "logit"]["against the base"].startswith("is better")
    assert rows["steps", "25"]["against the base"].startswith("is worse")
    assert rows["ema beta", "0.5"]["against the base"].startswith("is not told apart")
    assert rows["ema beta", "0.5"]["best scale"] == "10"
    first = next(iter(rows.values()))
    assert (first["changed"], first["against the base"], first["samples"]) == ("nothing", "", "128")


def test_the_answer_sorts_the_changes(results):
    assert variants.answer(results, "base").endswith(
        "Better: objective logit. Worse: steps 25. Not told apart at this n: ema beta 0.5, ema bias correction True, "
        "stabilizer adam, stabilizer none, at x̂₀ detached and classifier strong."
    )


def test_the_figure_has_a_dot_a_change_at_its_accuracy(results):
    left, _ = figures.draw_ablation(results, "base").axes
    dots = [container.lines[0].get_xdata()[0] for container in left.containers]
    names = [text.get_text() for text in left.get_yticklabels()]
    assert dict(zip(names, dots, strict=True))["objective logit"] == pytest.approx(63 / 64)
    assert dict(zip(names, dots, strict=True))["base"] == 0.5


def test_shared_methods_stand_beside_those_of_another_run(fake, results, tmp_path):
    other = {"free": METHODS["free"], "base": METHODS["base"]}
    config = fake.config(methods=copy.deepcopy(other)) | {"run": "other"}
    there = fake.write(tmp_path / "results" / "other", config, {"free": [(64, 1.0)], "base": [(16, 2.0)]})
    rows = {row["method"]: row for row in variants.beside_table(results, [there])}
    base = rows["non-robust, x̂₀ + EMA 0.9 (base)"]
    assert base["toy"].startswith("50%") and base["other"].startswith("25%")
    assert [row["other"] for name, row in rows.items() if "(logit)" in name] == ["-"]


@pytest.mark.usefixtures("warm_kernels")
def test_the_page_shows_each_base_and_the_other_runs(fake, results, tmp_path):
    notebook = Path(__file__).parents[2] / "notebooks" / "ablation.ipynb"
    there = fake.config(methods={"free": METHODS["free"]}) | {"run": "other"}
    fake.write(tmp_path / "results" / "other", there, {"free": [(64, 1.0)]})
    config = results.run.resolved() | {"report": {"ablation_of": ["base", "adam"], "beside": ["other"]}}
    with pytest.raises(UserError, match=r"other/config\.yaml is missing; make the run 'other' first"):
        variants.read_beside(["other"], results.folder, load_config)
    write_config(fake.run(there), tmp_path / "results" / "other" / "config.yaml")
    output = results.folder / "report" / "ablation.html"
    render_page(fake.run(config), results.folder, notebook, output)
    text = output.read_text()
    assert text.count("data:image/svg+xml") == 2
    assert "Base: non-robust, x̂₀ + EMA 0.9 (base)" in text
    assert "<th>other</th>" in text.replace(' scope="col"', "")
