"""A folder of images by class, as users have them: with copies, links, and what programs leave behind.

It is long because a single walk through a folder decides what is read, what is skipped, and what is reported.
"""

from __future__ import annotations

import hashlib
import os
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, NamedTuple

import numpy as np

from nonrobust_guidance.data.pictures import (
    NO_FACTORS,
    Digest,
    decode_picture,
    describe_scaling,
    limit_splits,
    picture_suffixes,
)
from nonrobust_guidance.data.storage import NEEDED, Example
from nonrobust_guidance.errors import UserError, printable

_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
_USUAL_SUFFIXES = ".bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp and all others that Pillow reads"
# Names without a leading dot that operating systems and storage devices put into folders, in lower case.
_OF_SYSTEMS = frozenset(
    {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "recycler"}
    | {"system volume information", "icon\r", "__macosx", "network trash folder", "temporary items", "lost+found"}
    | {"lost.dir", "@eadir", "#recycle", "@recycle", "#snapshot", "~snapshot", "@tmp", "__pycache__"}
)

_HIDDEN = "hidden, or of the operating system"
_BROKEN = "links to nothing"
_REPEATED = "folders that were read under another name, or that they lie in"
_SPECIAL = "neither files nor folders"
_SUFFIX = "with a suffix of no picture"
_UNASKED = "in no class's folder"
_COPY = "copies of an image that is used"
_AMBIGUOUS = "the same image in several classes"
_LEAK = "the same picture, in other bytes, as one of an earlier split"


class _Listed(NamedTuple):
    path: Path
    label: int
    split: str | None


class ImageFolder:
    """The images under ``<root>/<split>/<class>/``, or under ``<root>/<class>/`` and split by a seeded draw.

    An image counts once, whatever its copies are called. Files in the folder that are not used are listed by reason, on
    standard error and in the manifest.
    """

    factors = ()

    def __init__(
        self,
        root: Path,
        folders: Mapping[str, str],
        image_size: int,
        fractions: Mapping[str, float],
        seed: int,
        crop: bool,
        num_images: Mapping[str, int] | None = None,
    ) -> None:
        """List the images.

        Args:
            root: The folder.
            folders: Names of the folders, by the names of the classes, in label order.
            image_size: Height and width to which the images are resized.
            fractions: Shares of each class that become ``validation`` and ``test`` where the folder has no splits.
            seed: Of that draw.
            crop: Whether the largest square in the middle is taken, or else the whole image.
            num_images: The most that are taken of a split, drawn by the seed.

        Raises:
            UserError: A folder is missing, cannot be read or has no images, or a class has too few of them.
        """
        self._root, self._size, self._crop, self._digest = root, image_size, crop, Digest()
        self._names, self._passed_over = list(folders), defaultdict[str, list[str]](list)
        if not root.is_dir():
            raise UserError(f"dataset.root {root} is no folder; name one with a folder of images for each class")
        has_splits = "train" not in folders.values() and (root / "train").is_dir()
        listed = self._list_splits(folders) if has_splits else self._list_classes(root, folders, None)
        listed = self._without_copies(listed)
        self._paths, self._labels = [one.path for one in listed], [one.label for one in listed]
        splits: dict[str, Sequence[int]] = (
            {split: [i for i, one in enumerate(listed) if one.split == split] for split in _SPLITS}
            if has_splits
            else self._draw_splits(fractions, seed)
        )
        self.splits = limit_splits(splits, num_images, seed)
        self._split_of = {i: split for split, indices in self.splits.items() for i in indices}
        self._counts = Counter((split, self._labels[i]) for i, split in self._split_of.items())
        self._seen: dict[bytes, str] = {}
        self._tell(list(self._passed_over))
        settings = ([] if has_splits else ["dataset.split"]) + (["dataset.num_images"] if num_images else [])
        self._remedy = f", or raise {' or '.join(settings)}" if settings else ""
        self._require_enough()

    def _list_splits(self, folders: Mapping[str, str]) -> list[_Listed]:
        listed, used = [], []
        for split, names in _SPLITS.items():
            folder = next((self._root / name for name in names if (self._root / name).is_dir()), None)
            if folder is None:
                raise UserError(f"{self._root} has a folder train and none named {' or '.join(names)}; add it")
            used.append(folder)
            listed += self._list_classes(folder, folders, split)
        self._note_others(self._root, used)
        return listed

    def _list_classes(self, parent: Path, folders: Mapping[str, str], split: str | None) -> list[_Listed]:
        listed, used = [], []
        for label, name in enumerate(folders.values()):
            folder = _find_folder(parent, name)
            used.append(folder)
            before = sum(map(len, self._passed_over.values()))
            found = self._find_images(folder)
            if not found:
                others = sum(map(len, self._passed_over.values())) - before
                and_others = f", but {others} files or folders of other kinds" if others else ""
                raise UserError(
                    f"{folder} has no images ({_USUAL_SUFFIXES}){and_others}; add some, or correct dataset.classes"
                )
            listed += [_Listed(path, label, split) for path in found]
        self._note_others(parent, used)
        return listed

    def _note_others(self, parent: Path, used: Sequence[Path]) -> None:
        for path in _entries(parent):
            if not any(other.is_relative_to(path) for other in used):
                self._note(_HIDDEN if _is_hidden(path.name) else _UNASKED, path)

    def _find_images(self, folder: Path) -> list[Path]:
        """Return the images in a folder and in those within it, in order; links are followed, but never back up."""
        found, waiting = [], [folder]
        # Include the folders above, so that a link to one of them does not bring in the other classes.
        visited = {os.path.realpath(parent) for parent in [*folder.parents, *folder.resolve().parents]}
        while waiting:
            current = waiting.pop()
            place = os.path.realpath(current)
            if place in visited:
                self._note(_REPEATED, current)
                continue
            visited.add(place)
            for path in _entries(current):
                reason = _why_not(path)
                if reason:
                    self._note(reason, path)
                elif path.is_dir():
                    waiting.append(path)
                else:
                    found.append(path)
        return sorted(found)

    def _without_copies(self, listed: Sequence[_Listed]) -> list[_Listed]:
        """Return each image once: the first of its copies in the order of the splits; none if two classes have it."""
        by_size = defaultdict[int, list[_Listed]](list)
        for one in listed:
            by_size[_size_of(one.path)].append(one)
        alike = [same for size, same in by_size.items() if size and len(same) > 1]
        by_content = defaultdict[str, list[_Listed]](list)
        for one in (one for same in alike for one in same):
            by_content[hashlib.sha256(self._digest.read(one.path)).hexdigest()].append(one)
        dropped = set()
        for same in by_content.values():
            is_clear = len({one.label for one in same}) == 1
            for one in same[1:] if is_clear else same:
                self._note(_COPY if is_clear else _AMBIGUOUS, one.path)
                dropped.add(one)
        return [one for one in listed if one not in dropped]

    def _draw_splits(self, fractions: Mapping[str, float], seed: int) -> dict[str, Sequence[int]]:
        drawn: dict[str, list[int]] = {split: [] for split in _SPLITS}
        for label in range(len(self._names)):
            indices = [i for i, other in enumerate(self._labels) if other == label]
            order = np.random.default_rng((seed, label)).permutation(indices).tolist()
            for split in ("validation", "test"):
                count = round(fractions[split] * len(indices))
                drawn[split] += order[:count]
                order = order[count:]
            drawn["train"] += order
        return {split: sorted(indices) for split, indices in drawn.items()}

    def _require_enough(self) -> None:
        short = [
            name
            for label, name in enumerate(self._names)
            if any(self._counts[split, label] < needed for split, needed in NEEDED.items())
        ]
        if not short:
            return
        told = [
            f"{name} ({', '.join(f'{self._counts[split, self._names.index(name)]} for {split}' for split in _SPLITS)})"
            for name in short[:3]
        ]
        more = f" and {len(short) - 3} more classes" if len(short) > 3 else ""
        needs = " and ".join(f"{needed} for {split}" for split, needed in NEEDED.items())
        raise UserError(
            f"{self._root} has too few images of {', '.join(told)}{more}, and every class needs at least {needs}; add "
            f"some{self._remedy}"
        )

    def example(self, index: int) -> Example | None:
        """Read an image; None for a picture that an earlier split has already in a different file.

        Raises:
            UserError: It cannot be read, or leaving it out leaves too few in its class.
        """
        path, label, split = self._paths[index], self._labels[index], self._split_of[index]
        content = self._digest.read(path)
        image = decode_picture(content, str(path), self._size, self._crop)
        if self._seen.setdefault(hashlib.sha256(image.tobytes()).digest(), split) != split:
            self._note(_LEAK, path)
            self._counts[split, label] -= 1
            self._require_enough()
            return None
        self._digest.take(content, path.relative_to(self._root).as_posix())
        return Example(image, label, NO_FACTORS)

    def describe(self) -> dict[str, Any]:
        """Return the folder, the checksum of the images, what was passed over, and what was done with the others."""
        self._tell([_LEAK])
        source = {"name": "folder", "root": printable(str(self._root))} | self._digest.describe()
        passed_over = {reason: {"count": len(names), "names": names} for reason, names in self._passed_over.items()}
        return {
            "source": source | {"passed_over": passed_over},
            "preprocessing": describe_scaling(self._size, self._crop),
        }

    def _note(self, reason: str, path: Path) -> None:
        name = path.relative_to(self._root).as_posix()
        self._passed_over[reason].append(printable(f"{name}/" if path.is_dir() else name))

    def _tell(self, reasons: Sequence[str]) -> None:
        for reason in reasons:
            names = self._passed_over.get(reason, [])
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            if names:
                print(f"passed over, {reason}: {', '.join(names[:3])}{more} ({len(names)} in all)", file=sys.stderr)


def _find_folder(parent: Path, name: str) -> Path:
    """Return a folder by its name, in whichever Unicode form its accents are written.

    Raises:
        UserError: There is none.
    """
    if (parent / name).is_dir():
        return parent / name
    wanted = unicodedata.normalize("NFC", name)
    for path in _entries(parent):
        if unicodedata.normalize("NFC", path.name) == wanted and path.is_dir():
            return path
    raise UserError(f"{parent / name} is missing; add it, or correct dataset.classes")


def _entries(folder: Path) -> list[Path]:
    """Return what a folder holds, in order.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def _why_not(path: Path) -> str | None:
    """Return why a file or folder is skipped; None for an image, judged by its suffix, and for a folder to look into.

    Raises:
        UserError: It cannot be accessed.
    """
    if _is_hidden(path.name):
        return _HIDDEN
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink() and not isinstance(error, PermissionError):
            return _BROKEN
        raise _unreadable(path, error) from None
    if S_ISDIR(mode):
        return None
    if not S_ISREG(mode):
        return _SPECIAL
    return None if path.suffix.lower() in picture_suffixes() else _SUFFIX


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read ({error.strerror}); make it readable, or remove it")
