"""Published checkpoints: fetched from the hub, a URL or a folder, checked, and written as those that are trained here.

A diffusion model is a diffusers folder in one of several layouts. A classifier is a ``.safetensors`` file of a
torchvision network, its names either unchanged or behind a prefix, such as the ``classifier.`` of Vaeth et al. (2025).

It is long because fetching, checking and converting a checkpoint all depend on the same few layouts.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import save_file

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
from nonrobust_guidance.models.layouts import STEM, read_weights, select_diffusion
from nonrobust_guidance.models.origins import FetchedClassifier, FetchedDiffusion
from nonrobust_guidance.models.settings import NoiseSchedule
from nonrobust_guidance.models.sources import Source
from nonrobust_guidance.models.training import HISTORY_FILE
from nonrobust_guidance.models.weights import load_torchvision_classifier, require_logits
from nonrobust_guidance.records.cards import CARD_FILE
from nonrobust_guidance.records.trainings import STATE_FILE, require_untrained
from nonrobust_guidance.schedule import Schedule

# Betas in float32, summed over a thousand steps.
ALPHA_BAR_TOLERANCE = 1e-4


def fetch_diffusion(
    diffusion: FetchedDiffusion, image_size: int, output_folder: Path, *, replace: bool = False
) -> None:
    """Fetch a published diffusion model and write it as training would, without a history.

    Beside the weights, ``source.json`` records the revision and the checksums, and later fetches must match them.

    Args:
        diffusion: the section.
        image_size: height and width of the data.
        output_folder: of the checkpoint.
        replace: whether a training there may be replaced.

    Raises:
        UserError: if the source cannot be reached, a file is missing, damaged or another one than recorded or
            configured, the model is of another size, kind or schedule, or the folder holds a training.
    """
    key = "diffusion.source"

    def select(names: Sequence[str]) -> list[str]:
        return select_diffusion(names, _path_in(diffusion.source), key)

    def convert(folder: Path, names: Sequence[str]) -> None:
        convert_diffusion(folder, names, diffusion.schedule, image_size, key, output_folder)

    _fetch_into(output_folder, diffusion.source, select, convert, key, replace=replace)


def fetch_classifier(
    classifier: FetchedClassifier,
    name: str,
    classes: Sequence[str],
    image_size: int,
    output_folder: Path,
    *,
    replace: bool = False,
) -> None:
    """Fetch a published classifier in the same way.

    Args:
        classifier: its section.
        name: in the configuration, for messages.
        classes: of the data.
        image_size: height and width of the data.
        output_folder: of the checkpoint.
        replace: whether a training there may be replaced.

    Raises:
        UserError: if the source cannot be reached, a file is missing, damaged or another one than recorded or
            configured, the model does not tell these classes apart, or the folder holds a training.
    """
    key = f"classifiers.{name}.source"

    def select(names: Sequence[str]) -> list[str]:
        return [select_classifier(names, _path_in(classifier.source), key)]

    def convert(folder: Path, names: Sequence[str]) -> None:
        convert_classifier(folder / names[0], classifier, key, classes, image_size, output_folder)

    _fetch_into(output_folder, classifier.source, select, convert, key, replace=replace)


def _path_in(source: Source) -> str:
    return str(PurePosixPath((source.path or "").strip("/")))


def _fetch_into(
    output_folder: Path,
    source: Source,
    select: Callable[[Sequence[str]], list[str]],
    convert: Callable[[Path, Sequence[str]], None],
    key: str,
    *,
    replace: bool,
) -> None:
    if not replace:
        require_untrained(output_folder)
    record = output_folder / RECORD
    with naming(output_folder):
        output_folder.mkdir(parents=True, exist_ok=True)
    with naming(output_folder), tempfile.TemporaryDirectory(prefix=".fetching-", dir=output_folder) as staging:
        folder, origin = fetch(source, lambda names: list(dict.fromkeys(select(names))), Path(staging), record, key)
        convert(folder, list(dict.fromkeys(select(list_files(folder)))))
    origin.write(record)
    for file in (HISTORY_FILE, CARD_FILE, STATE_FILE):
        (output_folder / file).unlink(missing_ok=True)


def fetch(source: Source, select: Select, staging: Path, record: Path, key: str) -> tuple[Path, Origin]:
    """Collect the files of a source and check them against its checksums and the record of the first fetch.

    Returns:
        The folder they lie in, and where they came from.

    Raises:
        UserError: if that fails.
    """
    request = source.model_dump(mode="json", include={"repository", "url", "folder", "path"})
    earlier, revision = Origin.recorded(record, request), source.revision
    if earlier is not None and revision not in (None, earlier.revision):
        earlier = None
    by_hand = f"fetch it elsewhere, and name the folder that you put it into in {key}.folder in place of this"
    if source.repository is not None:
        commit = revision or (earlier.revision if earlier else None)
        fetched = fetch_repository(source.repository, commit, "model", select, staging, by_hand)
        folder, origin = staging, Origin(request, fetched.revision, fetched.sha256)
    elif source.url is not None:
        file = fetch_url(source.url, staging / "download", by_hand)
        folder, origin = file.parent, Origin(request, None, {file.name: sha256_of(file)})
    else:
        folder = expand_path(source.place, f"{key}.folder")
        if not folder.is_dir():
            raise UserError(f"{key}.folder {folder} is no folder; name the one that you put the files into")
        origin = Origin(request, None, hash_files(folder, select(list_files(folder))))
    hold_to(origin, earlier, source.sha256 or {}, folder, record, key)
    if source.url is not None and file.suffix.lower() == ".zip":
        folder = staging / "unpacked"
        unpack(file, folder)
    return folder, origin


def select_classifier(names: Sequence[str], path: str, key: str) -> str:
    """Return the name of the weights' file: ``path``, or the only one of the format.

    Raises:
        UserError: if there is none or more than one.
    """
    weights = [name for name in names if name.endswith(".safetensors") and path in (".", name)]
    if len(weights) != 1:
        found = "no .safetensors file" if not weights else f"{len(weights)} .safetensors files"
        raise UserError(f"{key} has {found}{'' if path == '.' else f' {path}'}; name the one to use in {key}.path")
    return weights[0]


def convert_diffusion(
    folder: Path, names: Sequence[str], noise: NoiseSchedule, image_size: int, key: str, output_folder: Path
) -> None:
    """Write a published diffusion model as a diffusers folder, after checking that it is what the run asks for.

    The weights become one file in float32. The scheduler keeps its betas; its spacing becomes ours, which keeps the
    noisiest level of a respaced chain.

    Args:
        folder: of the source.
        names: of the U-Net's configuration, the scheduler's, and the files of the weights in it.
        noise: the schedule that the model must have.
        image_size: height and width of the data.
        key: of the source in the configuration, for messages.
        output_folder: gets ``unet/``, ``scheduler/`` and ``model_index.json``.

    Raises:
        UserError: if a file is damaged, or the model is of another size, kind or schedule.
    """
    unet_config, scheduler_config, *weights = (folder / name for name in names)
    card = read_unet_card(unet_config, image_size, key)
    scheduler, schedule = read_scheduler(scheduler_config)
    require_schedule(schedule, scheduler, noise, scheduler_config)
    try:
        tensors = read_weights(weights)
    except ValueError as error:
        raise UserError(f"{key} cannot be used: {str(error).rstrip('.')}") from None
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=output_folder) as staging:
        # diffusers reads both files from one folder, under these names, and translates its old names of layers into the
        # new ones.
        (Path(staging) / "config.json").write_text(json.dumps(card))
        save_file({name: t.clone().contiguous() for name, t in tensors.items()}, Path(staging) / f"{STEM}.safetensors")
        unet = read_unet(Path(staging), weights[0].parent)
    # diffusers would write this name into the configuration, but it is the folder that was just removed.
    unet.register_to_config(_name_or_path="")
    require_images(unet, image_size, weights[0].parent)
    save_diffusion(unet, scheduler, output_folder)


def read_unet_card(path: Path, image_size: int, key: str) -> dict[str, Any]:
    """Return the published ``config.json`` of a U-Net that predicts the noise from images and step alone.

    Args:
        path: the file.
        image_size: height and width of the data.
        key: of the source in the configuration, for messages.

    Returns:
        The arguments of `UNet2DModel` and its name, without what training scripts add, such as the decay of an average.

    Raises:
        UserError: if it is damaged, or of a network of another kind or for images of another size.
    """
    try:
        card = dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        raise UserError(f"{path} is no configuration of a U-Net; fetch it again") from None
    kind = card.get("_class_name", UNet2DModel.__name__)
    if kind != UNet2DModel.__name__:
        raise UserError(f"{path} is of a {kind}; use an unconditional {UNet2DModel.__name__} of diffusers")
    channels = [card.get(name, 3) for name in ("in_channels", "out_channels")]
    if channels != [3, 3]:
        raise UserError(
            f"{path} is of a model with {channels[0]} channels in and {channels[1]} out; use one with three of each, "
            "which predicts no variance"
        )
    if card.get("class_embed_type") or card.get("num_class_embeds"):
        raise UserError(f"{path} is of a model that is told the class; use an unconditional one")
    size = card.get("sample_size")
    if size is None:
        raise UserError(
            f"{path} does not say for which images the model is; put the source into a folder, write their size as "
            f"sample_size into this file, and name the folder in {key}.folder"
        )
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    if (height, width) != (image_size, image_size):
        pixels, remedy = f"{height}", "set dataset.image_size to that"
        if height != width:
            pixels, remedy = f"{height} x {width}", "use one for squares"
        raise UserError(f"{path} is of a model for images of {pixels} pixels; {remedy}")
    known = signature(UNet2DModel).parameters
    return {"_class_name": kind, **{name: card[name] for name in card if name in known}, "sample_size": image_size}


def read_scheduler(path: Path) -> tuple[DDPMScheduler, Schedule]:
    """Return what a published ``scheduler_config.json`` says, with our spacing.

    Raises:
        UserError: if it is damaged or has no betas.
    """
    try:
        published = dict(json.loads(path.read_bytes()))
        if published.get("trained_betas") is None and not {"beta_start", "beta_end"} <= published.keys():
            # diffusers would use its own defaults instead.
            raise ValueError("it gives no betas")
        scheduler = DDPMScheduler.from_config({**published, "timestep_spacing": "trailing"})
        return scheduler, Schedule.from_diffusers(scheduler)
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} cannot be used as a scheduler ({reason}); fetch it again") from None


@torch.no_grad()
def require_images(unet: UNet2DModel, image_size: int, path: Path) -> None:
    """Check, on an empty image, that a U-Net returns numbers in the shape of our images.

    Raises:
        UserError: if it does not.
    """
    x = torch.zeros(1, 3, image_size, image_size)
    try:
        usable = (noise := unet(x, 0).sample).shape == x.shape and bool(noise.isfinite().all())
    except (RuntimeError, ValueError, TypeError):
        usable = False
    if not usable:
        raise UserError(
            f"{path} has a U-Net that predicts no noise of images of {image_size} pixels; use one that diffusers' "
            "DDPMPipeline samples with"
        )


def require_schedule(schedule: Schedule, scheduler: DDPMScheduler, noise: NoiseSchedule, path: Path) -> None:
    """Check that a published schedule is the one of the configuration.

    Raises:
        UserError: if it is another one, or its model does not predict the noise.
    """
    ours = noise.make()
    if len(schedule) != len(ours) or not torch.allclose(
        schedule.alpha_bars, ours.alpha_bars, rtol=0, atol=ALPHA_BAR_TOLERANCE
    ):
        theirs = scheduler.config
        shape = "" if theirs["beta_schedule"] == "linear" else f", {theirs['beta_schedule']}, which is not supported"
        raise UserError(
            f"{path} has {theirs['num_train_timesteps']} steps with betas {theirs['beta_start']:g} to "
            f"{theirs['beta_end']:g}{shape}, and diffusion.schedule says {noise.num_steps} with "
            f"{noise.beta_start:g} to {noise.beta_end:g}; make diffusion.schedule that of the model"
        )
    if schedule.prediction != "epsilon":
        raise UserError(f"{path} is of a model that predicts {schedule.prediction}; use one that predicts the noise")


def convert_classifier(
    path: Path, classifier: FetchedClassifier, key: str, classes: Sequence[str], image_size: int, output_folder: Path
) -> None:
    """Write a published classifier as ``model.safetensors`` with torchvision's names and ``config.json``.

    Args:
        path: of the weights.
        classifier: its section.
        key: of the source in the configuration, for messages.
        classes: of the data.
        image_size: height and width of the data.
        output_folder: of the checkpoint.

    Raises:
        UserError: if the file does not hold the weights of the architecture, or tells other classes apart.
    """
    try:
        network = load_torchvision_classifier(path, classifier.network)
        require_logits(network, len(classes))
    except ValueError as error:
        raise UserError(f"{key} cannot be used: {str(error).rstrip('.')}") from None
    card = {
        "architecture": classifier.network,
        "classes": list(classes),
        "factors": [],
        "input_size": classifier.input_size or image_size,
        "noised": classifier.noised,
        "mean": list(classifier.source.mean),
        "std": list(classifier.source.std),
    }
    save_classifier(network, card, output_folder)
