# Inception's features and their covariance take more memory than the judge's.
METRICS_MEM_MB = 8000 if INCEPTIONS else 3000


rule fetch_inception:
    output:
        f"{WEIGHTS}/{{weights}}",
    log:
        f"{RESULTS}/logs/fetch_inception/{{weights}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch_inception/{{weights}}.tsv"
    wildcard_constraints:
        weights=one_of(INCEPTIONS),
    # The nodes of a cluster often have no network.
    localrule: True
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        extractor=lambda wildcards: INCEPTIONS[wildcards.weights],
    message:
        "Fetching {output}"
    shell:
        "nonrobust-guidance fetch-inception --extractor {params.extractor} --output {output} --threads {threads}"
        " 2>&1 | tee {log} >&2"


rule measure_references:
    input:
        manifest=rules.prepare_data.output.manifest,
        arrays=rules.prepare_data.output.arrays,
        weights=extractor_files,
    output:
        expand(
            "{data}/references/{{extractor}}/{name}.safetensors",
            data=DATA,
            name=["all", *config["dataset"]["classes"]],
        ),
    log:
        f"{RESULTS}/logs/measure_references/{{extractor}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_references/{{extractor}}.tsv"
    threads: 1
    resources:
        mem_mb=METRICS_MEM_MB,
        runtime=240,
    params:
        config=MODEL_CONFIG,
        rows=config["metrics"]["feature_rows"],
        data=DATA,
        weights=extractor_weights,
        folder=f"{DATA}/references/{{extractor}}",
    message:
        "Measuring the real images in the feature space of {wildcards.extractor}"
    shell:
        "nonrobust-guidance measure-references --config {params.config} --extractor {wildcards.extractor}"
        " --data {params.data} --weights {params.weights} --rows {params.rows} --output {params.folder} --threads {threads}"
        " 2>&1 | tee {log} >&2"
