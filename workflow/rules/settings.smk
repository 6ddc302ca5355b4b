# The settings that a job's result depends on: Snakemake runs the job again when they change, and only then. They are
# exactly the values that the job's function gets, without those that change no result.
import os
from functools import lru_cache
from pathlib import Path

from nonrobust_guidance.config import load_config
from nonrobust_guidance.metrics.cells import middle_scale, self_judge
from nonrobust_guidance.metrics.settings import NoiseAccuracy, Scoring
from nonrobust_guidance.sampling.settings import Chain

CHAIN = RUN.sampling.part(Chain).recorded()
BOOTSTRAP = RUN.metrics.bootstrap.recorded()


def fetching_settings(wildcards):
    """Return the classifier's section, and the classes and the size that go into its card."""
    dataset = RUN.dataset
    return [RUN.classifiers[wildcards.classifier].recorded(), list(dataset.classes), dataset.image_size]


def read_confirmed():
    """Return the run that confirms a screening's choice."""
    file = os.stat(CONFIRMED_CONFIG)
    return load_confirmed((file.st_ino, file.st_mtime_ns, file.st_size))


# Cached: Snakemake needs it several times per job, and parsing takes a tenth of a second.
@lru_cache(maxsize=1)
def load_confirmed(version):
    """Return the run from this version of its file, which is replaced and never changed in place."""
    return load_config(Path(CONFIRMED_CONFIG))


def methods_now():
    """Return the methods as a screening chose them; those not chosen yet, or without a screening, as in the run."""
    confirmed = read_confirmed().sampling.methods if VARIANTS and Path(CONFIRMED_CONFIG).is_file() else {}
    return {name: confirmed.get(name, method) for name, method in METHODS.items()}


def drawing_settings(wildcards):
    """Return everything but the scales, which have their own jobs."""
    method = methods_now()[wildcards.method].recorded()
    return CHAIN | {key: value for key, value in method.items() if key != "scales"}


def screening_settings(wildcards):
    """Return the same for a candidate of the screening."""
    method = SCREENED.sampling.methods[wildcards.candidate].recorded()
    return CHAIN | {key: value for key, value in method.items() if key != "scales"}


def scoring_guide(wildcards):
    """Return the classifier that classifies the method's samples besides the judge; the empty text if there is none."""
    return METHODS[wildcards.method].classifier or self_judge(RUN)


def scoring_settings(wildcards):
    """Return what the scores of a method and the rows' names depend on; a guide judges unguided samples too."""
    scoring, method = RUN.metrics.part(Scoring).recorded(), methods_now()[wildcards.method].recorded()
    cells = {"targets": list(RUN.sampling.targets), "seeds": list(RUN.sampling.seeds)}
    return scoring | cells | method | {"guide": scoring_guide(wildcards)}


def noise_settings():
    """Return what the accuracy over noise depends on; its noise has the seed of the bootstrap."""
    return [RUN.metrics.part(NoiseAccuracy).recorded(), BOOTSTRAP]


def sensitivity_settings():
    """Return what the sensitivity depends on: all of the chain's levels, and the stabilizers that methods use, once."""
    used = [method.recorded()["stabilizer"] for method in RUN.sampling.guided.values()]
    stabilizers = [stabilizer for i, stabilizer in enumerate(used) if stabilizer not in used[:i]]
    return [RUN.metrics.sensitivity.recorded(), BOOTSTRAP, RUN.sampling.steps, stabilizers]


def trajectory_settings(wildcards):
    """Return what the trajectories depend on, including the middle one of the method's scales."""
    sampling, method = RUN.sampling, methods_now()[wildcards.method].recorded()
    own = {key: value for key, value in method.items() if key != "num_samples"}
    own["scales"] = middle_scale(method["scales"])
    return [RUN.metrics.trajectories.recorded(), BOOTSTRAP, CHAIN, own, sampling.targets[0], sampling.seeds[0]]


def signature_settings(run):
    """Return what the failure signatures of a run or of its screening, and the rows' names, depend on."""
    methods = methods_now() if run is RUN else run.sampling.methods
    methods = {name: method.recorded() for name, method in methods.items()}
    return [run.metrics.judge, BOOTSTRAP, run.metrics.signatures.recorded(), methods, list(run.sampling.targets)]


def cost_settings(wildcards):
    """Return what the cost depends on; nothing if the run does not measure it."""
    asked = RUN.metrics.cost
    methods = {name: method.recorded() for name, method in methods_now().items()}
    return asked and [asked.recorded(), CHAIN, methods, list(RUN.sampling.targets), RUN.sampling.seeds[0]]


def comparison_settings(wildcards):
    """Return what the comparisons and the rows' names depend on."""
    methods = {name: method.recorded() for name, method in methods_now().items()}
    cells = {"targets": list(RUN.sampling.targets), "seeds": list(RUN.sampling.seeds)}
    return RUN.metrics.part(Scoring).recorded() | cells | methods


def page_settings(wildcards):
    """Return what a page depends on besides its inputs."""
    return PAGES[wildcards.page].settings(RUN)
