# The input functions: which files a job reads where its wildcards or the configuration decide it.
import os
import sys
from pathlib import Path

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import expand_path
from nonrobust_guidance.metrics.distances.inception_weights import INCEPTION_WEIGHTS
from nonrobust_guidance.metrics.tables import CLAIMS, METRICS
from nonrobust_guidance.report.settings import EVIDENCE_FILE

SHARD_SIZE = RUN.sampling.shard_size
INCEPTIONS = {INCEPTION_WEIGHTS[name].name: name for name in RUN.metrics.extractors if name != "judge"}
SCREENED_FILES = ["metrics.csv", "signatures.csv", "factors.csv"] if VARIANTS else []
INCEPTION_FILES = [f"{WEIGHTS}/{file}" for file in INCEPTIONS]
BESIDE = [f"results/{run}/metrics.csv" for run in RUN.report.beside]


# The published verdicts to show beside this run's: where they are, and their copy among the results.
PUBLISHED = os.path.relpath(f"{workflow.basedir}/published/{RUN.report.evidence}/{CLAIMS.name}")
EVIDENCE = [f"{RESULTS}/{EVIDENCE_FILE}"] if RUN.report.evidence else []

for file in BESIDE:
    if not os.path.isfile(file):
        sys.exit(f"error: report.beside names a run whose {file} is missing; make that run first")

if EVIDENCE and not os.path.isfile(PUBLISHED):
    sys.exit(
        f"error: report.evidence names a run whose {PUBLISHED} is missing; take the key out, or bring the file back"
    )


def sprite_files():
    """Return the pictures that the dataset is drawn from, none if the package draws them itself."""
    sprites = getattr(RUN.dataset, "sprites", None)
    if sprites is None:
        return []
    try:
        folder = expand_path(sprites, "dataset.sprites")
    except UserError as error:
        sys.exit(f"error: {error}")
    return [f"{folder}/{name}.png" for name in RUN.dataset.classes]


def guide_files(wildcards):
    """Return the files of the checkpoint of the classifier that guides a method, none for an unguided method."""
    guide = METHODS[wildcards.method].classifier
    return classifier_files([guide]) if guide else []


def shards_of_cell(wildcards):
    """Return the shards of a file of samples, in order."""
    folder = f"{RESULTS}/shards/{wildcards.method}/scale-{wildcards.scale}/seed-{wildcards.seed}"
    num_samples = METHODS[wildcards.method].num_samples
    return [
        f"{folder}/{start}-{min(start + SHARD_SIZE, num_samples)}/{wildcards.target}.npy"
        for start in range(0, num_samples, SHARD_SIZE)
    ]


def cards_of_shards(wildcards):
    """Return the cards of these shards."""
    return [f"{os.path.splitext(file)[0]}.json" for file in shards_of_cell(wildcards)]


def confirmed_config(wildcards):
    """Return the configuration of the run that a screening chose, for a job to wait for; none without a screening."""
    return ancient(checkpoints.select_candidates.get().output.confirmed) if VARIANTS else []


def samples_of_run(wildcards):
    """Return all samples and their cards; if a screening decides which those are, only once it is done."""
    if VARIANTS:
        checkpoints.select_candidates.get()
    confirmed = read_confirmed() if VARIANTS else RUN
    return [f"{RESULTS}/samples/{file}" for file in files_of_cells(confirmed)]


def method_samples(wildcards):
    """Return the method's samples and their cards at all scales, with all seeds and for all targets."""
    return [file for file in samples_of_run(wildcards) if file.startswith(f"{RESULTS}/samples/{wildcards.method}/")]


def scoring_guides(wildcards):
    """Return the files of the checkpoint of the scoring guide, none if there is no such guide."""
    guide = scoring_guide(wildcards)
    return classifier_files([guide]) if guide else []


def extractor_weights(wildcards):
    """Return where an extractor's weights lie: the judge's folder, or the file of an Inception network."""
    if wildcards.extractor == "judge":
        return JUDGE
    return f"{WEIGHTS}/{INCEPTION_WEIGHTS[wildcards.extractor].name}"


def extractor_files(wildcards):
    """Return the files of an extractor's weights."""
    if wildcards.extractor == "judge":
        return classifier_files([RUN.metrics.judge])
    return extractor_weights(wildcards)


def all_cores():
    """Return all cores that Snakemake was given; one where jobs are submitted elsewhere."""
    return workflow.resource_settings.cores or 1


def page_inputs(wildcards):
    """Return the files that a page reads: tables of this run, tables of the runs beside it, and samples."""
    page = PAGES[wildcards.page]
    beside = BESIDE if "beside" in page.asked_by else []
    tables = [f"{RESULTS}/{file.name}" for file in page.reads if file.belongs_to(RUN)]
    screened = [f"{SCREENING}/{file}" for file in SCREENED_FILES if METRICS in page.reads]
    evidence = EVIDENCE if page.verdicts else []
    return tables + screened + beside + evidence + (samples_of_run(wildcards) if page.samples else [])
