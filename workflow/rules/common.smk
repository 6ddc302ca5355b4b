import fcntl
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from nonrobust_guidance.config import MODEL_SECTIONS, instead, read_run, resolve_config, sample_files, write_config
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import expand_path
from nonrobust_guidance.metrics import tables
from nonrobust_guidance.metrics.cells import middle_scale, self_judge
from nonrobust_guidance.metrics.distances.inception_weights import INCEPTION_WEIGHTS
from nonrobust_guidance.report.pages import pages_of
from nonrobust_guidance.records.trainings import REPLACE_VARIABLE, checkpoint_settings, mismatches
from snakemake import workflow as engine
from snakemake.jobs import Job
from snakemake.utils import update_config

# Sent to a whole job shortly before its time is over: a training saves its state and ends, and what starts it, this
# program too, has to survive that. What a process ignores, its children ignore unless they say otherwise.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# glibc gives the memory of a guided step back to the system, and the next step pays for the same pages again: a tenth
# of the time at x0. It keeps them, in huge pages, if it is told so before a process starts.
MALLOC = "hugetlb=1:glibc.malloc.trim_threshold=2000000000:glibc.malloc.mmap_threshold=1000000000"
PREFIX = f"set -euo pipefail; export GLIBC_TUNABLES=glibc.malloc.{MALLOC}; "


def read_config():
    """Complete what the run files and --config say, or end with one sentence about it.

    They are read again: Snakemake takes the last of two equal keys, 3e-05 for a text and no for false.

    Returns:
        The configuration, and the models whose trainings ``--config replace=...`` allows to replace.
    """
    files = [os.path.relpath(path) for path in workflow.configfiles]
    # Replacing a training is allowed for one call, and is no setting of the run.
    leave = [word for word in workflow.config_settings.config_args or [] if word.startswith("replace=")]
    overrides = [word for word in workflow.config_settings.config_args or [] if word not in leave]
    said = {}
    try:
        for part in read_run(files, overrides):
            update_config(said, part)
        config = resolve_config(said, ", ".join(files) + (" with --config" if overrides else ""))
        replaced = read_run([], leave)[-1]["replace"] if leave else []
    except UserError as error:
        sys.exit(f"error: {error}")
    models = [config["diffusion"]["name"], *config["classifiers"]]
    names = models if replaced == "all" else replaced if isinstance(replaced, list) else [replaced]
    unknown = [name for name in names if name not in models]
    if unknown:
        sys.exit(
            f"error: --config replace names {unknown[0]}, which is no model of this run; {instead(unknown[0], models)}"
        )
    return config, names


config, REPLACED = read_config()
shell.prefix(f"{PREFIX}export {REPLACE_VARIABLE}='{' '.join(REPLACED)}'; ")


DATA = f"data/{config['dataset']['name']}"
CHECKPOINTS = f"{DATA}/checkpoints"
DIFFUSION = f"{CHECKPOINTS}/{config['diffusion']['name']}"
JUDGE = f"{CHECKPOINTS}/{config['metrics']['judge']}/config.json"
WEIGHTS = "data/weights"
RESULTS = f"results/{config['run']}"
SAMPLES = [f"{RESULTS}/samples/{file}" for file in sample_files(config)]
SAMPLE_KINDS = ["npy", "json"]
SAMPLE_CARDS = [f"{os.path.splitext(file)[0]}.json" for file in SAMPLES]
TABLES = [f"{RESULTS}/{file.name}" for file in tables.RESULT_FILES if file.key]
PAGES = pages_of(config)
NOTEBOOKS = os.path.relpath(f"{workflow.basedir}/notebooks")
BESIDE = [f"results/{run}/metrics.csv" for run in config["report"]["beside"]]


def sprite_files():
    """Return the pictures that the dataset is drawn from, none where the package draws them itself."""
    if not config["dataset"].get("sprites"):
        return []
    try:
        folder = expand_path(config["dataset"]["sprites"], "dataset.sprites")
    except UserError as error:
        sys.exit(f"error: {error}")
    return [f"{folder}/{name}.png" for name in config["dataset"]["classes"]]


SPRITES = sprite_files()

FETCHED = [name for name, classifier in config["classifiers"].items() if "source" in classifier]
TRAINED = [name for name in config["classifiers"] if name not in FETCHED]
MODEL_SETTINGS = checkpoint_settings(config)
TRAINED_CARDS = [f"{CHECKPOINTS}/{name}/card.json" for name in MODEL_SETTINGS]

METHODS = config["sampling"]["methods"]
GUIDED = [name for name, method in METHODS.items() if method["classifier"]]
UNGUIDED = [name for name, method in METHODS.items() if not method["classifier"]]
SHARD_SIZE = config["sampling"]["shard_size"]
SHARDED = {name for name, method in METHODS.items() if SHARD_SIZE and method["num_samples"] > SHARD_SIZE}
WHOLE = METHODS.keys() - SHARDED
GUIDES = [name for name in config["classifiers"] if name != config["metrics"]["judge"]]

INCEPTIONS = {INCEPTION_WEIGHTS[name].name: name for name in config["metrics"]["extractors"] if name != "judge"}
INCEPTION_FILES = [f"{WEIGHTS}/{file}" for file in INCEPTIONS]
METRICS_MEM_MB = 8000 if INCEPTIONS else 3000

# Runs of one dataset share its data and checkpoints, whose settings are in the first file; the second is the run's own.
MODEL_CONFIG = f"{DATA}/config.yaml"
RUN_CONFIG = f"{RESULTS}/config.yaml"


def training_data(name):
    """Return the manifest of what a model is trained on; whether it is younger does not count for a vouched one."""
    manifest = f"{DATA}/manifest.json"
    return ancient(manifest) if name in VOUCHED else manifest


def one_of(names):
    """Return the pattern of a wildcard that takes these values, or none at all."""
    return "|".join(sorted(names)) or "(?!)"


wildcard_constraints:
    classifier=one_of(config["classifiers"]),
    extractor=one_of(config["metrics"]["extractors"]),
    method=one_of(METHODS),
    page=one_of(PAGES),
    scale=r"[0-9.e+-]+",
    seed="[0-9]+",
    start="[0-9]+",
    stop="[0-9]+",


# What a training and a fetch leave alike; the job that makes it follows from the configuration.


def diffusion_files():
    """Return the checkpoint of the diffusion model."""
    parts = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
    return [f"{DIFFUSION}/{file}" for file in [*parts, "scheduler/scheduler_config.json"]]


def classifier_files(names):
    """Return the checkpoints of these classifiers."""
    return [f"{CHECKPOINTS}/{name}/{file}" for name in names for file in ("config.json", "model.safetensors")]


# The settings on which a job's result depends: Snakemake runs it again when they change, and only then.


def fetching_settings(wildcards):
    """Return the classifier's section, and the classes and the size that go into its card."""
    dataset = config["dataset"]
    return [config["classifiers"][wildcards.classifier], dataset["classes"], dataset["image_size"]]


def drawing_settings(wildcards):
    """Return all but the scales, which are jobs of their own, and the batch size, which changes no sample."""
    sampling = config["sampling"]
    method = {key: value for key, value in METHODS[wildcards.method].items() if key != "scales"}
    return {key: sampling[key] for key in ("sampler", "eta", "precision")} | method


def scoring_settings(wildcards):
    """Return what the scores of a method and the rows' names depend on; an unguided one is shown to a guide too."""
    metrics = {
        key: config["metrics"][key] for key in ("judge", "extractors", "feature_rows", "neighbours", "bootstrap")
    }
    sampling = {key: config["sampling"][key] for key in ("targets", "seeds")}
    return metrics | sampling | METHODS[wildcards.method] | {"guide": scoring_guide(wildcards)}


def noise_settings():
    """Return what the accuracy over noise depends on; its noise has the seed of the bootstrap."""
    metrics = config["metrics"]
    return [metrics["noise_levels"], metrics["num_noise_images"], metrics["bootstrap"]]


def sensitivity_settings():
    """Return what the sensitivity depends on: all of the chain's levels, and the stabilizers that methods use."""
    metrics, stabilizers = config["metrics"], [METHODS[method]["stabilizer"] for method in GUIDED]
    return [metrics["sensitivity"], metrics["bootstrap"], config["sampling"]["steps"], stabilizers]


def trajectory_settings(wildcards):
    """Return what the trajectories depend on; of the method's scales it is the middle one."""
    metrics, sampling = config["metrics"], config["sampling"]
    method = {key: value for key, value in METHODS[wildcards.method].items() if key != "num_samples"}
    method["scales"] = middle_scale(method["scales"])
    run = {key: sampling[key] for key in ("sampler", "eta", "precision")}
    return [metrics["trajectories"], metrics["bootstrap"], run, method, sampling["targets"][0], sampling["seeds"][0]]


def signature_settings():
    """Return what the failure signatures and the rows' names depend on."""
    metrics = {key: config["metrics"][key] for key in ("judge", "bootstrap", "signatures")}
    return metrics | {"methods": METHODS, "targets": config["sampling"]["targets"]}


def guide_files(wildcards):
    """Return the checkpoint of the classifier that guides the method, of an unguided one nothing."""
    guide = METHODS[wildcards.method]["classifier"]
    return classifier_files([guide]) if guide else []


def scoring_guide(wildcards):
    """Return the classifier that the method's samples are shown to beside the judge; empty where there is none."""
    return METHODS[wildcards.method]["classifier"] or self_judge(config)


def scoring_guides(wildcards):
    """Return that classifier's checkpoint."""
    guide = scoring_guide(wildcards)
    return classifier_files([guide]) if guide else []


def shards_of_cell(wildcards):
    """Return the shards of a file of samples, in order."""
    folder = f"{RESULTS}/shards/{wildcards.method}/scale-{wildcards.scale}/seed-{wildcards.seed}"
    num_samples = METHODS[wildcards.method]["num_samples"]
    return [
        f"{folder}/{start}-{min(start + SHARD_SIZE, num_samples)}/{wildcards.target}.npy"
        for start in range(0, num_samples, SHARD_SIZE)
    ]


def cards_of_shards(wildcards):
    """Return the cards of these shards."""
    return [f"{os.path.splitext(file)[0]}.json" for file in shards_of_cell(wildcards)]


def shard_option(wildcards):
    """Return which samples a job draws, where it does not draw all of a cell."""
    return f"--shard {wildcards.start}-{wildcards.stop}" if "start" in wildcards.keys() else ""


def method_samples(wildcards):
    """Return the method's samples at all scales, with all seeds and for all targets."""
    return [file for file in SAMPLES if file.startswith(f"{RESULTS}/samples/{wildcards.method}/")]


def extractor_weights(wildcards):
    """Return where an extractor's weights lie: the judge's folder, or the file of an Inception network."""
    if wildcards.extractor == "judge":
        return os.path.dirname(JUDGE)
    return f"{WEIGHTS}/{INCEPTION_WEIGHTS[wildcards.extractor].name}"


def inception_name(wildcards):
    """Return the extractor that a file of weights is of."""
    return INCEPTIONS[wildcards.weights]


def extractor_files(wildcards):
    """Return the files of an extractor's weights."""
    if wildcards.extractor == "judge":
        return classifier_files([config["metrics"]["judge"]])
    return extractor_weights(wildcards)


def table(file):
    """Return a table of the results as an output, with its caption in Snakemake's own report."""
    return report(f"{RESULTS}/{file.name}", caption=f"../report/{Path(file.name).stem}.rst", category="Results")


def page_inputs(wildcards):
    """Return what a page reads: tables of this run, those of runs beside it, and samples."""
    page = PAGES[wildcards.page]
    beside = BESIDE if "beside" in page.asked_by else []
    return [f"{RESULTS}/{file.name}" for file in page.reads] + beside + (SAMPLES if page.samples else [])


def page_settings(wildcards):
    """Return what a page depends on beside its inputs."""
    return PAGES[wildcards.page].settings(config)


def page_subject(wildcards):
    """Return what a page shows, its caption in Snakemake's own report."""
    return PAGES[wildcards.page].shows
