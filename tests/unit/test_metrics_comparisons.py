"""The table of comparisons against tables of counts by hand, and the choice of scales."""

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import Method
from nonrobust_guidance.metrics.choice import chosen_scale
from nonrobust_guidance.metrics.comparisons.observed import Observed
from nonrobust_guidance.metrics.comparisons.table import compare_pair
from nonrobust_guidance.metrics.distances.columns import Yardstick
from nonrobust_guidance.metrics.distances.spaces import FEATURE_SPACES
from nonrobust_guidance.metrics.statistics.estimates import Estimate
from nonrobust_guidance.metrics.tables import ALL_TARGETS
from nonrobust_guidance.report.comparisons import Pair, find_pair
from nonrobust_guidance.report.results import Results

SEEDS = [0, 1]


class Real:
    """Stands for the real images: they score half the number of samples."""

    space = FEATURE_SPACES["judge"]

    def real(self, target: str, n: int) -> float:
        return n / 2


def method(name: str, scales: tuple[float, ...] = (1.0,)) -> Method:
    return Method(name, "weak", False, "x0", "", "log_prob", scales)


def outcomes(text: str) -> np.ndarray:
    return np.array([letter == "1" for letter in text])


def observed(name: str, n: int, guide: str, **cells: str) -> Observed:
    """A method whose cells have these outcomes; the distance of a target and seed is the number of its successes."""
    found = Observed(method(name), 1.0, guide)
    for key, text in cells.items():
        target, seed = key.split("_")
        place = (target, int(seed))
        found.by_judge[place] = outcomes(text)
        if guide:
            found.by_guide[place] = ~outcomes(text)
        found.distances["judge", n, *place] = Estimate(float(text[:n].count("1")), np.array([1.0, float(len(name))]))
    return found


ONE = observed("one", 4, "weak", cup_0="1100", cup_1="1110", ball_0="1111", ball_1="1000")
OTHER = observed("fifth", 4, "weak", cup_0="101011", cup_1="000011", ball_0="111100", ball_1="100000")


def row(one: Observed, other: Observed, target: str, targets: list[str]) -> dict[str, Any]:
    return compare_pair(one, other, target, targets, SEEDS, [cast(Yardstick, Real())])


def test_pairs_are_counted_over_seeds_and_the_longer_cells_are_cut() -> None:
    found = row(ONE, OTHER, "cup", ["cup"])
    # 1100 against 1010, and 1110 against 0000.
    counts = {"both_heldout": 1, "one_heldout": 4, "other_heldout": 1, "neither_heldout": 2}
    assert {name: found[name] for name in counts} == counts
    assert (found["n"], found["cell_n"], found["seeds"], found["guide"]) == (8, 4, 2, "weak")
    assert found["accuracy_heldout_difference"] == 3 / 8
    assert found["accuracy_heldout_p"] == pytest.approx(stats.chi2.sf(9 / 5, 1))
    # The guide says the opposite of the judge.
    assert (found["one_self"], found["other_self"], found["accuracy_self_difference"]) == (1, 4, -3 / 8)


def test_targets_are_strata_and_their_distances_are_averaged() -> None:
    found = row(ONE, OTHER, ALL_TARGETS, ["cup", "ball"])
    assert found["n"] == 16
    assert found["one_heldout"] == 4
    assert found["accuracy_heldout_difference"] == (3 / 8 + 0) / 2
    # Successes: 2, 3, 4 and 1 against 2, 0, 4 and 1. Deviations (1, 3) and (1, 5) of either seed, by sqrt(2) for two.
    assert (found["fd_judge_conditional_one"], found["fd_judge_conditional_other"]) == (10 / 4, 7 / 4)
    assert found["fd_judge_conditional_difference_high"] == pytest.approx(3 / 4 + 2 / math.sqrt(2))
    assert found["fd_judge_conditional_real"] == 2


def test_without_a_common_guide_only_the_judge_is_asked() -> None:
    found = row(ONE, observed("fifth", 4, "strong", cup_0="1010", cup_1="0000"), "cup", ["cup"])
    assert found["guide"] == ""
    assert math.isnan(found["one_self"])
    assert math.isnan(found["accuracy_self_p"])


def test_a_pair_is_read_either_way_round() -> None:
    table = pd.DataFrame([row(ONE, OTHER, "cup", ["cup"])])
    forward, back = find_pair(table, "one", "fifth", "cup"), find_pair(table, "fifth", "one", "cup")
    assert isinstance(forward, Pair)
    assert isinstance(back, Pair)
    value, low, high = forward.difference("accuracy_heldout")
    assert back.difference("accuracy_heldout") == (-value, -high, -low)
    assert back.distances("fd_judge_conditional") == forward.distances("fd_judge_conditional")[::-1]
    assert forward.discordant() == 5 / 8
    # (5/2 - 2) - 1.5 (1 - 2) for mean distances 5/2 and 1, counted from 2.
    assert forward.excess("fd_judge_conditional", 1.5).value == pytest.approx(0.5 + 1.5)
    assert find_pair(table, "one", "sixth", "cup") is None
    assert find_pair(None, "one", "fifth", "cup") is None


def test_the_chosen_scale_is_the_one_that_the_report_calls_best(fake: Any, tmp_path: Path) -> None:
    results: Results = fake.write(tmp_path, fake.config())
    ema = next(m for m in results.methods if m.name == "weak_ema")
    found = chosen_scale(results.metrics, ema, results.targets, "fd_judge_conditional")
    assert found == results.chosen["weak_ema"] == 10
    # A single scale is chosen whatever the table says.
    assert chosen_scale(results.metrics.head(0), method("a", (7.0,)), ["cup"], "fd_judge_conditional") == 7
    with pytest.raises(UserError, match="no row of weak_ema at scale 10"):
        chosen_scale(results.metrics.head(0), ema, ["cup"], "fd_judge_conditional")
