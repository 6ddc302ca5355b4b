"""The real Snakefile: one complete tiny run, and what happens when something changes or breaks afterwards.

It is long because all of it shares one finished run.
"""

import csv
import re
import shutil
from pathlib import Path

import pytest
import yaml
from commands import ROOT, TINY, snakemake
from safetensors.numpy import load_file

from nonrobust_guidance import cli

TRAINED = {"gather_cards": 1}
SCORED = {"score_samples": 1, "gather_scores": 1, "measure_signatures": 1, "compare_methods": 1}
SCORES = {"score_samples": 9, "gather_scores": 1, "compare_methods": 1}
EVERYTHING_SCORED = SCORED | SCORES
GRADIENTS = {"measure_sensitivity": 1, "measure_trajectories": 8, "gather_trajectories": 1}
EVERYTHING_SAMPLED = {"draw_samples": 9, "draw_unguided_samples": 1} | EVERYTHING_SCORED | GRADIENTS
# All pages but the one on known answers, which depends on its own table alone.
REPORTED = {"decide_claims": 1, "render_page": 3, "render_index": 1, "all": 1}

pytestmark = pytest.mark.timeout(900)


def plan(directory: Path, *overrides: str, config: Path | None = TINY) -> dict[str, int]:
    """Return how many jobs of each rule Snakemake would run."""
    run = snakemake(directory, "--dry-run", *(["--config", *overrides] if overrides else []), config=config)
    assert run.returncode == 0, run.stderr
    table = run.stdout.partition("Job stats:")[2] or run.stderr.partition("Job stats:")[2]
    counts = {
        rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table.partition("\n\n")[0], re.MULTILINE)
    }
    counts.pop("total", None)
    return counts


def refuse(capsys: pytest.CaptureFixture[str], path: Path, *words: str | Path) -> None:
    """A command of the package ends with one sentence, which names the path."""
    assert cli.main([*map(str, words), "--threads", "1"]) == 1
    assert_one_sentence(capsys.readouterr().err, path)


def assert_one_sentence(said: str, path: Path) -> None:
    assert "Traceback" not in said
    sentence = said.splitlines()[-1]
    assert sentence.startswith("error: ")
    assert str(path) in sentence


def test_a_complete_run_makes_every_result(finished):
    results = finished / "results" / "tiny"
    with (results / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    # Ten pairs of method and scale, each judged against both targets.
    assert len(rows) == 20
    assert {row["method"] for row in rows} == set(yaml.safe_load(TINY.read_text())["sampling"]["methods"])
    with (results / "noise_accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    # Two guides, each at x_t and at x0_hat, at three levels.
    assert len(rows) == 12
    with (results / "sensitivity.csv").open() as file:
        rows = list(csv.DictReader(file))
    # Two guides, each at x_t and at x0_hat, two pairs of levels: logits, and gradients raw and with three stabilizers.
    assert len(rows) == 2 * 2 * 2 * 5
    with (results / "trajectories.csv").open() as file:
        rows = list(csv.DictReader(file))
    # Eight guided methods, each guided in three of four steps.
    assert len(rows) == 8 * 3
    with (results / "signatures.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 20
    with (results / "factors.csv").open() as file:
        rows = list(csv.DictReader(file))
    # Six samples of each of the nine guided cells and twelve of the unguided one, for two targets.
    assert sum(not row["method"].startswith("real") for row in rows) == 2 * (9 * 6 + 12)
    with (results / "comparisons.csv").open() as file:
        rows = list(csv.DictReader(file))
    # 36 pairs of nine methods, for two targets and both together; of the guided cells' six samples.
    assert len(rows) == 36 * 3
    assert {row["n"] for row in rows} == {"6", "12"}
    with (results / "claims.csv").open() as file:
        # One claim about the classifiers, and seven for two targets and both together.
        assert len(list(csv.DictReader(file))) == 1 + 7 * 3
    with (results / "ground_truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    # Eight methods, guided ones at four to six scales, on two mixtures; and on one of them unguided, rejection, 26
    # methods at four scales with and without a trust region, and unguided and four methods with four more samplers.
    shares = 2 * (1 + 5 + 4 + 5 * 6) + (2 + 26 * 4 * 2 + 4 * (1 + 4 * 4))
    assert sum(row["quantity"] == "class_share" for row in rows) == shares
    for page in ("sampling.html", "gradients.html", "signatures.html", "ground_truth.html"):
        assert page in (results / "report" / "index.html").read_text()
        assert (results / "report" / page).stat().st_size > 10_000
    assert yaml.safe_load((results / "config.yaml").read_text())["run"] == "tiny"


def test_a_run_leaves_nothing_half_made(finished):
    left = [path for path in finished.rglob(".*") if ".snakemake" not in path.relative_to(finished).parts]
    assert left == []
    assert list(finished.rglob("training-state*")) == []


def test_every_job_is_logged_and_measured(finished):
    results = finished / "results" / "tiny"
    logs = {path.relative_to(results / "logs").with_suffix("") for path in (results / "logs").rglob("*.log")}
    benchmarks = {path.relative_to(results / "benchmarks").with_suffix("") for path in results.rglob("*.tsv")}
    # Data, four trainings and how they ended, the references, ten drawings, nine methods' scores, eight tables, one of
    # them from eight trajectories, four pages and index.
    assert len(logs) == 47
    assert logs == benchmarks


def test_progress_is_shown_and_logged_as_lines_that_name_their_job(finished):
    shown = (finished / "stderr.txt").read_text()
    logs = finished / "results" / "tiny" / "logs"
    for log, name in {
        "train_diffusion.log": "train diffusion",
        "train_classifier/judge.log": "train judge",
        "draw_samples/robust_x0_scale-1.log": "robust_x0 x 1",
    }.items():
        line = re.compile(rf"^{name}: +100%.*$", re.MULTILINE)
        assert line.search(shown)
        assert line.search((logs / log).read_text())
    assert "\r" not in shown


def test_a_second_call_does_nothing(finished):
    run = snakemake(finished)
    assert run.returncode == 0
    assert "Nothing to be done" in run.stderr


@pytest.mark.parametrize(
    ("override", "jobs"),
    [
        (
            # The middle one of the scales is followed: 3 in place of 1.
            "sampling={methods: {robust_xt: {scales: [1, 3, 10]}}}",
            {"draw_samples": 1, "measure_trajectories": 1, "gather_trajectories": 1} | SCORED,
        ),
        ("sampling={methods: {robust_xt: {scales: [1]}}}", SCORED),
        (
            "sampling={methods: {nonrobust_x0_adam: {stabilizer: {eps: 0.01}}}}",
            {"draw_samples": 1} | SCORED | GRADIENTS | {"measure_trajectories": 1},
        ),
        ("sampling={steps: 5}", EVERYTHING_SAMPLED),
        ("sampling={targets: [baseball, basketball, soccer]}", {"draw_samples": 9} | EVERYTHING_SCORED),
        ("metrics={bootstrap: {resamples: 30}}", {"measure_noise_accuracy": 1} | EVERYTHING_SCORED | GRADIENTS),
        ("metrics={neighbours: 3}", SCORES),
        ("metrics={feature_rows: 50}", {"measure_references": 1} | SCORES),
        (
            "metrics={extractors: [inception, judge]}",
            {"fetch_inception": 1, "measure_references": 1} | SCORES,
        ),
        ("metrics={sensitivity: {levels: 3}}", {"measure_sensitivity": 1}),
        ("metrics={trajectories: {num_samples: 3}}", {"measure_trajectories": 8, "gather_trajectories": 1}),
        ("metrics={signatures: {num_rows: 3}}", {"measure_signatures": 1}),
        ("metrics={num_noise_images: 30}", {"measure_noise_accuracy": 1}),
        (
            "classifiers={robust: {training: {steps: 21}}}",
            TRAINED
            | {"train_classifier": 1, "draw_samples": 3, "measure_noise_accuracy": 1}
            | SCORED
            | {"score_samples": 2}
            | GRADIENTS
            | {"measure_trajectories": 2},
        ),
        (
            "classifiers={judge: {training: {steps: 21}}}",
            TRAINED | {"train_classifier": 1, "measure_references": 1} | EVERYTHING_SCORED,
        ),
        (
            "diffusion={training: {steps: 31}}",
            TRAINED | {"train_diffusion": 1, "measure_noise_accuracy": 1} | EVERYTHING_SAMPLED,
        ),
        (
            "dataset={seed: 1}",
            TRAINED
            | {"prepare_data": 1, "train_diffusion": 1, "train_classifier": 3, "measure_noise_accuracy": 1}
            | {"measure_references": 1}
            | EVERYTHING_SAMPLED,
        ),
        # Another run of the same dataset shares the data and the checkpoints.
        (
            "run=another",
            TRAINED | {"measure_noise_accuracy": 1, "measure_ground_truth": 1, "render_page": 4} | EVERYTHING_SAMPLED,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_change_reruns_what_depends_on_it_and_nothing_else(finished, override, jobs):
    assert plan(finished, override) == REPORTED | jobs


def test_references_are_those_of_every_class_whatever_the_targets(finished):
    references = finished / "data" / "sportballs-tiny" / "references" / "judge"
    classes = ["all", "baseball", "basketball", "soccer", "volleyball"]
    assert sorted(path.stem for path in references.iterdir()) == classes


def test_weights_that_are_not_the_published_ones_stop_the_job_that_would_use_them(finished, tmp_path, capsys):
    data, weights = finished / "data" / "sportballs-tiny", tmp_path / "inception-2015-12-05.pt"
    weights.write_bytes(b"something else")
    arguments = ["--config", TINY, "--extractor", "inception", "--data", data, "--weights", weights, "--rows", "5"]
    refuse(capsys, weights, "measure-references", *arguments, "--output", tmp_path / "references")
    assert not (tmp_path / "references").exists()


def test_experiments_with_known_answers_depend_on_their_own_settings_alone(finished):
    jobs = plan(finished, "report={ground_truth: {num_samples: 21}}")
    assert jobs == REPORTED | {"measure_ground_truth": 1, "render_page": 4}


def test_changed_configuration_files_reach_the_jobs(finished, tmp_path):
    directory = shutil.copytree(finished, tmp_path / "run")
    run = snakemake(directory, "--config", "metrics={num_noise_images: 30}", "--until", "measure_noise_accuracy")
    assert run.returncode == 0, run.stderr
    assert yaml.safe_load((directory / "results/tiny/config.yaml").read_text())["metrics"]["num_noise_images"] == 30
    with (directory / "results/tiny/noise_accuracy.csv").open() as file:
        assert {row["n"] for row in csv.DictReader(file)} == {"30"}


def test_a_training_that_runs_again_finds_what_lies_beside_its_checkpoint(finished, tmp_path):
    directory = shutil.copytree(finished, tmp_path / "run")
    folder = directory / "data" / "sportballs-tiny" / "checkpoints" / "robust"
    (folder / "training-state.of-a-killed-one").touch()
    changed = "classifiers={robust: {training: {steps: 2}}}"
    run = snakemake(directory, "--config", changed, "replace=[robust]", "--until", "train_classifier")
    assert run.returncode == 0, run.stderr
    assert (folder / "history.csv").read_text().splitlines()[-1].startswith("2,")
    assert (folder / "training-state.of-a-killed-one").exists()


def test_shards_merge_into_the_bytes_of_a_cell_drawn_by_one_job(finished, tmp_path):
    directory = shutil.copytree(finished, tmp_path / "run")
    whole = shutil.move(directory / "results" / "tiny" / "samples", tmp_path / "whole")
    # Six samples in shards of four and two, the twelve unguided ones in three; each of a batch of four or less.
    sharded = ["--config", "sampling={shard_size: 4}"]
    assert plan(directory, sharded[1])["draw_shard"] == 2 * 9
    targets = [f"results/tiny/samples/{name}" for name in ("nonrobust_x0_ema09/scale-10/seed-0/basketball.npy",
               "unguided/scale-0/seed-0/any.npy")]  # fmt: skip
    run = snakemake(directory, *sharded, "--", *targets)
    assert run.returncode == 0, run.stderr
    for target in targets:
        merged = directory / target
        assert merged.read_bytes() == (whole / merged.relative_to(directory / "results/tiny/samples")).read_bytes()
    assert list((directory / "results" / "tiny" / "shards").rglob("*.npy")) == []


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"\x93NUMPY", lambda data: b""])
def test_damaged_samples_are_named_in_one_sentence(finished, tmp_path, capsys, damage):
    results = finished / "results" / "tiny"
    samples = shutil.copytree(results / "samples", tmp_path / "samples")
    damaged = samples / "robust_x0" / "scale-1" / "seed-0" / "baseball.npy"
    damaged.write_bytes(damage(damaged.read_bytes()))
    data = finished / "data" / "sportballs-tiny"
    arguments = ["--method", "robust_x0", "--data", data, "--checkpoints", data / "checkpoints"]
    arguments += ["--weights", tmp_path / "weights", "--samples", samples]
    output = tmp_path / "scores"
    refuse(capsys, damaged, "score-samples", "--config", results / "config.yaml", *arguments, "--output", output)
    assert not output.exists()


@pytest.mark.parametrize("file", ["robust/model.safetensors", "diffusion/unet/diffusion_pytorch_model.safetensors"])
def test_damaged_checkpoints_are_named_in_one_sentence(finished, tmp_path, capsys, file):
    checkpoints = shutil.copytree(finished / "data" / "sportballs-tiny" / "checkpoints", tmp_path / "checkpoints")
    damaged = checkpoints / file
    damaged.write_bytes(damaged.read_bytes()[:1000])
    config, output = finished / "results" / "tiny" / "config.yaml", tmp_path / "samples"
    arguments = ["--method", "robust_xt", "--scale", "1", "--seed", "0", "--checkpoints", checkpoints]
    words = ["draw-samples", "--config", config, *arguments, "--output", output]
    refuse(capsys, checkpoints / Path(file).parts[0], *words)
    assert not output.exists()


def test_what_changes_no_result_reruns_nothing(finished):
    assert plan(finished, "sampling={batch_size: 3, shard_size: 100}") == {}


def test_snakemake_reports_on_a_run(finished):
    run = snakemake(finished, "--report", "report.html")
    assert run.returncode == 0, run.stderr
    assert "results/tiny/metrics.csv" in (finished / "report.html").read_text()


def test_the_default_is_planned_where_no_run_is_named(tmp_path):
    sampling = yaml.safe_load((ROOT / "config" / "default.yaml").read_text())["sampling"]
    scales = sum(len(method.get("scales", [])) for method in sampling["methods"].values())
    # What is drawn afterwards, the screening decides.
    assert plan(tmp_path, config=None)["screen_candidate"] == scales


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The tiny run with a published diffusion model and a published guide, put there by hand."""
    config = yaml.safe_load(TINY.read_text())
    del config["diffusion"]["unet"], config["diffusion"]["training"], config["classifiers"]["robust"]["training"]
    config["diffusion"]["source"] = {"folder": "hand"}
    config["classifiers"]["robust"]["source"] = {"folder": "hand", "path": "robust.safetensors"}
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_what_is_published_is_fetched_and_the_rest_is_trained(published, tmp_path):
    jobs = plan(tmp_path, config=published)
    assert "train_diffusion" not in jobs
    fetches = {"fetch_diffusion": 1, "fetch_classifier": 1, "train_classifier": 2}
    assert fetches.items() <= jobs.items()


def test_fetched_checkpoints_take_the_place_of_trained_ones(finished, published, tmp_path):
    made = finished / "data" / "sportballs-tiny" / "checkpoints"
    shutil.copytree(made / "diffusion", tmp_path / "hand", ignore=shutil.ignore_patterns("history.csv"))
    shutil.copy(made / "robust" / "model.safetensors", tmp_path / "hand" / "robust.safetensors")
    run = snakemake(tmp_path, "--until", "fetch_diffusion", "fetch_classifier", config=published)
    assert run.returncode == 0, run.stderr
    assert "recorded, and later fetches are held to it" in run.stderr
    fetched = tmp_path / "data" / "sportballs-tiny" / "checkpoints"
    for file in ("robust/model.safetensors", "diffusion/unet/diffusion_pytorch_model.safetensors"):
        assert load_file(fetched / file).keys() == load_file(made / file).keys()
    assert {path.name for path in (fetched / "robust").iterdir()} == {"config.json", "model.safetensors", "source.json"}
    # Settings that went into the card make it again, and the record of the first fetch stays.
    changed = snakemake(
        tmp_path, "--config", "classifiers={robust: {input_size: 24}}", "--until", "fetch_classifier", config=published
    )
    assert changed.returncode == 0, changed.stderr
    assert "as recorded at the first fetch" in changed.stderr


def test_lint_finds_nothing(tmp_path):
    run = snakemake(tmp_path, "--lint")
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("sampling={steps: -5}", "tiny.yaml with --config: sampling.steps is -5; give a number at least 1"),
        ("sampling={stepps: 5}", "tiny.yaml with --config: sampling.stepps is an unknown key; did you mean steps?"),
        ("sampling={steps: 5, steps: 4}", "--config sampling: steps is written twice, at line 1; remove one of them"),
        ("run=a/b", "tiny.yaml with --config: run is 'a/b'; use only letters, digits, - and _"),
    ],
)
def test_a_mistake_stops_before_anything_is_written(tmp_path, override, sentence):
    run = snakemake(tmp_path, "--config", override)
    assert run.returncode == 1
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].endswith(sentence)
    assert "Traceback" not in run.stderr
    assert [path.name for path in tmp_path.iterdir()] in ([], [".snakemake"])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read (No such file or directory); name an existing file that you may read"),
        (b"run: a\nrun: b", "run is written twice, at lines 1 and 2; remove one of them"),
        (b"- a", "the file is a list; give a mapping"),
        ("run: a".encode("utf-16"), "is in UTF-16; save it as UTF-8"),
    ],
)
def test_a_run_file_that_snakemake_itself_cannot_read_or_misreads(tmp_path, content, sentence):
    config = tmp_path / "mine.yaml"
    if content is not None:
        config.write_bytes(content)
    run = snakemake(tmp_path / "run", "--dry-run", config=config)
    assert run.returncode == 1
    assert_one_sentence(run.stderr, config)
    assert run.stderr.splitlines()[-1].endswith(sentence)
    assert not (tmp_path / "run").exists()


def test_a_run_file_is_read_as_yaml_1_2(tmp_path):
    """DVC writes 0.00003 as 3e-05, and with a mark of its byte order some editors begin a file."""
    text = TINY.read_text().replace("scales: [1, 10]", "scales: [3e-05, 10]")
    assert text != TINY.read_text()
    config = tmp_path / "tiny.yaml"
    config.write_bytes(b"\xef\xbb\xbf" + text.encode())
    run = snakemake(
        tmp_path, "--dry-run", "--", "results/tiny/samples/robust_xt/scale-3e-05/seed-0/baseball.npy", config=config
    )
    assert run.returncode == 0, run.stderr
