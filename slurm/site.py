"""A site's settings in slurm/site.yaml, and the resources that jobs request from Slurm because of them."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.settings import Settings, absent, instead, sentence_of
from nonrobust_guidance.settings.types import Number
from nonrobust_guidance.settings.types import Path as Line
from nonrobust_guidance.yaml_files import read_yaml

SITE_FILE = Path("slurm/site.yaml")

# At most a year, because Slurm keeps times in 32 bits.
Minutes = Annotated[int, Number(whole=True, least=1, most=525_600)]


class Request(Settings):
    """What a rule asks for in place of slurm/config.yaml."""

    mem_mb: Annotated[int, Number(whole=True, least=1, most=1_000_000_000)] | None = absent()
    runtime: Minutes | None = absent()
    gpu: Annotated[int, Number(whole=True, least=0, most=1024)] | None = absent()
    gpu_model: Line | None = absent()
    partition: Line | None = absent()


class Site(Settings):
    """The settings of a site; all of them are optional."""

    account: Line | None = absent("Who is charged.")
    partition: Line | None = absent("Where jobs run; Slurm's default partition if left out.")
    gpu_partition: Line | None = absent("Where jobs that ask for a GPU run; as the others if left out.")
    gpu_model: Line | None = absent("Which GPU they ask for; any if left out.")
    qos: Line | None = absent("The quality of service that jobs ask for.")
    constraint: Line | None = absent("Which features a node has to have.")
    sbatch: Line = ""
    """More options of sbatch, for every job."""
    storage: Line | None = absent(
        "The folder of data/, results/ and Snakemake's notes, seen by all machines; the project's if left out."
    )
    max_runtime: Minutes | None = absent("The longest time that a job may ask for, in minutes.")
    rules: dict[str, Request] = Field(default_factory=dict)
    """What single rules ask for in place of slurm/config.yaml."""
    jobs: Annotated[int, Number(whole=True, least=1, most=1_000_000)] = 100
    """How many jobs wait or run at once."""
    retries: Annotated[int, Number(whole=True, least=0, most=100)] = 4
    """How often a job that fails is tried again."""
    seconds_before_limit: Annotated[int, Number(whole=True, least=1, most=65_535)] = 300
    """When a training is told to save its state and stop, before its time is over."""
    status_command: Literal["sacct", "squeue"] | None = absent(
        "What Snakemake asks after its jobs with; sacct, which needs Slurm's accounting, where it is installed."
    )
    seconds_between_checks: Annotated[int, Number(whole=True, least=1, most=86_400)] = 20
    """How often it asks; less often while no job ends."""


def read_site() -> dict[str, Any]:
    """Return the site's settings, None for missing ones, or end with one sentence about a mistake in them."""
    try:
        said = read_yaml(SITE_FILE) or {} if SITE_FILE.exists() else {}
        site = Site.model_validate(said)
    except UserError as error:
        sys.exit(f"error: {error}")
    except ValidationError as error:
        sys.exit(f"error: {SITE_FILE}: {sentence_of(error)}")
    return dict.fromkeys(Site.model_fields) | site.resolved()


def default_resources(site: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resources that are the same for every job, in the executor's terms."""
    # The signal does not go to the batch shell, which would die of it, but to all processes of the step; trainings
    # handle it.
    options = f"--signal=USR1@{site['seconds_before_limit']} {site['sbatch']}".strip()
    resources = {"mem_mb": 4000, "runtime": 60, "slurm_extra": options}
    resources |= {"slurm_account": site["account"], "slurm_partition": site["partition"]}
    return _quoted(resources | {key: site[key] for key in ("qos", "constraint")})


def requests(rules: Mapping[str, Mapping[str, Any]], site: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each rule requests, in the executor's terms; the site's settings for a rule take precedence."""
    for rule in site["rules"]:
        if rule not in rules:
            sys.exit(f"error: {SITE_FILE}: rules.{rule} is an unknown rule; {instead(rule, list(rules))}")
    return {rule: _request({**asks, **site["rules"].get(rule, {})}, site) for rule, asks in rules.items()}


def most_gpus(rules: Mapping[str, Mapping[str, Any]], site: Mapping[str, Any]) -> int:
    """Return the most GPUs that any job requests."""
    return max(request.get("gpu", 0) for request in requests(rules, site).values())


def _request(asks: Mapping[str, Any], site: Mapping[str, Any]) -> dict[str, Any]:
    gpus = asks.get("gpu", 0)
    partition = asks.get("partition") or (site["gpu_partition"] if gpus else None)
    request = {"runtime": min(asks["runtime"], site["max_runtime"] or asks["runtime"]), "slurm_partition": partition}
    if gpus:
        request |= {"gpu": gpus, "gpu_model": asks.get("gpu_model") or site["gpu_model"]}
    # An expression for Snakemake, so without quotes; the first attempt is number 1.
    return {"mem_mb": f"{asks['mem_mb']} * (attempt + 1) // 2"} | _quoted(request)


def _quoted(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not set, and quote texts: Snakemake would evaluate a partition named `max`, or `a-b`."""
    return {key: repr(value) if isinstance(value, str) else value for key, value in resources.items() if value}
