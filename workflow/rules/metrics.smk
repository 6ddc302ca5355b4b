from nonrobust_guidance.metrics import tables


rule score_samples:
    input:
        method_samples,
        scoring_guides,
        inceptions=INCEPTION_FILES,
        references=expand(rules.measure_references.output, extractor=RUN.metrics.extractors),
        manifest=rules.prepare_data.output.manifest,
        arrays=rules.prepare_data.output.arrays,
        judge=f"{JUDGE}/config.json",
    output:
        table=f"{RESULTS}/scores/{{method}}.csv",
        card=f"{RESULTS}/scores/{{method}}.json",
    log:
        f"{RESULTS}/logs/score_samples/{{method}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/score_samples/{{method}}.tsv"
    threads: 1
    resources:
        mem_mb=METRICS_MEM_MB,
        runtime=240,
    params:
        config=CONFIRMED_CONFIG,
        settings=scoring_settings,
        data=DATA,
        checkpoints=CHECKPOINTS,
        weights=WEIGHTS,
        samples=RESULTS / "samples",
        folder=RESULTS / "scores",
    message:
        "Scoring {wildcards.method}"
    shell:
        "nonrobust-guidance score-samples --config {params.config} --method {wildcards.method} --data {params.data}"
        " --checkpoints {params.checkpoints} --weights {params.weights} --samples {params.samples} --output {params.folder}"
        " --threads {threads} 2>&1 | tee {log} >&2"


rule gather_scores:
    input:
        samples_of_run,
        scores=expand(rules.score_samples.output, method=METHODS),
    output:
        table=table(tables.METRICS),
        provenance=f"{RESULTS}/provenance.csv",
    log:
        f"{RESULTS}/logs/gather_scores.log",
    benchmark:
        f"{RESULTS}/benchmarks/gather_scores.tsv"
    # Takes seconds, less than waiting in a queue.
    localrule: True
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        config=CONFIRMED_CONFIG,
        order=list(METHODS),
        folder=RESULTS / "scores",
        samples=RESULTS / "samples",
    message:
        "Gathering the scores of all methods"
    shell:
        "nonrobust-guidance gather-scores --config {params.config} --scores {params.folder} --samples {params.samples}"
        " --output {output.table} --provenance {output.provenance} --threads {threads} 2>&1 | tee {log} >&2"


rule measure_signatures:
    input:
        samples_of_run,
        manifest=rules.prepare_data.output.manifest,
        arrays=rules.prepare_data.output.arrays,
        judge=f"{JUDGE}/config.json",
        classifiers=classifier_files(RUN.classifiers),
    output:
        signatures=table(tables.SIGNATURES),
        factors=table(tables.FACTORS),
    log:
        f"{RESULTS}/logs/measure_signatures.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_signatures.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        config=CONFIRMED_CONFIG,
        settings=lambda wildcards: signature_settings(RUN),
        data=DATA,
        checkpoints=CHECKPOINTS,
        samples=RESULTS / "samples",
    message:
        "Measuring the signatures of failed guidance"
    shell:
        "nonrobust-guidance measure-signatures --config {params.config} --data {params.data}"
        " --checkpoints {params.checkpoints} --samples {params.samples} --output {output.signatures}"
        " --factors {output.factors} --threads {threads} 2>&1 | tee {log} >&2"


rule compare_methods:
    input:
        samples_of_run,
        inceptions=INCEPTION_FILES,
        references=expand(rules.measure_references.output, extractor=RUN.metrics.extractors),
        manifest=rules.prepare_data.output.manifest,
        arrays=rules.prepare_data.output.arrays,
        classifiers=classifier_files(RUN.classifiers),
        metrics=rules.gather_scores.output.table,
    output:
        table(tables.COMPARISONS),
    log:
        f"{RESULTS}/logs/compare_methods.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare_methods.tsv"
    threads: 1
    resources:
        mem_mb=METRICS_MEM_MB,
        runtime=240,
    params:
        config=CONFIRMED_CONFIG,
        settings=comparison_settings,
        data=DATA,
        checkpoints=CHECKPOINTS,
        weights=WEIGHTS,
        samples=RESULTS / "samples",
    message:
        "Comparing every pair of methods"
    shell:
        "nonrobust-guidance compare-methods --config {params.config} --data {params.data}"
        " --checkpoints {params.checkpoints} --weights {params.weights} --samples {params.samples}"
        " --metrics {input.metrics} --output {output} --threads {threads} 2>&1 | tee {log} >&2"


# Needs no data and no model, so it runs while models train.
rule measure_ground_truth:
    output:
        table=table(tables.GROUND_TRUTH),
        arrays=f"{RESULTS}/{tables.GROUND_TRUTH_DRAWN.name}",
    log:
        f"{RESULTS}/logs/measure_ground_truth.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_ground_truth.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        config=RUN_CONFIG,
        settings=RUN.report.ground_truth.recorded(),
    message:
        "Running every method on mixtures whose exact answer is known"
    shell:
        "nonrobust-guidance measure-ground-truth --config {params.config} --output {output.table}"
        " --arrays {output.arrays} --threads {threads} 2>&1 | tee {log} >&2"
