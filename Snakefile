from snakemake.utils import min_version

min_version("9.27")


# Snakemake merges --configfile over this one. A run file is complete, so the default is read only without one.
if not workflow.configfiles:

    configfile: f"{workflow.basedir}/config/default.yaml"


# The image that requirements.lock installs on. Jobs use Snakemake's own environment unless a container is asked for.
container: "docker://python:3.11"


report: "workflow/report/workflow.rst"


include: "workflow/rules/configuration.smk"
include: "workflow/rules/processes.smk"
include: "workflow/rules/paths.smk"
include: "workflow/rules/wildcards.smk"
include: "workflow/rules/settings.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/trainings.smk"
include: "workflow/rules/planning.smk"
include: "workflow/rules/scheduling.smk"
include: "workflow/rules/starting.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/sampling.smk"
include: "workflow/rules/distances.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/screening.smk"
include: "workflow/rules/gradients.smk"
include: "workflow/rules/cost.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/metrics.csv",
        f"{RESULTS}/noise_accuracy.csv",
        f"{RESULTS}/models.json",
        f"{RESULTS}/report/index.html",


# A target for each stage, which makes all of the stage's files.
rule data:
    input:
        rules.prepare_data.output,


rule models:
    input:
        rules.prepare_data.output,
        diffusion_files(),
        classifier_files(RUN.classifiers),
        rules.gather_cards.output,


rule sampling:
    input:
        samples_of_run,


rule metrics:
    input:
        TABLES,


rule report:
    input:
        rules.render_index.output,
