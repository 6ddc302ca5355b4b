CELL = f"{RESULTS}/samples/{{method}}/scale-{{scale}}/seed-{{seed}}"
CELLS = [CELL.replace("{seed}", str(seed)) for seed in RUN.sampling.seeds]
SHARD = f"{RESULTS}/shards/{{method}}/scale-{{scale}}/seed-{{seed}}/{{start}}-{{stop}}"
TARGETS = list(RUN.sampling.targets)
SHARDED = {name for name, method in METHODS.items() if SHARD_SIZE and method.num_samples > SHARD_SIZE}
WHOLE = METHODS.keys() - SHARDED


# A job draws with every seed, because a process takes seconds to start; sampling.shard_size spreads cells over jobs.


rule draw_samples:
    input:
        diffusion_files(),
        guide_files,
    output:
        [drawn_files(cell, TARGETS) for cell in CELLS],
    log:
        f"{RESULTS}/logs/draw_samples/{{method}}_scale-{{scale}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_samples/{{method}}_scale-{{scale}}.tsv"
    wildcard_constraints:
        method=one_of(WHOLE & {*TARGETED}),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        config=CONFIRMED_CONFIG,
        settings=drawing_settings,
        checkpoints=CHECKPOINTS,
        folder=RESULTS / "samples",
        method="{method}",
        part=f"--seed {' '.join(map(str, RUN.sampling.seeds))}",
    message:
        "Drawing {wildcards.method} at scale {wildcards.scale}"
    shell:
        "nonrobust-guidance draw-samples --config {params.config} --method {params.method}"
        " --scale {wildcards.scale} {params.part} --checkpoints {params.checkpoints} --output {params.folder}"
        " --threads {threads} 2>&1 | tee {log} >&2"


use rule draw_samples as draw_unguided_samples with:
    output:
        [drawn_files(cell, ["any"]) for cell in CELLS],
    wildcard_constraints:
        method=one_of(WHOLE & {*UNGUIDED}),


# Several jobs draw a cell of more than sampling.shard_size samples. Merging their shards gives the file that one job
# would have written.


use rule draw_samples as draw_shard with:
    output:
        temp(drawn_files(SHARD, TARGETS)),
    log:
        f"{RESULTS}/logs/draw_shard/{{method}}_scale-{{scale}}_seed-{{seed}}_{{start}}-{{stop}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_shard/{{method}}_scale-{{scale}}_seed-{{seed}}_{{start}}-{{stop}}.tsv"
    wildcard_constraints:
        method=one_of(SHARDED & {*TARGETED}),
    params:
        folder=RESULTS / "shards",
        part="--seed {seed} --shard {start}-{stop}",
    message:
        "Drawing samples {wildcards.start} to {wildcards.stop} of {wildcards.method} at scale {wildcards.scale} with seed"
        " {wildcards.seed}"


use rule draw_shard as draw_unguided_shard with:
    output:
        temp(drawn_files(SHARD, ["any"])),
    wildcard_constraints:
        method=one_of(SHARDED & {*UNGUIDED}),


rule merge_shards:
    input:
        shards=shards_of_cell,
        cards=cards_of_shards,
    output:
        samples=f"{CELL}/{{target}}.npy",
        card=f"{CELL}/{{target}}.json",
    log:
        f"{RESULTS}/logs/merge_shards/{{method}}_scale-{{scale}}_seed-{{seed}}_{{target}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/merge_shards/{{method}}_scale-{{scale}}_seed-{{seed}}_{{target}}.tsv"
    wildcard_constraints:
        method=one_of(SHARDED),
        target=one_of(["any", *TARGETS]),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        # The shards are deleted once they are merged. With their settings here, a change draws them again.
        settings=drawing_settings,
    message:
        "Merging the shards of {output.samples}"
    shell:
        "nonrobust-guidance merge-shards {input.shards} --output {output.samples} --threads {threads} 2>&1 | tee {log} >&2"
