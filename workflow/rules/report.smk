TABLES = [
    rules.gather_scores.output,
    rules.measure_noise_accuracy.output,
    rules.measure_sensitivity.output,
    rules.gather_trajectories.output,
    rules.measure_signatures.output,
]
BESIDE = [f"results/{run}/metrics.csv" for run in config["report"]["beside"]]
ASKED_ABLATION = config["report"]["ablation_of"] or config["report"]["beside"]

for table in BESIDE:
    if not os.path.isfile(table):
        sys.exit(f"error: report.beside names a run whose {table} is missing; make that run first")


rule render_report:
    input:
        TABLES,
        samples=SAMPLES,
        notebook=NOTEBOOK,
    output:
        report(f"{RESULTS}/report/sampling.html", caption="../report/sampling.rst", category="Report"),
    log:
        f"{RESULTS}/logs/render_report.log",
    benchmark:
        f"{RESULTS}/benchmarks/render_report.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        config=RUN_CONFIG,
        settings=config,
        results=subpath(output[0], ancestor=2),
    message:
        "Rendering the notebook {input.notebook}"
    shell:
        "nonrobust-guidance render-report --config {params.config} --results {params.results}"
        " --notebook {input.notebook} --output {output} --threads {threads} 2>&1 | tee {log} >&2"


use rule render_report as render_gradients with:
    input:
        rules.measure_noise_accuracy.output,
        rules.measure_sensitivity.output,
        rules.gather_trajectories.output,
        notebook=GRADIENTS_NOTEBOOK,
    output:
        report(f"{RESULTS}/report/gradients.html", caption="../report/gradients.rst", category="Report"),
    log:
        f"{RESULTS}/logs/render_gradients.log",
    benchmark:
        f"{RESULTS}/benchmarks/render_gradients.tsv"


use rule render_report as render_signatures with:
    input:
        metrics=rules.gather_scores.output,
        noise_accuracy=rules.measure_noise_accuracy.output,
        signatures=rules.measure_signatures.output,
        samples=SAMPLES,
        notebook=SIGNATURES_NOTEBOOK,
    output:
        report(f"{RESULTS}/report/signatures.html", caption="../report/signatures.rst", category="Report"),
    log:
        f"{RESULTS}/logs/render_signatures.log",
    benchmark:
        f"{RESULTS}/benchmarks/render_signatures.tsv"


# It needs no result, so it runs while others train.
use rule render_report as render_ground_truth with:
    input:
        notebook=GROUND_TRUTH_NOTEBOOK,
    output:
        report(f"{RESULTS}/report/ground_truth.html", caption="../report/ground_truth.rst", category="Report"),
    log:
        f"{RESULTS}/logs/render_ground_truth.log",
    benchmark:
        f"{RESULTS}/benchmarks/render_ground_truth.tsv"
    params:
        config=RUN_CONFIG,
        settings=config["report"]["ground_truth"],
        results=subpath(output[0], ancestor=2),


# Which runs have this page is theirs to say, in report.ablation_of and report.beside.
use rule render_report as render_ablation with:
    input:
        TABLES,
        BESIDE,
        samples=SAMPLES,
        notebook=ABLATION_NOTEBOOK,
    output:
        report(f"{RESULTS}/report/ablation.html", caption="../report/ablation.rst", category="Report"),
    log:
        f"{RESULTS}/logs/render_ablation.log",
    benchmark:
        f"{RESULTS}/benchmarks/render_ablation.tsv"


rule render_index:
    input:
        rules.render_report.output,
        rules.render_ablation.output if ASKED_ABLATION else [],
        rules.render_gradients.output,
        rules.render_signatures.output,
        rules.render_ground_truth.output,
        TABLES,
    output:
        report(f"{RESULTS}/report/index.html", caption="../report/index.rst", category="Report"),
    log:
        f"{RESULTS}/logs/render_index.log",
    benchmark:
        f"{RESULTS}/benchmarks/render_index.tsv"
    # Seconds, which are not worth a place in a queue.
    localrule: True
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        config=RUN_CONFIG,
        settings=config,
        results=subpath(output[0], ancestor=2),
    message:
        "Rendering the index"
    shell:
        "nonrobust-guidance render-index --config {params.config} --results {params.results} --output {output}"
        " --threads {threads} 2>&1 | tee {log} >&2"
