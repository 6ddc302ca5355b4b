"""What 95% intervals cover: a thousand simulated runs each, of those that the report uses and of those beside them.

Over 300 lines, so that every kind of interval is held to one standard on data simulated in one way.

It is long because all kinds of intervals are simulated in one way.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from nonrobust_guidance.metrics.distances.frechet import Gaussian, frechet_distance, frechet_interval, linear_interval
from nonrobust_guidance.metrics.distances.kernel import KernelDistance
from nonrobust_guidance.metrics.statistics.estimates import (
    Estimate,
    combine,
    mean_of_independent,
    mean_of_same_noise,
)
from nonrobust_guidance.metrics.statistics.intervals import (
    Interval,
    difference,
    mean_of,
    percentiles_about,
    resampled_interval,
    wilson_interval,
)
from nonrobust_guidance.metrics.statistics.medians import median_interval
from nonrobust_guidance.metrics.statistics.needed import samples_needed
from nonrobust_guidance.metrics.statistics.paired import Compared, Pairs, compare, share_difference
from nonrobust_guidance.metrics.statistics.resampled import Statistic, standard_interval
from nonrobust_guidance.metrics.statistics.score import correlate, mean_share
from nonrobust_guidance.metrics.statistics.seeds import (
    mean_over_cells,
    mean_over_seeds,
    probability_over_seeds,
    share_over_seeds,
)
from nonrobust_guidance.metrics.statistics.several import over_seeds

Array = NDArray[np.float64]

RUNS, N, RESAMPLES, TARGETS = 1000, 64, 200, 4


class Coverage(NamedTuple):
    """How often intervals held the truth, and how wide half of them at least were."""

    share: float
    width: float


def cover(intervals: Iterable[Interval | tuple[float, float]], truth: float) -> Coverage:
    ends = np.array([tuple(interval)[-2:] for interval in intervals])
    assert len(ends) == RUNS
    held = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    return Coverage(float(held.mean()), float(np.median(ends[:, 1] - ends[:, 0])))


def covers(found: Coverage) -> bool:
    """Whether that is 95% give or take two, three standard errors of a thousand runs."""
    return 0.93 <= found.share <= 0.97


def falls_short(found: Coverage) -> bool:
    """Whether that is some 93% or 94%, which simulations of 5,000 runs find for percentiles of resamples."""
    return 0.91 <= found.share <= 0.96


wilson = cache(wilson_interval)


def share(successes: int, n: int = N) -> Interval:
    return Interval(successes / n, *wilson(int(successes), n))


@pytest.mark.parametrize("p", [0.5, 0.75, 0.9])
def test_wilsons_shares(p: float) -> None:
    found = cover((share(k) for k in np.random.default_rng(0).binomial(N, p, RUNS)), p)
    assert covers(found), found


def test_shares_pooled_over_unlike_targets_cover_too_much_and_strata_cover() -> None:
    p = (1.0, 0.95, 0.5, 0.05)
    counts = np.random.default_rng(1).binomial(N, p, (RUNS, TARGETS))
    pooled = cover((share_over_seeds(pd.DataFrame({"n": N, "a": k / N}), "a") for k in counts), float(np.mean(p)))
    strata = cover((mean_share(k.tolist(), [N] * TARGETS) for k in counts), float(np.mean(p)))
    assert pooled.share > 0.99, pooled
    assert covers(strata), strata
    assert strata.width < 0.7 * pooled.width, f"strata {strata}, pooled {pooled}"


# Tables of a pair of methods: the shares in which both succeed, the one, the other, neither.
EQUAL, DIFFERENT = (0.6, 0.08, 0.08, 0.24), (0.55, 0.2, 0.08, 0.17)


@pytest.mark.parametrize("p", [EQUAL, DIFFERENT])
def test_difference_of_shares_over_targets(p: tuple[float, ...]) -> None:
    rng, truth = np.random.default_rng(2), p[1] - p[2]
    tables = rng.multinomial(N, p, (RUNS, TARGETS))
    pairs = cover((share_difference([Pairs(*cell) for cell in row.tolist()]) for row in tables), truth)
    one, other = tables[..., 0] + tables[..., 1], tables[..., 0] + tables[..., 2]
    size, total = N * TARGETS, 1
    today = cover(
        (difference(share(a, size), share(b, size)) for a, b in zip(one.sum(total), other.sum(total), strict=True)),
        truth,
    )
    lone = rng.binomial(size, p[0] + p[1], RUNS), rng.binomial(size, p[0] + p[2], RUNS)
    unpaired = cover((difference(share(a, size), share(b, size)) for a, b in zip(*lone, strict=True)), truth)
    assert covers(unpaired), f"Newcombe's interval of independent shares: {unpaired}"
    assert today.share > 0.97, f"the same of pairs, which are not independent: {today}"
    assert covers(pairs), f"Tango's over targets: {pairs}"
    assert pairs.width < 0.85 * today.width, f"pairs {pairs}, without {today}"


def test_targets_that_share_noise_take_their_correlation() -> None:
    rng, p = np.random.default_rng(3), 0.3
    common, own = rng.normal(size=(2, RUNS, TARGETS, N))
    latent = np.sqrt(0.6) * common[:, :1] + np.sqrt(0.4) * own
    # A gains where the latent number is high and loses nowhere: the shares of pairs are (0, 0.3, 0, 0.7).
    gained = latent > 0.5244005127080407  # the normal's 70% point
    cells = [[Pairs(0, int(k), 0, N - int(k)) for k in run.sum(axis=1)] for run in gained]
    alone = cover((share_difference(strata) for strata in cells), p)
    together = cover(
        (share_difference(s, correlations=correlate(g.astype(float))) for s, g in zip(cells, gained, strict=True)), p
    )
    assert alone.share < 0.9, alone
    assert covers(together), together


# Frechet distances in the plane to N(0, I), where tr sqrt(C) is sqrt(tr C + 2 sqrt(det C)).
STANDARD = Gaussian(np.zeros(2), np.eye(2), 10_000)


def moments_of(x: Array) -> Array:
    """Return what the distance is a function of the means of, for points (..., 2)."""
    return np.stack([x[..., 0], x[..., 1], x[..., 0] ** 2, x[..., 1] ** 2, x[..., 0] * x[..., 1]], axis=-1)


def frechet(means: Array, n: int) -> Array:
    a, b, aa, bb, ab = np.moveaxis(means, -1, 0)
    va, vb, cov = (product * n / (n - 1) for product in (aa - a * a, bb - b * b, ab - a * b))
    root = np.sqrt(va + vb + 2 * np.sqrt(np.maximum(va * vb - cov * cov, 0)))
    return a * a + b * b + va + vb + 2 - 2 * root


def frechet_of(x: Array) -> Statistic:
    """Return the distance as a statistic of rows x (n, 2), all choices at once."""
    n, moments = len(x), moments_of(x)

    def of(indices: NDArray[np.int64]) -> Array:
        offset = indices + n * np.arange(len(indices))[:, None]
        counts = np.bincount(offset.ravel(), minlength=n * len(indices)).reshape(len(indices), n)
        return frechet(counts @ moments / n, n)

    return of


def mean_statistic(parts: list[Statistic]) -> Statistic:
    return lambda indices: np.mean([part(indices) for part in parts], axis=0)


Place = tuple[float, float]


def draw(rng: np.random.Generator, runs: int, one: Place, other: Place, rho: float, n: int = N) -> list[Array]:
    """Return rows (runs, n, 2) of two methods whose noise correlates, each a scale and a shift of it."""
    z, own = rng.normal(size=(2, runs, n, 2))
    shared = rho * z + math.sqrt(1 - rho**2) * own
    return [scale * rows + shift for rows, (scale, shift) in ((z, one), (shared, other))]


def draw_alike(rng: np.random.Generator, runs: int, places: list[Place], rho: float, n: int = N) -> list[Array]:
    """Return rows (runs, n, 2) of several cells, any two of which have noise that correlates by rho."""
    common = rng.normal(size=(runs, n, 2))
    noises = [math.sqrt(rho) * common + math.sqrt(1 - rho) * rng.normal(size=common.shape) for _ in places]
    return [scale * noise + shift for noise, (scale, shift) in zip(noises, places, strict=True)]


def average_distances(one: Place, other: Place, n: int = N) -> tuple[float, float]:
    """Return what distances of n rows are on average, from 20,000 simulated ones."""
    rng = np.random.default_rng(4)
    batches = [draw(rng, 1000, one, other, 0.0, n) for _ in range(20)]
    first, second = (np.mean([frechet(moments_of(b[i]).mean(axis=1), n).mean() for b in batches]) for i in (0, 1))
    return float(first), float(second)


def todays(statistic: Statistic, seed: int) -> Interval:
    """Return `frechet_interval`'s, with all its resamples at once."""
    drawn = np.random.default_rng(seed).integers(N, size=(RESAMPLES, N))
    value = float(statistic(np.arange(N)[None])[0])
    low, high = percentiles_about(value, statistic(drawn))
    return Interval(value, max(0.0, low), high)


def test_what_is_simulated_is_what_the_report_uses() -> None:
    for seed, x in enumerate(draw(np.random.default_rng(5), 1, (1.3, 0.6), (1.0, 0.0), 0.5)):
        ours, found = Gaussian.fit(x[0]), todays(frechet_of(x[0]), seed)
        assert found.value == pytest.approx(frechet_distance(ours, STANDARD))
        expected = frechet_interval(x[0], ours, STANDARD, found.value, RESAMPLES, seed)
        assert found[1:] == pytest.approx(expected, abs=1e-9)


AWAY, NEARER = (1.3, 0.9), (1.2, 0.7)


@pytest.mark.parametrize("other", [AWAY, NEARER])
def test_frechet_distances(other: Place) -> None:
    a, b = average_distances(AWAY, other)
    rng = np.random.default_rng(6)
    rows = [[frechet_of(x) for x in side] for side in draw(rng, RUNS, AWAY, other, 0.7)]
    lone = [frechet_of(x) for x in draw(rng, RUNS, AWAY, other, 0.0)[1]]
    first, second, third = ([todays(s, seed) for seed, s in enumerate(side)] for side in (*rows, lone))
    compared: list[Compared] = [
        compare(x, y, N, RESAMPLES, seed) for seed, (x, y) in enumerate(zip(*rows, strict=True))
    ]
    pairs = cover((found.difference for found in compared), a - b)
    today = cover((difference(x, y) for x, y in zip(first, second, strict=True)), a - b)
    found = {
        "standard errors": cover((standard_interval(s, N, RESAMPLES, i) for i, s in enumerate(rows[1])), b),
        "difference of independent": cover((difference(x, y) for x, y in zip(first, third, strict=True)), a - b),
        "mean of independent": cover((mean_of([x, y]) for x, y in zip(first, third, strict=True)), (a + b) / 2),
        "difference of pairs": pairs,
        "ratio of pairs": cover((found.ratio for found in compared), a / b),
    }
    assert all(map(covers, found.values())), found
    percentiles = cover(second, b)
    assert falls_short(percentiles), percentiles
    assert today.share > 0.97, f"the difference of pairs taken as independent: {today}"
    assert pairs.width < 0.75 * today.width, f"pairs {pairs}, without {today}"


def test_targets_that_share_noise_are_one_statistic() -> None:
    truth = average_distances(AWAY, AWAY)[0]
    rows = [[frechet_of(x) for x in side] for side in draw(np.random.default_rng(7), RUNS, AWAY, AWAY, 0.9)]
    cells = [[todays(s, seed) for seed, s in enumerate(side)] for side in rows]
    alone = cover((mean_of(list(parts)) for parts in zip(*cells, strict=True)), truth)
    statistics = [mean_statistic(list(parts)) for parts in zip(*rows, strict=True)]
    together = cover((standard_interval(s, N, RESAMPLES, seed) for seed, s in enumerate(statistics)), truth)
    assert alone.share < 0.9, alone
    assert covers(together), together


def estimates_of(cells: list[Array], seed: int) -> list[Estimate]:
    """Return the distances of cells (n, 2) of one seed, with the same resamples for all of them."""
    drawn = np.random.default_rng(seed).integers(N, size=(RESAMPLES, N))
    offset = drawn + N * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(offset.ravel(), minlength=N * RESAMPLES).reshape(RESAMPLES, N)
    moments = np.stack([moments_of(x) for x in cells], axis=1)  # (N, cells, 5)
    values, replicates = frechet(moments.mean(axis=0), N), frechet(np.tensordot(counts, moments, 1) / N, N)
    return [Estimate.of_replicates(float(v), replicates[:, i], N) for i, v in enumerate(values)]


def test_distances_over_targets_that_share_noise_and_seeds_that_do_not() -> None:
    """What the table of comparisons has over all targets: two of them, two seeds, a common noise within each seed."""
    rng, factor = np.random.default_rng(17), 1.5
    a, b = average_distances(AWAY, NEARER)
    differences, multiples, apart = [], [], []
    # For each seed the rows of both methods for both targets, all four from noise that correlates.
    drawn = [draw_alike(rng, RUNS, [AWAY, NEARER, AWAY, NEARER], 0.7) for _ in range(2)]
    for i in range(RUNS):
        seeds = [estimates_of([rows[i] for rows in cells], i) for cells in drawn]
        one, other = (
            mean_of_independent([mean_of_same_noise([of_seed[side], of_seed[side + 2]]) for of_seed in seeds])
            for side in (0, 1)
        )
        difference_of_pair = one.compare(other).difference
        differences.append(difference_of_pair)
        multiples.append(combine(one.interval, other.interval, difference_of_pair, factor))
        apart.append(difference(one.interval, other.interval))
    found = {"difference": cover(differences, a - b), "multiple": cover(multiples, a - factor * b)}
    assert all(map(covers, found.values())), found
    unpaired = cover(apart, a - b)
    assert found["difference"].width < 0.75 * unpaired.width, f"pairs {found}, without {unpaired}"


def test_a_distance_at_its_minimum_is_covered_more_than_stated() -> None:
    """Its first derivative is zero there, and to second order resampled rows spread wider than rows do."""
    exact = (1.0, 0.0)
    rows = [[frechet_of(x) for x in side] for side in draw(np.random.default_rng(8), RUNS, exact, exact, 0.7)]
    truth = average_distances(exact, exact)[0]
    alone = cover((todays(s, seed) for seed, s in enumerate(rows[0])), truth)
    pairs = cover(
        (compare(x, y, N, RESAMPLES, seed).difference for seed, (x, y) in enumerate(zip(*rows, strict=True))), 0.0
    )
    assert min(alone.share, pairs.share) > 0.97, (alone, pairs)


def test_frechet_distances_of_many_rows_by_their_derivative() -> None:
    n = 257
    truth = average_distances(AWAY, AWAY, n)[0]
    fits = ((x, Gaussian.fit(x)) for x in draw(np.random.default_rng(9), RUNS, AWAY, AWAY, 0.0, n)[0])
    found = cover((linear_interval(x, fit, STANDARD, frechet_distance(fit, STANDARD)) for x, fit in fits), truth)
    assert covers(found), found


def kernel_truth(distance: KernelDistance, mean: float, scale: float, d: int) -> float:
    """Return the distance of N(mean, scale^2 I) to the reference rows, from the first three moments of x . y."""
    one, two, three = mean**2, (mean**2 + scale**2) ** 2, (mean**3 + 3 * mean * scale**2) ** 2  # of a product x_i y_i

    def cube(expectation: Array, variance: Array, third: float) -> Array:
        a = expectation / d + 1
        return a**3 + 3 * a * variance / d**2 + third / d**3

    among = cube(np.array(d * one), np.array(d * (two - one**2)), d * (three - 3 * one * two + 2 * one**3))
    across = cube(mean * distance.reference.sum(axis=1), scale**2 * np.square(distance.reference).sum(axis=1), 0.0)
    return float(among + distance.within - 2 * across.mean())


@pytest.mark.parametrize(("mean", "scale"), [(0.3, 1.2), (0.4, 1.0)])
def test_kernel_distance(mean: float, scale: float) -> None:
    rng, d = np.random.default_rng(10), 16
    distance = KernelDistance(rng.normal(size=(100, d)))
    rows = rng.normal(mean, scale, size=(RUNS, N, d))
    found = cover(
        (distance.measure(x, RESAMPLES, i) for i, x in enumerate(rows)), kernel_truth(distance, mean, scale, d)
    )
    assert covers(found), found


def test_resampled_medians() -> None:
    values = np.exp(np.random.default_rng(11).normal(size=(RUNS, 128)))
    percentiles = cover((resampled_interval(x, np.median, RESAMPLES, 0) for x in values), 1.0)
    ranks = cover((median_interval(x) for x in values), 1.0)
    assert falls_short(percentiles), percentiles
    assert covers(ranks), ranks


def test_resampled_means() -> None:
    values = np.random.default_rng(11).beta(3, 1, size=(RUNS, 128))  # mean 3 / 4
    percentiles = cover((resampled_interval(x, np.mean, RESAMPLES, 0) for x in values), 0.75)
    errors = cover((standard_interval(lambda i, x=x: x[i].mean(axis=1), 128, RESAMPLES, 0) for x in values), 0.75)
    assert falls_short(percentiles), percentiles
    assert covers(errors), errors


def test_few_values_take_intervals_of_their_own() -> None:
    values = np.random.default_rng(12).normal(size=(RUNS, 16))
    medians = cover((median_interval(x) for x in values), 0.0)
    means = cover((standard_interval(lambda i, x=x: x[i].mean(axis=1), 16, RESAMPLES, 0) for x in values), 0.0)
    assert covers(medians), medians
    assert covers(means), means
    percentiles = cover((resampled_interval(x, np.mean, RESAMPLES, 0) for x in values), 0.0)
    assert percentiles.share < 0.93, percentiles


def moments_table(p: Array) -> pd.DataFrame:
    return pd.DataFrame([{"n": len(p), "probability_self_mean": p.mean(), "probability_self_std": p.std()}])


def test_mean_probability_of_one_seed() -> None:
    rng = np.random.default_rng(13)
    many = rng.beta(3, 1, size=(RUNS, 256))  # mean 3 / 4
    today = cover((probability_over_seeds(moments_table(p), "self")[0] for p in many), 0.75)
    assert covers(today), today
    few = rng.beta(0.9, 0.1, size=(RUNS, N))  # mean 9 / 10, most of them near 1
    score = cover((probability_over_seeds(moments_table(p), "self")[0] for p in few), 0.9)
    assert covers(score), score  # the normal interval covers 92.0% in a longer simulation


SEEDS = 3


def tables_of(values: Array) -> list[pd.DataFrame]:
    """Return numbers (runs, targets, seeds) with intervals of standard error 1, as tables."""
    half = 1.959964
    targets = np.repeat(np.arange(values.shape[1]), values.shape[2])
    columns = (
        {"target": targets, "d": x.ravel(), "d_low": x.ravel() - half, "d_high": x.ravel() + half} for x in values
    )
    return [pd.DataFrame(column) for column in columns]


def cells_of(values: Array) -> list[list[Interval]]:
    return [[Interval(x, x - 1.959964, x + 1.959964) for x in of_target] for of_target in values.tolist()]


@pytest.mark.parametrize("between", [0.0, 1.0, 9.0])
def test_seeds(between: float) -> None:
    """The variance that seeds add is none, as much as the samples' own, or nearly all there is."""
    values = np.random.default_rng(14).normal(0, math.sqrt(1 + between), size=(RUNS, TARGETS, SEEDS))
    combined = cover((over_seeds(cells_of(x)) for x in values), 0.0)
    alone = cover((over_seeds(cells_of(x[:1, :2])) for x in values), 0.0)
    assert covers(combined), combined
    assert covers(alone), f"two seeds of one target: {alone}"


def test_seeds_and_targets_that_are_independent_add_their_variances() -> None:
    values = np.random.default_rng(15).normal(size=(RUNS, TARGETS, SEEDS))
    tables = tables_of(values)
    of_seeds = cover((mean_over_seeds(table.iloc[:SEEDS], "d") for table in tables), 0.0)
    of_cells = cover((mean_over_cells(table, "d") for table in tables), 0.0)
    students = cover((mean_over_seeds(table.iloc[:SEEDS][["target", "d"]], "d") for table in tables), 0.0)
    assert covers(of_seeds), of_seeds
    assert covers(of_cells), of_cells
    assert covers(students), students
    # Two degrees of freedom say less than the cells' own intervals.
    assert of_seeds.width < 0.6 * students.width


@pytest.mark.parametrize("targets", [1, TARGETS])
def test_the_n_that_is_needed_decides_as_often_as_it_says(targets: int) -> None:
    p, power = DIFFERENT, 0.8
    n = samples_needed(p[1] - p[2], p[1] + p[2], targets, power)
    tables = np.random.default_rng(16).multinomial(n, p, (RUNS, targets))
    decided = np.mean([share_difference([Pairs(*cell) for cell in row.tolist()]).low > 0 for row in tables])
    assert decided == pytest.approx(power, abs=0.04)
