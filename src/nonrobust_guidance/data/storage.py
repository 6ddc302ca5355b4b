"""Datasets on disk: three arrays per split and a manifest, which is written last and holds their checksums."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0
from numpy.typing import NDArray
from tqdm import tqdm

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import require_space, sha256_of
from nonrobust_guidance.files import naming, write_atomically

_MANIFEST = "manifest.json"
_AGAIN = "run prepare-data again"
_ARRAYS = ("images", "labels", "factors")
NEEDED = {"train": 2, "test": 2}
"""Images of each class: a covariance needs two training and two test images, of whichever class it is taken."""


class Example(NamedTuple):
    """One image uint8 (H, W, 3), its class, and its known factors float32 (F,)."""

    image: NDArray[np.uint8]
    label: int
    factors: NDArray[np.float32]


class Split(NamedTuple):
    """Images uint8 (N, H, W, 3), labels int64 (N,), factors float32 (N, F), memory-mapped, and the names of both."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    factors: NDArray[np.float32]
    classes: tuple[str, ...]
    factor_names: tuple[str, ...] = ()


def write_dataset(
    folder: Path,
    settings: Mapping[str, Any],
    classes: Sequence[str],
    factors: Sequence[str],
    splits: Mapping[str, Sequence[int]],
    example: Callable[[int], Example | None],
    describe: Callable[[], Mapping[str, Any]] = dict,
    least: Mapping[str, int] | None = None,
) -> None:
    """Write a dataset, one example at a time; if this is interrupted, ``folder`` never holds half a dataset.

    Args:
        folder: Where the splits and ``manifest.json`` go; other files there stay.
        settings: The dataset section of the configuration, with at least ``kind``, ``name`` and ``image_size``.
        classes: Class names in label order.
        factors: Names of the factors' columns, empty where nothing is known.
        splits: The indices of each split's examples.
        example: Gives the example of an index, or None where it is to be left out.
        describe: Called after the last example, for the rest of the manifest: ``source``, where the images come from
            with its SHA-256 or identity, and ``preprocessing``, in words.
        least: How many images of each class a split needs, by its name; by default any number will do.

    Raises:
        UserError: The disk is too small, full or not writable, an example cannot be read, or a class has too few.
    """
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(".preparing-*"):
            shutil.rmtree(stale, ignore_errors=True)
        manifest: dict[str, Any] = {key: settings[key] for key in ("kind", "name", "image_size")}
        manifest |= {"classes": list(classes), "factors": list(factors), "settings": dict(settings), "splits": {}}
        num_bytes = sum(
            math.prod(shape) * np.dtype(dtype).itemsize
            for indices in splits.values()
            for dtype, shape in _layout(manifest, len(indices)).values()
        )
        require_space(folder, num_bytes, f"the dataset {settings['name']}")
        staging = folder / f".preparing-{os.getpid()}"
        try:
            for split, indices in splits.items():
                (staging / split).mkdir(parents=True)
                bar = tqdm(indices, desc=f"{settings['name']} {split}", unit="image")
                labels = _write_arrays(staging / split, manifest, (one for one in map(example, bar) if one is not None))
                counts = np.bincount(labels, minlength=len(classes))
                needed = (least or {}).get(split, 0)
                if counts.min() < needed:
                    name, few = classes[int(counts.argmin())], counts.min()
                    raise UserError(
                        f"the dataset {settings['name']} has {few} {split} images of {name}, and every class needs at "
                        f"least {needed}; raise dataset.num_images.{split}, or take the class out"
                    )
                manifest["splits"][split] = {
                    "count": len(labels),
                    "class_counts": dict(zip(classes, counts.tolist(), strict=True)),
                    "sha256": {f"{name}.npy": sha256_of(staging / split / f"{name}.npy") for name in _ARRAYS},
                }
            text = json.dumps({**manifest, **describe()}, indent=2, default=str) + "\n"
            # The manifest is valid for these arrays only. It may stay if they are drawn again, because DVC wants its
            # tracked files to exist.
            if (folder / _MANIFEST).is_file() and (folder / _MANIFEST).read_bytes() != text.encode():
                (folder / _MANIFEST).unlink()
            for split in splits:
                shutil.rmtree(folder / split, ignore_errors=True)
                (staging / split).rename(folder / split)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        write_atomically(folder / _MANIFEST, lambda path: path.write_text(text))


def _write_arrays(folder: Path, manifest: Mapping[str, Any], examples: Iterable[Example]) -> list[int]:
    """Write the arrays of one split, row by row, and return its labels.

    Memory-mapped files would need less code, but when a quota or the disk runs out they kill the process.
    """
    labels: list[int] = []
    paths = [folder / f"{name}.npy" for name in _ARRAYS]
    with paths[0].open("wb") as images_file, paths[1].open("wb") as labels_file, paths[2].open("wb") as factors_file:
        files = dict(zip(_ARRAYS, (images_file, labels_file, factors_file), strict=True))
        # numpy leaves room in the header for any number of rows, so the header can be rewritten once they are counted.
        _write_headers(files, _layout(manifest, 0))
        rows: dict[str, NDArray[Any]] = {
            name: np.empty(shape[1:], dtype) for name, (dtype, shape) in _layout(manifest, 0).items()
        }
        for example in examples:
            _require_fit(example, rows["images"].shape, len(manifest["classes"]))
            for name, value in zip(_ARRAYS, example, strict=True):
                rows[name][...] = value
                files[name].write(rows[name].tobytes())
            labels.append(int(example.label))
        _write_headers(files, _layout(manifest, len(labels)))
    return labels


def _require_fit(example: Example, shape: tuple[int, ...], num_classes: int) -> None:
    """Refuse what the arrays would silently change: another dtype is truncated, and a smaller image is repeated."""
    image = example.image
    if image.dtype != np.uint8 or image.shape != shape:
        raise UserError(
            f"the dataset gives an image {image.dtype} {image.shape} where uint8 {shape} is needed; correct its example"
        )
    if not 0 <= example.label < num_classes:
        raise UserError(
            f"the dataset gives the label {example.label}, and its {num_classes} classes are 0 to {num_classes - 1}; "
            "correct its example"
        )


def _write_headers(files: Mapping[str, BinaryIO], layout: Mapping[str, tuple[type, tuple[int, ...]]]) -> None:
    for name, (dtype, shape) in layout.items():
        files[name].seek(0)
        header = {"descr": dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        write_array_header_1_0(files[name], header)


def load_split(folder: Path, split: str) -> Split:
    """Open one split, memory-mapped for reading.

    Raises:
        UserError: The manifest or an array is missing, cut off, or not what the manifest says.
    """
    manifest = _load_manifest(folder)
    if split not in manifest["splits"]:
        known = ", ".join(manifest["splits"])
        raise UserError(f"{folder / _MANIFEST} lists no split {split}; ask for one of {known}")
    entry = manifest["splits"][split]
    arrays = {}
    for name, (dtype, shape) in _layout(manifest, entry["count"]).items():
        path = folder / split / f"{name}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="r")
        except FileNotFoundError:
            raise UserError(f"{path} is missing; {_AGAIN}") from None
        except (OSError, ValueError, EOFError):
            raise UserError(f"{path} is cut off or no array file; {_AGAIN}") from None
        found = arrays[name]
        if found.shape != shape or found.dtype != dtype:
            raise UserError(
                f"{path} holds {found.dtype} {found.shape} where the manifest says {np.dtype(dtype)} {shape}; {_AGAIN}"
            )
    labels = arrays["labels"]
    counts = [int(np.sum(labels == label)) for label in range(len(manifest["classes"]))]
    if counts != list(entry["class_counts"].values()):
        raise UserError(f"{folder / split / 'labels.npy'} has other class counts than the manifest; {_AGAIN}")
    return Split(arrays["images"], labels, arrays["factors"], tuple(manifest["classes"]), tuple(manifest["factors"]))


def verify_dataset(folder: Path) -> None:
    """Recompute every array file's SHA-256.

    Raises:
        UserError: The manifest cannot be used, or a file is missing or has changed.
    """
    for split, entry in _load_manifest(folder)["splits"].items():
        for name, expected in entry["sha256"].items():
            path = folder / split / name
            if not path.is_file():
                raise UserError(f"{path} is missing; {_AGAIN}")
            if sha256_of(path) != expected:
                raise UserError(f"{path} has changed since it was prepared; {_AGAIN}")


def _load_manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run prepare-data with {folder} as its output first") from None
    except (OSError, ValueError):
        raise UserError(f"{path} cannot be read as JSON; {_AGAIN}") from None
    if not _is_manifest(manifest):
        raise UserError(f"{path} is not the manifest of a dataset; {_AGAIN}")
    return manifest


def _is_manifest(manifest: Any) -> bool:
    try:
        names = [*manifest["classes"], *manifest["factors"], manifest["kind"], manifest["name"]]
        entries = list(manifest["splits"].values())
        numbers = [manifest["image_size"], *(entry["count"] for entry in entries)]
        numbers += [count for entry in entries for count in entry["class_counts"].values()]
        files = [set(entry["sha256"]) for entry in entries]
        told = isinstance(manifest.get("source", {}), dict) and isinstance(manifest.get("preprocessing", ""), str)
    except (AttributeError, KeyError, TypeError):
        return False
    return (
        told
        and all(isinstance(name, str) for name in names)
        and all(isinstance(number, int) for number in numbers)
        and all(listed == {f"{name}.npy" for name in _ARRAYS} for listed in files)
    )


def _layout(manifest: Mapping[str, Any], count: int) -> dict[str, tuple[type, tuple[int, ...]]]:
    size = manifest["image_size"]
    return {
        "images": (np.uint8, (count, size, size, 3)),
        "labels": (np.int64, (count,)),
        "factors": (np.float32, (count, len(manifest["factors"]))),
    }
