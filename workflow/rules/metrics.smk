# On the machine that Snakemake runs on, for the others of a cluster may not reach the network.
rule fetch_inception:
    output:
        f"{WEIGHTS}/{{weights}}",
    log:
        f"{RESULTS}/logs/fetch_inception/{{weights}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch_inception/{{weights}}.tsv"
    wildcard_constraints:
        weights=one_of(INCEPTIONS),
    localrule: True
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        extractor=inception_name,
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
        data=subpath(input.manifest, parent=True),
        weights=extractor_weights,
        folder=subpath(output[0], parent=True),
    message:
        "Measuring the real images in the features of {wildcards.extractor}"
    shell:
        "nonrobust-guidance measure-references --config {params.config} --extractor {wildcards.extractor}"
        " --data {params.data} --weights {params.weights} --rows {params.rows} --output {params.folder} --threads {threads}"
        " 2>&1 | tee {log} >&2"


rule score_samples:
    input:
        method_samples,
        scoring_guides,
        inceptions=INCEPTION_FILES,
        references=expand(rules.measure_references.output, extractor=config["metrics"]["extractors"]),
        manifest=rules.prepare_data.output.manifest,
        arrays=rules.prepare_data.output.arrays,
        judge=JUDGE,
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
        config=RUN_CONFIG,
        settings=scoring_settings,
        data=subpath(input.manifest, parent=True),
        checkpoints=subpath(input.judge, ancestor=2),
        weights=WEIGHTS,
        samples=subpath(input[0], ancestor=4),
    message:
        "Scoring {wildcards.method}"
    shell:
        "nonrobust-guidance score-samples --config {params.config} --method {wildcards.method} --data {params.data}"
        " --checkpoints {params.checkpoints} --weights {params.weights} --samples {params.samples} --output {output.table}"
        " --threads {threads} 2>&1 | tee {log} >&2"


rule gather_scores:
    input:
        expand(rules.score_samples.output, method=METHODS),
        SAMPLE_CARDS,
    output:
        table=table(tables.METRICS),
        provenance=f"{RESULTS}/provenance.csv",
    log:
        f"{RESULTS}/logs/gather_scores.log",
    benchmark:
        f"{RESULTS}/benchmarks/gather_scores.tsv"
    # Seconds, which are not worth a place in a queue.
    localrule: True
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        config=RUN_CONFIG,
        order=list(METHODS),
        folder=subpath(input[0], parent=True),
        samples=subpath(input[-1], ancestor=4),
    message:
        "Gathering the scores of all methods"
    shell:
        "nonrobust-guidance gather-scores --config {params.config} --scores {params.folder} --samples {params.samples}"
        " --output {output.table} --provenance {output.provenance} --threads {threads} 2>&1 | tee {log} >&2"


rule measure_noise_accuracy:
    input:
        diffusion_files(),
        manifest=rules.prepare_data.output.manifest,
        arrays=rules.prepare_data.output.arrays,
        classifiers=classifier_files(GUIDES),
    output:
        table(tables.NOISE_ACCURACY),
    log:
        f"{RESULTS}/logs/measure_noise_accuracy.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_noise_accuracy.tsv"
    threads: 1
    resources:
        mem_mb=2500,
        runtime=120,
    params:
        config=RUN_CONFIG,
        settings=noise_settings(),
        data=subpath(input.manifest, parent=True),
        checkpoints=subpath(input[0], ancestor=2),
    message:
        "Measuring the classifiers' accuracy over the noise levels"
    shell:
        "nonrobust-guidance measure-noise-accuracy --config {params.config} --data {params.data}"
        " --checkpoints {params.checkpoints} --output {output} --threads {threads} 2>&1 | tee {log} >&2"


rule measure_sensitivity:
    input:
        diffusion_files(),
        manifest=rules.prepare_data.output.manifest,
        arrays=rules.prepare_data.output.arrays,
        classifiers=classifier_files(GUIDES),
    output:
        table(tables.SENSITIVITY),
    log:
        f"{RESULTS}/logs/measure_sensitivity.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_sensitivity.tsv"
    threads: 1
    resources:
        mem_mb=2500,
        runtime=240,
    params:
        config=RUN_CONFIG,
        settings=sensitivity_settings(),
        data=subpath(input.manifest, parent=True),
        checkpoints=subpath(input[0], ancestor=2),
    message:
        "Measuring how much logits and gradients change from one noise level to the next"
    shell:
        "nonrobust-guidance measure-sensitivity --config {params.config} --data {params.data}"
        " --checkpoints {params.checkpoints} --output {output} --threads {threads} 2>&1 | tee {log} >&2"


rule measure_trajectories:
    input:
        diffusion_files(),
        guide_files,
    output:
        f"{RESULTS}/trajectories/{{method}}.csv",
    log:
        f"{RESULTS}/logs/measure_trajectories/{{method}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_trajectories/{{method}}.tsv"
    wildcard_constraints:
        method=one_of(GUIDED),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        config=RUN_CONFIG,
        settings=trajectory_settings,
        checkpoints=subpath(input[0], ancestor=2),
    message:
        "Following the gradients of {wildcards.method}"
    shell:
        "nonrobust-guidance measure-trajectories --config {params.config} --method {wildcards.method}"
        " --checkpoints {params.checkpoints} --output {output} --threads {threads} 2>&1 | tee {log} >&2"


rule gather_trajectories:
    input:
        expand(rules.measure_trajectories.output, method=GUIDED),
    output:
        table(tables.TRAJECTORIES),
    log:
        f"{RESULTS}/logs/gather_trajectories.log",
    benchmark:
        f"{RESULTS}/benchmarks/gather_trajectories.tsv"
    # Seconds, which are not worth a place in a queue.
    localrule: True
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        config=RUN_CONFIG,
        settings=GUIDED,
        folder=subpath(output[0], strip_suffix=".csv"),
    message:
        "Gathering the tables of trajectories"
    shell:
        "nonrobust-guidance gather-trajectories --config {params.config} --parts {params.folder} --output {output}"
        " --threads {threads} 2>&1 | tee {log} >&2"


rule measure_signatures:
    input:
        SAMPLES,
        manifest=rules.prepare_data.output.manifest,
        arrays=rules.prepare_data.output.arrays,
        judge=JUDGE,
        classifiers=classifier_files(config["classifiers"]),
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
        config=RUN_CONFIG,
        settings=signature_settings(),
        data=subpath(input.manifest, parent=True),
        checkpoints=subpath(input.judge, ancestor=2),
        samples=subpath(input[0], ancestor=4),
    message:
        "Measuring the signatures of failing guidance"
    shell:
        "nonrobust-guidance measure-signatures --config {params.config} --data {params.data}"
        " --checkpoints {params.checkpoints} --samples {params.samples} --output {output.signatures}"
        " --factors {output.factors} --threads {threads} 2>&1 | tee {log} >&2"


# It needs no data and no model, so it runs while others train.
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
        settings=config["report"]["ground_truth"],
    message:
        "Running every method where the right answer is known"
    shell:
        "nonrobust-guidance measure-ground-truth --config {params.config} --output {output.table}"
        " --arrays {output.arrays} --threads {threads} 2>&1 | tee {log} >&2"
