"""The classifiers: two that guide, trained on noised or on clean images, and one that only judges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional as F
from torchvision import models

from nonrobust_guidance.data import Split, load_split
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.models.diffusion import add_noise
from nonrobust_guidance.models.images import to_unit_range
from nonrobust_guidance.models.judge import Judge, JudgeObjective
from nonrobust_guidance.models.training import Objective, clear_state, train, write_history
from nonrobust_guidance.schedule import Schedule

VALIDATION_BATCH = 256


class Resized(nn.Module):
    """A classifier behind a bilinear resize of its input to ``size`` x ``size`` pixels."""

    def __init__(self, network: nn.Module, size: int) -> None:
        """Wrap the network."""
        super().__init__()
        self.network, self.size = network, size

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to the network's logits (B, K)."""
        if x.shape[-1] != self.size:
            x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        # A third faster on a CPU, forward and backward.
        return self.network(x.contiguous(memory_format=torch.channels_last))


def build_classifier(architecture: str, num_classes: int, factors: Sequence[str], input_size: int) -> nn.Module:
    """Return an untrained classifier of images in [-1, 1]: torchvision's network of that name, or the judge.

    Raises:
        UserError: if torchvision has no classification model of that name.
    """
    if architecture == "judge_cnn":
        return Judge(num_classes, factors)
    if architecture not in models.list_models(module=models):
        raise UserError(f"architecture '{architecture}' is neither judge_cnn nor a torchvision classification model")
    return Resized(models.get_model(architecture, weights=None, num_classes=num_classes), input_size)


class CrossEntropy:
    """Cross-entropy on clean images, or, for a robust classifier, on images noised to uniformly drawn steps."""

    def __init__(self, model: nn.Module, split: Split, schedule: Schedule | None) -> None:
        """Take the model, the data, and the schedule that noises them (None: clean images)."""
        self.model, self.split, self.num_examples = model, split, len(split.images)
        self.alpha_bar = None if schedule is None else torch.as_tensor(schedule.alpha_bars)

    def inputs(self, images: np.ndarray, generator: torch.Generator) -> Tensor:
        """Map uint8 images (B, H, W, 3) to what the model is trained on, (B, 3, H, W)."""
        x = to_unit_range(images)
        if self.alpha_bar is None:
            return x
        t = torch.randint(len(self.alpha_bar), (len(x),), generator=generator)
        return add_noise(x, torch.randn(x.shape, generator=generator), self.alpha_bar[t])

    @torch.no_grad()
    def accuracy(self, held_out: Split, seed: int) -> float:
        """Return the share of held-out images, noised as in training, that the model gets right."""
        generator, right = torch.Generator().manual_seed(seed), 0
        for start in range(0, len(held_out.images), VALIDATION_BATCH):
            batch = slice(start, start + VALIDATION_BATCH)
            logits = self.model(self.inputs(held_out.images[batch], generator))
            guesses = logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
            right += int((guesses == torch.from_numpy(np.asarray(held_out.labels[batch]))).sum())
        return right / len(held_out.images)

    def loss(self, indices: np.ndarray, generator: torch.Generator) -> Tensor:
        """Return the loss of the batch at ``indices``."""
        logits = self.model(self.inputs(self.split.images[indices], generator)).float()
        labels = torch.from_numpy(np.asarray(self.split.labels[indices]))
        if logits.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
        return F.cross_entropy(logits, labels)


def train_classifier(config: dict[str, Any], name: str, data_folder: Path, output_folder: Path) -> None:
    """Train the run's classifier of that name on the training split and save it.

    Writes ``config.json`` (architecture, classes, input_size, ...), ``model.safetensors`` and ``history.csv``.

    Raises:
        UserError: if the data are missing or not what their manifest says, or the architecture is unknown.
    """
    settings = config["classifiers"][name]
    split = load_split(data_folder, "train")
    is_judge = settings["architecture"] == "judge_cnn"
    card = {
        "architecture": settings["architecture"],
        "classes": list(split.classes) + (["none of these"] if is_judge else []),
        "factors": list(split.factor_names),
        "input_size": settings["input_size"] or split.images.shape[1],
        "noised": settings["noised"],
    }
    with torch.random.fork_rng():
        torch.manual_seed(settings["training"]["seed"])
        model = build_from_card(card)
    validate = None
    if is_judge:
        objective: Objective = JudgeObjective(cast(Judge, model), split)
    else:
        noise = config["diffusion"]["schedule"]
        schedule = Schedule.linear(noise["num_steps"], noise["beta_start"], noise["beta_end"])
        objective = CrossEntropy(model, split, schedule if settings["noised"] else None)
        held_out = load_split(data_folder, "validation")
        validate = partial(objective.accuracy, held_out, settings["training"]["seed"])
    history = train(objective, settings["training"], output_folder, f"train {name}", validate)
    weights = network_of(model).state_dict()
    write_atomically(output_folder / "model.safetensors", lambda path: save_file(weights, path))
    write_atomically(output_folder / "config.json", lambda path: path.write_text(json.dumps(card, indent=2) + "\n"))
    write_history(output_folder / "history.csv", history)
    clear_state(output_folder)


def build_from_card(card: dict[str, Any]) -> nn.Module:
    """Return the untrained model that a checkpoint's ``config.json`` describes; two classes share one logit."""
    num_logits = len(card["classes"])
    if num_logits == 2 and card["architecture"] != "judge_cnn":
        num_logits = 1
    return build_classifier(card["architecture"], num_logits, card["factors"], card["input_size"])


def network_of(model: nn.Module) -> nn.Module:
    """Return the module whose weights carry the names that torchvision gives them."""
    return model.network if isinstance(model, Resized) else model


def load_classifier(folder: Path) -> nn.Module:
    """Read a checkpoint: a classifier in evaluation mode, without gradients, of images (B, 3, H, W) in [-1, 1].

    Raises:
        UserError: if a file is missing, truncated or of another kind.
    """
    card_path, weights_path = folder / "config.json", folder / "model.safetensors"
    for path in (card_path, weights_path):
        if not path.is_file():
            raise UserError(f"{path} is missing: {folder} is no complete classifier checkpoint; train or fetch it")
    try:
        model = build_from_card(json.loads(card_path.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{card_path} does not describe a classifier ({error}); make the checkpoint again") from error
    try:
        network_of(model).load_state_dict(load_file(weights_path))
    except (SafetensorError, RuntimeError) as error:
        first_line = str(error).splitlines()[0]
        raise UserError(f"{weights_path} does not hold this model's weights ({first_line}); make it again") from error
    return ready_to_guide(model)


def ready_to_guide(model: nn.Module) -> nn.Module:
    """Return the classifier in evaluation mode, without gradients, batch normalization folded into convolutions."""
    model.eval().requires_grad_(False)
    if isinstance(model, Resized):
        model.network = fuse(model.network)
    return model
