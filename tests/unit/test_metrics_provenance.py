"""Where a row comes from: the hashes in the table are those of the files."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import sha256_of
from nonrobust_guidance.metrics.cells import list_cells
from nonrobust_guidance.metrics.provenance import gather_provenance
from nonrobust_guidance.records.cards import write_card


@pytest.fixture
def config(fake) -> dict[str, Any]:
    return fake.config()


@pytest.fixture
def run(fake, config: dict[str, Any], tmp_path: Path) -> Path:
    """Samples and scores with their cards, of made-up weights."""
    fake.write(tmp_path, config)
    (tmp_path / "scores").mkdir()
    paths = {}
    for cell in list_cells(config):
        path = cell.path(tmp_path / "samples")
        paths.setdefault(cell.method.name, set()).add(path)
        inputs = {"diffusion": "d" * 64} | ({"guide": cell.method.classifier * 20} if cell.method.guided else {})
        write_card(path.with_suffix(".json"), {"scale": cell.scale}, inputs, [path.name])
    for method, files in paths.items():
        (tmp_path / "scores" / f"{method}.csv").touch()
        inputs = {file.relative_to(tmp_path / "samples").as_posix(): sha256_of(file) for file in files}
        inputs |= {"judge": "j" * 64, "data": "m" * 64}
        write_card(tmp_path / "scores" / f"{method}.json", {}, inputs, [f"{method}.csv"])
    return tmp_path


def test_every_row_names_the_hashes_behind_it(config, run):
    gather_provenance(config, run / "scores", run / "samples", run / "provenance.csv")
    table = pd.read_csv(run / "provenance.csv", dtype=str, keep_default_na=False)
    metrics = pd.read_csv(run / "metrics.csv", dtype=str)
    key = ["method", "target", "seed"]
    assert table[key].equals(metrics[key])
    assert table["scale"].astype(float).equals(metrics["scale"].astype(float))
    row = table[(table["method"] == "weak_adam") & (table["target"] == "ball")].iloc[0]
    samples = (run / "samples/weak_adam/scale-0.1/seed-0/ball.npy").read_bytes()
    assert row["samples"] == hashlib.sha256(samples).hexdigest()[:12]
    assert (row["guide"], row["judge"], row["data"]) == (("weak" * 20)[:12], "j" * 12, "m" * 12)
    free = table[table["method"] == "free"]
    assert set(free["guide"]) == {""}
    # Both targets are judged by the same samples, and only they share a configuration's hash with their other target.
    assert free["samples"].nunique() == 1
    assert table["configuration"].nunique() == table["scale"].nunique()


def test_samples_that_were_swapped_before_they_were_scored_are_named(config, run):
    path = run / "samples/weak_adam/scale-0.1/seed-0/ball.npy"
    write_card(path.with_suffix(".json"), {}, {"diffusion": "d" * 64}, ["cup.npy"])
    with pytest.raises(UserError, match=r"ball\.npy was changed between drawing and scoring"):
        gather_provenance(config, run / "scores", run / "samples", run / "provenance.csv")
    assert not (run / "provenance.csv").exists()
