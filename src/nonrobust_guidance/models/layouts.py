"""The layouts of published diffusers folders: which of a source's files are the model, and how to read its tensors.

The U-Net's ``config.json`` lies in ``unet/`` or, as google/ddpm-celebahq-256 has it, in the model's folder itself, its
weights beside it: in one file or in shards with an index, in float32 or as a half-precision variant, as safetensors or
pickled. The scheduler's configuration lies beside it or one folder above, in a folder ``scheduler/`` or not.
"""

from __future__ import annotations

import json
import pickle
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.models.weights import as_float32, read_safetensors, without_prefix

STEM = "diffusion_pytorch_model"
# Diffusers' names of precisions; what is stored in float32 comes first.
VARIANTS = ("", ".fp16", ".bf16")
FORMATS = (".safetensors", ".bin")
PIPELINE = "model_index.json"
SCHEDULER = "scheduler_config.json"
AUTOENCODERS = ("vae", "vqvae", "movq")
WEIGHTS_SUFFIXES = (*FORMATS, ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx")


def select_diffusion(names: Collection[str], path: str, key: str) -> list[str]:
    """Return the names of the U-Net's configuration, the scheduler's, and the files of the weights, in this order.

    Args:
        names: of all files of the source.
        path: of the model's folder within the source, perhaps empty.
        key: of the source in the configuration, for messages.

    Raises:
        UserError: if one of them is missing, or the model is one of latents.
    """
    offered, folder = set(names), PurePosixPath(path)
    remedy = f"correct {key}.path, the model's folder within the source"
    unet_config = _first(offered, (folder / "unet/config.json", folder / "config.json"))
    if unet_config is None:
        raise UserError(f"{key} has no file {folder / 'unet/config.json'} nor {folder / 'config.json'}; {remedy}")
    home = PurePosixPath(unet_config).parent
    around = list(dict.fromkeys((folder, home, home.parent)))
    pipelines = [place for place in around if str(place / PIPELINE) in offered]
    coder = _first(offered, (place / name / "config.json" for place in pipelines for name in AUTOENCODERS))
    if coder is not None:
        raise UserError(f"{key} has a file {coder}, so it is a diffusion of latents; use one of pixels")
    beside = {PurePosixPath(name).name for name in offered if PurePosixPath(name).parent == home}
    weights = select_weights(beside)
    if not weights:
        others = sorted(name for name in beside if name.endswith(WEIGHTS_SUFFIXES))
        found = f" but {', '.join(others)}" if others else ""
        raise UserError(f"{key} has no file {home / STEM}{FORMATS[0]} nor {FORMATS[1]}{found}; {remedy}")
    scheduler = _first(offered, (place / name for place in around for name in (f"scheduler/{SCHEDULER}", SCHEDULER)))
    if scheduler is None:
        raise UserError(
            f"{key} has no file {folder / 'scheduler' / SCHEDULER} nor {folder / SCHEDULER}, nor one folder above the "
            f"U-Net; {remedy}, or, where there is none, put the source into a folder, save a DDPMScheduler of "
            f"diffusers with the model's betas into its folder scheduler, and name the folder in {key}.folder"
        )
    return [unet_config, scheduler, *(str(home / name) for name in weights)]


def select_weights(names: Collection[str]) -> list[str]:
    """Return the file of weights among the names in a folder, or the index and the shards; none if there are none."""
    for variant in VARIANTS:
        for suffix in FORMATS:
            whole, index = f"{STEM}{variant}{suffix}", f"{STEM}{suffix}.index{variant}.json"
            if whole in names:
                return [whole]
            if index in names:
                number, before, after = r"-\d+-of-\d+", re.escape(variant), re.escape(suffix)
                shard = re.compile(f"{STEM}({before}{number}|{number}{before}){after}")
                return [index, *sorted(name for name in names if shard.fullmatch(name))]
    return []


def read_weights(files: Sequence[Path]) -> dict[str, Tensor]:
    """Return a U-Net's tensors in float32, without what wrappers put before their names.

    Args:
        files: the file of weights, or the index and the shards.

    Raises:
        UserError: if a pickle holds more than tensors.
        ValueError: if a file is damaged, a shard is missing, or a tensor has numbers that are not finite.
    """
    first, *shards = files
    tensors = read_shards(first, shards) if first.suffix == ".json" else read_tensors(first)
    return as_float32(without_prefix(tensors), first)


def read_shards(index: Path, shards: Iterable[Path]) -> dict[str, Tensor]:
    """Return the tensors that an index names, from the shards that it names for each.

    Raises:
        UserError: if a pickled shard holds more than tensors.
        ValueError: if the index or a shard is damaged, or the index names a shard or a tensor that is not there.
    """
    try:
        places = {str(name): str(file) for name, file in json.loads(index.read_bytes())["weight_map"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{index} is no index of shards; fetch it again") from None
    there = {shard.name: shard for shard in shards}
    tensors: dict[str, Tensor] = {}
    for file in dict.fromkeys(places.values()):
        if file not in there:
            raise ValueError(f"{index} names the shard {file}, which is not beside it; put it there, or fetch it again")
        held = read_tensors(there[file])
        for name in (name for name, place in places.items() if place == file):
            if name not in held:
                raise ValueError(f"{there[file]} has no tensor {name}, which {index.name} says it has; fetch it again")
            tensors[name] = held[name]
    return tensors


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file or of a .bin file, which is a pickle, and unpickle nothing else.

    Raises:
        UserError: if a pickle holds anything else.
        ValueError: if it is not a safetensors file.
    """
    if path.suffix == FORMATS[0]:
        return read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        tensors = {name: tensor.detach() for name, tensor in content.items()}
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, AttributeError, TypeError):
        raise UserError(
            f"{path} is a pickle that holds more than tensors, or is damaged; convert it to {STEM}{FORMATS[0]} with "
            "safetensors.torch.save_file, if you trust it"
        ) from None
    print(f"{path.name} is a pickle: its tensors were read, and nothing else", file=sys.stderr)
    return tensors


def _first(offered: Collection[str], candidates: Iterable[PurePosixPath]) -> str | None:
    """Return the first of these names that is offered."""
    return next((str(name) for name in candidates if str(name) in offered), None)
