from snakemake.utils import min_version

min_version("9.27")


# A run file is complete: it stands in for the default and is not merged over it.
if not workflow.configfiles:

    configfile: f"{workflow.basedir}/config/default.yaml"


# Says on what requirements.lock is installed; unless asked otherwise, jobs run in Snakemake's own environment.
container: "docker://python:3.11"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/starting.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/sampling.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/metrics.csv",
        f"{RESULTS}/noise_accuracy.csv",
        f"{RESULTS}/models.json",
        f"{RESULTS}/report/index.html",


# By the name of a stage one gets what it makes.
rule data:
    input:
        rules.prepare_data.output,


rule models:
    input:
        rules.prepare_data.output,
        diffusion_files(),
        classifier_files(config["classifiers"]),
        rules.gather_cards.output,


rule sampling:
    input:
        SAMPLES,
        SAMPLE_CARDS,


rule metrics:
    input:
        TABLES,


rule report:
    input:
        rules.render_index.output,
