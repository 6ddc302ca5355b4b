"""The published weights of the two Inception networks: fetched once, and checked before every use.

It works without torch, for the workflow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import sha256_of
from nonrobust_guidance.files import write_atomically


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights, where it is published, and its SHA-256, or as many digits of it as are published."""

    name: str
    url: str
    sha256: str

    def __str__(self) -> str:
        """Name the file so that a user can fetch it by hand."""
        known = "SHA-256" if len(self.sha256) == 64 else "a SHA-256 that begins with"
        return f"{self.url} ({known} {self.sha256})"


INCEPTION_WEIGHTS = {
    "inception": WeightsFile(
        "inception-2015-12-05.pt",
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    ),
    # torchvision publishes only the first digits, in the file's name.
    "torchvision_inception": WeightsFile(
        "inception_v3_google-0cc3c7bd.pth",
        "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
        "0cc3c7bd",
    ),
}


def fetch_inception(extractor: str, output_file: Path) -> None:
    """Download the weights of an Inception network, unless the right file is there already.

    Args:
        extractor: a key of ``INCEPTION_WEIGHTS``.
        output_file: written atomically, once its SHA-256 is known to be right.

    Raises:
        UserError: if there is no such extractor, or the file cannot be fetched or is not the published one.
    """
    from torch.hub import download_url_to_file

    if extractor not in INCEPTION_WEIGHTS:
        raise UserError(f"no weights are known for '{extractor}'; use {' or '.join(INCEPTION_WEIGHTS)}")
    weights = INCEPTION_WEIGHTS[extractor]
    if output_file.is_file() and sha256_of(output_file).startswith(weights.sha256):
        return
    try:
        write_atomically(output_file, lambda path: download_url_to_file(weights.url, str(path), weights.sha256))
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split()).rstrip(".") or type(error).__name__
        raise UserError(
            f"the Inception weights could not be fetched ({reason}); fetch {weights} elsewhere and put it at "
            f"{output_file}"
        ) from None


def check_weights(extractor: str, file: Path) -> str:
    """Return the SHA-256 of a file of Inception weights, once it is known to be the published one.

    Raises:
        UserError: if the file is missing or not the published one.
    """
    weights = INCEPTION_WEIGHTS[extractor]
    if not file.is_file():
        raise UserError(f"{file} is missing; run fetch-inception, or fetch {weights} and put it there")
    found = sha256_of(file)
    if not found.startswith(weights.sha256):
        raise UserError(f"{file} has the SHA-256 {found}; delete it, fetch {weights} and put it there")
    return found
