import os

from nonrobust_guidance.metrics import tables
from nonrobust_guidance.metrics.tables import DECIDED_FROM

NOTEBOOKS = os.path.relpath(f"{workflow.basedir}/notebooks")


rule decide_claims:
    input:
        [f"{RESULTS}/{file.name}" for file in DECIDED_FROM],
        [f"{SCREENING}/{file}" for file in SCREENED_FILES],
    output:
        table(tables.CLAIMS),
    log:
        f"{RESULTS}/logs/decide_claims.log",
    benchmark:
        f"{RESULTS}/benchmarks/decide_claims.tsv"
    # Takes seconds, less than waiting in a queue.
    localrule: True
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        config=RUN_CONFIG,
        settings=RUN.recorded(),
        results=RESULTS,
    message:
        "Deciding the paper's claims"
    shell:
        "nonrobust-guidance decide-claims --config {params.config} --results {params.results} --output {output}"
        " --threads {threads} 2>&1 | tee {log} >&2"


if EVIDENCE:

    rule take_evidence:
        input:
            PUBLISHED,
        output:
            f"{RESULTS}/{EVIDENCE_FILE}",
        log:
            f"{RESULTS}/logs/take_evidence.log",
        benchmark:
            f"{RESULTS}/benchmarks/take_evidence.tsv"
        localrule: True
        threads: 1
        resources:
            mem_mb=100,
            runtime=10,
        message:
            "Taking the published verdicts"
        shell:
            "cp {input} {output} 2>&1 | tee {log} >&2"


rule render_page:
    input:
        page_inputs,
        notebook=f"{NOTEBOOKS}/{{page}}.ipynb",
    output:
        report(f"{RESULTS}/report/{{page}}.html", caption="../report/page.rst", category="Report"),
    log:
        f"{RESULTS}/logs/render_page/{{page}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/render_page/{{page}}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        config=RUN_CONFIG,
        settings=page_settings,
        results=RESULTS,
        shows=lambda wildcards: PAGES[wildcards.page].shows,
    message:
        "Rendering the notebook {input.notebook}"
    shell:
        "nonrobust-guidance render-page --config {params.config} --results {params.results}"
        " --notebook {input.notebook:q} --output {output} --threads {threads} 2>&1 | tee {log} >&2"


rule render_index:
    input:
        expand(rules.render_page.output, page=PAGES),
        TABLES,
        EVIDENCE,
    output:
        report(f"{RESULTS}/report/index.html", caption="../report/index.rst", category="Report"),
    log:
        f"{RESULTS}/logs/render_index.log",
    benchmark:
        f"{RESULTS}/benchmarks/render_index.tsv"
    # Takes seconds, less than waiting in a queue.
    localrule: True
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        config=RUN_CONFIG,
        settings=RUN.recorded(),
        results=RESULTS,
    message:
        "Rendering the index"
    shell:
        "nonrobust-guidance render-index --config {params.config} --results {params.results} --output {output}"
        " --threads {threads} 2>&1 | tee {log} >&2"
