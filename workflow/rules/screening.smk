# Screen, then confirm: with sampling.search every candidate of a method is drawn on few samples, and the chosen one on
# fresh samples. The choice decides which samples there are, so it is a checkpoint.
if VARIANTS:
    SEARCH = RUN.sampling.search

    use rule draw_samples as screen_candidate with:
        input:
            diffusion_files(),
            lambda wildcards: classifier_files([SCREENED.sampling.guided[wildcards.candidate].classifier]),
        output:
            drawn_files(f"{SCREENING}/samples/{{candidate}}/scale-{{scale}}/seed-{SEARCH.seed}", TARGETS),
        log:
            f"{SCREENING}/logs/draw_samples/{{candidate}}_scale-{{scale}}.log",
        benchmark:
            f"{SCREENING}/benchmarks/draw_samples/{{candidate}}_scale-{{scale}}.tsv"
        wildcard_constraints:
            candidate=one_of(VARIANTS),
        params:
            config=SCREENING_CONFIG,
            settings=screening_settings,
            method="{candidate}",
            folder=SCREENING / "samples",
            part=f"--seed {SEARCH.seed}",
        message:
            "Screening {wildcards.candidate} at scale {wildcards.scale}"

    rule score_screening:
        input:
            [f"{SCREENING}/samples/{file}" for file in files_of_cells(SCREENED)],
            classifier_files({method.classifier for method in SCREENED.sampling.guided.values()}),
            inceptions=INCEPTION_FILES,
            references=expand(rules.measure_references.output, extractor=RUN.metrics.extractors),
            manifest=rules.prepare_data.output.manifest,
            arrays=rules.prepare_data.output.arrays,
            judge=f"{JUDGE}/config.json",
        output:
            table=f"{SCREENING}/metrics.csv",
            provenance=f"{SCREENING}/provenance.csv",
            scores=expand("{folder}/scores/{method}.{kind}", folder=SCREENING, method=VARIANTS, kind=["csv", "json"]),
        log:
            f"{SCREENING}/logs/score_samples.log",
        benchmark:
            f"{SCREENING}/benchmarks/score_samples.tsv"
        threads: 1
        resources:
            mem_mb=METRICS_MEM_MB,
            runtime=240,
        params:
            config=SCREENING_CONFIG,
            settings=[RUN.metrics.part(Scoring).recorded(), SCREENED.sampling.recorded()],
            methods=list(VARIANTS),
            data=DATA,
            checkpoints=CHECKPOINTS,
            weights=WEIGHTS,
            samples=SCREENING / "samples",
            folder=SCREENING / "scores",
        message:
            "Scoring the candidates"
        shell:
            "(nonrobust-guidance score-samples --config {params.config} --method {params.methods} --data {params.data}"
            " --checkpoints {params.checkpoints} --weights {params.weights} --samples {params.samples}"
            " --output {params.folder} --threads {threads} &&"
            " nonrobust-guidance gather-scores --config {params.config} --scores {params.folder}"
            " --samples {params.samples} --output {output.table} --provenance {output.provenance} --threads {threads})"
            " 2>&1 | tee {log} >&2"

    use rule measure_signatures as measure_screened_signatures with:
        input:
            [f"{SCREENING}/samples/{file}" for file in files_of_cells(SCREENED)],
            manifest=rules.prepare_data.output.manifest,
            arrays=rules.prepare_data.output.arrays,
            judge=f"{JUDGE}/config.json",
            classifiers=classifier_files(RUN.classifiers),
        output:
            signatures=f"{SCREENING}/signatures.csv",
            factors=f"{SCREENING}/factors.csv",
        log:
            f"{SCREENING}/logs/measure_signatures.log",
        benchmark:
            f"{SCREENING}/benchmarks/measure_signatures.tsv"
        params:
            config=SCREENING_CONFIG,
            settings=signature_settings(SCREENED),
            samples=SCREENING / "samples",
        message:
            "Measuring the signatures of failed guidance at every scale"

    checkpoint select_candidates:
        input:
            f"{SCREENING}/metrics.csv",
        output:
            table=table(tables.SELECTION),
            confirmed=CONFIRMED_CONFIG,
        log:
            f"{RESULTS}/logs/select_candidates.log",
        benchmark:
            f"{RESULTS}/benchmarks/select_candidates.tsv"
        # Takes seconds, less than waiting in a queue.
        localrule: True
        threads: 1
        resources:
            mem_mb=500,
            runtime=10,
        params:
            config=RUN_CONFIG,
            # The configuration of the confirmed run contains the whole run.
            settings=RUN.resolved(),
        message:
            "Choosing each method's scale"
        shell:
            "nonrobust-guidance select-candidates --config {params.config} --screened {input} --output {output.table}"
            " --confirmed {output.confirmed} --threads {threads} 2>&1 | tee {log} >&2"
