"""The files of a run's results: what each holds, which columns identify a row, and which ones its readers rely on.

All code that writes, gathers, reads, compares, publishes or links them uses this one list. The text that Snakemake's
own report shows under a table is in workflow/report, under the table's name; without one, it is ``holds``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

CELL = ("method", "scale", "target", "seed")
ENDS = ("", "_low", "_high")
"""Suffixes of the names of a number's column and of its interval's ends."""
ALL_TARGETS = "all targets"
"""The target in a row about all of a run's targets together."""
COUNTS = ("both", "one", "other", "neither")
"""Numbers of pairs of samples in which both methods, only the one, only the other or neither succeeded."""
SUPPORTED = "supported"
NOT_SUPPORTED = "not supported"
UNDECIDED = "undecided at this n"
NOT_TESTED = "not tested"
"""The verdicts."""
QUANTITIES = ("cosine", "norm", "cosine_stabilized", "norm_stabilized", "survival", "survival_raw")
"""What is measured of the gradients along a trajectory."""


def with_ends(*names: str) -> tuple[str, ...]:
    """Return the columns of these numbers and of their intervals."""
    return tuple(f"{name}{end}" for name in names for end in ENDS)


class ResultFile(NamedTuple):
    """A file in the folder of a run's results.

    Attributes:
        name: of the file.
        holds: what is in it, in words for the reader.
        key: columns that together identify a row; empty for a file that is not a table.
        required: further columns that the report relies on in every run; settings may add others.
        published: whether git and DVC hold it for a published run.
        compared: whether an audit compares its rows with the published ones.
        asked_by: section of the run file, such as ``sampling.search``, without which a run has no such file; empty for
            files that every run has.
        measured_by: ``module:function`` of this package, which makes the table as the command ``measure-<name>``: it is
            called with the run, the folders of the data and of the checkpoints, and the file to write, which lies
            beside the run's other tables. Empty for files that have a command of their own.
    """

    name: str
    holds: str
    key: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    published: bool = True
    compared: bool = True
    asked_by: str = ""
    measured_by: str = ""

    @property
    def columns(self) -> list[str]:
        """All columns that a reader relies on."""
        return [*self.key, *self.required]

    def belongs_to(self, run: object) -> bool:
        """Say whether a run has it."""
        part: Any = run
        for key in self.asked_by.split(".") if self.asked_by else ():
            part = getattr(part, key)
        return part is not None


METRICS = ResultFile(
    "metrics.csv",
    "a row for each method, scale, target and seed, with all its numbers",
    CELL,
    (
        *("n", "accuracy_self", "accuracy_heldout", "none_share", "warning"),
        *(f"probability_{judge}_{what}" for judge in ("self", "heldout") for what in ("mean", "std")),
    ),
)
PROVENANCE = ResultFile(
    "provenance.csv",
    "for each of these rows the hashes of the data, checkpoints, settings and code that made it",
    CELL,
    # Code that changed without changing a number must not fail an audit.
    compared=False,
)
MODELS = ResultFile("models.json", "how each training ended", compared=False)
NOISE_ACCURACY = ResultFile(
    "noise_accuracy.csv",
    "each classifier's accuracy over the noise level",
    ("classifier", "at", "t"),
    ("n", *with_ends("accuracy"), "probability_mean", "probability_low", "probability_high"),
    measured_by="metrics.gradients.noise_accuracy:noise_accuracy_of",
)
SENSITIVITY = ResultFile(
    "sensitivity.csv",
    "how much logits and gradients change along the forward process",
    ("classifier", "at", "quantity", "stabilizer", "t"),
    ("n", *with_ends("ratio", "relative_change")),
    measured_by="metrics.gradients.sensitivity:sensitivity_of",
)
TRAJECTORIES = ResultFile(
    "trajectories.csv",
    "how the gradient moves along guided trajectories, step by step",
    (*CELL, "k"),
    ("t", "n", *with_ends("cosine", "cosine_stabilized", "survival", "survival_raw")),
)
SIGNATURES = ResultFile(
    "signatures.csv",
    "colour shift, fooled and erased samples, and shifts of known factors",
    CELL,
    (
        *("n", "accepted_n"),
        *(f"{name}_shift{end}" for name in ("colour", "median", "saturation") for end in (*ENDS, "_real")),
        *(f"{name}_share{end}" for name in ("fooled", "none", "blank") for end in (*ENDS, "_real")),
    ),
)
FACTORS = ResultFile(
    "factors.csv",
    "position, size and rotation of single samples and of real images",
    (*CELL, "index"),
    ("accepted", "judged", "fooled", "colour_shift", "contrast"),
    # It is the largest file, and nothing in it has an interval.
    published=False,
)
SELECTION = ResultFile(
    "selection.csv",
    "which scale of each method was chosen on the samples of the screening, and why",
    ("method", "candidate", "scale"),
    ("changes", "n", "accuracy", "accuracy_low", "accuracy_high", "distance", "chosen", "why"),
    asked_by="sampling.search",
)
COMPARISONS = ResultFile(
    "comparisons.csv",
    "every pair of methods, each at its chosen scale: differences of accuracy and distance on the same noise",
    ("one", "other", "target"),
    (
        *("one_scale", "other_scale", "n", "cell_n", "seeds", "guide"),
        *(f"{count}_{judge}" for judge in ("heldout", "self") for count in COUNTS),
        *with_ends("accuracy_heldout_difference", "accuracy_self_difference"),
        *("accuracy_heldout_p", "accuracy_self_p"),
    ),
)
CLAIMS = ResultFile(
    "claims.csv",
    "the verdict on each of the paper's claims: what was tested, its number with the interval, p-values and n",
    ("claim", "target"),
    ("test", "one", "other", *with_ends("value"), "threshold", "n", "seeds", "p", "p_adjusted", "needed", "verdict"),
)
GROUND_TRUTH = ResultFile(
    "ground_truth.csv",
    "how close every method comes on mixtures of Gaussians and what variance it keeps, and how often each posterior is "
    "right there",
    ("mixture", "quantity", "method", "classifier", "at", "scale", "steps", "t", "sampler", "levels", "trust_radius"),
    ("noise_level", "n", *with_ends("value")),
    # The published run was made before this table existed.
    published=False,
)
GROUND_TRUTH_DRAWN = ResultFile(
    "ground_truth.npz", "samples of these methods, and what the posteriors say over the plane", published=False
)
COST = ResultFile(
    "cost.csv",
    "what samples of each method cost: seconds, and passes through the networks",
    ("method",),
    (
        *("scale", "steps", "seconds", "seconds_least", "seconds_most", "cpu_seconds", "attempts"),
        *(f"{network}_{way}" for network in ("unet", "classifier") for way in ("forward", "backward")),
        *("rounds", "batch_size", "threads", "device", "processor"),
    ),
    # Seconds differ between machines; passes do not, but are in the same table.
    compared=False,
    measured_by="metrics.cost.table:measure_cost",
    asked_by="metrics.cost",
)

RESULT_FILES = (
    *(METRICS, SELECTION, PROVENANCE, MODELS, NOISE_ACCURACY, SENSITIVITY, TRAJECTORIES, SIGNATURES, FACTORS),
    COST,
    *(COMPARISONS, CLAIMS),
    *(GROUND_TRUTH, GROUND_TRUTH_DRAWN),
)
"""In reading order."""
DECIDED_FROM = (METRICS, NOISE_ACCURACY, SENSITIVITY, TRAJECTORIES, SIGNATURES, FACTORS, COMPARISONS)
"""The tables from which the claims are decided."""
PUBLISHED = tuple(file for file in RESULT_FILES if file.published)
COMPARED = {file.name: file for file in PUBLISHED if file.compared}
