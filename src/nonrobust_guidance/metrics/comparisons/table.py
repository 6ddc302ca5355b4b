"""The table of comparisons: every pair of methods, target by target and over all targets.

Sample i of two cells with one seed starts from the same noise, whatever the method and the target. So shares are
compared by pairs of samples, and distances by the same resampled indices on both sides. Targets are strata whose
samples share noise; samples of different seeds share none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from nonrobust_guidance.csv_files import read_numbers
from nonrobust_guidance.data import load_split
from nonrobust_guidance.devices import choose_device
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.cells import Cell, Method, guide_of, list_methods
from nonrobust_guidance.metrics.choice import chosen_scale
from nonrobust_guidance.metrics.comparisons.observed import CellKey, Observed, observe
from nonrobust_guidance.metrics.distances.columns import Yardstick
from nonrobust_guidance.metrics.distances.spaces import list_spaces
from nonrobust_guidance.metrics.score import Scorer, open_yardsticks
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.metrics.statistics.estimates import Estimate, mean_of_independent, mean_of_same_noise
from nonrobust_guidance.metrics.statistics.paired import (
    Outcomes,
    Pairs,
    pool,
    share_difference,
    share_difference_statistic,
)
from nonrobust_guidance.metrics.statistics.score import correlate
from nonrobust_guidance.metrics.statistics.several import p_value
from nonrobust_guidance.metrics.tables import ALL_TARGETS, COUNTS, ENDS

Row = dict[str, Any]


def compare_methods(
    run: Measured,
    data_folder: Path,
    checkpoints: Path,
    weights: Path,
    samples_folder: Path,
    metrics_csv: Path,
    output_csv: Path,
) -> None:
    """Compare every pair of the run's methods, each at its chosen scale, and write the table.

    Args:
        run: the run.
        data_folder: the prepared data set, with ``references/<extractor>/`` in it.
        checkpoints: a folder for each model.
        weights: the folder of the Inception weights; without such an extractor it may be missing.
        samples_folder: holds ``<method>/scale-<scale>/seed-<seed>/<target>.npy``.
        metrics_csv: the scores, from which a scale is chosen.
        output_csv: written atomically, a row for each pair and target.

    Raises:
        UserError: if a file is missing, truncated or of another kind.
    """
    device, targets = choose_device(run.device), list(run.sampling.targets)
    metrics, train = read_numbers(metrics_csv, "score the samples"), load_split(data_folder, "train")
    yardsticks = list(open_yardsticks(run.metrics, targets, data_folder, checkpoints, weights, device))
    distance = list_spaces(run.metrics)[0].conditional
    methods = list_methods(run)
    sizes = [run.sampling.methods[method.name].num_samples for method in methods]
    observed = []
    for method in tqdm(methods, desc="compare methods", unit="method"):
        cells = cells_at(run, method, chosen_scale(metrics, method, targets, distance))
        guide = guide_of(cells[0], run)
        scorer = Scorer.load(checkpoints, run.metrics.judge, guide, train, device)
        scorer.require_classes(targets)
        observed.append(observe(cells, guide, sizes, scorer, yardsticks, samples_folder))
    groups = [(target, [target]) for target in targets]
    if len(targets) > 1:
        groups.insert(0, (ALL_TARGETS, targets))
    rows = [
        compare_pair(one, other, name, of_group, list(run.sampling.seeds), yardsticks)
        for one, other in combinations(observed, 2)
        for name, of_group in groups
    ]
    table = pd.DataFrame(rows)
    write_atomically(output_csv, lambda path: table.to_csv(path, index=False, float_format="%.6g"))


def cells_at(run: Measured, method: Method, scale: float) -> list[Cell]:
    """Return a method's cells at a scale, with those that share a file next to each other."""
    return [Cell(method, scale, seed, target) for seed in run.sampling.seeds for target in run.sampling.targets]


def compare_pair(
    one: Observed,
    other: Observed,
    name: str,
    targets: Sequence[str],
    seeds: Sequence[int],
    yardsticks: Sequence[Yardstick],
) -> Row:
    """Return the row of a pair of methods for some targets, using as many samples of each cell as both have."""
    n = min(one.n, other.n)
    row: Row = {"one": one.method.name, "other": other.method.name, "target": name}
    row |= {"one_scale": one.scale, "other_scale": other.scale}
    row |= {"n": n * len(targets) * len(seeds), "cell_n": n, "seeds": len(seeds)}
    row |= compare_shares("heldout", one.by_judge, other.by_judge, targets, seeds, n)
    same_guide = one.guide if one.guide == other.guide else ""
    row |= {"guide": same_guide}
    opinions = (one.by_guide, other.by_guide) if same_guide else ({}, {})
    row |= compare_shares("self", *opinions, targets, seeds, n)
    for yardstick in yardsticks:
        row |= compare_distances(one, other, targets, seeds, n, yardstick)
    return row


def compare_shares(
    judge: str,
    one: dict[CellKey, Outcomes],
    other: dict[CellKey, Outcomes],
    targets: Sequence[str],
    seeds: Sequence[int],
    n: int,
) -> Row:
    """Return counts of pairs, and the difference of the shares with its interval and p; NaN without outcomes.

    Pairs of several seeds are counted together, because they share no noise; targets are strata of equal weight.
    """
    names = [f"{count}_{judge}" for count in COUNTS]
    if not one:
        return dict.fromkeys([*names, *ends(f"accuracy_{judge}_difference"), f"accuracy_{judge}_p"], float("nan"))
    sides = [
        np.stack([np.concatenate([side[target, seed][:n] for seed in seeds]) for target in targets])
        for side in (one, other)
    ]
    strata = [Pairs.count(a, b) for a, b in zip(*sides, strict=True)]
    gained = sides[0].astype(np.float64) - sides[1]
    between = correlate(gained)
    difference = share_difference(strata, correlations=between)
    z, total = share_difference_statistic(strata, between), pool(strata)
    row: Row = dict(zip(names, (total.both, total.one, total.other, total.neither), strict=True))
    row |= dict(zip(ends(f"accuracy_{judge}_difference"), difference, strict=True))
    return row | {f"accuracy_{judge}_p": math.erfc(abs(z) / math.sqrt(2))}


def compare_distances(
    one: Observed, other: Observed, targets: Sequence[str], seeds: Sequence[int], n: int, yardstick: Yardstick
) -> Row:
    """Return both methods' mean distances, their difference and ratio, and the distance of as many real images."""
    column = yardstick.space.conditional
    sides = [mean_distance(side, yardstick.space.name, targets, seeds, n) for side in (one, other)]
    compared = sides[0].compare(sides[1])
    row: Row = {}
    for name, side in zip(("one", "other"), sides, strict=True):
        row |= dict(zip(ends(f"{column}_{name}"), side.interval, strict=True))
    row[f"{column}_real"] = float(np.mean([yardstick.real(target, n) for target in targets]))
    row |= dict(zip(ends(f"{column}_difference"), compared.difference, strict=True))
    row[f"{column}_p"] = p_value(compared.difference, 0.0)
    return row | dict(zip(ends(f"{column}_ratio"), compared.ratio, strict=True))


def mean_distance(side: Observed, space: str, targets: Sequence[str], seeds: Sequence[int], n: int) -> Estimate:
    """Return the mean over targets, which share their noise, and over seeds, which do not."""
    return mean_of_independent(
        [mean_of_same_noise([side.distances[space, n, target, seed] for target in targets]) for seed in seeds]
    )


def ends(name: str) -> list[str]:
    """Return the columns of a number and of its interval."""
    return [f"{name}{end}" for end in ENDS]
