"""Screen, then confirm: which candidates there are, which is chosen, and that the confirmed samples are fresh."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nonrobust_guidance import cost
from nonrobust_guidance.config import Run, load_config, parse_config
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.screening import screening_of, variants
from nonrobust_guidance.metrics.selection import confirmed, select_candidates

TINY = load_config(Path(__file__).parents[2] / "config" / "tiny.yaml")
ADAM = {"classifier": "nonrobust", "at": "x0", "stabilizer": {"name": "adam"}, "scales": [0.1, 0.3]}


def searching(sampling: dict[str, Any] | None = None, **methods: dict[str, Any]) -> Run:
    raw = TINY.resolved()
    section = {"steps": 4, "num_samples": 50, "seeds": [0, 1], "targets": ["baseball", "basketball"]}
    section |= {"search": {"num_samples": 8, "seed": 7}, "methods": methods} | (sampling or {})
    return parse_config({**raw, "sampling": {k: v for k, v in section.items() if v is not None}}, "mine.yaml")


def scored(run: Run, **accuracies: dict[float, tuple[int, float]]) -> pd.DataFrame:
    """Return the screening's table: of 100 samples a target how many are the target, and the distance."""
    rows = [
        {"method": name, "scale": scale, "target": target, "seed": 7, "n": 100}
        | {"accuracy_heldout": hits / 100, "fd_judge_conditional": distance, "accuracy_self": 1.0, "none_share": 0.0}
        | {f"probability_{judge}_{what}": 0.5 for judge in ("self", "heldout") for what in ("mean", "std")}
        | {"warning": ""}
        for name, scales in accuracies.items()
        for scale, (hits, distance) in scales.items()
        for target in run.sampling.targets
    ]
    return pd.DataFrame(rows)


def chosen(run: Run, table: pd.DataFrame, tmp_path: Path) -> pd.DataFrame:
    table.to_csv(tmp_path / "metrics.csv", index=False)
    select_candidates(run, tmp_path / "metrics.csv", tmp_path / "selection.csv")
    return pd.read_csv(tmp_path / "selection.csv", keep_default_na=False)


def test_the_screening_draws_every_candidate_on_few_samples_of_its_own_noise() -> None:
    once = {"classifier": "robust", "at": "xt", "scales": [1]}
    run = searching(free={}, once=once, adam={**ADAM, "vary": {"steps": [4, 8], "trust_radius": [1]}}, plain=ADAM)
    assert list(variants(run)) == ["adam__1", "adam__2", "plain"]
    screening = screening_of(run).sampling
    assert (screening.seeds, screening.search) == ((7,), None)
    drawn = {name: (m.steps, m.trust_radius, m.scales, m.num_samples) for name, m in screening.guided.items()}
    scales = (0.1, 0.3)
    assert drawn == {
        "adam__1": (4, 1, scales, 8),
        "adam__2": (8, 1, scales, 8),
        "plain": (4, None, scales, 8),
    }


def test_level_accuracies_are_decided_by_the_distance_and_others_by_accuracy(tmp_path: Path) -> None:
    run = searching(plain={**ADAM, "scales": [1, 2, 3, 4]})
    # Of 200 trials, 190 and 186 cannot be told apart and 150 can; so 2 is nearer than 1 and as accurate, 3 is nearer
    # still but worse, and 4 is as accurate but far.
    table = scored(run, plain={1: (95, 9.0), 2: (93, 5.0), 3: (75, 1.0), 4: (94, 30.0)})
    found = chosen(run, table, tmp_path)
    assert found["chosen"].tolist() == [0, 1, 0, 0]
    assert found["n"].tolist() == [200] * 4
    assert found["why"][2] == "a lower accuracy than the highest"
    assert confirmed(run, tmp_path / "selection.csv").sampling.guided["plain"].scales == (2,)


def test_the_confirmed_run_has_the_chosen_values_and_its_own_seeds(tmp_path: Path) -> None:
    run = searching(adam={**ADAM, "vary": {"steps": [4, 8]}}, free={})
    table = scored(run, adam__1={0.1: (50, 1.0), 0.3: (60, 1.0)}, adam__2={0.1: (99, 1.0), 0.3: (70, 1.0)})
    assert chosen(run, table, tmp_path)["changes"].tolist() == ['{"steps": 4}'] * 2 + ['{"steps": 8}'] * 2
    left = confirmed(run, tmp_path / "selection.csv")
    method = left.sampling.guided["adam"]
    assert (method.steps, method.scales, method.vary, method.num_samples) == (8, (0.1,), None, 50)
    assert left.sampling.seeds == (0, 1)
    assert not variants(left)
    assert confirmed(left, tmp_path / "none.csv") == left


@pytest.mark.parametrize(
    ("sampling", "method", "said"),
    [
        ({"search": {"seed": 1}}, ADAM, "sampling.search.seed is one of sampling.seeds"),
        ({"search": {"num_samples": 1}}, ADAM, "sampling.search.num_samples"),
        ({"search": None}, {**ADAM, "vary": {"steps": [4]}}, "sampling.methods.mine.vary needs sampling.search"),
        ({}, {**ADAM, "vary": {"scales": [4]}}, "sampling.methods.mine.vary has scales"),
        ({}, {**ADAM, "vary": {"stepz": [4]}}, "stepz is an unknown key; did you mean steps"),
        ({}, {**ADAM, "vary": {"trust_radius": [-1]}}, "trust_radius"),
        ({}, {**ADAM, "vary": {"steps": []}}, "sampling.methods.mine.vary.steps"),
    ],
)
def test_a_search_that_cannot_be_made_is_one_sentence(
    sampling: dict[str, Any], method: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as error:
        searching(sampling, mine=method)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_selection_that_lacks_something_is_named(tmp_path: Path) -> None:
    run = searching(plain=ADAM, other=ADAM)
    table = scored(run, plain={0.1: (50, 1.0), 0.3: (60, 1.0)}, other={0.1: (50, 1.0)})
    table.to_csv(tmp_path / "metrics.csv", index=False)
    with pytest.raises(UserError, match=r"has not scored other at scale 0\.3 for every target"):
        select_candidates(run, tmp_path / "metrics.csv", tmp_path / "selection.csv")
    with pytest.raises(UserError, match=r"selection\.csv is missing"):
        confirmed(run, tmp_path / "selection.csv")
    found = chosen(searching(plain=ADAM), table[table["method"] == "plain"], tmp_path)
    assert found["chosen"].sum() == 1
    with pytest.raises(UserError, match="chooses nothing for other"):
        confirmed(run, tmp_path / "selection.csv")


def test_the_cost_is_that_of_the_screening_and_of_one_candidate_on_fresh_samples() -> None:
    found = cost.estimate_cost(searching(free={}, plain=ADAM))
    # Screened: two scales, two targets, eight samples; confirmed: one scale, two targets, two seeds, fifty samples.
    assert found.samples == 2 * 2 * 8 + 2 * 2 * 50 + 2 * 50
    assert found.passes[cost.SAMPLING].forward == found.samples * 4
    assert found.unsearched == 2 * 2 * 2 * 50 + 2 * 50
    assert cost.estimate_cost(TINY).unsearched is None


def test_a_radius_of_the_run_is_that_of_every_guided_method_without_its_own() -> None:
    run = searching({"trust_radius": 1}, free={}, plain=ADAM, wide={**ADAM, "trust_radius": 2})
    assert {name: method.trust_radius for name, method in run.sampling.guided.items()} == {"plain": 1, "wide": 2}
