"""The section ``dataset`` of a folder of images for each class; `image_folder` reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

from nonrobust_guidance.data.image_folder import ImageFolder
from nonrobust_guidance.data.settings import ImageSize, NumImages, OfDataset
from nonrobust_guidance.files import expand_path
from nonrobust_guidance.settings import SettingError, Settings, absent, instead
from nonrobust_guidance.settings.mistakes import WrongTypeError, shown
from nonrobust_guidance.settings.types import DIFFERENT, LETTERS, Flag, Share, Words
from nonrobust_guidance.settings.types import Path as PathText

_NAMES = {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True}
_FOLDERS = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 2}


class Split(Settings):
    """Shares of each class to draw for validation and for test if there are no such folders."""

    validation: Share = 0.1
    test: Share = 0.1


class FolderData(OfDataset):
    """A folder of images for each class."""

    kind: Literal["folder"]
    root: PathText
    """Has a folder for each class, or folders train, validation and test that have them; ~ and $NAME, a variable of the
    environment, are expanded."""
    classes: Annotated[tuple[Words, ...], Field(min_length=2), DIFFERENT, WithJsonSchema({"anyOf": [_NAMES, _FOLDERS]})]
    """Names of the classes' folders in label order, or a mapping from names to folders, if these contain anything but
    letters, digits, - and _; other folders are skipped."""
    folders: dict[str, Words] | None = absent()
    """The folders from a mapping of classes, which then become a list of names."""
    split: Split = Split()
    center_crop: Flag = True
    """Whether to take the largest square in the middle, rather than squeeze the whole image into a square."""
    image_size: ImageSize = 64
    """Height and width in pixels."""
    num_images: NumImages | None = absent()

    @model_validator(mode="before")
    @classmethod
    def _part_names_from_folders(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "classes" not in raw or isinstance(raw["classes"], list | tuple):
            return raw
        classes = raw["classes"]
        if not isinstance(classes, Mapping):
            raise SettingError(str(WrongTypeError(classes, "a list", "a mapping")), "classes")
        if "folders" in raw:
            raise SettingError("is a mapping and says what {section}.folders says; remove the latter", "classes")
        for name, folder in classes.items():
            if not re.fullmatch(LETTERS, name):
                raise SettingError(f"has the name {shown(name)}; use only letters, digits, - and _", "classes")
            if not isinstance(folder, str):
                raise SettingError(str(WrongTypeError(folder, "a text")), "classes", name)
        return {**raw, "classes": list(classes), "folders": dict(classes)}

    @model_validator(mode="after")
    def _require_folders(self) -> Self:
        """Check that class names are valid file names, and that each class has a folder of its own in the root."""
        for i, name in enumerate(self.classes):
            if not re.fullmatch(LETTERS, name):
                allowed = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-") or f"class_{i}"
                raise SettingError(
                    f"is '{name}', and names of classes become names of files; give it another name with classes: "
                    f"{{{allowed}: '{name}', ...}}, of letters, digits, - and _ before the colon",
                    "classes",
                    i,
                )
        folders = self.folders or {}
        for name, folder in folders.items():
            if name not in self.classes:
                raise SettingError(f"is of no class; {instead(name, self.classes)}", "folders", name)
            path = PurePath(folder)
            if not path.parts or path.is_absolute() or ".." in path.parts:
                raise SettingError(f"is '{folder}'; give the name of a folder in {{section}}.root", "classes", name)
        used = [PurePath(folders.get(name, name)) for name in self.classes]
        for name, path in zip(self.classes, used, strict=True):
            if used.count(path) > 1:
                raise SettingError(f"has the folder of another class, {path}; remove one", "classes", name)
        if self.split.validation + self.split.test >= 1:
            given = f"{self.split.validation} and {self.split.test}"
            raise SettingError(f"gives {given} away; leave something to train on", "split")
        return self

    def open(self, folder: Path) -> ImageFolder:
        """Return the images.

        Raises:
            UserError: A folder is missing, cannot be read or has no images, or a class has too few of them.
        """
        return ImageFolder(
            expand_path(self.root, "dataset.root"),
            {name: (self.folders or {}).get(name, name) for name in self.classes},
            self.image_size,
            {"validation": self.split.validation, "test": self.split.test},
            self.seed,
            self.center_crop,
            self.num_images.counts() if self.num_images else None,
        )
