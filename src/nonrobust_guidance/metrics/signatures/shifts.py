"""How far samples are shifted from real images, one number at a time, each with its interval and its floor.

A column ``<name>`` comes with ``<name>_low`` and ``<name>_high``, its 95% interval, and with ``<name>_real``, the size
of the same number for as many real test images: what a perfect generator would get.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonrobust_guidance.metrics.distances.transport import Transport
from nonrobust_guidance.metrics.settings import Bootstrap
from nonrobust_guidance.metrics.signatures.colours import Colours, colour_distance
from nonrobust_guidance.metrics.statistics.intervals import bootstrap_interval, wilson_interval
from nonrobust_guidance.models.judge import CIRCULAR

REAL_DRAWS = 20
TURN = 360.0
ENDS = ("", "_low", "_high", "_real")
CHANNELS = ("red", "green", "blue")
COLOUR_SHIFTS = ("colour_shift", "median_shift", "saturation_shift", *(f"{name}_shift" for name in CHANNELS))

Row = dict[str, float]
Factors = NDArray[np.float64]


class Statistic(NamedTuple):
    """A number of the images at some rows, which may repeat, and whether it can be negative."""

    of: Callable[[NDArray[np.int64]], float]
    signed: bool = False


def compare_colours(samples: Colours, test: Colours, reference: Colours, bootstrap: Bootstrap) -> Row:
    """Return how far the samples' mean colours lie from the reference's, all missing for fewer than two samples.

    ``colour_shift`` and ``median_shift`` are distances of the mean and of the mean median (`colours.colour_distance`),
    the others signed differences.
    """
    if len(samples) < 2:
        return missing(COLOUR_SHIFTS)
    statistics = [colour_statistics(colours, reference) for colours in (samples, test)]
    return summarize(statistics[0], len(samples), statistics[1], len(test), bootstrap)


def compare_factors(
    samples: Factors, test: Factors, reference: Factors, names: Sequence[str], bootstrap: Bootstrap
) -> Row:
    """Return how far the samples' factors (n, F) lie from the reference's (m, F), in the factors' units.

    ``<factor>_shift`` is the signed difference of the means, ``<factor>_distance`` the Wasserstein-1 distance. An angle
    in degrees has only the distance, on the circle, because angles all around it have no meaningful mean. All are
    missing where either side has fewer than two rows.
    """
    if min(len(samples), len(test), len(reference)) < 2:
        return missing([shift for name in names for shift in factor_shifts(name)])
    statistics = [factor_statistics(factors, reference, names) for factors in (samples, test)]
    return summarize(statistics[0], len(samples), statistics[1], len(test), bootstrap)


def share(name: str, happened: NDArray[np.bool_], real: NDArray[np.bool_]) -> Row:
    """Return the share of images (N,) for which something is true, its Wilson interval, and the share of real ones.

    All are missing where N is 0.
    """
    if not len(happened):
        return missing([name])
    count = int(happened.sum())
    numbers = count / len(happened), *wilson_interval(count, len(happened)), float(real.mean())
    return {f"{name}{end}": number for end, number in zip(ENDS, numbers, strict=True)}


def summarize(
    samples: Mapping[str, Statistic], n: int, real: Mapping[str, Statistic], m: int, bootstrap: Bootstrap
) -> Row:
    """Return every statistic of n samples, its bootstrap interval, and its mean size for n of m real images."""
    subsets, row = real_subsets(m, n, bootstrap.seed), Row()
    for name, statistic in samples.items():
        value, lowest = statistic.of(np.arange(n)), -math.inf if statistic.signed else 0.0
        low, high = bootstrap_interval(value, statistic.of, n, bootstrap.resamples, bootstrap.seed, lowest=lowest)
        floor = float(np.mean([abs(real[name].of(subset)) for subset in subsets]))
        row |= {f"{name}{end}": number for end, number in zip(ENDS, (value, low, high, floor), strict=True)}
    return row


def colour_statistics(samples: Colours, reference: Colours) -> dict[str, Statistic]:
    """Return the statistics named in `COLOUR_SHIFTS`."""
    mean, median = reference.mean.mean(axis=0), reference.median.mean(axis=0)
    statistics = {
        "colour_shift": Statistic(lambda i: float(colour_distance(samples.mean[i].mean(axis=0), mean))),
        "median_shift": Statistic(lambda i: float(colour_distance(samples.median[i].mean(axis=0), median))),
        "saturation_shift": difference_of_means(samples.saturation, reference.saturation),
    }
    channels = zip(CHANNELS, samples.mean.T, reference.mean.T, strict=True)
    return statistics | {f"{name}_shift": difference_of_means(values, real) for name, values, real in channels}


def factor_statistics(samples: Factors, reference: Factors, names: Sequence[str]) -> dict[str, Statistic]:
    """Return the statistics named by `factor_shifts` for each of the factors."""
    statistics: dict[str, Statistic] = {}
    for name, values, real in zip(names, samples.T, reference.T, strict=True):
        if name not in CIRCULAR:
            statistics[f"{name}_shift"] = difference_of_means(values, real)
        statistics[f"{name}_distance"] = Statistic(Transport(values, real, TURN if name in CIRCULAR else None).distance)
    return statistics


def factor_shifts(name: str) -> list[str]:
    """Return the columns of one factor."""
    return [f"{name}_distance"] if name in CIRCULAR else [f"{name}_shift", f"{name}_distance"]


def difference_of_means(values: Factors, reference: Factors) -> Statistic:
    """Return how far the values (n,) at some rows lie above the reference (m,), on average."""
    mean = reference.mean()
    return Statistic(lambda rows: float(values[rows].mean() - mean), signed=True)


def real_subsets(m: int, n: int, seed: int) -> list[NDArray[np.int64]]:
    """Return rows of n of m real images, drawn without replacement several times; where m <= n, all rows, once."""
    if m <= n:
        return [np.arange(m)]
    rng = np.random.default_rng(seed)
    return [rng.choice(m, n, replace=False) for _ in range(REAL_DRAWS)]


def missing(names: Sequence[str]) -> Row:
    """Return the columns of these names, all missing."""
    return {f"{name}{end}": math.nan for name in names for end in ENDS}
