from nonrobust_guidance.metrics import tables

GUIDES = [name for name in RUN.classifiers if name != RUN.metrics.judge]


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
        data=DATA,
        checkpoints=CHECKPOINTS,
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
        data=DATA,
        checkpoints=CHECKPOINTS,
    message:
        "Measuring how much logits and gradients change from one noise level to the next"
    shell:
        "nonrobust-guidance measure-sensitivity --config {params.config} --data {params.data}"
        " --checkpoints {params.checkpoints} --output {output} --threads {threads} 2>&1 | tee {log} >&2"


rule measure_trajectories:
    input:
        diffusion_files(),
        guide_files,
        confirmed_config,
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
        config=CONFIRMED_CONFIG,
        settings=trajectory_settings,
        checkpoints=CHECKPOINTS,
    message:
        "Measuring the gradients along the trajectories of {wildcards.method}"
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
    # Takes seconds, less than waiting in a queue.
    localrule: True
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        config=RUN_CONFIG,
        settings=GUIDED,
        folder=RESULTS / "trajectories",
    message:
        "Gathering the tables of trajectories"
    shell:
        "nonrobust-guidance gather-trajectories --config {params.config} --parts {params.folder} --output {output}"
        " --threads {threads} 2>&1 | tee {log} >&2"
