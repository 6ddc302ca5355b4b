"""What real images look like in a feature space: measured once for a dataset, and kept as files of our own.

A file holds the Gaussian of the features of training images, a random few of their rows for what cannot be computed
from a Gaussian, and rows of test images, which show what a perfect generator would score. Its metadata record what it
was made from, and it is refused once the data or the extractor differ from that.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

from nonrobust_guidance.data import Split, load_split
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import sha256_of
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.distances.extractors import BATCH_SIZE, Extractor, load_extractor
from nonrobust_guidance.metrics.distances.features import Moments, choose_rows
from nonrobust_guidance.metrics.distances.frechet import Gaussian
from nonrobust_guidance.metrics.distances.kernel import KernelDistance

ALL_CLASSES = "all"
SEED = 0
_AGAIN = "run measure-references again"


class Reference:
    """Real images of a class, or all, in a feature space.

    Attributes:
        gaussian: of all training images.
        rows: features of a random few of these, float32 (M, D).
        test_rows: features of a random few of the test images, float32 (T, D), empty where there are none.
    """

    def __init__(self, gaussian: Gaussian, rows: NDArray[np.float32], test_rows: NDArray[np.float32]) -> None:
        """Take the numbers."""
        self.gaussian, self.rows, self.test_rows = gaussian, rows, test_rows

    @cached_property
    def kernel(self) -> KernelDistance:
        """The kernel distance to the rows."""
        return KernelDistance(self.rows)


def measure_references(
    extractor: str,
    data_folder: Path,
    weights: Path,
    num_rows: int,
    output_folder: Path,
    device: torch.device | str = "cpu",
) -> None:
    """Measure the training images in a feature space and write ``all.safetensors`` and a file for each class.

    The images are read in batches, and only the rows of features that are kept stay in memory.

    Args:
        extractor: a name of ``metrics.extractors``.
        data_folder: the prepared data set.
        weights: the extractor's, as for `load_extractor`.
        num_rows: rows to keep of each file's training images and of its test images.
        output_folder: where the files go, each written atomically.
        device: where the network runs.

    Raises:
        UserError: if data or weights are missing or wrong, or a class has fewer than two training images.
    """
    train, test = load_split(data_folder, "train"), load_split(data_folder, "test")
    for label, name in enumerate(train.classes):
        if np.sum(train.labels == label) < 2:
            raise UserError(f"the data have fewer than two {name} images to train on; raise dataset.num_images")
    network = load_extractor(extractor, weights, device)
    moments, rows = read_features(network, train, num_rows, SEED)
    _, test_rows = read_features(network, test, num_rows, SEED + 1)
    provenance = network.provenance | {"manifest_sha256": sha256_of(data_folder / "manifest.json"), "split": "train"}
    for i, name in enumerate([ALL_CLASSES, *train.classes]):
        reference = Reference(moments[i].gaussian(), rows[i], test_rows[i])
        save_reference(reference, output_folder / f"{name}.safetensors", provenance | {"class": name})


def read_features(
    extractor: Extractor, split: Split, num_rows: int, seed: int
) -> tuple[list[Moments], list[NDArray[np.float32]]]:
    """Return the moments of all features of a split, and then of each class, and the rows kept of each."""
    labels = np.asarray(split.labels)
    members = [np.ones(len(labels), dtype=bool), *(labels == label for label in range(len(split.classes)))]
    kept = [np.zeros(len(labels), dtype=bool) for _ in members]
    for chosen, member in zip(kept, members, strict=True):
        chosen[member] = choose_rows(int(member.sum()), num_rows, seed)
    moments = [Moments() for _ in members]
    rows: list[list[NDArray[np.float32]]] = [[] for _ in members]
    batches = tqdm(
        extractor.stream(split.images),
        desc=f"measure {extractor.space.name}",
        unit="batch",
        total=-(-len(labels) // BATCH_SIZE),
    )
    start = 0
    for batch in batches:
        here = slice(start, start + len(batch))
        for i, member in enumerate(members):
            if i:
                moments[i].add(batch[member[here]])
            rows[i].append(batch[kept[i][here]])
        start += len(batch)
    for of_class in moments[1:]:
        moments[0].merge(of_class)
    return moments, [np.concatenate(parts) for parts in rows]


def save_reference(reference: Reference, path: Path, provenance: dict[str, str]) -> None:
    """Write a reference atomically, with its provenance as JSON in the metadata."""
    gaussian = reference.gaussian
    tensors = {"mean": gaussian.mean, "covariance": gaussian.covariance, "n": np.array([gaussian.n])}
    tensors |= {"rows": reference.rows, "test_rows": reference.test_rows}
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    # One entry: safetensors writes several in random order, but the same reference should give the same bytes.
    metadata = {"provenance": json.dumps(provenance, sort_keys=True)}
    write_atomically(path, lambda temporary: save_file(contiguous, temporary, metadata))


def load_reference(path: Path, extractor: Extractor, manifest: Path) -> Reference:
    """Read a reference.

    Raises:
        UserError: if it is missing, cut off or not a reference, or was made by another extractor or from other data.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; run measure-references first")
    try:
        with safe_open(path, framework="numpy") as file:
            provenance = json.loads((file.metadata() or {}).get("provenance", "{}"))
            tensors = {name: file.get_tensor(name) for name in ("mean", "covariance", "n", "rows", "test_rows")}
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is cut off or no file of references; {_AGAIN}") from error
    expected = extractor.provenance | {"manifest_sha256": sha256_of(manifest)}
    for key, value in expected.items():
        if provenance.get(key) != value:
            raise UserError(f"{path} was made with {key} {provenance.get(key)} where {value} is in use; {_AGAIN}")
    gaussian = Gaussian(tensors["mean"], tensors["covariance"], int(tensors["n"][0]))
    return Reference(gaussian, tensors["rows"], tensors["test_rows"])
