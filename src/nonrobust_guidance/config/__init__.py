"""A run's configuration: made of the stages' sections, read, checked across sections, and completed with defaults."""

from nonrobust_guidance.config.reading import (
    load_config,
    load_models,
    parse_config,
    parse_models,
    read_run,
    require_run_files,
    sample_files,
    write_config,
)
from nonrobust_guidance.config.run import Models, Run

__all__ = [
    "Models",
    "Run",
    "load_config",
    "load_models",
    "parse_config",
    "parse_models",
    "read_run",
    "require_run_files",
    "sample_files",
    "write_config",
]
