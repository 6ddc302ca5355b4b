rule draw_samples:
    input:
        diffusion_files(),
        guide_files,
    output:
        expand(
            "{results}/samples/{{method}}/scale-{{scale}}/seed-{{seed}}/{target}.{kind}",
            results=RESULTS,
            target=config["sampling"]["targets"],
            kind=SAMPLE_KINDS,
        ),
    log:
        f"{RESULTS}/logs/draw_samples/{{method}}_scale-{{scale}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_samples/{{method}}_scale-{{scale}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        method=one_of(WHOLE & {*GUIDED}),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        config=RUN_CONFIG,
        settings=drawing_settings,
        checkpoints=subpath(input[0], ancestor=2),
        folder=subpath(output[0], parent=True),
        shard=shard_option,
    message:
        "Drawing {wildcards.method} at scale {wildcards.scale} with seed {wildcards.seed}"
    shell:
        "nonrobust-guidance draw-samples --config {params.config} --method {wildcards.method}"
        " --scale {wildcards.scale} --seed {wildcards.seed} --checkpoints {params.checkpoints}"
        " --output {params.folder} {params.shard} --threads {threads} 2>&1 | tee {log} >&2"


use rule draw_samples as draw_unguided_samples with:
    output:
        expand(
            "{results}/samples/{{method}}/scale-{{scale}}/seed-{{seed}}/any.{kind}", results=RESULTS, kind=SAMPLE_KINDS
        ),
    wildcard_constraints:
        method=one_of(WHOLE & {*UNGUIDED}),


# A cell of more samples than sampling.shard_size is drawn by several jobs, and its shards are merged into the file that
# one job would have written.


use rule draw_samples as draw_shard with:
    output:
        temp(
            expand(
                "{results}/shards/{{method}}/scale-{{scale}}/seed-{{seed}}/{{start}}-{{stop}}/{target}.{kind}",
                results=RESULTS,
                target=config["sampling"]["targets"],
                kind=SAMPLE_KINDS,
            )
        ),
    log:
        f"{RESULTS}/logs/draw_shard/{{method}}_scale-{{scale}}_seed-{{seed}}_{{start}}-{{stop}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_shard/{{method}}_scale-{{scale}}_seed-{{seed}}_{{start}}-{{stop}}.tsv"
    wildcard_constraints:
        method=one_of(SHARDED & {*GUIDED}),
    message:
        "Drawing samples {wildcards.start} to {wildcards.stop} of {wildcards.method} at scale {wildcards.scale} with seed"
        " {wildcards.seed}"


use rule draw_shard as draw_unguided_shard with:
    output:
        temp(
            expand(
                "{results}/shards/{{method}}/scale-{{scale}}/seed-{{seed}}/{{start}}-{{stop}}/any.{kind}",
                results=RESULTS,
                kind=SAMPLE_KINDS,
            )
        ),
    wildcard_constraints:
        method=one_of(SHARDED & {*UNGUIDED}),


rule merge_shards:
    input:
        shards=shards_of_cell,
        cards=cards_of_shards,
    output:
        samples=f"{RESULTS}/samples/{{method}}/scale-{{scale}}/seed-{{seed}}/{{target}}.npy",
        card=f"{RESULTS}/samples/{{method}}/scale-{{scale}}/seed-{{seed}}/{{target}}.json",
    log:
        f"{RESULTS}/logs/merge_shards/{{method}}_scale-{{scale}}_seed-{{seed}}_{{target}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/merge_shards/{{method}}_scale-{{scale}}_seed-{{seed}}_{{target}}.tsv"
    wildcard_constraints:
        method=one_of(SHARDED),
        target=one_of(["any", *config["sampling"]["targets"]]),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        # The shards are gone once they are merged; what was drawn from other settings must be drawn again all the same.
        settings=drawing_settings,
    message:
        "Merging the shards of {output.samples}"
    shell:
        "nonrobust-guidance merge-shards {input.shards} --output {output.samples} --threads {threads} 2>&1 | tee {log} >&2"
