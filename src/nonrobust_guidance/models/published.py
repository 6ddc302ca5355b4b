"""Published checkpoints: fetched from the hub, a URL or a folder, checked, and written as those that are trained here.

A diffusion model is a diffusers folder, with ``unet/`` and ``scheduler/`` or, as google/ddpm-celebahq-256 has them,
both in one folder. A classifier is a ``.safetensors`` file of a torchvision network, its names with or without the
prefix ``classifier.`` that those of Vaeth et al. (2025) carry.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import save_file

from nonrobust_guidance.cards import CARD_FILE
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import (
    RECORD,
    Origin,
    Select,
    fetch_repository,
    fetch_url,
    hash_files,
    hold_to,
    list_files,
    sha256_of,
    unpack,
)
from nonrobust_guidance.files import expand_path, naming
from nonrobust_guidance.models.classifiers import save_classifier
from nonrobust_guidance.models.diffusion import read_unet, save_diffusion
from nonrobust_guidance.models.training import HISTORY_FILE
from nonrobust_guidance.models.weights import load_torchvision_classifier, require_logits
from nonrobust_guidance.schedule import Schedule
from nonrobust_guidance.trainings import STATE_FILE, require_untrained

WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLED_WEIGHTS = "diffusion_pytorch_model.bin"
# Betas in float32, summed over a thousand steps.
ALPHA_BAR_TOLERANCE = 1e-4


def fetch_checkpoint(config: Mapping[str, Any], name: str, output_folder: Path, *, replace: bool = False) -> None:
    """Fetch the diffusion model or the classifier of that name and write it as training would, without a history.

    Beside the weights ``source.json`` records the revision and the checksums, to which later fetches are held.

    Raises:
        UserError: if the source cannot be reached, a file is missing, damaged or another one than recorded or
            configured, the model does not fit the configuration, or the folder holds a training.
    """
    if not replace:
        require_untrained(output_folder)
    is_diffusion = name == config["diffusion"]["name"]
    key = "diffusion.source" if is_diffusion else f"classifiers.{name}.source"
    settings = config["diffusion"] if is_diffusion else config["classifiers"][name]
    source, path = settings["source"], settings["source"].get("path", "").strip("/")
    record = output_folder / RECORD
    with naming(output_folder):
        output_folder.mkdir(parents=True, exist_ok=True)
    with naming(output_folder), tempfile.TemporaryDirectory(prefix=".fetching-", dir=output_folder) as staging:

        def select(names: Sequence[str]) -> list[str]:
            chosen = select_diffusion(names, path, key) if is_diffusion else [select_classifier(names, path, key)]
            return list(dict.fromkeys(chosen))

        folder, origin = fetch(source, select, Path(staging), record, key)
        if is_diffusion:
            convert_diffusion(folder, select(list_files(folder)), config, output_folder)
        else:
            convert_classifier(folder / select(list_files(folder))[0], config, name, output_folder)
    origin.write(record)
    for file in (HISTORY_FILE, CARD_FILE, STATE_FILE):
        (output_folder / file).unlink(missing_ok=True)


def fetch(source: Mapping[str, Any], select: Select, staging: Path, record: Path, key: str) -> tuple[Path, Origin]:
    """Bring the files of a source together and hold them to its checksums and to the record of the first fetch.

    Returns:
        The folder they lie in, and where they came from.

    Raises:
        UserError: if that fails.
    """
    request = {place: source[place] for place in ("repository", "url", "folder", "path") if place in source}
    earlier, revision = Origin.recorded(record, request), source.get("revision")
    if earlier is not None and revision not in (None, earlier.revision):
        earlier = None
    by_hand = f"fetch it elsewhere, and name the folder that you put it into in {key}.folder in place of this"
    if "repository" in source:
        commit = revision or (earlier.revision if earlier else None)
        fetched = fetch_repository(source["repository"], commit, "model", select, staging, by_hand)
        folder, origin = staging, Origin(request, fetched.revision, fetched.sha256)
    elif "url" in source:
        file = fetch_url(source["url"], staging / "download", by_hand)
        folder, origin = file.parent, Origin(request, None, {file.name: sha256_of(file)})
    else:
        folder = expand_path(source["folder"], f"{key}.folder")
        if not folder.is_dir():
            raise UserError(f"{key}.folder {folder} is no folder; name the one that you put the files into")
        origin = Origin(request, None, hash_files(folder, select(list_files(folder))))
    hold_to(origin, earlier, source.get("sha256", {}), folder, record, key)
    if "url" in source and file.suffix.lower() == ".zip":
        folder = staging / "unpacked"
        unpack(file, folder)
    return folder, origin


def select_diffusion(names: Sequence[str], path: str, key: str) -> list[str]:
    """Return the names of the U-Net's configuration, its weights and the scheduler's configuration, in this order.

    Args:
        names: of all files of the source.
        path: of the model's folder within the source, perhaps empty.
        key: of the source in the configuration, for messages.

    Raises:
        UserError: if one of them is missing.
    """
    prefix = f"{path}/" if path else ""
    parts = [
        ["unet/config.json", "config.json"],
        [f"unet/{WEIGHTS}", WEIGHTS, f"unet/{PICKLED_WEIGHTS}", PICKLED_WEIGHTS],
        ["scheduler/scheduler_config.json", "scheduler_config.json"],
    ]
    offered, chosen = set(names), []
    for alternatives in parts:
        found = [prefix + name for name in alternatives if prefix + name in offered]
        if not found:
            raise UserError(
                f"{key} has no file {prefix}{' nor '.join(alternatives)}; correct {key}.path, the model's folder "
                "within the source"
            )
        chosen.append(found[0])
    return chosen


def select_classifier(names: Sequence[str], path: str, key: str) -> str:
    """Return the name of the weights' file: ``path``, or the only one of the format.

    Raises:
        UserError: if there is none or more than one.
    """
    weights = [name for name in names if name.endswith(".safetensors") and path in ("", name)]
    if len(weights) != 1:
        found = "no .safetensors file" if not weights else f"{len(weights)} .safetensors files"
        raise UserError(f"{key} has {found}{f' {path}' if path else ''}; name the one to use in {key}.path")
    return weights[0]


def convert_diffusion(folder: Path, names: Sequence[str], config: Mapping[str, Any], output_folder: Path) -> None:
    """Write a published diffusion model as a diffusers folder, once it is known to be what the run asks for.

    The scheduler keeps its betas; its spacing becomes ours, which keeps the noisiest level of a respaced chain.

    Args:
        folder: of the source.
        names: of the configuration, the weights and the scheduler's configuration in it.
        config: the run's validated configuration.
        output_folder: gets ``unet/``, ``scheduler/`` and ``model_index.json``.

    Raises:
        UserError: if a file is damaged, or the model is of another size, kind or schedule.
    """
    unet_config, weights, scheduler_config = (folder / name for name in names)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=output_folder) as staging:
        # diffusers reads both files from one folder, under these names.
        shutil.copyfile(unet_config, Path(staging) / "config.json")
        if weights.name == WEIGHTS:
            shutil.copyfile(weights, Path(staging) / WEIGHTS)
        else:
            unpickle_weights(weights, Path(staging) / WEIGHTS)
        unet = read_unet(Path(staging))
    require_unconditional(unet, config["dataset"]["image_size"], weights)
    try:
        published = json.loads(scheduler_config.read_text())
        scheduler = DDPMScheduler.from_config({**published, "timestep_spacing": "trailing"})
        schedule = Schedule.from_diffusers(scheduler)
    except (OSError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{scheduler_config} cannot be used as a scheduler ({reason}); fetch it again") from None
    require_schedule(schedule, scheduler, config["diffusion"]["schedule"], scheduler_config)
    save_diffusion(unet, scheduler, output_folder)


def unpickle_weights(pickled: Path, output: Path) -> None:
    """Write the tensors of a .bin file, which is a pickle, as safetensors; nothing but tensors is unpickled.

    Raises:
        UserError: if it holds anything else.
    """
    try:
        weights = torch.load(pickled, map_location="cpu", weights_only=True)
        save_file({name: tensor.contiguous().clone() for name, tensor in weights.items()}, output)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, AttributeError, TypeError):
        raise UserError(
            f"{pickled} is a pickle that holds more than tensors, or is damaged; convert it to {WEIGHTS} with "
            "safetensors.torch.save_file, if you trust it"
        ) from None
    print(f"{pickled.name} is a pickle: its tensors were read, and nothing else", file=sys.stderr)


def require_unconditional(unet: UNet2DModel, image_size: int, path: Path) -> None:
    """Check that a U-Net predicts the noise of images of our size from the images and the step alone.

    Raises:
        UserError: if it does not.
    """
    card = unet.config
    size = card["sample_size"]
    if size is not None and (size if isinstance(size, int) else max(size)) != image_size:
        raise UserError(f"{path} is of a model for images of {size} pixels; set dataset.image_size to that")
    if (card["in_channels"], card["out_channels"]) != (3, 3):
        raise UserError(
            f"{path} is of a model with {card['in_channels']} channels in and {card['out_channels']} out; use one with "
            "three of each, which predicts no variance"
        )
    if card.get("class_embed_type") or card.get("num_class_embeds"):
        raise UserError(f"{path} is of a model that is told the class; use an unconditional one")


def require_schedule(schedule: Schedule, scheduler: DDPMScheduler, settings: Mapping[str, Any], path: Path) -> None:
    """Check that a published schedule is the one of the configuration.

    Raises:
        UserError: if it is another one, or its model does not predict the noise.
    """
    ours = Schedule.linear(settings["num_steps"], settings["beta_start"], settings["beta_end"])
    if len(schedule) != len(ours) or not torch.allclose(
        schedule.alpha_bars, ours.alpha_bars, rtol=0, atol=ALPHA_BAR_TOLERANCE
    ):
        theirs = scheduler.config
        shape = "" if theirs["beta_schedule"] == "linear" else f", {theirs['beta_schedule']}, which is not supported"
        raise UserError(
            f"{path} has {theirs['num_train_timesteps']} steps with betas {theirs['beta_start']:g} to "
            f"{theirs['beta_end']:g}{shape}, and diffusion.schedule says {settings['num_steps']} with "
            f"{settings['beta_start']:g} to {settings['beta_end']:g}; make diffusion.schedule that of the model"
        )
    if schedule.prediction != "epsilon":
        raise UserError(f"{path} is of a model that predicts {schedule.prediction}; use one that predicts the noise")


def convert_classifier(path: Path, config: Mapping[str, Any], name: str, output_folder: Path) -> None:
    """Write a published classifier as ``model.safetensors`` with torchvision's names and ``config.json``.

    Raises:
        UserError: if the file does not hold the weights of the architecture, or tells other classes apart.
    """
    settings, dataset = config["classifiers"][name], config["dataset"]
    try:
        network = load_torchvision_classifier(path, settings["architecture"])
        require_logits(network, len(dataset["classes"]))
    except ValueError as error:
        raise UserError(f"classifiers.{name}.source cannot be used: {str(error).rstrip('.')}") from None
    card = {
        "architecture": settings["architecture"],
        "classes": list(dataset["classes"]),
        "factors": [],
        "input_size": settings["input_size"] or dataset["image_size"],
        "noised": settings["noised"],
        "mean": settings["source"]["mean"],
        "std": settings["source"]["std"],
    }
    save_classifier(network, card, output_folder)
