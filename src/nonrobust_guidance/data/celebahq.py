"""CelebA-HQ at 256 x 256 (Karras et al. 2018, Progressive growing of GANs) from Parquet files of the hub's data set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from nonrobust_guidance.data.pictures import NO_FACTORS, decode_picture, describe_scaling
from nonrobust_guidance.data.settings import ImageSize, NumImages, OfDataset
from nonrobust_guidance.data.storage import Example
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import RECORD, Origin, fetch_repository, hash_files, hold_to, list_files
from nonrobust_guidance.files import expand_path
from nonrobust_guidance.settings import absent
from nonrobust_guidance.settings.types import OR_NULL, Commit, Pair, Repository
from nonrobust_guidance.settings.types import Path as PathText

_SHARD = re.compile(r"(?:data/)?(?P<split>train|validation)-(?P<number>\d+)-of-(?P<total>\d+).*\.parquet")
# Rows decoded at once; a row is an image file.
_BATCH_SIZE = 16
_BUFFER_BYTES = 1 << 20


class CelebAHQData(OfDataset):
    """CelebA-HQ, from Parquet files of the Hugging Face hub's data set."""

    kind: Literal["celebahq"]
    root: PathText = "data/raw/celebahq"
    """Folder with the Parquet files, directly or in its folder data."""
    repository: Annotated[Repository | None, OR_NULL] = "korexyz/celeba-hq-256x256"
    """Data set of the Hugging Face hub; null for files that were put into root by hand."""
    revision: Annotated[Commit | None, OR_NULL] = None
    """A commit; null takes the newest at the first fetch, records it, and takes the same one afterwards."""
    classes: Pair = ("female", "male")
    """Names of labels 0 and 1."""
    image_size: ImageSize = 256
    """Height and width in pixels."""
    num_images: NumImages | None = absent()

    def open(self, folder: Path) -> CelebAHQFaces:
        """Return the faces, fetching what is missing, and record their origin in the folder.

        Raises:
            UserError: A file cannot be read or fetched, or has other columns or classes.
        """
        root = expand_path(self.root, "dataset.root")
        origin = fetch_celebahq(root, self.repository, self.revision, folder / RECORD)
        faces = CelebAHQFaces(root, origin, self.classes, self.image_size, self.seed)
        origin.write(folder / RECORD)
        return faces


class CelebAHQFaces:
    """The rows of the Parquet files: ``image``, a struct of ``bytes`` and ``path``, and the integer ``label``.

    Its splits are train and validation; validation is halved by a seeded draw into validation and test.
    """

    factors = ()

    def __init__(self, root: Path, origin: Origin, classes: Sequence[str], image_size: int, seed: int) -> None:
        """Open the files; see `fetch_celebahq`.

        Args:
            root: Holds the files that ``origin`` names.
            origin: Where they came from.
            classes: In label order.
            image_size: Height and width to which the images are resized.
            seed: Of the draw that halves validation.

        Raises:
            UserError: A file cannot be read, or has other columns or classes.
        """
        self._root, self._origin, self._size, self._classes = root, origin, image_size, classes
        names = sorted(origin.sha256, key=_shard_order)
        self._files = [root / name for name in names]
        counts = [count_rows(path, classes) for path in self._files]
        self._starts = np.cumsum([0, *counts]).tolist()
        num_train = sum(count for name, count in zip(names, counts, strict=True) if _shard_order(name)[0] == "train")
        total = self._starts[-1]
        self._rows, self._next = self._read_from(0), 0
        order = np.random.default_rng((seed, 2)).permutation(np.arange(num_train, total))
        half = len(order) // 2
        self.splits: dict[str, Sequence[int]] = {
            "train": range(num_train),
            "validation": np.sort(order[:half]).tolist(),
            "test": np.sort(order[half:]).tolist(),
        }

    def example(self, index: int) -> Example:
        """Read a row; rows are read in order, and going back starts again from the beginning of the file.

        Raises:
            UserError: Its image cannot be used, or its label is none of the classes.
        """
        content, label = self._row(index)
        file = self._file_of(index)
        name = f"{self._files[file]} row {index - self._starts[file]}"
        if not isinstance(label, int) or not 0 <= label < len(self._classes):
            raise UserError(f"{name} has the label {label}, and there are {len(self._classes)} classes; fetch it again")
        if content is None:
            raise UserError(f"{name} holds no image; fetch it again")
        return Example(decode_picture(content, name, self._size), label, NO_FACTORS)

    def describe(self) -> dict[str, Any]:
        """Return the repository, its revision and the files' checksums, and what was done with the images."""
        source = {"name": "CelebA-HQ", **self._origin.request, "revision": self._origin.revision}
        splits = "; validation and test are halves of the source's validation split, drawn by the seed"
        return {
            "source": source | {"sha256": dict(self._origin.sha256)},
            "preprocessing": describe_scaling(self._size) + splits,
        }

    def _file_of(self, index: int) -> int:
        return int(np.searchsorted(self._starts, index, side="right")) - 1

    def _row(self, index: int) -> tuple[bytes | None, int | None]:
        file = self._file_of(index)
        # Within a file, rows can only be read from its start, but whole files can be skipped.
        if index < self._next or self._starts[file] > self._next:
            self._rows, self._next = self._read_from(file), self._starts[file]
        for row in self._rows:
            self._next += 1
            if self._next > index:
                return row
        raise IndexError(index)

    def _read_from(self, file: int) -> Iterator[tuple[bytes | None, int | None]]:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        for path in self._files[file:]:
            try:
                # This reads a column page by page, not a whole row group at once, which may be the whole file.
                with ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as opened:
                    for batch in opened.iter_batches(_BATCH_SIZE, columns=["image", "label"]):
                        for row in batch.to_pylist():
                            yield (row["image"] or {}).get("bytes"), row["label"]
            except (OSError, ArrowException) as error:
                raise UserError(f"{path} cannot be read ({str(error).splitlines()[0]}); fetch it again") from None


def fetch_celebahq(root: Path, repository: str | None, revision: str | None, record: Path) -> Origin:
    """Find the Parquet files in a folder, or download them into it, and check them against the earlier record.

    Args:
        root: Where they lie, in it or in its folder ``data``.
        repository: Of the Hugging Face hub; None for files that were put there by hand.
        revision: A commit; None takes the newest one at the first fetch, and the same one afterwards.
        record: File in which the revision and checksums are kept.

    Raises:
        UserError: The hub cannot be reached, or a file is missing, damaged or not the recorded one.
    """
    request = {"repository": repository, "root": None if repository else str(root)}
    earlier = Origin.recorded(record, request)
    if earlier is not None and revision not in (None, earlier.revision):
        earlier = None
    if earlier is not None and all((root / name).is_file() for name in earlier.sha256):
        origin = Origin(request, earlier.revision, hash_files(root, earlier.sha256))
    elif repository is None:
        origin = Origin(request, None, hash_files(root, select_shards(list_files(root) if root.is_dir() else [], root)))
    else:
        commit = revision or (earlier.revision if earlier else None)
        by_hand = f"put its data/*.parquet into {root / 'data'} by hand, and set dataset.repository to null"
        where = f"the data set {repository}"
        fetched = fetch_repository(
            repository, commit, "dataset", lambda names: select_shards(names, where), root, by_hand
        )
        origin = Origin(request, fetched.revision, fetched.sha256)
    hold_to(origin, earlier, {}, root, record, "dataset")
    return origin


def select_shards(names: Sequence[str], where: str | Path) -> list[str]:
    """Return the names of the Parquet files of both splits.

    Raises:
        UserError: One of them is missing.
    """
    matches = {name: match for name in names if (match := _SHARD.fullmatch(name))}
    for split in ("train", "validation"):
        shards = [match for match in matches.values() if match["split"] == split]
        found = {int(match["number"]) for match in shards}
        if not shards or len(found) < int(shards[0]["total"]):
            total = shards[0]["total"] if shards else "00001"
            number = next(i for i in range(int(total)) if i not in found)
            missing = f"data/{split}-{number:05d}-of-{total}.parquet"
            raise UserError(f"{where} has no file such as {missing}; put it there, or correct dataset.root")
    return list(matches)


def count_rows(path: Path, classes: Sequence[str]) -> int:
    """Return how many rows a Parquet file has.

    Raises:
        UserError: It cannot be read, lacks the column image or label, or has other names for its labels.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as opened:
            schema, num_rows = opened.schema_arrow, opened.metadata.num_rows
    except (OSError, ArrowException):
        raise UserError(f"{path} cannot be read as a Parquet file; fetch it again") from None
    if not {"image", "label"} <= set(schema.names):
        raise UserError(
            f"{path} has the columns {', '.join(schema.names)}, and image and label are needed; fetch it again"
        )
    names = label_names(schema.metadata or {})
    if names and names != list(classes):
        raise UserError(f"{path} names its labels {', '.join(names)}; write dataset.classes: [{', '.join(names)}]")
    return num_rows


def label_names(metadata: dict[bytes, bytes]) -> list[str]:
    """Return the names of the labels that the hub's library writes into a Parquet file; there may be none."""
    try:
        return json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):
        return []


def _shard_order(name: str) -> tuple[str, int]:
    match = _SHARD.fullmatch(name)
    assert match is not None, name
    return match["split"], int(match["number"])
