"""What a site says in slurm/site.yaml, and what jobs ask Slurm for in the light of it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nonrobust_guidance.config import instead, schema_violation
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.yaml_files import read_yaml

SITE_FILE = Path("slurm/site.yaml")
SCHEMA_FILE = Path("slurm/site.schema.yaml")


def read_site() -> dict[str, Any]:
    """Return what the site says, with the schema's defaults, or end with one sentence about a mistake in it."""
    schema = read_yaml(SCHEMA_FILE)
    try:
        said = read_yaml(SITE_FILE) or {} if SITE_FILE.exists() else {}
    except UserError as error:
        sys.exit(f"error: {error}")
    violation = schema_violation(schema, said)
    if violation:
        sys.exit(f"error: {SITE_FILE}: {violation}")
    return {key: said.get(key, part.get("default")) for key, part in schema["properties"].items()}


def default_resources(site: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is the same for every job, in the executor's words."""
    # Not to the batch shell, which would die of it: to all processes of the step, of which the trainings listen.
    options = f"--signal=USR1@{site['seconds_before_limit']} {site['sbatch']}".strip()
    resources = {"mem_mb": 4000, "runtime": 60, "slurm_extra": options}
    resources |= {"slurm_account": site["account"], "slurm_partition": site["partition"]}
    return _quoted(resources | {key: site[key] for key in ("qos", "constraint")})


def requests(rules: Mapping[str, Mapping[str, Any]], site: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each rule asks for, in the executor's words; what the site says of a rule wins."""
    for rule in site["rules"]:
        if rule not in rules:
            sys.exit(f"error: {SITE_FILE}: rules.{rule} is an unknown rule; {instead(rule, list(rules))}")
    return {rule: _request({**asks, **site["rules"].get(rule, {})}, site) for rule, asks in rules.items()}


def most_gpus(rules: Mapping[str, Mapping[str, Any]], site: Mapping[str, Any]) -> int:
    """Return how many GPUs the job that asks for most of them does."""
    return max(request.get("gpu", 0) for request in requests(rules, site).values())


def _request(asks: Mapping[str, Any], site: Mapping[str, Any]) -> dict[str, Any]:
    gpus = asks.get("gpu", 0)
    partition = asks.get("partition") or (site["gpu_partition"] if gpus else None)
    request = {"runtime": min(asks["runtime"], site["max_runtime"] or asks["runtime"]), "slurm_partition": partition}
    if gpus:
        request |= {"gpu": gpus, "gpu_model": asks.get("gpu_model") or site["gpu_model"]}
    # An expression of Snakemake's, and so without quotes: the first attempt is number 1.
    return {"mem_mb": f"{asks['mem_mb']} * (attempt + 1) // 2"} | _quoted(request)


def _quoted(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not said, and quote texts: Snakemake would compute a partition named `max`, or `a-b`."""
    return {key: repr(value) if isinstance(value, str) else value for key, value in resources.items() if value}
