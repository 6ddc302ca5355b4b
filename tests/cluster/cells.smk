# Many cells that cost nothing, the targets of each scale drawn by one job. What they ask Slurm for is what the profile says of
# the project's rules of these names.

TARGETS = [f"target-{number}" for number in range(8)]
SCALES = range(25)
PARTS = range(4)


rule all:
    input:
        expand("cells/scale-{scale}/{target}.txt", scale=SCALES, target=TARGETS),
        expand("scores/{part}.txt", part=PARTS),
        "prepared.txt",


rule prepare_data:
    output:
        "prepared.txt",
    shell:
        'echo "${{CUDA_VISIBLE_DEVICES-none}}" > {output}'


rule draw_samples:
    output:
        expand("cells/scale-{{scale}}/{target}.txt", target=TARGETS),
    shell:
        'echo "${{CUDA_VISIBLE_DEVICES-none}}" | tee {output}'


rule score_samples:
    output:
        "scores/{part}.txt",
    shell:
        'echo "${{CUDA_VISIBLE_DEVICES-none}}" > {output}'
