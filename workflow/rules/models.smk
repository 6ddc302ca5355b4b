FETCHED = [name for name, classifier in RUN.classifiers.items() if classifier.source]
TRAINED = [name for name in RUN.classifiers if name not in FETCHED]
MODEL_SETTINGS = {name: settings.recorded() for name, settings in TRAINED_MODELS.items()}


# Outputs are named file by file, because a folder would be deleted with the state from which a killed training
# continues. Trainings update them: otherwise Snakemake would delete the old checkpoint first, and DVC refuses to work
# where one that it tracks is missing.


if RUN.diffusion.source:

    rule fetch_diffusion:
        output:
            index=f"{DIFFUSION}/model_index.json",
            unet=f"{DIFFUSION}/unet/config.json",
            weights=f"{DIFFUSION}/unet/diffusion_pytorch_model.safetensors",
            scheduler=f"{DIFFUSION}/scheduler/scheduler_config.json",
        log:
            f"{RESULTS}/logs/fetch_diffusion.log",
        benchmark:
            f"{RESULTS}/benchmarks/fetch_diffusion.tsv"
        # The nodes of a cluster often have no network.
        localrule: True
        threads: 1
        resources:
            mem_mb=4000,
            runtime=120,
        params:
            config=MODEL_CONFIG,
            settings=[RUN.diffusion.recorded(), RUN.dataset.image_size],
            name=RUN.diffusion.name,
            folder=DIFFUSION,
        message:
            "Fetching the diffusion model"
        shell:
            "nonrobust-guidance fetch-checkpoint --config {params.config} --name {params.name} --output {params.folder}"
            " --threads {threads} 2>&1 | tee {log} >&2"

else:

    rule train_diffusion:
        input:
            manifest=training_data(RUN.diffusion.name),
        output:
            index=update(f"{DIFFUSION}/model_index.json"),
            unet=update(f"{DIFFUSION}/unet/config.json"),
            weights=update(f"{DIFFUSION}/unet/diffusion_pytorch_model.safetensors"),
            scheduler=update(f"{DIFFUSION}/scheduler/scheduler_config.json"),
            history=update(report(f"{DIFFUSION}/history.csv", caption="../report/history.rst", category="Training")),
            card=update(f"{DIFFUSION}/card.json"),
        log:
            f"{RESULTS}/logs/train_diffusion.log",
        benchmark:
            f"{RESULTS}/benchmarks/train_diffusion.tsv"
        # The longest job starts first, and the others fill the cores that it leaves free.
        priority: 1
        threads: 2
        resources:
            mem_mb=3000,
            runtime=240,
        params:
            config=MODEL_CONFIG,
            settings=MODEL_SETTINGS[RUN.diffusion.name],
            data=DATA,
            folder=DIFFUSION,
        message:
            "Training the diffusion model"
        shell:
            "nonrobust-guidance train-diffusion --config {params.config} --data {params.data} --output {params.folder}"
            " --threads {threads} 2>&1 | tee {log} >&2"


rule train_classifier:
    input:
        manifest=lambda wildcards: training_data(wildcards.classifier),
    output:
        architecture=update(f"{CHECKPOINTS}/{{classifier}}/config.json"),
        weights=update(f"{CHECKPOINTS}/{{classifier}}/model.safetensors"),
        history=update(
            report(f"{CHECKPOINTS}/{{classifier}}/history.csv", caption="../report/history.rst", category="Training")
        ),
        card=update(f"{CHECKPOINTS}/{{classifier}}/card.json"),
    log:
        f"{RESULTS}/logs/train_classifier/{{classifier}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_classifier/{{classifier}}.tsv"
    wildcard_constraints:
        classifier=one_of(TRAINED),
    threads: 1
    resources:
        mem_mb=2500,
        runtime=120,
    params:
        config=MODEL_CONFIG,
        settings=lambda wildcards: MODEL_SETTINGS[wildcards.classifier],
        data=DATA,
        folder=f"{CHECKPOINTS}/{{classifier}}",
    message:
        "Training the classifier {wildcards.classifier}"
    shell:
        "nonrobust-guidance train-classifier --config {params.config} --name {wildcards.classifier}"
        " --data {params.data} --output {params.folder} --threads {threads} 2>&1 | tee {log} >&2"


rule fetch_classifier:
    output:
        architecture=f"{CHECKPOINTS}/{{classifier}}/config.json",
        weights=f"{CHECKPOINTS}/{{classifier}}/model.safetensors",
    log:
        f"{RESULTS}/logs/fetch_classifier/{{classifier}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch_classifier/{{classifier}}.tsv"
    wildcard_constraints:
        classifier=one_of(FETCHED),
    localrule: True
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        config=MODEL_CONFIG,
        settings=fetching_settings,
        folder=f"{CHECKPOINTS}/{{classifier}}",
    message:
        "Fetching the classifier {wildcards.classifier}"
    shell:
        "nonrobust-guidance fetch-checkpoint --config {params.config} --name {wildcards.classifier}"
        " --output {params.folder} --threads {threads} 2>&1 | tee {log} >&2"


rule gather_cards:
    input:
        expand("{checkpoints}/{name}/card.json", checkpoints=CHECKPOINTS, name=MODEL_SETTINGS),
    output:
        f"{RESULTS}/models.json",
    log:
        f"{RESULTS}/logs/gather_cards.log",
    benchmark:
        f"{RESULTS}/benchmarks/gather_cards.tsv"
    # Takes seconds, less than waiting in a queue.
    localrule: True
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        config=MODEL_CONFIG,
        checkpoints=CHECKPOINTS,
    message:
        "Gathering the cards of the trained models"
    shell:
        "nonrobust-guidance gather-cards --config {params.config} --checkpoints {params.checkpoints} --output {output}"
        " --threads {threads} 2>&1 | tee {log} >&2"
