"""A run's configuration: what is completed, and the sentence for every mistake.

It is long because every sentence about a mistake in a run file is one case.
"""

import copy
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import modify_yaml

from nonrobust_guidance.config import load_config, parse_config, parse_models, read_run, sample_files, write_config
from nonrobust_guidance.errors import UserError

CONFIGS = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))
TINY = yaml.safe_load((Path(__file__).parents[2] / "config" / "tiny.yaml").read_text())
# With a name that is the same in every process.
REMOVED = ...


def changed(key: str, value: object) -> dict:
    """Return the tiny configuration with the value at a dotted key replaced, added or removed."""
    config = copy.deepcopy(TINY)
    *parents, last = key.split(".")
    section = config
    for parent in parents:
        section = section[parent]
    if value is REMOVED:
        del section[last]
    else:
        section[last] = value
    return config


def resolve_config(raw: object, source: str = "", *, complete: bool = True) -> dict:
    """Return what a run is written as once it is read."""
    return (parse_config if complete else parse_models)(raw, source).resolved()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_of_the_repository_are_valid(path):
    assert load_config(path).run == path.stem


def test_defaults_are_filled_in_at_every_level():
    config = resolve_config(TINY, "tiny.yaml")
    assert config["dataset"]["classes"] == ["baseball", "basketball", "volleyball", "soccer"]
    assert config["classifiers"]["judge"]["input_size"] is None
    assert config["classifiers"]["robust"]["training"]["gradient_clip"] == 1.0
    assert config["sampling"]["eta"] == 0.0
    assert resolve_config(changed("metrics.extractors", REMOVED), "")["metrics"]["extractors"] == ["judge"]
    assert (config["metrics"]["feature_rows"], config["metrics"]["neighbours"]) == (10000, 5)
    assert config["metrics"]["signatures"] == {"num_rows": 1000}


def test_methods_need_no_second_look():
    raw = changed("sampling.methods.robust_xt.objective", "logit")
    raw["sampling"]["methods"]["robust_x0"]["stabilizer"] = [
        {"name": "clip_norm", "max_norm": 1},
        {"name": "normalize"},
    ]
    methods = resolve_config(raw, "tiny.yaml")["sampling"]["methods"]
    assert methods["unguided"] == {"classifier": None, "num_samples": 12, "steps": 4}
    assert methods["nonrobust_x0_ema09"] == {
        "classifier": "nonrobust",
        "at": "x0",
        "scales": [10],
        "objective": "log_prob",
        "stabilizer": [{"name": "ema", "beta": 0.9}],
        "interval": [0.0, 1.0],
        "on_nonfinite": "raise",
        "num_samples": 6,
        "steps": 4,
    }
    assert methods["robust_xt"]["objective"] == "logit"
    assert methods["robust_xt"]["stabilizer"] == []
    assert methods["robust_x0"]["stabilizer"] == [{"name": "clip_norm", "max_norm": 1}, {"name": "normalize"}]


def test_fidelity_to_the_paper_is_the_original_codes_choices_where_none_is_written():
    paper = resolve_config(changed("fidelity", "paper"), "")
    assert paper["dataset"]["independent_draws"] is False
    assert paper["sampling"]["methods"]["robust_xt"]["objective"] == "logit"
    assert resolve_config(paper, "") == paper
    two = changed("dataset.classes", ["baseball", "basketball"]) | {"fidelity": "paper"}
    assert resolve_config(two, "")["sampling"]["objective"] == "log_prob"
    written = changed("sampling.objective", "log_prob") | {"fidelity": "paper"}
    assert resolve_config(written, "")["sampling"]["objective"] == "log_prob"


def test_a_method_may_have_its_own_number_of_steps():
    methods = resolve_config(changed("sampling.methods.robust_xt.steps", 8), "")["sampling"]["methods"]
    assert (methods["robust_xt"]["steps"], methods["robust_x0"]["steps"]) == (8, 4)
    with pytest.raises(UserError, match=r"sampling\.methods\.robust_xt\.steps is 41; give at most 40"):
        resolve_config(changed("sampling.methods.robust_xt.steps", 41), "")


def test_early_stopping_is_for_guiding_classifiers_alone():
    stopping = {"min_epochs": 5, "min_gain": 0.01}
    resolve_config(changed("classifiers.robust.training.early_stopping", stopping), "")
    for key in ("diffusion", "classifiers.judge"):
        with pytest.raises(UserError, match=f"{key}.training.early_stopping is for guiding classifiers alone"):
            resolve_config(changed(f"{key}.training.early_stopping", stopping), "")


def test_a_resolved_configuration_resolves_to_itself(tmp_path):
    config = parse_config(TINY, "tiny.yaml")
    write_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert load_config(tmp_path / "config.yaml").resolved() == config.resolved()


def test_order_of_keys_does_not_matter():
    backwards = {key: TINY[key] for key in reversed(TINY)}
    backwards["diffusion"] = {key: TINY["diffusion"][key] for key in reversed(TINY["diffusion"])}
    assert str(resolve_config(backwards, "")) == str(resolve_config(TINY, ""))


def test_writing_the_same_again_leaves_the_file_alone(tmp_path):
    path = tmp_path / "folder" / "config.yaml"
    write_config(parse_config(TINY, ""), path)
    before = path.stat()
    write_config(parse_config(TINY, ""), path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert [file.name for file in path.parent.iterdir()] == ["config.yaml"]


def test_no_class_has_the_name_of_all_of_them():
    raw = changed("dataset.classes", ["all", "basketball"])
    raw["dataset"]["sprites"] = "sprites"
    raw["sampling"]["targets"] = ["all"]
    with pytest.raises(UserError, match=r"dataset\.classes has a class 'all'"):
        resolve_config(raw, "tiny.yaml")


def test_sections_of_the_models_stand_alone():
    models = {key: TINY[key] for key in ("dataset", "diffusion", "classifiers")}
    assert resolve_config(models, "models.yaml", complete=False)["diffusion"]["name"] == "diffusion"
    with pytest.raises(UserError, match=r"^models.yaml: run is missing; add it$"):
        resolve_config(models, "models.yaml")


def test_sample_files():
    raw = changed("sampling.seeds", [0, 7])
    raw["sampling"]["methods"] = {
        "unguided": {},
        "robust_xt": {"classifier": "robust", "at": "xt", "scales": [0.03, 1000000]},
    }
    assert sample_files(parse_config(raw, "")) == [
        "unguided/scale-0/seed-0/any.npy",
        "unguided/scale-0/seed-7/any.npy",
        "robust_xt/scale-0.03/seed-0/baseball.npy",
        "robust_xt/scale-0.03/seed-0/basketball.npy",
        "robust_xt/scale-0.03/seed-7/baseball.npy",
        "robust_xt/scale-0.03/seed-7/basketball.npy",
        "robust_xt/scale-1e+06/seed-0/baseball.npy",
        "robust_xt/scale-1e+06/seed-0/basketball.npy",
        "robust_xt/scale-1e+06/seed-7/baseball.npy",
        "robust_xt/scale-1e+06/seed-7/basketball.npy",
    ]


def test_what_config_sets_is_read_as_the_files_are():
    """DVC writes 0.00003 as 3e-05, which Snakemake's own reading takes for a text."""
    sampling = "sampling={steps: 5, seeds: [0, 1], methods: {a: {num_samples: null, scales: [3e-05]}}}"
    sections = {"steps": 5, "seeds": [0, 1], "methods": {"a": {"num_samples": None, "scales": [0.00003]}}}
    assert read_run([], [sampling, "run=x", "device="]) == [{"sampling": sections}, {"run": "x"}, {"device": None}]
    assert read_run([], ['dataset={classes: ["1", no]}']) == [{"dataset": {"classes": ["1", "no"]}}]
    for mistake in ("sampling={steps: 5, steps: 6}", "sampling={steps: 5"):
        with pytest.raises(UserError, match=r"^--config sampling"):
            read_run([], [mistake])


@pytest.mark.parametrize("scale", [0.00003, 1e-7, 2.5e-05, 1e6])
def test_a_scale_that_dvc_sets_is_a_number(tmp_path, scale):
    """With the writer of ``dvc exp run -S``."""
    path = tmp_path / "tiny.yaml"
    path.write_text((CONFIGS[0].parent / "tiny.yaml").read_text())
    with modify_yaml(str(path)) as content:
        content["sampling"]["methods"]["robust_xt"]["scales"] = [scale]
    assert load_config(path).sampling.methods["robust_xt"].drawn_scales == (scale,)


def of_kind(kind: str, **settings: object) -> dict:
    """Return the sections of the models, with data of another kind and published weights."""
    source = {"source": {"folder": "hand"}}
    return {
        "dataset": {"name": "d", "kind": kind, **settings},
        "diffusion": {"schedule": {"num_steps": 40, "beta_start": 1.0e-4, "beta_end": 0.02}, **source},
        "classifiers": {"guide": {"architecture": "resnet18", "noised": True, **source}},
    }


def test_each_kind_of_data_has_its_own_defaults():
    folder = resolve_config(of_kind("folder", root="r", classes=["a", "b"]), "", complete=False)
    assert folder["dataset"] == {
        "name": "d",
        "kind": "folder",
        "seed": 0,
        "root": "r",
        "classes": ["a", "b"],
        "split": {"validation": 0.1, "test": 0.1},
        "center_crop": True,
        "image_size": 64,
    }
    hq = resolve_config(of_kind("celebahq"), "", complete=False)["dataset"]
    assert (hq["repository"], hq["revision"], hq["image_size"]) == ("korexyz/celeba-hq-256x256", None, 256)
    for config in (folder, resolve_config(of_kind("celeba"), "", complete=False)):
        assert resolve_config(config, "", complete=False) == config
    assert folder["classifiers"]["guide"]["source"] == {"folder": "hand", "mean": [0.5] * 3, "std": [0.5] * 3}
    assert folder["diffusion"]["source"] == {"folder": "hand"}


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        ("celeba", {"scale_range": [0.3, 0.8]}, "dataset.scale_range is an unknown key; use name or kind"),
        ("celeba", {"atribute": "Male"}, "dataset.atribute is an unknown key; did you mean attribute?"),
        ("celeba", {"attribute": "male"}, "dataset.attribute is 'male', which is unknown; did you mean Male?"),
        ("celeba", {"attribute": "Smiling"}, "dataset.classes is missing; add it"),
        ("celeba", {"classes": ["a", "b", "c"]}, "dataset.classes has 3 entries; give at most 2"),
        ("celeba", {"num_images": {"trian": 3}}, "dataset.num_images.trian is an unknown key; did you mean train?"),
        ("celebahq", {"revision": "main"}, "dataset.revision is 'main'; give a commit, 40 hexadecimal digits"),
        ("folder", {}, "dataset.root is missing; add it"),
        ("folder", {"root": "r"}, "dataset.classes is missing; add it"),
        (
            "folder",
            {"root": "r", "classes": ["a", "b"], "split": {"validation": 0.5, "test": 0.5}},
            "dataset.split gives 0.5 and 0.5 away; leave something to train on",
        ),
        ("sportballs", {}, "dataset.num_images is missing; add it"),
        ("sportballs", {"num_images": {"train": 3}}, "dataset.num_images.validation is missing; add it"),
        ("sportballs", {"root": "r"}, "dataset.root is an unknown key"),
    ],
)
def test_mistakes_of_each_kind_of_data(kind, settings, sentence):
    with pytest.raises(UserError) as caught:
        resolve_config(of_kind(kind, **settings), "mine.yaml", complete=False)
    assert str(caught.value).startswith(f"mine.yaml: {sentence}")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("diffusion.training", REMOVED, "diffusion.training is missing; add it, or a source of published weights"),
        ("diffusion.unet", REMOVED, "diffusion.unet is missing; add it, or a source of published weights"),
        ("diffusion.source", {"folder": "f"}, "diffusion has both source and unet; remove one"),
        ("classifiers.robust.training", REMOVED, "classifiers.robust.training is missing; add it, or a source"),
        ("classifiers.robust.source", {"folder": "f"}, "classifiers.robust has both source and training; remove one"),
    ],
)
def test_a_model_is_either_trained_or_fetched(key, value, sentence):
    with pytest.raises(UserError) as caught:
        resolve_config(changed(key, value), "tiny.yaml")
    assert str(caught.value).startswith(f"tiny.yaml: {sentence}")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({}, "classifiers.guide.source names no place; give one of repository, url and folder"),
        ({"url": "https://x/y", "folder": "f"}, "classifiers.guide.source names url and folder; give one of"),
        ({"url": "file:///etc/x"}, "classifiers.guide.source.url is 'file:///etc/x'; give an address that starts with"),
        ({"repository": "ddpm"}, "classifiers.guide.source.repository is 'ddpm'; give owner/name"),
        ({"repository": "../../etc/x"}, "classifiers.guide.source.repository is '../../etc/x'; give owner/name"),
        ({"repository": "a/b", "revision": "v1"}, "classifiers.guide.source.revision is 'v1'; give a commit, 40 hexa"),
        ({"folder": "f", "revision": "0" * 40}, "classifiers.guide.source.revision is for a repository; remove it"),
        ({"folder": "f", "sha256": {"a": "12"}}, "classifiers.guide.source.sha256.a is '12'; give a SHA-256, 64 hexa"),
        ({"folder": "f", "std": [1, 1, 0]}, "classifiers.guide.source.std is [1, 1, 0]; give positive numbers"),
        ({"folder": "f", "mean": [1, 1]}, "classifiers.guide.source.mean has 2 entries; give at least 3"),
    ],
)
def test_a_source_is_one_place(source, sentence):
    raw = of_kind("celeba")
    raw["classifiers"]["guide"]["source"] = source
    with pytest.raises(UserError) as caught:
        resolve_config(raw, "mine.yaml", complete=False)
    assert str(caught.value).startswith(f"mine.yaml: {sentence}")


def test_a_judge_is_not_fetched():
    raw = changed("classifiers.judge.training", REMOVED)
    raw["classifiers"]["judge"]["source"] = {"folder": "f"}
    with pytest.raises(
        UserError, match=r"classifiers\.judge\.source is for classifiers of torchvision; give a judge_cnn"
    ):
        resolve_config(raw, "tiny.yaml")


METHOD = "sampling.methods.robust_xt"
MISTAKES = [
    ("run", 1, "run is 1; give a text, in quotes"),
    ("dataset.independent_draws", "no", "dataset.independent_draws is 'no'; give true or false, written as false"),
    ("runn", 1, "runn is an unknown key; did you mean run?"),
    ("sampling.batchsize", 1, "sampling.batchsize is an unknown key; did you mean batch_size?"),
    (f"{METHOD}.scale", 1, f"{METHOD}.scale is an unknown key; did you mean scales?"),
    ("metrics.judge", REMOVED, "metrics.judge is missing; add it"),
    ("run", REMOVED, "run is missing; add it"),
    ("run", "../elsewhere", "run is '../elsewhere'; use only letters, digits, - and _"),
    ("dataset", None, "dataset is empty; give a mapping"),
    ("dataset.kind", "sportball", "dataset.kind is 'sportball', which is unknown; did you mean sportballs?"),
    ("dataset.num_images.train", 0, "dataset.num_images.train is 0; give a number at least 1"),
    ("dataset.scale_range", [0.8, 0.3], "dataset.scale_range goes from 0.8 to 0.3; give the lower end first"),
    ("dataset.classes", ["baseball", "tennis"], "dataset.classes[1] is 'tennis', which is unknown; use"),
    ("dataset.image_size", 17, "dataset.image_size is 17; give a multiple of 2"),
    ("diffusion.training.steps", 2.5, "diffusion.training.steps is 2.5; give a whole number"),
    ("diffusion.training.steps", 30.0, "diffusion.training.steps is 30.0; give a whole number"),
    ("diffusion.training.steps", True, "diffusion.training.steps is true; give a whole number"),
    ("diffusion.training.learning_rate", "1e-3", "is '1e-3'; give a finite number, written as 0.001"),
    ("diffusion.training.learning_rate", "1e-5", "is '1e-5'; give a finite number, written as 1.0e-05"),
    ("diffusion.training.learning_rate", float("inf"), "learning_rate is inf; give a finite number"),
    (
        "diffusion.unet.block_out_channels",
        [32, 42],
        "block_out_channels is [32, 42]; give multiples of norm_num_groups, 4",
    ),
    ("diffusion.unet.norm_num_groups", 16, "norm_num_groups is 16; give fewer groups than channels"),
    ("diffusion.unet.attention_levels", [2], "attention_levels goes beyond the last level, 1; remove what is beyond"),
    ("diffusion.schedule.beta_end", 1.0e-4, "diffusion.schedule.beta_start is greater than beta_end"),
    ("diffusion.name", "judge", "classifiers.judge has the diffusion model's name; rename one of them"),
    (
        "classifiers.robust.architecture",
        "resnet19",
        "architecture is 'resnet19', which is unknown; did you mean resnet18?",
    ),
    ("classifiers.Robust", TINY["classifiers"]["robust"], "classifiers has the name 'Robust'; use only lower-case"),
    ("sampling.steps", 41, "sampling.steps is 41; give at most 40"),
    ("sampling.eta", 0.5, "sampling.eta is for ddim alone"),
    ("sampling.seeds", [], "sampling.seeds has 0 entries; give at least 1"),
    ("sampling.seeds", [1, 1], "sampling.seeds lists a value twice; remove one"),
    (
        "sampling.targets",
        ["baseball", "basketbal"],
        "sampling.targets[1] is 'basketbal', which is no class of the dataset; did",
    ),
    ("sampling.methods", {}, "sampling.methods has 0 entries; give at least 1"),
    (
        "sampling.methods.robust-xt",
        {},
        "sampling.methods has the name 'robust-xt'; use only lower-case letters, digits and _",
    ),
    (f"{METHOD}.scales", [-1], f"{METHOD}.scales[0] is -1; give a number greater than 0"),
    (f"{METHOD}.scales", 3, f"{METHOD}.scales is 3; give a list"),
    (f"{METHOD}.scales", [1.00000001], f"{METHOD}.scales has 1.00000001, but its folder would be named 1; round"),
    (f"{METHOD}.scales", REMOVED, f"{METHOD}.scales is missing; add it"),
    (f"{METHOD}.at", "x_t", f"{METHOD}.at is 'x_t', which is unknown; did you mean xt?"),
    (
        f"{METHOD}.classifier",
        "robus",
        f"{METHOD}.classifier is 'robus', which is none of the classifiers; did you mean robust?",
    ),
    (f"{METHOD}.classifier", "judge", f"{METHOD}.classifier is 'judge', a judge, and a judge must never guide; use"),
    (
        f"{METHOD}.classifier",
        REMOVED,
        f"{METHOD}.at needs a classifier that guides; add {METHOD}.classifier, or remove at",
    ),
    (f"{METHOD}.interval", [0.5, 0.5], f"{METHOD}.interval goes from 0.5 to 0.5"),
    (f"{METHOD}.interval", [0.5, 2], f"{METHOD}.interval[1] is 2; give a number at most 1"),
    (
        f"{METHOD}.stabilizer",
        {"name": "emma"},
        f"{METHOD}.stabilizer.name is 'emma', which is unknown; did you mean ema?",
    ),
    (f"{METHOD}.stabilizer", {"name": "ema"}, f"{METHOD}.stabilizer.beta is missing; add it"),
    (f"{METHOD}.stabilizer", {"beta": 0.9}, f"{METHOD}.stabilizer.name is missing; add it"),
    (
        f"{METHOD}.stabilizer",
        [{"name": "adam", "beta": 0.9}],
        f"{METHOD}.stabilizer[0].beta is an unknown key; did you mean",
    ),
    (
        f"{METHOD}.stabilizer",
        {"name": "ema", "beta": 1},
        f"{METHOD}.stabilizer.beta is 1; a weight of the past must be",
    ),
    ("metrics.judge", "robust", "metrics.judge is 'robust', which is no classifier of the architecture judge_cnn"),
    ("metrics.extractor", "judge", "metrics.extractor is an unknown key; did you mean extractors?"),
    ("metrics.extractors", [], "metrics.extractors has 0 entries; give at least 1"),
    (
        "metrics.extractors",
        ["inceptionv3"],
        "extractors[0] is 'inceptionv3', which is unknown; did you mean",
    ),
    ("metrics.extractors", ["judge", "judge"], "metrics.extractors lists a value twice; remove one"),
    ("metrics.feature_rows", 1, "metrics.feature_rows is 1; give a number at least 2"),
    ("metrics.noise_levels", 41, "metrics.noise_levels is 41; give at most 40"),
    ("metrics.signatures", {"rows": 5}, "metrics.signatures.rows is an unknown key; did you mean num_rows?"),
    ("sampling.methods.real", {}, "sampling.methods.real has a name that real images have in factors.csv; rename"),
    ("run", "a\n", r"run is 'a\n'; use only letters, digits, - and _"),
    ("run", "a" * 81, "run has 81 characters; give at most 80"),
    ("dataset.sprites", "a\0b", r"dataset.sprites is 'a\x00b'; give a text without control characters"),
    ("sampling.seeds", [2**64], f"sampling.seeds[0] is {2**64}; give a number at most 9007199254740991"),
    ("dataset.ball_size", 0.01, "dataset.ball_size is 0.01, a frame of 0 pixels in images of 16; give one that has"),
    ("dataset.scale_range", [0.501, 0.504], "dataset.scale_range goes from 0.501 to 0.504 and is drawn in hundredths"),
    ("dataset.num_images.test", 7, "dataset.num_images.test is 7, and a distance needs two images of each class; give"),
    ("diffusion.schedule.num_steps", 1000, "diffusion.schedule leaves less than 1e-60 of the image's variance at its"),
    ("diffusion.unet.attention_head_dim", 33, "diffusion.unet.attention_head_dim is 33; give at most 32, the fewest"),
    (
        "diffusion.unet.block_out_channels",
        [8] * 11,
        "diffusion.unet.block_out_channels has 11 entries; give at most",
    ),
    (
        "diffusion.training.accumulation",
        3,
        "diffusion.training shares batches of 16 images out in 3 parts; give",
    ),
    ("diffusion.training.batch_size", 300, None),
    ("diffusion.training.processes", 32, "diffusion.training shares batches of 16 images out in 32 parts; give"),
    (
        "classifiers.robust.training.batch_size",
        1,
        "classifiers.robust.training shows mobilenet_v3_small one image",
    ),
    ("classifiers.judge.training.batch_size", 1, None),
    ("classifiers.robust.input_size", None, None),
    ("sampling.num_samples", 1, "sampling.num_samples is 1, and a distance needs two samples; give 2 or more"),
    (f"{METHOD}.num_samples", 1, f"{METHOD}.num_samples is 1, and a distance needs two samples; give 2 or more"),
    ("sampling.steps", 1, "sampling.steps is 1, and gradients are compared from one step to the next; give 2 or more"),
    ("sampling.shard_size", 1, None),
]


@pytest.mark.parametrize(("key", "value", "sentence"), MISTAKES, ids=[f"{k}={v!r}"[:60] for k, v, _ in MISTAKES])
def test_a_mistake_is_one_sentence_that_names_file_and_key(key, value, sentence):
    if sentence is None:
        resolve_config(changed(key, value), "config/mine.yaml")
        return
    with pytest.raises(UserError) as caught:
        resolve_config(changed(key, value), "config/mine.yaml")
    message = str(caught.value)
    assert message.startswith("config/mine.yaml: ")
    assert sentence in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"run: [", "is not valid YAML at line 1"),
        (b"run: \xff", "is not valid YAML at line 1, where byte 0xff is no UTF-8; save it as UTF-8"),
        (b"", "the file is empty; give a mapping"),
        (b"- a", "the file is a list; give a mapping"),
    ],
)
def test_a_file_that_holds_no_configuration(tmp_path, content, sentence):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert sentence in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"mine.yaml cannot be read \(No such file or directory\)"):
        load_config(tmp_path / "mine.yaml")
