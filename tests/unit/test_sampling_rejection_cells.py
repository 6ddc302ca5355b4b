"""Rejection as a method of a run file: what may be said of it, what is drawn, and what a kill leaves."""

from pathlib import Path

import numpy as np
import pytest
from small_networks import Brightness, Flat

import nonrobust_guidance as ng
from nonrobust_guidance.config import Run, load_config, parse_config, sample_files
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import list_cells, list_methods
from nonrobust_guidance.models.images import to_uint8
from nonrobust_guidance.report.wording import method_labels
from nonrobust_guidance.sampling import draw
from nonrobust_guidance.sampling.settings import Chain, Rejected, section_of_guidance

CONFIG = Path(__file__).parents[2] / "config"
SCHEDULE = ng.Schedule.linear(40, 1e-3, 0.4)
TARGETS = {"dark": 0, "bright": 1}


def run_with(**methods) -> Run:
    raw = load_config(CONFIG / "tiny.yaml").resolved()
    raw["sampling"] |= {"methods": methods}
    return parse_config(raw, "mine.yaml")


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Return a function that draws 11 samples of each target, and what the classifier was shown since the last call."""
    monkeypatch.setattr(draw, "load_diffusion", lambda path, device: (Flat().eval().requires_grad_(False), SCHEDULE))
    monkeypatch.setattr(draw, "load_classifier", lambda path, device: Brightness().eval())
    monkeypatch.setattr(draw, "weights_hash", lambda path: path.name)
    method = Rejected(reject={"classifier": "nonrobust"}, num_samples=11, steps=4)

    def call(folder, batch_size=4, indices=None, method=method, scale=0):
        draw.draw_samples(
            "rejection", method, scale, {3: tmp_path / folder}, Chain(), TARGETS, tmp_path / "unet", tmp_path / "guide",
            indices, batch_size=batch_size, device="cpu",
        )  # fmt: skip
        return {target: np.load(tmp_path / folder / f"{target}.npy") for target in TARGETS}

    return call


def test_every_sample_is_one_that_the_classifier_accepts_whatever_the_batches(drawn):
    found = drawn("cell")
    for name, sign in (("dark", -1), ("bright", 1)):
        assert found[name].shape == (11, 4, 4, 3)
        means = found[name].reshape(11, -1).mean(axis=1) / 127.5 - 1
        assert (sign * means > -0.01).all()  # rounded to eight bits
    for other in (drawn("other", batch_size=11), drawn("one", batch_size=1)):
        assert all(np.array_equal(found[name], other[name]) for name in TARGETS)
    shards = [drawn("first", indices=range(5)), drawn("second", indices=range(5, 11))]
    assert all(np.array_equal(found[name], np.concatenate([shard[name] for shard in shards])) for name in TARGETS)


def test_a_job_of_several_seeds_loads_its_networks_once(drawn, monkeypatch, tmp_path):
    loaded, load = [], draw.load_diffusion
    monkeypatch.setattr(draw, "load_diffusion", lambda *given: loaded.append(given) or load(*given))
    whole, method = drawn("alone"), Rejected(reject={"classifier": "nonrobust"}, num_samples=11, steps=4)
    folders = {seed: tmp_path / f"seed-{seed}" for seed in (3, 4)}
    paths = (tmp_path / "unet", tmp_path / "guide")
    draw.draw_samples("rejection", method, 0, folders, Chain(), TARGETS, *paths, batch_size=4, device="cpu")
    assert len(loaded) == 2  # once by each call
    for target in TARGETS:
        third, fourth = (np.load(folder / f"{target}.npy") for folder in folders.values())
        assert np.array_equal(third, whole[target])
        assert not np.array_equal(fourth, third)


def test_a_killed_job_goes_on_after_its_last_batch(drawn, monkeypatch):
    whole, save, saved = drawn("whole"), draw.Parts.save, []

    def killed(parts, indices, images):
        save(parts, indices, images)
        saved.append(indices)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(draw.Parts, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            drawn("cell")
    saved.clear()

    def counted(parts, indices, images):
        save(parts, indices, images)
        saved.append(indices)

    monkeypatch.setattr(draw.Parts, "save", counted)
    found = drawn("cell")
    assert len(saved) == 2 * 3 - 2  # three batches a target, two of which were there
    assert all(np.array_equal(found[name], whole[name]) for name in TARGETS)


def test_a_run_file_names_it_and_each_target_has_its_file():
    run = run_with(kept={"reject": {"classifier": "nonrobust", "threshold": 0.9}})
    assert run.sampling.methods["kept"].recorded() == {
        "num_samples": 6,
        "steps": 4,
        "reject": {"classifier": "nonrobust", "threshold": 0.9, "max_draws": 100},
    }
    assert parse_config(run.resolved(), "again") == run
    assert sample_files(run) == [f"kept/scale-0/seed-0/{target}.npy" for target in ("baseball", "basketball")]
    assert [cell.path(Path()).as_posix() for cell in list_cells(run)] == sample_files(run)
    (method,) = list_methods(run)
    assert (method.guided, method.unguided, method.as_in_paper) == (False, False, False)
    assert method_labels(run) == {"kept": "non-robust, rejection"}


def test_a_guided_method_may_draw_again_what_its_guide_does_not_accept():
    entry = {"classifier": "nonrobust", "at": "x0", "scales": [1]}
    run = run_with(once=entry, kept={**entry, "reject": {"threshold": 0.9}}, plain={**entry, "reject": {}})
    once, kept, plain = run.sampling.methods.values()
    assert kept.recorded() == once.recorded() | {"reject": {"threshold": 0.9, "max_draws": 100}}
    assert plain.reject.threshold == 0.5 and "reject" not in once.recorded()
    assert parse_config(run.resolved(), "again") == run
    assert [method.guided for method in list_methods(run)] == [True] * 3
    assert [method.as_in_paper for method in list_methods(run)] == [True, False, False]
    assert method_labels(run)["kept"] == f"{method_labels(run)['once']}, rejection (kept)"


def test_the_guided_cell_holds_what_rejection_of_guided_attempts_gives(drawn, tmp_path):
    method = section_of_guidance(ng.ClassifierGuidance)(
        classifier="nonrobust", at="xt", scales=[5], objective="log_prob", num_samples=11, steps=4, reject={}
    )
    found, guide = drawn("guided", method=method, scale=5), Brightness().eval()
    for target, label in TARGETS.items():
        guidance = ng.ClassifierGuidance(guide, label, 5.0, at="xt")
        unet = Flat().eval().requires_grad_(False)
        expected = ng.Rejection(guide, label, guidance=guidance).sample(unet, SCHEDULE.respaced(4), 11, seed=3)
        assert expected.accepted.all()
        assert np.array_equal(found[target], to_uint8(expected.images))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"classifier": "robust", "at": "xt", "scales": [1], "reject": {"threshold": 2}}, "reject.threshold is 2"),
        ({"classifier": "robust", "at": "xt", "scales": [1], "reject": {"classifier": "robust"}}, "classifier"),
        ({"reject": {"classifier": "nobody"}}, "methods.kept.reject.classifier is 'nobody'"),
        ({"reject": {"classifier": "judge"}}, "a judge must never guide"),
        ({"reject": {"classifier": "robust", "threshold": 2}}, "methods.kept.reject.threshold is 2"),
        ({"reject": {"classifier": "robust"}, "scales": [1]}, "methods.kept"),
    ],
)
def test_a_mistake_is_a_sentence_with_its_key(entry, words):
    with pytest.raises(UserError) as caught:
        run_with(kept=entry)
    assert words in str(caught.value)
