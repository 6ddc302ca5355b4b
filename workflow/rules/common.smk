import os
import sys
from pathlib import Path

from nonrobust_guidance.config import MODEL_SECTIONS, read_scalars, resolve_config, sample_files, write_config
from nonrobust_guidance.errors import UserError
from snakemake.utils import update_config

# glibc gives the memory of a guided step back to the system, and the next step pays for the same pages again: a tenth
# of the time at x0. It keeps them, in huge pages, if it is told so before a process starts.
MALLOC = "hugetlb=1:glibc.malloc.trim_threshold=2000000000:glibc.malloc.mmap_threshold=1000000000"
shell.prefix(f"set -euo pipefail; export GLIBC_TUNABLES=glibc.malloc.{MALLOC}; ")


def validated(config):
    """Complete what the run file and --config say, or end with one sentence about it."""
    overrides = workflow.config_settings.config
    update_config(config, read_scalars(overrides))
    source = ", ".join(os.path.relpath(path) for path in workflow.configfiles) + (" with --config" if overrides else "")
    try:
        return resolve_config(config, source)
    except UserError as error:
        sys.exit(f"error: {error}")


config = validated(config)

DATA = f"data/{config['dataset']['name']}"
CHECKPOINTS = f"{DATA}/checkpoints"
DIFFUSION = f"{CHECKPOINTS}/{config['diffusion']['name']}"
JUDGE = f"{CHECKPOINTS}/{config['metrics']['judge']}/config.json"
RESULTS = f"results/{config['run']}"
SAMPLES = [f"{RESULTS}/samples/{file}" for file in sample_files(config)]
NOTEBOOK = os.path.relpath(f"{workflow.basedir}/notebooks/sampling.ipynb")
ABLATION_NOTEBOOK = os.path.relpath(f"{workflow.basedir}/notebooks/ablation.ipynb")
GROUND_TRUTH_NOTEBOOK = os.path.relpath(f"{workflow.basedir}/notebooks/ground_truth.ipynb")
SPRITES = [
    f"{config['dataset']['sprites']}/{name}.png"
    for name in config["dataset"]["classes"]
    if config["dataset"]["sprites"]
]

METHODS = config["sampling"]["methods"]
GUIDED = [name for name, method in METHODS.items() if method["classifier"]]
UNGUIDED = [name for name, method in METHODS.items() if not method["classifier"]]
GUIDES = [name for name in config["classifiers"] if name != config["metrics"]["judge"]]

# Both are written before the first job and not by a job: a file that a job makes hides, in Snakemake 9.27, changed
# parameters of the jobs that read it. What runs of one dataset share is made from a file that they share.
MODEL_CONFIG = f"{DATA}/config.yaml"
RUN_CONFIG = f"{RESULTS}/config.yaml"


onstart:
    write_config({section: config[section] for section in MODEL_SECTIONS}, Path(MODEL_CONFIG))
    write_config(config, Path(RUN_CONFIG))


def one_of(names):
    """Return the pattern of a wildcard that takes these values, or none at all."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    classifier=one_of(config["classifiers"]),
    method=one_of(METHODS),
    scale=r"[0-9.e+-]+",
    seed="[0-9]+",


# The settings on which a job's result depends: Snakemake runs it again when they change, and only then.


def classifier_settings(wildcards):
    """Return the classifier's section, and the noise that it is trained on if it is robust."""
    settings = config["classifiers"][wildcards.classifier]
    return [settings, config["diffusion"]["schedule"]] if settings["noised"] else [settings]


def drawing_settings(wildcards):
    """Return all but the scales, which are jobs of their own, and the batch size, which changes no sample."""
    sampling = config["sampling"]
    method = {key: value for key, value in METHODS[wildcards.method].items() if key != "scales"}
    return {key: sampling[key] for key in ("sampler", "eta", "precision")} | method


def scoring_settings():
    """Return what the scores and the rows' names depend on."""
    metrics = {key: config["metrics"][key] for key in ("judge", "extractor", "bootstrap")}
    return metrics | {"methods": METHODS, "targets": config["sampling"]["targets"]}


def noise_settings():
    """Return what the accuracy over noise depends on; its noise has the seed of the bootstrap."""
    metrics = config["metrics"]
    return [metrics["noise_levels"], metrics["num_noise_images"], metrics["bootstrap"]["seed"]]


def guide_files(wildcards):
    """Return the checkpoint of the classifier that guides the method, of an unguided one nothing."""
    guide = METHODS[wildcards.method]["classifier"]
    return expand(rules.train_classifier.output, classifier=guide) if guide else []
