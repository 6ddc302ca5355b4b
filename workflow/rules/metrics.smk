rule score_samples:
    input:
        SAMPLES,
        manifest=rules.prepare_data.output.manifest,
        judge=JUDGE,
        classifiers=expand(rules.train_classifier.output, classifier=config["classifiers"]),
    output:
        report(f"{RESULTS}/metrics.csv", caption="../report/metrics.rst", category="Results"),
    log:
        f"{RESULTS}/logs/score_samples.log",
    benchmark:
        f"{RESULTS}/benchmarks/score_samples.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        config=RUN_CONFIG,
        settings=scoring_settings(),
        data=subpath(input.manifest, parent=True),
        checkpoints=subpath(input.judge, ancestor=2),
        samples=subpath(input[0], ancestor=4),
    message:
        "Scoring all cells"
    shell:
        "nonrobust-guidance score-samples --config {params.config} --data {params.data}"
        " --checkpoints {params.checkpoints} --samples {params.samples} --output {output}"
        " --threads {threads} 2>&1 | tee {log} >&2"


rule measure_noise_accuracy:
    input:
        rules.train_diffusion.output,
        manifest=rules.prepare_data.output.manifest,
        classifiers=expand(rules.train_classifier.output, classifier=GUIDES),
    output:
        report(f"{RESULTS}/noise_accuracy.csv", caption="../report/noise_accuracy.rst", category="Results"),
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
