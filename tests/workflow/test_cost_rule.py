"""The plan of a run that measures what its samples cost, and that draws by rejection."""

import re
from pathlib import Path

import yaml
from commands import TINY, snakemake


def test_the_cost_is_measured_on_one_thread_and_has_a_page(tmp_path: Path) -> None:
    run = yaml.safe_load(TINY.read_text())
    guided = {"classifier": "nonrobust", "at": "x0", "scales": [1, 3]}
    run["sampling"]["methods"] = {"free": {}, "kept": {"reject": {"classifier": "nonrobust"}}, "guided": guided}
    run["metrics"]["cost"] = {"rounds": 1}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", config=tmp_path / "run.yaml", cores=3)
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    (job,) = re.findall(r"Measuring what samples of each method cost.*?\n\n", told, re.DOTALL)
    assert "measure-cost" in job
    assert "--threads 1 " in job
    assert "results/tiny/cost.csv" in job
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", told, re.MULTILINE))
    # Guided at two scales, and by rejection once.
    assert (jobs["draw_samples"], jobs["draw_unguided_samples"], jobs["score_samples"]) == ("3", "1", "3")
    assert "frontier.ipynb" in told
