"""Values that are well-formed, but not together: each check names the key and says what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from nonrobust_guidance.config.schema import instead, load_schema
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.yaml_files import quoted

_JUDGE_ARCHITECTURE = "judge_cnn"
# Smaller images are gone before the last layer; the other architectures have a pixel left of 8.
_SMALLEST_INPUTS = {"convnext_tiny": 32, "densenet121": 29, "vgg11_bn": 32}
_WITHOUT_BATCH_NORMALIZATION = (_JUDGE_ARCHITECTURE, "convnext_tiny")
_LEAST_ALPHA_BAR = 1e-60
_LEAST_STD = 1e-6
_MOST_SHARDS = 10_000
# Beside the methods' samples, factors.csv lists real images under these names.
_NAMES_OF_REAL_IMAGES = ("real", "real_judged")


def check_models(config: Mapping[str, Any]) -> None:
    """Check dataset, diffusion model and classifiers against each other.

    Raises:
        UserError: if two values contradict each other.
    """
    dataset, diffusion = config["dataset"], config["diffusion"]
    if dataset["kind"] == "sportballs":
        _check_ball(dataset)
    if dataset["kind"] == "folder":
        _check_folders(dataset["classes"], dataset.get("folders", {}))
    if "split" in dataset:
        shares = dataset["split"]
        _require(
            sum(shares.values()) < 1,
            f"dataset.split gives {shares['validation']} and {shares['test']} away; leave something to train on",
        )
    schedule = diffusion["schedule"]
    _require(
        schedule["beta_start"] <= schedule["beta_end"],
        "diffusion.schedule.beta_start is greater than beta_end; give the smaller one first",
    )
    _check_signal(schedule)
    _check_origin("diffusion", diffusion, trained_by=("unet", "training"))
    for name, classifier in config["classifiers"].items():
        _check_origin(f"classifiers.{name}", classifier, trained_by=("training",))
        _require(
            "source" not in classifier or classifier["architecture"] != _JUDGE_ARCHITECTURE,
            f"classifiers.{name}.source is for classifiers of torchvision; give a {_JUDGE_ARCHITECTURE} its training",
        )
        smallest = _SMALLEST_INPUTS.get(classifier["architecture"], 0)
        _require(
            (classifier["input_size"] or dataset["image_size"]) >= smallest,
            f"classifiers.{name} sees images of {classifier['input_size'] or dataset['image_size']} pixels, too small "
            f"for {classifier['architecture']}; set its input_size to {smallest} or more",
        )
    _check_batches(config)
    if "unet" in diffusion:
        _check_unet(diffusion["unet"], dataset["image_size"])
    _require(
        diffusion["name"] not in config["classifiers"],
        f"classifiers.{diffusion['name']} has the diffusion model's name; rename one of them",
    )


def _check_folders(classes: Sequence[str], folders: Mapping[str, str]) -> None:
    """Check that classes have names that files can have too, and each a folder of its own in the root."""
    pattern = load_schema()["$defs"]["name"]["pattern"]
    for i, name in enumerate(classes):
        allowed = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-") or f"class_{i}"
        _require(
            re.match(pattern, name) is not None,
            f"dataset.classes[{i}] is '{name}', and names of classes become names of files; give it another name with "
            f"classes: {{{allowed}: '{name}', ...}}, of letters, digits, - and _ before the colon",
        )
    for name, folder in folders.items():
        _require(name in classes, f"dataset.folders.{name} is of no class; {instead(name, classes)}")
        path = PurePath(folder)
        _require(
            bool(path.parts) and not path.is_absolute() and ".." not in path.parts,
            f"dataset.classes.{name} is '{folder}'; give the name of a folder in dataset.root",
        )
    used = [PurePath(folders.get(name, name)) for name in classes]
    for name, path in zip(classes, used, strict=True):
        _require(used.count(path) == 1, f"dataset.classes.{name} has the folder of another class, {path}; remove one")


def _check_ball(dataset: Mapping[str, Any]) -> None:
    size, share, (low, high) = dataset["image_size"], dataset["ball_size"], dataset["scale_range"]
    _require(low < high, f"dataset.scale_range goes from {low} to {high}; give the lower end first")
    _require(
        0 < round(100 * low) < round(100 * high),
        f"dataset.scale_range goes from {low} to {high} and is drawn in hundredths; give ends at least 0.01 and that "
        "far apart",
    )
    _require(
        0 < round(size * share) < size,
        f"dataset.ball_size is {share}, a frame of {round(size * share)} pixels in images of {size}; give one that has "
        "pixels and leaves some",
    )


def _check_signal(schedule: Mapping[str, Any]) -> None:
    """Check that the last step leaves so much of the image that float32 can divide by its amplitude."""
    steps, start, end = schedule["num_steps"], schedule["beta_start"], schedule["beta_end"]
    logarithm = sum(math.log1p(-(start + (end - start) * i / (steps - 1))) for i in range(steps))
    _require(
        logarithm > math.log(_LEAST_ALPHA_BAR),
        f"diffusion.schedule leaves less than {_LEAST_ALPHA_BAR:g} of the image's variance at its last step; give "
        "fewer steps or smaller betas",
    )


def _check_batches(config: Mapping[str, Any]) -> None:
    """Check that batches can be shared out, as far as it is known how many processes and images there are."""
    dataset = config["dataset"]
    images = dataset["num_images"]["train"] if dataset["kind"] == "sportballs" else math.inf
    classifiers = {f"classifiers.{name}": classifier for name, classifier in config["classifiers"].items()}
    for key, model in ({"diffusion": config["diffusion"]} | classifiers).items():
        training = model.get("training")
        if not training:
            continue
        size, parts = min(training["batch_size"], images), training["accumulation"]
        if key == "diffusion" and training["processes"] != "auto":
            parts *= training["processes"]
        _require(
            size % parts == 0,
            f"{key}.training shares batches of {size} images out in {parts} parts; give batch_size a multiple of that, "
            "and no more than dataset.num_images.train",
        )
        _require(
            size // parts > 1 or model.get("architecture") in (None, *_WITHOUT_BATCH_NORMALIZATION),
            f"{key}.training shows {model.get('architecture')} one image at a time, and its batch normalization needs "
            "two; give a greater batch_size, or less accumulation",
        )


def _check_unet(unet: Mapping[str, Any], image_size: int) -> None:
    channels, groups = unet["block_out_channels"], unet["norm_num_groups"]
    coarsest = 2 ** (len(channels) - 1)
    _require(
        all(channel % groups == 0 for channel in channels),
        f"diffusion.unet.block_out_channels is {channels}; give multiples of norm_num_groups, {groups}",
    )
    _require(
        groups < min(channels),
        f"diffusion.unet.norm_num_groups is {groups}; give fewer groups than channels, for groups of one channel "
        "normalize the brightness away",
    )
    _require(
        image_size % coarsest == 0,
        f"dataset.image_size is {image_size}; give a multiple of {coarsest}, for diffusion.unet halves it "
        f"{len(channels) - 1} times",
    )
    _require(
        all(level < len(channels) for level in unet["attention_levels"]),
        f"diffusion.unet.attention_levels goes beyond the last level, {len(channels) - 1}; remove what is beyond",
    )
    # The middle of the U-Net attends whatever the levels do.
    narrowest = min(channels[level] for level in (-1, *unet["attention_levels"]))
    _require(
        unet["attention_head_dim"] <= narrowest,
        f"diffusion.unet.attention_head_dim is {unet['attention_head_dim']}; give at most {narrowest}, the fewest "
        "channels of a level with attention, of which the last is one",
    )


def _check_origin(key: str, model: Mapping[str, Any], trained_by: tuple[str, ...]) -> None:
    """Check that a model is either trained or fetched, and from one place."""
    if "source" not in model:
        for needed in trained_by:
            _require(needed in model, f"{key}.{needed} is missing; add it, or a source of published weights")
        return
    for other in trained_by:
        _require(other not in model, f"{key} has both source and {other}; remove one")
    source = model["source"]
    places = [place for place in ("repository", "url", "folder") if place in source]
    _require(
        len(places) == 1,
        f"{key}.source names {' and '.join(places) or 'no place'}; give one of repository, url and folder",
    )
    _require(
        source.get("revision") is None or places == ["repository"],
        f"{key}.source.revision is for a repository; remove it",
    )
    _require(
        all(std >= _LEAST_STD for std in source.get("std", [])),
        f"{key}.source.std is {source.get('std')}; give positive numbers, at least {_LEAST_STD:g}",
    )


def check_early_stopping(config: Mapping[str, Any]) -> None:
    """Check that only guiding classifiers stop early, for no other model has a validation accuracy.

    Raises:
        UserError: if another one should.
    """
    judges = {
        f"classifiers.{n}": c for n, c in config["classifiers"].items() if c["architecture"] == _JUDGE_ARCHITECTURE
    }
    for key, model in ({"diffusion": config["diffusion"]} | judges).items():
        _require(
            not (model.get("training") or {}).get("early_stopping"),
            f"{key}.training.early_stopping is for guiding classifiers alone; remove it",
        )


def check_metrics(config: Mapping[str, Any]) -> None:
    """Check that the judge exists and can judge, that names do not clash, and that there are steps enough.

    Raises:
        UserError: if two values contradict each other.
    """
    metrics, classifiers = config["metrics"], config["classifiers"]
    judges = [name for name, settings in classifiers.items() if settings["architecture"] == _JUDGE_ARCHITECTURE]
    _require(
        metrics["judge"] in judges,
        f"metrics.judge is {quoted(metrics['judge'])}, which is no classifier of the architecture "
        f"{_JUDGE_ARCHITECTURE}; " + (instead(metrics["judge"], judges) if judges else "add one to classifiers"),
    )
    _require(
        "all" not in config["dataset"]["classes"],
        "dataset.classes has a class 'all', as the references of all classes together are named; rename it",
    )
    classes = config["dataset"]["classes"]
    for split in ("train", "test"):
        images = config["dataset"].get("num_images", {}).get(split, math.inf)
        _require(
            images >= 2 * len(classes),
            f"dataset.num_images.{split} is {images}, and a distance needs two images of each class; give at least "
            f"{2 * len(classes)}, better more",
        )
    levels, steps = metrics["noise_levels"], config["diffusion"]["schedule"]["num_steps"]
    _require(
        levels <= steps, f"metrics.noise_levels is {levels}; give at most {steps}, the steps of diffusion.schedule"
    )


def check_methods(config: Mapping[str, Any]) -> None:
    """Check sampling and its methods against dataset, schedule and classifiers.

    Raises:
        UserError: if two values contradict each other.
    """
    sampling, classes = config["sampling"], config["dataset"]["classes"]
    levels = config["diffusion"]["schedule"]["num_steps"]
    methods = {f"sampling.methods.{name}": method for name, method in sampling["methods"].items()}
    for key, entry in ({"sampling": sampling} | methods).items():
        steps = entry.get("steps", levels)
        _require(steps <= levels, f"{key}.steps is {steps}; give at most {levels}, the steps of diffusion.schedule")
        _require(steps > 1, f"{key}.steps is 1, and gradients are compared from one step to the next; give 2 or more")
        count = entry.get("num_samples", sampling["num_samples"])
        _require(count > 1, f"{key}.num_samples is 1, and a distance needs two samples; give 2 or more")
    _require(
        sampling["eta"] == 0 or sampling["sampler"] == "ddim",
        "sampling.eta is for ddim alone; remove it, or set sampling.sampler to ddim",
    )
    for i, target in enumerate(sampling["targets"]):
        _require(
            target in classes,
            f"sampling.targets[{i}] is {quoted(target)}, which is no class of the dataset; {instead(target, classes)}",
        )
    for key, method in methods.items():
        name = key.rpartition(".")[2]
        _require(
            name not in _NAMES_OF_REAL_IMAGES,
            f"{key} has a name that real images have in factors.csv; rename the method",
        )
        count, size = method.get("num_samples", sampling["num_samples"]), sampling["shard_size"]
        _require(
            size is None or count <= size * _MOST_SHARDS,
            f"sampling.shard_size is {size}, which makes more than {_MOST_SHARDS} jobs of each cell of {key}; give a "
            "greater one",
        )
        _check_method(key, method, config["classifiers"])


def check_report(config: Mapping[str, Any]) -> None:
    """Check that the methods whose ablation is asked for are guided methods of the run.

    Raises:
        UserError: if one is not.
    """
    guided = [name for name, method in config["sampling"]["methods"].items() if method["classifier"]]
    for i, base in enumerate(config["report"]["ablation_of"]):
        _require(
            base in guided,
            f"report.ablation_of[{i}] is {quoted(base)}, which is no guided method; {instead(base, guided)}",
        )


def _check_method(key: str, method: Mapping[str, Any], classifiers: Mapping[str, Any]) -> None:
    guides = [name for name, settings in classifiers.items() if settings["architecture"] != _JUDGE_ARCHITECTURE]
    classifier = method.get("classifier")
    if classifier is None:
        for other in method:
            _require(
                other in ("classifier", "num_samples", "steps"),
                f"{key}.{other} needs a classifier that guides; add {key}.classifier, or remove {other}",
            )
        return
    for needed in ("at", "scales"):
        _require(needed in method, f"{key}.{needed} is missing; add it, or remove {key}.classifier")
    _require(
        classifier in classifiers,
        f"{key}.classifier is {quoted(classifier)}, which is none of the classifiers; {instead(classifier, guides)}",
    )
    _require(
        classifier in guides,
        f"{key}.classifier is {quoted(classifier)}, a judge, and a judge must never guide; "
        f"{instead(classifier, guides)}",
    )
    low, high = method.get("interval", (0, 1))
    _require(low < high, f"{key}.interval goes from {low} to {high}; give the lower end first")
    for scale in method["scales"]:
        _require(
            float(f"{scale:g}") == scale,
            f"{key}.scales has {scale!r}, but its folder would be named {scale:g}; round it to six digits",
        )


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise UserError(sentence)
