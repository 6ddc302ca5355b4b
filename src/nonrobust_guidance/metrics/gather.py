"""From the tables of the methods to the table of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically


def gather_scores(config: Mapping[str, Any], scores_folder: Path, output_csv: Path) -> None:
    """Write one table of the tables of all methods, in the order of the configuration.

    Args:
        config: the run's validated configuration.
        scores_folder: holds ``<method>.csv``.
        output_csv: written atomically; its numbers are the very texts of the parts.

    Raises:
        UserError: if a method's table is missing, cut off or has other columns than the first one's.
    """
    tables: list[pd.DataFrame] = []
    for method in config["sampling"]["methods"]:
        path = scores_folder / f"{method}.csv"
        try:
            tables.append(pd.read_csv(path, dtype=str, keep_default_na=False))
        except FileNotFoundError:
            raise UserError(f"{path} is missing; run score-samples for {method} first") from None
        except (ValueError, OSError) as error:
            raise UserError(f"{path} cannot be read as a table; score {method} again") from error
        if list(tables[-1].columns) != list(tables[0].columns):
            raise UserError(f"{path} has other columns than the other methods' tables; score {method} again")
    table = pd.concat(tables)
    write_atomically(output_csv, lambda file: table.to_csv(file, index=False))
