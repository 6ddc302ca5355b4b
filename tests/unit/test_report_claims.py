"""Claims decided from tables that not every run has, where the truth is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.cells import list_cells
from nonrobust_guidance.metrics.tables import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNDECIDED
from nonrobust_guidance.records import environment
from nonrobust_guidance.report.claims import decide_claims
from nonrobust_guidance.report.claims.images import spread_ratio
from nonrobust_guidance.report.claims.verdict import Verdict
from nonrobust_guidance.report.results import Results


def judged(results: Results) -> dict[int, Verdict]:
    """The verdicts by number, over all targets."""
    fresh = Results.read(results.run, results.folder)
    return {verdict.number: verdict for verdict in reversed(decide_claims(fresh))}


def change_metrics(results: Results, changes: Mapping[str, Mapping[str, float]]) -> None:
    """Write other numbers into columns of the metrics table, by method."""
    table = pd.read_csv(results.folder / "metrics.csv")
    for column, values in changes.items():
        for method, value in values.items():
            table[column] = table[column].astype(float).mask(table["method"] == method, value)
    table.to_csv(results.folder / "metrics.csv", index=False)


@pytest.mark.parametrize(
    ("weak", "cosine", "outcome"),
    [
        (40.0, 0.1, SUPPORTED),
        (40.0, 0.8, SUPPORTED),  # one of them is enough,
        (4.0, 0.1, SUPPORTED),
        (4.0, 0.8, UNDECIDED),
        (0.4, 0.1, UNDECIDED),  # unless the other says the opposite
        (0.4, 0.8, NOT_SUPPORTED),
        (4.0, 1.0, NOT_SUPPORTED),
    ],
)
def test_gradients(fake: Any, tmp_path: Path, weak: float, cosine: float, outcome: str) -> None:
    config = fake.config(["cup"])
    results = fake.write(tmp_path, config)
    fake.sensitivity_table(4.0, weak).to_csv(tmp_path / "sensitivity.csv", index=False)
    cosines = {"strong_xt": 0.8, "weak_xt": cosine}
    fake.trajectory_table(list_cells(fake.run(config)), cosines).to_csv(tmp_path / "trajectories.csv", index=False)
    assert judged(results)[2].decision == outcome


def test_gradients_are_quoted_with_their_intervals_and_n(fake: Any, tmp_path: Path) -> None:
    config = fake.config()
    results = fake.write(tmp_path, config)
    assert judged(results)[2].decision == NOT_TESTED
    fake.sensitivity_table(4.0, 40.0).to_csv(tmp_path / "sensitivity.csv", index=False)
    assert judged(results)[2].evidence == (
        "Along the forward process of 64 test images its gradient changes more than the robust one's per unit of "
        "change of the image at 4 of 4 noise levels and less at 0 (at t = 200: 40 [36, 44] against 4 [3.6, 4.4]) and "
        "in relation to its own length at 0 of 4 noise levels and less at 0 (at t = 200: 0.5 [0.45, 0.55] against 0.5 "
        "[0.45, 0.55])."
    )
    (tmp_path / "sensitivity.csv").unlink()
    cells = [cell for cell in list_cells(fake.run(config)) if cell.method.guided]
    table = fake.trajectory_table(cells, {"strong_xt": 0.8, "weak_xt": 0.1})
    table.to_csv(tmp_path / "trajectories.csv", index=False)
    # Two targets with half a width of 0.05 each: 0.05 / sqrt(2) is 0.0354.
    assert judged(results)[2].evidence == (
        "From step to step of 64 guided trajectories, the cosine between its gradients is 0.10 [0.06, 0.14] with "
        "non-robust, xₜ at scale 10, against 0.80 [0.76, 0.84] with robust, xₜ at scale 10."
    )


def test_gradients_that_are_merely_longer_are_not_called_unstable(fake: Any, tmp_path: Path) -> None:
    results = fake.write(tmp_path, fake.config(["cup"]))
    table = fake.sensitivity_table(4.0, 40.0)
    for end, value in {"": 0.5, "_low": 0.45, "_high": 0.55}.items():
        table[f"relative_change{end}"] = np.where(table["classifier"] == "weak", value - 0.3, value)
    table.to_csv(tmp_path / "sensitivity.csv", index=False)
    verdict = judged(results)[2]
    assert verdict.decision == UNDECIDED
    assert "in relation to its own length at 0 of 4 noise levels and less at 4" in verdict.evidence


def test_a_table_without_rows_counts_as_none_and_a_foreign_one_is_named(fake: Any, tmp_path: Path) -> None:
    results = fake.write(tmp_path, fake.config())
    fake.sensitivity_table(4.0, 40.0).head(0).to_csv(tmp_path / "sensitivity.csv", index=False)
    assert judged(results)[2].decision == NOT_TESTED
    (tmp_path / "signatures.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"signatures\.csv lacks the column method"):
        judged(results)


@pytest.mark.parametrize(
    ("adam", "others", "outcome"),
    [
        (1.0, 0.5, SUPPORTED),
        (0.9, 0.5, NOT_SUPPORTED),
        (0.9, 1.0, SUPPORTED),  # one method that has it is enough
        (0.99, 0.5, UNDECIDED),
    ],
)
def test_accuracy_above_99_percent(fake: Any, tmp_path: Path, adam: float, others: float, outcome: str) -> None:
    config = fake.config(["cup"])
    config["sampling"]["seeds"] = list(range(12))
    results = fake.write(tmp_path, config)
    change_metrics(results, {"accuracy_self": {"weak_adam": adam, "weak_ema": others}})
    verdict = judged(results)[5]
    assert verdict.decision == outcome
    assert "98.4% [97.3, 99.1] by the held-out judge (n = 768)" in verdict.evidence  # 63 of 64, twelve times


def test_few_samples_cannot_show_99_percent(fake: Any, tmp_path: Path) -> None:
    verdict = judged(fake.write(tmp_path, fake.config(["cup"])))[5]
    assert verdict.decision == UNDECIDED
    # Of six tested claims each at 1 - 0.05 / 6, whose normal quantile is 2.6383: a share of 99.5% takes
    # (2.6383 sqrt(0.0099) + 0.84162 sqrt(0.004975))^2 / 0.005^2 = 4144.
    assert verdict.evidence.endswith(
        "is 100.0% [94.3, 100.0]. Of n = 64 it is undecided; what lies 0.5 points from the mark would be told in four "
        "of five runs of n = 4144."
    )


def test_distances_are_near_only_if_so_in_every_kind_of_features(fake: Any, tmp_path: Path) -> None:
    results = fake.write(tmp_path, fake.config(["cup"]), half_width=0.1)
    assert judged(results)[6].decision == SUPPORTED
    table = pd.read_csv(tmp_path / "metrics.csv")
    fid = np.where(table["method"] == "strong_xt", 110.0, 180.0)
    for end, value in {"": fid, "_low": fid - 1, "_high": fid + 1, "_real": 100.0}.items():
        table[f"fid_conditional{end}"] = value
    table.to_csv(tmp_path / "metrics.csv", index=False)
    pairs = pd.read_csv(tmp_path / "comparisons.csv")
    for side in ("one", "other"):
        side_fid = np.where(pairs[side] == "strong_xt", 110.0, 180.0)
        for end, value in {"": side_fid, "_low": side_fid - 1, "_high": side_fid + 1}.items():
            pairs[f"fid_conditional_{side}{end}"] = value
    apart = pairs["fid_conditional_one"] - pairs["fid_conditional_other"]
    for end, value in {"": apart, "_low": apart - 2**0.5, "_high": apart + 2**0.5}.items():
        pairs[f"fid_conditional_difference{end}"] = value
    pairs["fid_conditional_real"] = 100.0
    pairs.to_csv(tmp_path / "comparisons.csv", index=False)
    verdict = judged(results)[6]
    # 180 is not twice 110, but most of both is what real images score as well.
    assert verdict.decision == NOT_SUPPORTED
    assert verdict.evidence.endswith("; 180 [179, 181] against 110 [109, 111] in FID, real images 100.")


@pytest.mark.parametrize(
    ("recall", "spread", "outcome"),
    [(0.6, 1.0, SUPPORTED), (0.2, 1.0, NOT_SUPPORTED), (0.6, 0.3, NOT_SUPPORTED), (0.48, 1.0, UNDECIDED)],
)
def test_diversity(fake: Any, tmp_path: Path, recall: float, spread: float, outcome: str) -> None:
    config = fake.config()
    config["sampling"]["seeds"] = [0, 1]
    results = fake.write(tmp_path, config)
    change_metrics(results, {"recall_judge": {"weak_adam": recall}})
    table = fake.factor_table(list_cells(fake.run(config)), {"weak_adam": spread})
    table.to_csv(tmp_path / "factors.csv", index=False)
    fake.signature_table(list_cells(fake.run(config)), {}).to_csv(tmp_path / "signatures.csv", index=False)
    verdict = judged(results)[7]
    assert verdict.decision == outcome
    assert f"recall {100 * recall:.0f}%" in verdict.evidence
    assert "against 60% of real test images" in verdict.evidence
    assert "spread of size" in verdict.evidence
    assert "rotation" not in verdict.evidence


def test_shares_with_intervals_of_their_own_use_them(fake: Any, tmp_path: Path) -> None:
    results = fake.write(tmp_path, fake.config(["cup"]))
    assert judged(results)[7].decision == UNDECIDED  # 64 samples are few by Wilson's interval
    table = pd.read_csv(tmp_path / "metrics.csv")
    for column in ("recall_judge", "coverage_judge"):
        table[f"{column}_low"], table[f"{column}_high"] = table[column] - 0.01, table[column] + 0.01
    table.to_csv(tmp_path / "metrics.csv", index=False)
    assert judged(results)[7].decision == SUPPORTED
    assert "recall 60% [59, 61] against 60% [59, 61] of robust" in judged(results)[7].evidence


def test_the_ratio_of_spreads_has_the_interval_of_normal_samples() -> None:
    rng = np.random.default_rng(1)
    ratio = spread_ratio(rng.normal(0, 2, 4000), rng.normal(5, 1, 4000))
    assert ratio is not None
    # The logarithm of a normal sample's deviation has variance 1 / 2n, so that of the ratio of two 1 / n.
    half = 1.96 / np.sqrt(4000)
    assert ratio.value == pytest.approx(2, rel=3 * half / 1.96)
    assert np.log([ratio.low, ratio.high]) == pytest.approx(np.log(ratio.value) + np.array([-half, half]), abs=0.006)
    assert spread_ratio(np.array([1.0]), rng.normal(size=9)) is None
    assert spread_ratio(rng.normal(size=9), np.ones(9)) is None


@pytest.mark.parametrize(
    ("colour", "none", "outcome"),
    [
        ({"weak_x0": 0.05}, {}, SUPPORTED),  # grows from 0.15 to 1.5; the stabilized one has 0.01
        ({}, {"weak_x0": 0.03}, SUPPORTED),  # from 9% to 91% none of these, against none
        ({}, {}, UNDECIDED),
        ({"weak_x0": 0.05, "weak_adam": 20.0}, {}, NOT_SUPPORTED),  # 1.5 against 2.0
        ({"weak_x0": 0.05, "weak_adam": 20.0}, {"weak_x0": 0.03}, UNDECIDED),  # one for, one against
    ],
)
def test_degradation(fake: Any, tmp_path: Path, colour: dict[str, float], none: dict[str, float], outcome: str) -> None:
    weak_x0 = {**fake.METHODS["weak_x0"], "scales": [3, 30]}
    config = fake.config(["cup"], {**fake.METHODS, "weak_x0": weak_x0})
    results = fake.write(tmp_path, config, {**fake.PAPER, "weak_x0": [(62, 5.0), (20, 70.0)]})
    assert judged(results)[8].decision == NOT_TESTED
    fake.signature_table(list_cells(fake.run(config)), colour, none).to_csv(tmp_path / "signatures.csv", index=False)
    verdict = judged(results)[8]
    assert verdict.decision == outcome
    assert "non-robust, x̂₀: colour shift" in verdict.evidence
    assert "Against non-robust, x̂₀ + Adam at scale 0.1, n = 64" in verdict.evidence


def test_growth_takes_two_scales(fake: Any, tmp_path: Path) -> None:
    config = fake.config()
    results = fake.write(tmp_path, config)
    fake.write_further(tmp_path, config)
    assert judged(results)[8].decision == NOT_TESTED


def test_the_commit_is_that_of_a_checkout_which_tracks_the_file(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        import subprocess

        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    file = tmp_path / "code.py"
    file.write_text("a = 1\n")
    git("init")
    assert environment.commit(file) == "unknown: this is not in a Git checkout"
    git("add", "code.py")
    git("commit", "-m", "one")
    assert git("rev-parse", "HEAD").startswith(environment.commit(file))
    assert len(environment.commit(file)) >= 7
    file.write_text("a = 2\n")
    assert environment.commit(file).endswith("-dirty")
    installed = tmp_path / "installed.py"
    installed.write_text("")
    assert environment.commit(installed) == "unknown: this is not in a Git checkout"


def test_a_processor_without_a_name_has_none(tmp_path: Path) -> None:
    assert environment.processor(tmp_path / "none") == ""
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A: 9000\nprocessor\t: 1\nmodel name\t: A: 9000\n")
    assert environment.processor(tmp_path / "cpuinfo") == "A: 9000"
