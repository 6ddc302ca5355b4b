"""The sections ``source``: where published weights are."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from nonrobust_guidance.settings import SettingError, Settings, absent
from nonrobust_guidance.settings.types import OR_NULL, Commit, Digest, Number, Path, Repository, Text

_LEAST_STD = 1e-6
Channels = Annotated[tuple[Annotated[float, Number(least=-1000, most=1000)], ...], Field(min_length=3, max_length=3)]
Url = Annotated[
    str,
    Text(r"https?://[^\x00-\x20]+", "give an address that starts with https:// and has no spaces", longest=1000),
]


class Source(Settings):
    """Where published weights are: a repository, a url or a folder."""

    repository: Repository | None = absent("Model of the Hugging Face hub, owner/name.")
    revision: Annotated[Commit | None, OR_NULL] = Field(default=None, exclude_if=lambda value: value is None)
    """A commit; null takes the newest at the first fetch, records it, and takes the same one afterwards."""
    url: Url | None = absent("Of a .safetensors file, or of a .zip archive with the model.")
    folder: Path | None = absent("Folder into which the files were put by hand.")
    path: Path | None = absent("Of the model or of its U-Net, a folder within the source; of a classifier, its file.")
    sha256: dict[str, Digest] | None = absent(
        "By file, named as in the source; what is left out is recorded at the first fetch and held to afterwards."
    )

    @property
    def place(self) -> str:
        """The repository, the address or the folder."""
        return next(place for place in (self.repository, self.url, self.folder) if place is not None)

    @model_validator(mode="after")
    def _require_one_place(self) -> Self:
        places = [place for place in ("repository", "url", "folder") if getattr(self, place) is not None]
        if len(places) != 1:
            raise SettingError(f"names {' and '.join(places) or 'no place'}; give one of repository, url and folder")
        if self.revision is not None and places != ["repository"]:
            raise SettingError("is for a repository; remove it", "revision")
        return self


class ClassifierSource(Source):
    """Where published weights of a classifier are, and how it saw the channels of its images."""

    mean: Channels = (0.5, 0.5, 0.5)
    """Of the channels in training, for pixels in [0, 1]; with 0.5 as mean and std the classifier sees [-1, 1]."""
    std: Channels = (0.5, 0.5, 0.5)

    @model_validator(mode="after")
    def _require_positive_std(self) -> Self:
        if any(std < _LEAST_STD for std in self.std):
            raise SettingError(f"is {list(self.std)}; give positive numbers, at least {_LEAST_STD:g}", "std")
        return self
