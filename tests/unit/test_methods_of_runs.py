"""Guidance and sampler, method by method in a run file: built in, and from a file of one's own."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from sections import run_of

import nonrobust_guidance as ng
from nonrobust_guidance.config import parse_config
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.guidance import METHODS
from nonrobust_guidance.metrics.cells import list_methods
from nonrobust_guidance.models.classifiers import build_from_card, load_classifier, save_classifier
from nonrobust_guidance.models.diffusion import load_diffusion, save_diffusion
from nonrobust_guidance.models.images import to_uint8
from nonrobust_guidance.report.wording import method_labels
from nonrobust_guidance.sampling.draw import draw_samples
from nonrobust_guidance.sampling.samplers import SAMPLERS
from nonrobust_guidance.sampling.settings import Chain

MIXTURE = ng.GaussianMixture([(-0.5, 0.0), (0.5, 0.0)], 0.05)
SCHEDULE = ng.Schedule.linear(40, 1e-3, 0.4).respaced(4)
FIELDS: dict[str, dict[str, Any]] = {
    "classifier": {"at": "xt"},
    "lgd": {"num_draws": 2},
    "freedom": {"recurrences": 2, "weight": "constant"},
    "ugd": {"ascents": 1},
    "tfg": {"mu": 0.1, "sigma": 0.1},
}


def run_with(**methods: dict[str, Any]) -> Any:
    given = {name: {"classifier": "weak", "scales": [0.5], **method} for name, method in methods.items()}
    sampling = {"steps": 4, "num_samples": 6, "seeds": [0], "targets": ["cup"], "methods": given}
    return parse_config(
        {**run_of({"sampling": {"methods": {"free": {}}}}).resolved(), "sampling": sampling}, "mine.yaml"
    )


def draw(run: Any, name: str) -> torch.Tensor:
    method = run.sampling.methods[name]
    return ng.sample(
        MIXTURE.denoiser(SCHEDULE),
        SCHEDULE,
        2,
        shape=MIXTURE.shape,
        guidance=method.make(MIXTURE.classifier, 1, method.scales[0]),
        sampler=run.sampling.sampler_of(method),
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", METHODS)
def test_every_guidance_draws_with_every_sampler(name: str, sampler: str) -> None:
    run = run_with(one={"guidance": name, "sampler": sampler, "trust_radius": 2.0, **FIELDS.get(name, {})})
    method = run.sampling.methods["one"]
    strength = {METHODS[name].strength_field: 0.5}
    by_hand = METHODS[name](MIXTURE.classifier, 1, **strength, **FIELDS.get(name, {}), trust_radius=2.0)
    expected = ng.sample(
        MIXTURE.denoiser(SCHEDULE), SCHEDULE, 2, shape=MIXTURE.shape, guidance=by_hand, sampler=SAMPLERS[sampler]()
    )
    assert torch.equal(draw(run, "one"), expected)
    assert parse_config(run.resolved(), "again.yaml") == run
    assert method.recorded()["trust_radius"] == 2.0


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A U-Net and a classifier of a few weights, as files."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    scheduler = DDPMScheduler(40, beta_start=1e-3, beta_end=0.4)
    save_diffusion(unet, scheduler, folder / "unet")
    card = {"architecture": "judge_cnn", "classes": ["cup", "ball"], "factors": [], "input_size": 8}
    save_classifier(build_from_card(card), card, folder / "weak")
    return folder


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", METHODS)
def test_every_guidance_draws_images_by_a_run_file(name: str, sampler: str, checkpoints: Path, tmp_path: Path) -> None:
    one = {"guidance": name, "sampler": sampler, "num_samples": 2, **FIELDS.get(name, {})}
    run = run_with(one=one)
    sampling, folder = run.sampling, tmp_path / "samples"
    method, chain = sampling.methods["one"], sampling.part(Chain)
    draw_samples("one", method, 0.5, {0: folder}, chain, {"ball": 1}, checkpoints / "unet", checkpoints / "weak")
    drawn = np.load(folder / "ball.npy")
    assert drawn.shape == (2, 8, 8, 3)
    card = json.loads((folder / "ball.json").read_text())["configuration"]
    assert (card["method"]["sampler"], card["method"]["guidance"], card["scale"]) == (sampler, name, 0.5)
    unet, schedule = load_diffusion(checkpoints / "unet", torch.device("cpu"))
    by_hand = METHODS[name](
        load_classifier(checkpoints / "weak", torch.device("cpu")),
        1,
        **{METHODS[name].strength_field: 0.5},
        **FIELDS.get(name, {}),
    )
    expected = ng.sample(unet, schedule.respaced(4), 2, guidance=by_hand, sampler=SAMPLERS[sampler]())
    assert np.array_equal(drawn, to_uint8(expected))


def test_the_levels_of_a_method_may_be_spaced_by_a_power(checkpoints: Path, tmp_path: Path) -> None:
    run = run_with(plain={"at": "xt"}, even={"at": "xt", "spacing_power": 1}, fine={"at": "xt", "spacing_power": 2})
    unet, schedule = load_diffusion(checkpoints / "unet", torch.device("cpu"))
    methods, chain = run.sampling.methods, run.sampling.part(Chain)
    levels = {name: method.levels_of(schedule).timesteps.tolist() for name, method in methods.items()}
    # What the checkpoint says, "leading", holds where the method says nothing; 40 i^2 / 16 - 1 is 1.5, 9, 21.5, 39.
    assert levels == {"plain": [0, 10, 20, 30], "even": [9, 19, 29, 39], "fine": [1, 9, 21, 39]}
    models = checkpoints / "unet", checkpoints / "weak"
    draw_samples("fine", methods["fine"], 0.5, {0: tmp_path / "samples"}, chain, {"ball": 1}, *models)
    guidance = ng.ClassifierGuidance(load_classifier(models[1], torch.device("cpu")), 1, 0.5, at="xt")
    expected = ng.sample(unet, schedule.respaced(4, "trailing", 2.0), 6, guidance=guidance)
    assert np.array_equal(np.load(tmp_path / "samples" / "ball.npy"), to_uint8(expected))
    assert methods["fine"].recorded()["spacing_power"] == 2
    assert [method.name for method in list_methods(run) if method.as_in_paper] == ["plain"]


def test_a_method_without_a_sampler_has_that_of_the_run() -> None:
    raw = run_with(one={"at": "x0"}).resolved()
    for sampler, eta, expected in (
        ("ddpm", 0.0, ng.DDPM()),
        ("ddim", 0.3, ng.DDIM(eta=0.3)),
        ({"name": "dpmsolver", "algorithm": "dpmsolver++", "order": 1}, 0.0, ng.DPMSolver("dpmsolver++", 1)),
    ):
        run = parse_config({**raw, "sampling": {**raw["sampling"], "sampler": sampler, "eta": eta}}, "mine.yaml")
        assert run.sampling.sampler_of(run.sampling.methods["one"]) == expected
    own = run_with(one={"at": "x0", "sampler": {"name": "ddim", "eta": 1.0}})
    assert own.sampling.sampler_of(own.sampling.methods["one"]) == ng.DDIM(eta=1.0)


def test_the_eta_of_the_run_is_not_that_of_a_method_with_a_sampler_of_its_own() -> None:
    raw = run_with(runs={"at": "x0"}, own={"at": "x0", "sampler": "ddim"}).resolved()
    run = parse_config({**raw, "sampling": {**raw["sampling"], "sampler": "ddim", "eta": 0.5}}, "mine.yaml")
    assert [method.sampler for method in list_methods(run)] == ["", "ddim"]
    assert run.sampling.sampler_of(run.sampling.methods["own"]) == ng.DDIM(eta=0.0)


def test_what_is_not_said_is_in_no_card() -> None:
    keys = run_with(one={"at": "x0"}).sampling.methods["one"].recorded().keys()
    assert not keys & {"guidance", "uses", "uses_sha256", "trust_radius", "sampler", "reject", "spacing_power"}


def test_methods_are_told_apart_in_tables_and_figures() -> None:
    run = run_with(
        plain={"at": "x0"},
        bounded={"at": "x0", "trust_radius": 1.0},
        fast={"at": "x0", "trust_radius": 1.0, "sampler": "dpmsolver"},
        first={"at": "x0", "sampler": {"name": "dpmsolver", "order": 1}},
        same={"at": "xt", "sampler": {"name": "ddpm"}},
        dps={"guidance": "dps"},
    )
    assert list(method_labels(run).values()) == [
        "non-robust, x̂₀",
        "non-robust, x̂₀, trust region 1",
        "non-robust, x̂₀, trust region 1, dpmsolver",
        "non-robust, x̂₀, dpmsolver(order=1)",
        "non-robust, xₜ",
        "non-robust, dps",
    ]
    methods = list_methods(run)
    assert [method.at for method in methods] == ["x0", "x0", "x0", "x0", "xt", "dps"]
    # What the paper claims is about its guidance, with the run's sampler and without a trust region.
    assert [method.name for method in methods if method.as_in_paper] == ["plain", "same"]


def test_a_method_with_steps_of_its_own_is_none_of_the_papers() -> None:
    raw = run_with(plain={"at": "x0"}, longer={"at": "x0", "steps": 3}).resolved()
    methods = list_methods(parse_config(raw, "mine.yaml"))
    assert [method.as_in_paper for method in methods] == [True, False]


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ({"guidance": "freedon"}, "one.guidance is 'freedon', which is unknown; did you mean freedom?"),
        ({"guidance": 3}, "one.guidance is 3; give a text, in quotes"),
        ({"guidance": "lgd", "num_drawz": 2}, "one.num_drawz is an unknown key; did you mean num_draws?"),
        ({"guidance": "lgd", "num_draws": 0}, "one is refused: num_draws is 0; give a whole number, at least 1"),
        ({"guidance": "dps", "at": "x0"}, "one.at is an unknown key; "),
        ({"guidance": "tfg", "mu": 0.1}, "one.sigma is missing; add it"),
        ({"at": "x0", "sampler": "ddmp"}, "one.sampler.name is 'ddmp', which is unknown; did you mean ddpm?"),
        ({"at": "x0", "sampler": {"name": "dpmsolver", "order": 3}}, "one.sampler.order is 3; it must be 1 or 2"),
        ({"at": "x0", "spacing_power": 0.5}, "one.spacing_power is 0.5; give a number "),
        ({"at": "x0", "trust_radius": 0}, "one.trust_radius is 0; give a number "),
        ({"at": "x0", "trust_radius": None}, "one.trust_radius is empty; give it a value, or remove it"),
    ],
)
def test_mistakes(method: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        run_with(one=method)
    assert f"mine.yaml: sampling.methods.{sentence}" in str(caught.value)


MINE = """\
import math
from dataclasses import dataclass

import nonrobust_guidance as ng
from nonrobust_guidance.guidance.method import Move


@dataclass(frozen=True, eq=False)
class Gentle(ng.Guidance):
    scale: float
    share: float = 0.5

    def reach(self, step):
        return self.share * step.score_weight

    def move(self, climb, stabilized, step):
        return Move(score=self.scale * self.share * stabilized)


@dataclass(frozen=True)
class Still:
    quiet: bool = True

    def init(self, x):
        return None

    def noise_std(self, transition):
        return 0.0

    reference_std = noise_std

    def score_weight(self, transition):
        return 1.0 - transition.alpha_bar

    def x0_weight(self, transition):
        return 1.0

    def step(self, state, x_t, prediction, transition, z, move):
        x = prediction.x0_hat
        return None, x if move.score is None else x + self.score_weight(transition) * move.score
"""


DECORATOR = "@dataclass(frozen=True, eq=False)\n"
CHECKED = """\
    def __post_init__(self):
        super().__post_init__()
        'a' + self.share

    def reach"""


def test_a_guidance_and_a_sampler_from_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    mine = {"uses": f"{file}:Gentle", "share": 0.25, "sampler": {"uses": f"{file}:Still", "quiet": False}}
    run = run_with(one=mine, other={"at": "x0"})
    digest = hashlib.sha256(MINE.encode()).hexdigest()
    recorded = run.sampling.methods["one"].recorded()
    assert recorded["uses_sha256"] == recorded["sampler"]["uses_sha256"] == digest
    # Every step ends at x0_hat, so the last alone counts: x0_hat there, plus (1 - alpha_bar) 0.5 0.25 times g.
    *_, before, last = ng.trajectory(
        MIXTURE.denoiser(SCHEDULE),
        SCHEDULE,
        2,
        shape=MIXTURE.shape,
        clip=False,
        guidance=run.sampling.methods["one"].make(MIXTURE.classifier, 1, 0.5),
        sampler=run.sampling.sampler_of(run.sampling.methods["one"]),
    )
    level = 1.0 - float(SCHEDULE.alpha_bars[0])
    assert last.gradient is not None and before.x.isfinite().all()
    torch.testing.assert_close(last.x, last.x0_hat + level * 0.5 * 0.25 * last.gradient)
    assert next(iter(method_labels(run).values())) == "non-robust, Gentle, Still(quiet=False)"
    file.write_text(MINE.replace("0.5", "0.4"))
    changed = run_with(one=mine, other={"at": "x0"})
    assert changed.sampling.methods["one"].recorded() != recorded
    assert changed.sampling.methods["other"].recorded() == run.sampling.methods["other"].recorded()
    with pytest.raises(UserError, match=r"mine\.py was changed since the run began"):
        parse_config(run.resolved(), "mine.yaml")


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        (MINE, "Gentel", "has no class Gentel; correct the name"),
        (MINE, "Still", "Still in FILE does not extend Guidance; import that from nonrobust_guidance.guidance.method"),
        (MINE.replace("def move", "def moved"), "Gentle", "Gentle in FILE has no method move; add it"),
        (MINE.replace("def reach", "def reached"), "Gentle", "Gentle in FILE has no method reach; add it"),
        (MINE.replace(DECORATOR, ""), "Gentle", "Gentle in FILE is no dataclass; write @dataclass(frozen=True, eq="),
        (
            MINE.replace("    scale: float\n", ""),
            "Gentle",
            "Gentle in FILE has no field scale for the scales; add",
        ),
        (MINE.replace("share: float", "steps: float"), "Gentle", "Gentle in FILE has a field steps, which is a key of"),
        (
            MINE.replace("    def reach", CHECKED),
            "Gentle",
            "FILE fails at line 15 (TypeError: can only",
        ),
        ("import missing_library\n", "Gentle", "fails at line 1 (ModuleNotFoundError: No module named"),
    ],
)
def test_a_mistake_in_such_a_file_is_one_sentence(tmp_path: Path, content: str, name: str, sentence: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(content)
    with pytest.raises(UserError) as caught:
        run_with(one={"uses": f"{file}:{name}"})
    assert str(caught.value).startswith("mine.yaml: sampling.methods.one.uses cannot be used: ")
    assert sentence.replace("FILE", str(file)) in str(caught.value)


def test_reading_a_run_with_built_in_methods_does_not_import_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from nonrobust_guidance.config import load_config; "
        "load_config(Path('config/tiny.yaml')); print('torch' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout == "False\n"
