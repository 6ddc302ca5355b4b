"""Values that are valid in their own sections but not together: each check names the key and says what to do."""

from __future__ import annotations

import math
import re

from nonrobust_guidance.data.sportballs import SportBallsData
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.models.networks import JUDGE
from nonrobust_guidance.models.settings import Models, UNet
from nonrobust_guidance.report.settings import Report
from nonrobust_guidance.sampling.settings import Rejected
from nonrobust_guidance.settings import instead
from nonrobust_guidance.settings.types import LETTERS
from nonrobust_guidance.yaml_files import quoted


def check_models(run: Models) -> None:
    """Check dataset, diffusion model and classifiers against each other.

    Raises:
        UserError: if two values contradict each other.
    """
    size, classes = run.dataset.image_size, run.dataset.classes
    _require(
        len(set(classes)) == len(classes) > 1,
        f"dataset.classes names {len(set(classes))} classes in {len(classes)} entries; give two or more, each once",
    )
    for i, name in enumerate(classes):
        _require(
            re.fullmatch(LETTERS, name) is not None,
            f"dataset.classes[{i}] is {quoted(name)}, and names of classes become names of files; use only letters, "
            "digits, - and _",
        )
    for name, classifier in run.classifiers.items():
        seen, smallest = classifier.input_size or size, classifier.traits.smallest_input
        _require(
            seen >= smallest,
            f"classifiers.{name} sees images of {seen} pixels, too small for {classifier.network}; set its "
            f"input_size to {smallest} or more",
        )
    _check_batches(run)
    if run.diffusion.unet is not None:
        _check_halving(run.diffusion.unet, size)
    _require(
        run.diffusion.name not in run.classifiers,
        f"classifiers.{run.diffusion.name} has the diffusion model's name; rename one of them",
    )


def _check_halving(unet: UNet, image_size: int) -> None:
    times = len(unet.block_out_channels) - 1
    _require(
        image_size % 2**times == 0,
        f"dataset.image_size is {image_size}; give a multiple of {2**times}, for diffusion.unet halves it {times} "
        "times",
    )


def _check_batches(run: Models) -> None:
    """Check that batches can be divided, as far as the numbers of processes and images are known."""
    # For other data, num_images is only the most that are taken, and there may be fewer.
    images = run.dataset.num_images.train if isinstance(run.dataset, SportBallsData) else math.inf
    unet = {"diffusion": (run.diffusion.training, None, False)}
    trained = {
        f"classifiers.{name}": (classifier.training, classifier.network, classifier.traits.normalizes_batches)
        for name, classifier in run.classifiers.items()
    }
    for key, (training, network, normalizes_batches) in (unet | trained).items():
        if training is None:
            continue
        size, parts = min(training.batch_size, images), training.accumulation
        if network is None and training.processes != "auto":
            parts *= training.processes
        _require(
            size % parts == 0,
            f"{key}.training shares batches of {size} images out in {parts} parts; give batch_size a multiple of that, "
            "and no more than dataset.num_images.train",
        )
        _require(
            size // parts > 1 or not normalizes_batches,
            f"{key}.training shows {network} one image at a time, and its batch normalization needs two; give a "
            "greater batch_size, or less accumulation",
        )


def check_run(run: Measured, report: Report) -> None:
    """Check sampling, metrics and report against the models, and against each other.

    Raises:
        UserError: if two values contradict each other.
    """
    _check_metrics(run)
    _check_sampling(run)
    guided = list(run.sampling.guided)
    for i, base in enumerate(report.ablation_of):
        _require(
            base in guided,
            f"report.ablation_of[{i}] is {quoted(base)}, which is no guided method; {instead(base, guided)}",
        )


def _check_metrics(run: Measured) -> None:
    """Check that the judge exists and can judge, that names do not clash, and that there are enough steps."""
    judge, judges = run.metrics.judge, [name for name, c in run.classifiers.items() if c.is_judge]
    _require(
        judge in judges,
        f"metrics.judge is {quoted(judge)}, which is no classifier of the architecture {JUDGE}; "
        + (instead(judge, judges) if judges else "add one to classifiers"),
    )
    classes = run.dataset.classes
    _require(
        "all" not in classes,
        "dataset.classes has a class 'all', as the references of all classes together are named; rename it",
    )
    numbers = run.dataset.num_images.counts() if run.dataset.num_images else {}
    for split in ("train", "test"):
        images = numbers.get(split, math.inf)
        _require(
            images >= 2 * len(classes),
            f"dataset.num_images.{split} is {images}, and a distance needs two images of each class; give at least "
            f"{2 * len(classes)}, better more",
        )
    levels, steps = run.metrics.noise_levels, run.diffusion.schedule.num_steps
    _require(
        levels <= steps, f"metrics.noise_levels is {levels}; give at most {steps}, the steps of diffusion.schedule"
    )


def _check_sampling(run: Measured) -> None:
    """Check sampling and its methods against dataset, schedule and classifiers."""
    sampling, classes, levels = run.sampling, run.dataset.classes, run.diffusion.schedule.num_steps
    steps = {"sampling": sampling.steps} | {f"sampling.methods.{k}": m.steps for k, m in sampling.methods.items()}
    for key, count in steps.items():
        _require(count <= levels, f"{key}.steps is {count}; give at most {levels}, the steps of diffusion.schedule")
    for i, target in enumerate(sampling.targets):
        _require(
            target in classes,
            f"sampling.targets[{i}] is {quoted(target)}, which is no class of the dataset; {instead(target, classes)}",
        )
    guides = [name for name, classifier in run.classifiers.items() if not classifier.is_judge]
    for name, method in sampling.methods.items():
        rejected = ".reject" if isinstance(method, Rejected) else ""
        key, guide = f"sampling.methods.{name}{rejected}.classifier", method.classifier
        if guide is None:
            continue
        _require(
            guide in run.classifiers,
            f"{key} is {quoted(guide)}, which is none of the classifiers; {instead(guide, guides)}",
        )
        _require(
            guide in guides,
            f"{key} is {quoted(guide)}, a judge, and a judge must never guide; {instead(guide, guides)}",
        )


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise UserError(sentence)
