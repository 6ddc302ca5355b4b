"""How often Snakemake looks for jobs to start."""

from pathlib import Path

from commands import ROOT, call_snakemake

# One job after another; after the eighth, one takes long while another waits.
WORKFLOW = """
include: "{rules}"

QUICK = expand("quick-{{i}}.txt", i=range(8))

rule all:
    input: "long-1.txt", "long-2.txt"

rule quick:
    output: "quick-{{i}}.txt"
    shell: "touch {{output}}"

rule long:
    input: QUICK
    output: "long-{{i}}.txt"
    shell: "sleep 3; touch {{output}}"
"""


def test_jobs_that_end_do_not_make_it_look_more_often(tmp_path: Path) -> None:
    snakefile = tmp_path / "Snakefile"
    snakefile.write_text(WORKFLOW.format(rules=ROOT / "workflow" / "rules" / "scheduling.smk"))
    run = call_snakemake("--directory", tmp_path, "--snakefile", snakefile, "--cores", "1", "--verbose")
    assert run.returncode == 0, run.stderr
    # About once for each of ten jobs; Snakemake alone looks eight times a second by the end.
    assert 0 < run.stderr.count("Ready jobs:") <= 15
