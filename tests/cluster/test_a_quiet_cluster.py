"""What Slurm costs where it has nothing else to do: before the other tests, most of which run at once."""

import csv
from pathlib import Path

from cluster import Slurm, say
from project import Project


def test_a_job_spends_under_20_seconds_outside_our_computation(slurm: Slurm, tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write_config()
    project.run("snakemake --profile slurm --configfile config/cluster.yaml -- data/sportballs-tiny/manifest.json")
    (job,) = slurm.jobs(project.work)
    with (project.work / "results" / "tiny" / "benchmarks" / "prepare_data.tsv").open() as table:
        ours = float(next(csv.DictReader(table, delimiter="\t"))["s"])
    say(f"of the {job.seconds} s of a job, {ours:.0f} were ours")
    assert job.seconds - ours < 20
