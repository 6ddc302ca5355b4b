"""A run's configuration: read, checked against the schema and against itself, and completed with defaults."""

from nonrobust_guidance.config.reading import (
    MODEL_SECTIONS,
    load_config,
    read_run,
    require_run_files,
    resolve_config,
    sample_files,
    write_config,
)
from nonrobust_guidance.config.schema import instead, schema_violation

__all__ = [
    "MODEL_SECTIONS",
    "instead",
    "load_config",
    "read_run",
    "require_run_files",
    "resolve_config",
    "sample_files",
    "schema_violation",
    "write_config",
]
