rule prepare_data:
    input:
        sprites=sprite_files(),
    output:
        # DVC tracks this file and refuses to work without it, so the job replaces it and Snakemake must not delete it
        # first.
        manifest=update(f"{DATA}/manifest.json"),
        arrays=expand(
            "{data}/{split}/{array}.npy",
            data=DATA,
            split=["train", "validation", "test"],
            array=["images", "labels", "factors"],
        ),
    log:
        f"{RESULTS}/logs/prepare_data.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare_data.tsv"
    threads: 1
    resources:
        # torchvision holds CelebA's lists as Python numbers, which take much memory, and all of Fashion-MNIST.
        mem_mb={"celeba": 3000, "fashion_mnist": 2000}.get(RUN.dataset.kind, 1000),
        runtime=60 if RUN.dataset.kind == "sportballs" else 480,
    params:
        config=MODEL_CONFIG,
        settings=RUN.dataset.recorded(),
        folder=DATA,
    message:
        "Preparing the dataset {params.settings[name]}"
    shell:
        "nonrobust-guidance prepare-data --config {params.config} --output {params.folder} --threads {threads}"
        " 2>&1 | tee {log} >&2"
