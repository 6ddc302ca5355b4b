"""The feature spaces that distances are measured in, and the names of their columns, which no two spaces share.

A number in one space cannot be compared with one in another, so each has columns of its own. It works without torch,
for the report.
"""

from __future__ import annotations

from dataclasses import dataclass

from nonrobust_guidance.metrics.settings import Scoring

FIDELITY = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class FeatureSpace:
    """What an entry of ``metrics.extractors`` stands for.

    Attributes:
        name: in the configuration.
        suffix: of the columns precision_<suffix>, recall_<suffix>, density_<suffix> and coverage_<suffix>.
        frechet: column of the Frechet distance to all training images; the conditional one ends in ``_conditional``.
        kernel: column of the kernel distance, before ``_conditional``.
        words: whose features they are, in words for the reader.
    """

    name: str
    suffix: str
    frechet: str
    kernel: str
    words: str

    @property
    def conditional(self) -> str:
        """The column of the Frechet distance to training images of the target class."""
        return f"{self.frechet}_conditional"

    @property
    def kernel_conditional(self) -> str:
        """The column of the kernel distance to training images of the target class."""
        return f"{self.kernel}_conditional"

    @property
    def columns(self) -> list[str]:
        """All columns of numbers and of their intervals."""
        distances = (self.frechet, self.conditional, self.kernel_conditional)
        ends = [f"{name}{end}" for name in distances for end in ("", "_low", "_high")]
        return [*ends, f"{self.conditional}_real", *(f"{what}_{self.suffix}" for what in FIDELITY)]


FEATURE_SPACES = {
    space.name: space
    for space in (
        FeatureSpace("judge", "judge", "fd_judge", "kd_judge", "the held-out judge"),
        FeatureSpace("inception", "inception", "fid", "kid", "Inception as clean-fid uses it"),
        FeatureSpace(
            "torchvision_inception", "torchvision", "fid_torchvision", "kid_torchvision", "torchvision's Inception"
        ),
    )
}


def list_spaces(scoring: Scoring) -> list[FeatureSpace]:
    """Return the run's feature spaces; the first is the one whose distance decides in the report."""
    return [FEATURE_SPACES[name] for name in scoring.extractors]
