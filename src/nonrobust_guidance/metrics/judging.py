"""What classifiers say about images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nonrobust_guidance.metrics.statistics.intervals import wilson_interval
from nonrobust_guidance.models.images import to_unit_range

BATCH_SIZE = 256


def class_probabilities(classifier: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the probabilities (N, K) that a classifier gives to uint8 images (N, H, W, 3)."""
    batches = [probabilities_of(classifier, batch) for batch in _batches(images)]
    return torch.cat(batches).numpy()


@torch.no_grad()
def probabilities_of(classifier: nn.Module, x: Tensor) -> Tensor:
    """Return the probabilities (B, K), float64, on the CPU, for images (B, 3, H, W) in [-1, 1].

    A classifier with a single logit is binary, and the logit is that of class 1.
    """
    logits = classifier(x.to(device_of(classifier))).cpu().double()
    if logits.ndim == 1 or logits.shape[1] == 1:
        p = logits.reshape(-1).sigmoid()
        return torch.stack([1 - p, p], dim=1)
    return logits.softmax(dim=1)


def summarize_probabilities(
    probabilities: NDArray[np.float64], labels: int | NDArray[np.int64], judge: str
) -> dict[str, Any]:
    """Return accuracy with its Wilson interval, and mean and standard deviation of the label's probability.

    Args:
        probabilities: (N, K).
        labels: the class that counts as right, one for all or (N,).
        judge: part of the names: accuracy_<judge>, accuracy_<judge>_low, probability_<judge>_mean, ...; may be empty.
    """
    n, suffix = len(probabilities), f"_{judge}" if judge else ""
    right = int(np.sum(probabilities.argmax(axis=1) == labels))
    of_label = probabilities[np.arange(n), labels]
    low, high = wilson_interval(right, n)
    return {
        f"accuracy{suffix}": right / n,
        f"accuracy{suffix}_low": low,
        f"accuracy{suffix}_high": high,
        f"probability{suffix}_mean": of_label.mean(),
        f"probability{suffix}_std": of_label.std(),
    }


def device_of(module: nn.Module) -> torch.device:
    """Return the device that a network's weights are on."""
    weight = next(module.parameters(), None)
    return torch.device("cpu") if weight is None else weight.device


def _batches(images: NDArray[np.uint8]) -> Iterator[Tensor]:
    for start in range(0, len(images), BATCH_SIZE):
        yield to_unit_range(images[start : start + BATCH_SIZE])
