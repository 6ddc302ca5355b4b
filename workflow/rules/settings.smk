# The settings that a job's result depends on: Snakemake runs the job again when they change, and only then.
from nonrobust_guidance.metrics.cells import middle_scale, self_judge


def fetching_settings(wildcards):
    """Return the classifier's section, and the classes and the size that go into its card."""
    dataset = config["dataset"]
    return [config["classifiers"][wildcards.classifier], dataset["classes"], dataset["image_size"]]


def drawing_settings(wildcards):
    """Return all but the scales, which are jobs of their own, and the batch size, which changes no sample."""
    sampling = config["sampling"]
    method = {key: value for key, value in METHODS[wildcards.method].items() if key != "scales"}
    return {key: sampling[key] for key in ("sampler", "eta", "precision")} | method


def scoring_guide(wildcards):
    """Return the classifier that classifies the method's samples beside the judge, the empty text if there is none."""
    return METHODS[wildcards.method]["classifier"] or self_judge(config)


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


def page_settings(wildcards):
    """Return what a page depends on beside its inputs."""
    return PAGES[wildcards.page].settings(config)
