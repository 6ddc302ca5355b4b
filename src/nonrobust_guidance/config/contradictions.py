"""Values that are well-formed, but not together: each check names the key and says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nonrobust_guidance.config.schema import instead
from nonrobust_guidance.errors import UserError

_JUDGE_ARCHITECTURE = "judge_cnn"


def check_models(config: Mapping[str, Any]) -> None:
    """Check dataset, diffusion model and classifiers against each other.

    Raises:
        UserError: if two values contradict each other.
    """
    dataset, diffusion = config["dataset"], config["diffusion"]
    low, high = dataset["scale_range"]
    _require(low < high, f"dataset.scale_range goes from {low} to {high}; give the lower end first")
    schedule, channels = diffusion["schedule"], diffusion["unet"]["block_out_channels"]
    _require(
        schedule["beta_start"] <= schedule["beta_end"],
        "diffusion.schedule.beta_start is greater than beta_end; give the smaller one first",
    )
    groups, coarsest = diffusion["unet"]["norm_num_groups"], 2 ** (len(channels) - 1)
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
        dataset["image_size"] % coarsest == 0,
        f"dataset.image_size is {dataset['image_size']}; give a multiple of {coarsest}, for diffusion.unet halves it "
        f"{len(channels) - 1} times",
    )
    _require(
        all(level < len(channels) for level in diffusion["unet"]["attention_levels"]),
        f"diffusion.unet.attention_levels goes beyond the last level, {len(channels) - 1}; remove what is beyond",
    )
    _require(
        diffusion["name"] not in config["classifiers"],
        f"classifiers.{diffusion['name']} has the diffusion model's name; rename one of them",
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
    """Check that the judge exists and can judge, and that the noise levels do not outnumber the steps.

    Raises:
        UserError: if two values contradict each other.
    """
    metrics, classifiers = config["metrics"], config["classifiers"]
    judges = [name for name, settings in classifiers.items() if settings["architecture"] == _JUDGE_ARCHITECTURE]
    _require(
        metrics["judge"] in judges,
        f"metrics.judge is '{metrics['judge']}', which is no classifier of the architecture {_JUDGE_ARCHITECTURE}; "
        + (instead(metrics["judge"], judges) if judges else "add one to classifiers"),
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
    _require(
        sampling["eta"] == 0 or sampling["sampler"] == "ddim",
        "sampling.eta is for ddim alone; remove it, or set sampling.sampler to ddim",
    )
    for i, target in enumerate(sampling["targets"]):
        _require(
            target in classes,
            f"sampling.targets[{i}] is '{target}', which is no class of the dataset; {instead(target, classes)}",
        )
    for key, method in methods.items():
        _check_method(key, method, config["classifiers"])


def check_report(config: Mapping[str, Any]) -> None:
    """Check that the methods whose ablation is asked for are guided methods of the run.

    Raises:
        UserError: if one is not.
    """
    guided = [name for name, method in config["sampling"]["methods"].items() if method["classifier"]]
    for i, base in enumerate(config["report"]["ablation_of"]):
        _require(
            base in guided, f"report.ablation_of[{i}] is '{base}', which is no guided method; {instead(base, guided)}"
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
        f"{key}.classifier is '{classifier}', which is none of the classifiers; {instead(classifier, guides)}",
    )
    _require(
        classifier in guides,
        f"{key}.classifier is '{classifier}', a judge, and a judge must never guide; {instead(classifier, guides)}",
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
