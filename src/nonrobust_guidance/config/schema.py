"""The JSON Schema of a run file, for editors: they complete keys, show what each means and mark mistakes."""

from __future__ import annotations

import json
from pathlib import Path

from nonrobust_guidance.config.run import Run
from nonrobust_guidance.files import write_atomically


def json_schema() -> str:
    """Return the schema as text.

    It describes each section by itself, not how sections must fit together; the command check-config checks both.
    """
    schema = Run.model_json_schema(mode="validation")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"


def export_schema(output: Path) -> None:
    """Write the schema.

    Raises:
        UserError: if the file cannot be written.
    """
    text = json_schema()
    write_atomically(output, lambda path: path.write_text(text, encoding="utf-8"))
