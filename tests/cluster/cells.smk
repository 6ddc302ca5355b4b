# Many cells that cost nothing. What they ask Slurm for is what the profile says of the project's rules of these names.

CELLS = range(200)


rule all:
    input:
        expand("cells/{cell}.txt", cell=CELLS),
        "prepared.txt",


rule prepare_data:
    output:
        "prepared.txt",
    shell:
        'echo "${{CUDA_VISIBLE_DEVICES-none}}" > {output}'


rule score_samples:
    output:
        "cells/{cell}.txt",
    shell:
        'echo "${{CUDA_VISIBLE_DEVICES-none}}" > {output}'
