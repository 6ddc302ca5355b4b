"""How far samples are from real images in one feature space, as columns of the table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.distances.extractors import Extractor
from nonrobust_guidance.metrics.distances.features import summarize_features
from nonrobust_guidance.metrics.distances.frechet import frechet_distance, frechet_interval, rank_warning, real_distance
from nonrobust_guidance.metrics.distances.neighbours import Manifold, equal_parts, mean_fidelity
from nonrobust_guidance.metrics.distances.references import ALL_CLASSES, Reference, load_reference
from nonrobust_guidance.metrics.settings import Scoring


class Yardstick:
    """The real images in one feature space, and how samples are compared with them."""

    def __init__(self, extractor: Extractor, data_folder: Path, targets: Sequence[str], scoring: Scoring) -> None:
        """Read the references of a data set.

        Args:
            extractor: whose features to measure in.
            data_folder: holds the manifest and ``references/<extractor>/``.
            targets: the classes that samples are compared with.
            scoring: how many rows, neighbours and resamples.

        Raises:
            UserError: if a reference is missing or was made from something else, or there are too few test images.
        """
        self.extractor, self.space = extractor, extractor.space
        self.resamples, self.seed = scoring.bootstrap.resamples, scoring.bootstrap.seed
        self.num_rows, self.neighbours = scoring.feature_rows, scoring.neighbours
        folder, manifest = data_folder / "references" / self.space.name, data_folder / "manifest.json"
        self.references = {
            name: load_reference(folder / f"{name}.safetensors", extractor, manifest)
            for name in (ALL_CLASSES, *targets)
        }
        for target in targets:
            if len(self.references[target].test_rows) < 2:
                raise UserError(f"the data have fewer than two {target} images to test on; raise dataset.num_images")
        self._manifolds: dict[tuple[str, int], list[Manifold]] = {}
        self._real: dict[tuple[str, int], float] = {}

    def manifolds(self, target: str, n: int) -> list[Manifold]:
        """Return parts of the real images with n images each, as many as were generated; made once."""
        if (target, n) not in self._manifolds:
            rows = self.references[target].rows
            self._manifolds[target, n] = equal_parts(rows, n, self.neighbours, self.seed)
        return self._manifolds[target, n]

    def real(self, target: str, n: int) -> float:
        """Return the distance that n real test images have, computed once."""
        if (target, n) not in self._real:
            reference = self.references[target]
            self._real[target, n] = real_distance(reference.test_rows, reference.gaussian, n, self.seed)
        return self._real[target, n]


class SampleDistances:
    """One file of samples compared with the real images in one feature space."""

    def __init__(self, yardstick: Yardstick, images: NDArray[np.uint8]) -> None:
        """Extract the features of images (N, H, W, 3), N at least 2."""
        self.yardstick, self.n = yardstick, len(images)
        batches = yardstick.extractor.stream(images)
        self.features = summarize_features(batches, self.n, yardstick.num_rows, yardstick.seed)

    def to_target(self, target: str) -> dict[str, Any]:
        """Return the columns of a cell: distances to all training images and to those of the target, and fidelity."""
        space, reference = self.yardstick.space, self.yardstick.references[target]
        row = self.unconditional | self._frechet(space.conditional, reference)
        row[f"{space.conditional}_real"] = self.yardstick.real(target, self.n)
        kernel = reference.kernel.measure(self.features.rows, self.yardstick.resamples, self.yardstick.seed)
        name = space.kernel_conditional
        row |= {name: kernel.value, f"{name}_low": kernel.low, f"{name}_high": kernel.high}
        parts = self.yardstick.manifolds(target, len(self.features.rows))
        fidelity = mean_fidelity(parts, self.manifold)
        return row | {f"{what}_{space.suffix}": value for what, value in fidelity._asdict().items()}

    def warning(self, target: str) -> str:
        """Return a sentence where there are too few images for the feature space, else an empty text."""
        gaussian = self.yardstick.references[target].gaussian
        sentence = rank_warning(self.n, gaussian.n, len(gaussian.mean))
        return f"{self.yardstick.space.frechet}: {sentence}" if sentence else ""

    @cached_property
    def unconditional(self) -> dict[str, Any]:
        """The columns of the distance to all training images, the same for every target."""
        return self._frechet(self.yardstick.space.frechet, self.yardstick.references[ALL_CLASSES])

    @cached_property
    def manifold(self) -> Manifold:
        """The manifold of the samples, the same for every target."""
        return Manifold.of(self.features.rows, self.yardstick.neighbours)

    def _frechet(self, name: str, reference: Reference) -> dict[str, Any]:
        ours, theirs = self.features.gaussian, reference.gaussian
        distance = frechet_distance(ours, theirs)
        low, high = frechet_interval(
            self.features.rows, ours, theirs, distance, self.yardstick.resamples, self.yardstick.seed
        )
        row = {name: distance, f"{name}_low": low, f"{name}_high": high}
        return row | {f"{name}_n": ours.n, f"{name}_reference_n": theirs.n}
