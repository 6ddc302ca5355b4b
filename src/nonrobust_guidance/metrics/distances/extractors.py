"""What maps images to features: the held-out judge, and two Inception networks that are not the same.

FID is a convention: which weights, and how an image becomes 299x299. ``inception`` is clean-fid's (Parmar et al.
2022): the network that TensorFlow published in 2015, images resized by a bicubic filter with antialiasing.
``torchvision_inception`` is what torcheval, and so the paper, computes: torchvision's own weights, images resized
bilinearly without antialiasing. Their numbers are not comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import sha256_of
from nonrobust_guidance.metrics.distances.inception_weights import check_weights
from nonrobust_guidance.metrics.distances.spaces import FEATURE_SPACES, FeatureSpace
from nonrobust_guidance.metrics.judging import device_of
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.models.images import to_unit_range
from nonrobust_guidance.models.judge import Judge

BATCH_SIZE = 128
INCEPTION_SIZE = 299

Images = NDArray[np.uint8]
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Extractor:
    """A map from images to features.

    Attributes:
        space: the names of its columns.
        embed: maps uint8 images (B, H, W, 3) to features float32 (B, D).
        provenance: what the features depend on, in texts.
    """

    space: FeatureSpace
    embed: Callable[[Images], Features]
    provenance: dict[str, str]

    def stream(self, images: Images) -> Iterator[Features]:
        """Yield the features of images (N, H, W, 3), which may lie on disk, a batch at a time."""
        for start in range(0, len(images), BATCH_SIZE):
            yield self.embed(np.asarray(images[start : start + BATCH_SIZE]))


def load_extractor(name: str, weights: Path, device: torch.device | str = "cpu") -> Extractor:
    """Return the extractor of that name.

    Args:
        name: judge, inception or torchvision_inception.
        weights: for the judge its checkpoint's folder, for the others the file that ``fetch_inception`` wrote.
        device: where the network runs.

    Raises:
        UserError: if no extractor has that name, or the weights are missing or not the right ones.
    """
    match name:
        case "judge":
            return judge_extractor(load_classifier(weights, device), sha256_of(weights / "model.safetensors"))
        case "inception":
            return clean_fid_extractor(weights, device)
        case "torchvision_inception":
            return torchvision_extractor(weights, device)
    raise UserError(f"metrics.extractors names '{name}', which is unknown; use {' or '.join(FEATURE_SPACES)}")


def judge_extractor(judge: nn.Module, sha256: str = "") -> Extractor:
    """Return the extractor of a judge's features, of images at their own size."""
    features = cast(Judge, judge).features

    @torch.no_grad()
    def embed(images: Images) -> Features:
        return features(to_unit_range(images).to(device_of(judge))).float().cpu().numpy()

    return Extractor(
        FEATURE_SPACES["judge"],
        embed,
        {"extractor": "judge", "weights_sha256": sha256, "preprocessing": "own size, scaled to [-1, 1]"},
    )


def clean_fid_extractor(weights: Path, device: torch.device | str = "cpu") -> Extractor:
    """Return the features of clean-fid's mode ``clean``, by its own resizer and its own wrapper of the network.

    Raises:
        UserError: if the file is missing or not the published one.
    """
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import build_resizer

    name = "inception"
    sha256 = check_weights(name, weights)
    if weights.name != "inception-2015-12-05.pt":
        raise UserError(f"{weights} must be called inception-2015-12-05.pt, for clean-fid looks for that; rename it")
    network, resize = InceptionV3W(str(weights.parent), download=False).to(device).eval(), build_resizer("clean")

    @torch.no_grad()
    def embed(images: Images) -> Features:
        # Pillow releases Python's lock, so threads really resize in parallel.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            resized = np.stack(list(pool.map(resize, images)))  # (B, 299, 299, 3) in [0, 255]
        return network(torch.from_numpy(resized).permute(0, 3, 1, 2).to(device)).float().cpu().numpy()

    return Extractor(
        FEATURE_SPACES[name],
        embed,
        {
            "extractor": name,
            "weights_sha256": sha256,
            "clean_fid": version("clean-fid"),
            "preprocessing": "clean-fid's mode clean: Pillow, bicubic with antialiasing to 299x299, not quantized",
        },
    )


def torchvision_extractor(weights: Path, device: torch.device | str = "cpu") -> Extractor:
    """Return the features of torchvision's Inception v3 as torcheval's ``FrechetInceptionDistance`` takes them.

    Raises:
        UserError: if the file is missing, not the published one, or holds other weights.
    """
    from torchvision.models import inception_v3

    name = "torchvision_inception"
    sha256 = check_weights(name, weights)
    network = inception_v3(weights=None, transform_input=True, init_weights=False)
    try:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        first_line = str(error).splitlines()[0]
        raise UserError(f"{weights} does not hold torchvision's Inception v3 ({first_line}); fetch it again") from error
    network.fc = nn.Identity()
    network.to(device).eval()

    @torch.no_grad()
    def embed(images: Images) -> Features:
        x: Tensor = torch.from_numpy(images).permute(0, 3, 1, 2).to(device).float() / 255
        size = (INCEPTION_SIZE, INCEPTION_SIZE)
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=False)
        return network(x).cpu().numpy()

    return Extractor(
        FEATURE_SPACES[name],
        embed,
        {
            "extractor": name,
            "weights_sha256": sha256,
            "torchvision": version("torchvision"),
            "preprocessing": "[0, 1], bilinear without antialiasing to 299x299, torchvision's transform_input",
        },
    )
