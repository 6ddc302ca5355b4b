rule draw_samples:
    input:
        diffusion_files(),
        guide_files,
    output:
        expand(
            "{results}/samples/{{method}}/scale-{{scale}}/seed-{{seed}}/{target}.npz",
            results=RESULTS,
            target=config["sampling"]["targets"],
        ),
        card=f"{RESULTS}/samples/{{method}}/scale-{{scale}}/seed-{{seed}}/card.json",
    log:
        f"{RESULTS}/logs/draw_samples/{{method}}_scale-{{scale}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_samples/{{method}}_scale-{{scale}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        method=one_of(GUIDED),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        config=RUN_CONFIG,
        settings=drawing_settings,
        checkpoints=subpath(input[0], ancestor=2),
        folder=subpath(output[0], parent=True),
    message:
        "Drawing {wildcards.method} at scale {wildcards.scale} with seed {wildcards.seed}"
    shell:
        "nonrobust-guidance draw-samples --config {params.config} --method {wildcards.method}"
        " --scale {wildcards.scale} --seed {wildcards.seed} --checkpoints {params.checkpoints}"
        " --output {params.folder} --threads {threads} 2>&1 | tee {log} >&2"


use rule draw_samples as draw_unguided_samples with:
    output:
        f"{RESULTS}/samples/{{method}}/scale-{{scale}}/seed-{{seed}}/any.npz",
        card=f"{RESULTS}/samples/{{method}}/scale-{{scale}}/seed-{{seed}}/card.json",
    wildcard_constraints:
        method=one_of(UNGUIDED),
