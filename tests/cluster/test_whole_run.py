"""A complete run through the profile: what it makes, and what its jobs asked for."""

import csv

from cluster import Slurm
from project import Project

GPU = {
    "train_diffusion",
    "train_classifier",
    "draw_samples",
    "draw_unguided_shard",
    "measure_references",
    "score_samples",
    "measure_noise_accuracy",
    "measure_sensitivity",
    "measure_trajectories",
    "measure_signatures",
    "compare_methods",
}
NO_GPU = {"prepare_data", "merge_shards", "measure_ground_truth", "render_page"}
LIGHT = {"decide_claims", "gather_cards", "gather_scores", "gather_trajectories", "render_index"}


def test_it_makes_every_result_where_the_site_stores_them(complete: Project) -> None:
    results = complete.work / "results" / "tiny"
    assert (results / "report" / "index.html").is_file()
    with (results / "metrics.csv").open() as file:
        # One scale and two targets for each guided method, and both targets for the unguided one.
        assert len(list(csv.DictReader(file))) == 6
    assert not (complete.folder / "results").exists()
    assert not (complete.folder / "data").exists()


def test_jobs_that_compute_get_a_gpu_and_no_others(slurm: Slurm, complete: Project) -> None:
    asked = {job.rule: (job.gpus, job.partition) for job in slurm.jobs(complete.work)}
    assert asked == {rule: ("gres:gpu:fake:1", "gpu") for rule in GPU} | {rule: ("", "cpu") for rule in NO_GPU}


def test_jobs_ask_for_more_memory_than_this_machine_lets_jobs_have(slurm: Slurm, complete: Project) -> None:
    memory = {job.rule: job.memory for job in slurm.jobs(complete.work)}
    assert (memory["train_diffusion"], memory["render_page"]) == ("32000M", "8000M")


def test_every_job_ends_at_its_first_attempt(slurm: Slurm, complete: Project) -> None:
    assert {job.state for job in slurm.jobs(complete.work)} == {"COMPLETED"}


def test_light_rules_do_not_wait_in_the_queue(complete: Project) -> None:
    benchmarks = complete.work / "results" / "tiny" / "benchmarks"
    assert {file.stem for file in benchmarks.glob("*.tsv")} >= LIGHT
