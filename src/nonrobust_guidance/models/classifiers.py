"""The classifiers: two that guide, trained on noised or on clean images, and one that only judges."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from nonrobust_guidance.devices import choose_device
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.models.images import add_noise, to_unit_range
from nonrobust_guidance.models.judge import Judge, JudgeObjective
from nonrobust_guidance.models.networks import JUDGE, network_again
from nonrobust_guidance.models.origins import TrainedClassifier
from nonrobust_guidance.models.preprocessing import Preprocessed, preprocess
from nonrobust_guidance.models.resuming import clear_state
from nonrobust_guidance.models.settings import Classifier
from nonrobust_guidance.models.training import HISTORY_FILE, Objective, seeded, train, write_history
from nonrobust_guidance.models.weights import load_torchvision_classifier, require_logits
from nonrobust_guidance.records.trainings import identify, is_trained, write_checkpoint_card
from nonrobust_guidance.schedule import Schedule
from nonrobust_guidance.settings import Choice
from nonrobust_guidance.settings.files import failure

VALIDATION_BATCH = 256


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
        device = next(self.model.parameters(), torch.empty(0)).device
        for start in range(0, len(held_out.images), VALIDATION_BATCH):
            batch = slice(start, start + VALIDATION_BATCH)
            logits = self.model(self.inputs(held_out.images[batch], generator).to(device)).cpu()
            guesses = logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
            right += int((guesses == torch.from_numpy(np.asarray(held_out.labels[batch]))).sum())
        return right / len(held_out.images)

    def batch(self, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Return what the model is trained on, (B, 3, H, W), and the labels (B,)."""
        labels = torch.from_numpy(np.asarray(self.split.labels[indices]))
        return self.inputs(self.split.images[indices], generator), labels

    def losses(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """Return the cross-entropy of each example, (B,)."""
        inputs, labels = batch
        logits = model(inputs).float()
        if logits.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(logits[:, 0], labels.float(), reduction="none")
        return F.cross_entropy(logits, labels, reduction="none")


def train_classifier(
    settings: TrainedClassifier,
    name: str,
    data_folder: Path,
    output_folder: Path,
    *,
    device: str = "auto",
    replace: bool = False,
) -> None:
    """Train a classifier on the training split and save it.

    Writes ``config.json`` (architecture or network, classes, input_size, ...), ``model.safetensors`` and
    ``history.csv``. Nothing is done if the folder already holds the result of this very training, unless it is to be
    replaced.

    Args:
        settings: its section, and the schedule if its images are noised.
        name: shown beside the progress bar.
        data_folder: the prepared data set.
        output_folder: of the checkpoint.
        device: as `choose_device` takes it.
        replace: whether another training there may be replaced.

    Raises:
        UserError: if the data are missing or not what their manifest says, the architecture is unknown or a network of
            the user's own fails, or the folder holds another training.
    """
    manifest = data_folder / "manifest.json"
    if is_trained(output_folder, settings, manifest, replace=replace):
        return
    split = load_split(data_folder, "train")
    card = {
        **describe_network(settings),
        "classes": list(split.classes) + (["none of these"] if settings.is_judge else []),
        "factors": list(split.factor_names),
        "input_size": settings.input_size or split.images.shape[1],
        "noised": settings.noised,
    }
    with seeded(settings.training.seed):
        model = build_from_card(card)
    if settings.uses is not None:
        require_logits_of(model, len(split.classes), split.images.shape[1], settings.uses)
    validate = None
    if settings.is_judge:
        objective: Objective = JudgeObjective(cast(Judge, model), split)
    else:
        objective = CrossEntropy(model, split, settings.schedule.make() if settings.schedule else None)
        held_out = load_split(data_folder, "validation")
        validate = partial(objective.accuracy, held_out, settings.training.seed)
    trained_on = choose_device(device, exact=False)
    training = identify(settings, manifest)
    history = train(objective, settings.training, output_folder, f"train {name}", validate, trained_on, training)
    save_classifier(network_of(model.cpu()), card, output_folder)
    write_history(output_folder / HISTORY_FILE, history)
    made = ["config.json", "model.safetensors", HISTORY_FILE]
    write_checkpoint_card(output_folder, settings, settings.training.seed, history, manifest, made, trained_on.type)
    clear_state(output_folder)


def describe_network(settings: Classifier) -> dict[str, Any]:
    """Return what ``config.json`` says of a network: its ``architecture``, or a user's own ``network``."""
    return {"architecture": settings.architecture} if settings.uses is None else {"network": settings.uses.written}


def build_from_card(card: Mapping[str, Any], source: str = "config.json") -> nn.Module:
    """Return the untrained model that a checkpoint's ``config.json`` describes; two classes share one logit.

    Args:
        card: its content.
        source: where it was read, for messages.

    Raises:
        UserError: if torchvision has no classification model of that name, or a network of the user's own cannot be
            built or is from a file that changed.
    """
    num_classes = len(card["classes"])
    if "network" in card:
        return with_preprocessing(build_own(network_again(card["network"], source), num_classes), card)
    architecture = card["architecture"]
    if architecture == JUDGE:
        return Judge(num_classes, card["factors"])
    if architecture not in models.list_models(module=models):
        raise UserError(f"architecture '{architecture}' is neither {JUDGE} nor a torchvision classification model")
    num_logits = 1 if num_classes == 2 else num_classes
    return with_preprocessing(models.get_model(architecture, weights=None, num_classes=num_logits), card)


def build_own(chosen: Choice, num_classes: int) -> nn.Module:
    """Return the untrained network of a class in a user's file.

    Raises:
        UserError: if it fails, or returns something else.
    """
    file = chosen.name.rpartition(":")[0]
    try:
        network = chosen.make().build(num_classes)
    except Exception as error:  # whatever the user's code raises
        raise failure(error, file) from None
    if not isinstance(network, nn.Module):
        raise UserError(
            f"{chosen.label}.build in {file} returns {type(network).__name__}; let it return a torch.nn.Module"
        )
    return network


def require_logits_of(model: nn.Module, num_classes: int, image_size: int, chosen: Choice) -> None:
    """Show a user's network two images before it is trained.

    Raises:
        UserError: if it has nothing to train, fails on them, or does not return their logits.
    """
    where = f"the network of {chosen.name}"
    if not any(weight.requires_grad for weight in model.parameters()):
        raise UserError(f"{where} has no weights to train; give it some")
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = model(torch.zeros(2, 3, image_size, image_size))
    except ValueError as error:
        raise UserError(f"{where} cannot be trained: {str(error).rstrip('.')}") from None
    allowed = [(2, num_classes), *([(2, 1)] if num_classes == 2 else [])]
    if logits.shape not in allowed:
        raise UserError(
            f"{where} returns {tuple(logits.shape)} for 2 images; let it return {' or '.join(map(str, allowed))}"
        )


def with_preprocessing(network: nn.Module, card: Mapping[str, Any]) -> Preprocessed:
    """Put the preprocessing that the card records before a network; without ``mean`` it takes [-1, 1] as it is."""
    size = (card["input_size"], card["input_size"])
    if card.get("mean") is None:
        return Preprocessed(network, size)
    return preprocess(network, size, card["mean"], card["std"])


def network_of(model: nn.Module) -> nn.Module:
    """Return the module whose weights carry the names that torchvision, or a user's class, gives them."""
    return cast(nn.Module, model.network) if isinstance(model, Preprocessed) else model


def save_classifier(network: nn.Module, card: Mapping[str, Any], folder: Path) -> None:
    """Write ``model.safetensors``, with the names that the network gives its weights, and ``config.json``, the card."""
    # A copy of each, because the format refuses tensors that share memory.
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    write_atomically(folder / "model.safetensors", lambda path: save_file(weights, path))
    write_atomically(folder / "config.json", lambda path: path.write_text(json.dumps(card, indent=2) + "\n"))


def load_classifier(folder: Path, device: torch.device | str = "cpu") -> nn.Module:
    """Read a checkpoint: a classifier in evaluation mode, without gradients, of images (B, 3, H, W) in [-1, 1].

    Raises:
        UserError: if a file is missing, truncated or of another kind, or the file of a user's own network has changed.
    """
    card_path, weights_path = folder / "config.json", folder / "model.safetensors"
    for path in (card_path, weights_path):
        if not path.is_file():
            raise UserError(f"{path} is missing: {folder} is no complete classifier checkpoint; train or fetch it")
    try:
        card = json.loads(card_path.read_text())
        is_own = "network" in card or card["architecture"] == JUDGE
        model = build_from_card(card, str(card_path)) if is_own else None
        num_classes = len(card["classes"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{card_path} does not describe a classifier ({error}); make the checkpoint again") from error
    try:
        if model is None:
            network = load_torchvision_classifier(weights_path, card["architecture"])
            require_logits(network, num_classes)
            model = with_preprocessing(network, card)
        else:
            network_of(model).load_state_dict(load_file(weights_path))
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        first_line = str(error).splitlines()[0]
        raise UserError(f"{weights_path} does not hold this model's weights ({first_line}); make it again") from error
    return ready_to_guide(model).to(device)


def ready_to_guide(model: nn.Module) -> nn.Module:
    """Return the classifier in evaluation mode, without gradients, torchvision's batch normalization folded."""
    model.eval().requires_grad_(False)
    if isinstance(model, Preprocessed) and model.of_torchvision:
        model.network = fuse(cast(nn.Module, model.network))
    return model
