from nonrobust_guidance.metrics import tables


# Takes all cores and computes on one, so that nothing else runs during the timing. The command itself keeps finished
# measurements, so that a kill loses only one.
rule measure_cost:
    input:
        diffusion_files(),
        confirmed_config,
        classifiers=classifier_files(GUIDES),
    output:
        table(tables.COST),
    log:
        f"{RESULTS}/logs/measure_cost.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_cost.tsv"
    threads: all_cores()
    resources:
        mem_mb=2000,
        runtime=720,
    params:
        config=CONFIRMED_CONFIG,
        settings=cost_settings,
        data=DATA,
        checkpoints=CHECKPOINTS,
        holds=tables.COST.holds,
    message:
        "Measuring what samples of each method cost"
    shell:
        "nonrobust-guidance measure-cost --config {params.config} --data {params.data}"
        " --checkpoints {params.checkpoints} --output {output} --threads 1 2>&1 | tee {log} >&2"
