# The run: its configuration, completed and checked, and the parts of it that the other files use most.
import os
import sys

from nonrobust_guidance.config import parse_config, read_run
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.screening import screening_of, variants
from nonrobust_guidance.report.pages import pages_of
from nonrobust_guidance.settings import instead
from snakemake.utils import update_config


def read_config():
    """Complete the settings of the run files and --config, or end with one sentence about a mistake in them.

    The files are read again because Snakemake's own reader keeps the last of two equal keys, takes 3e-05 for a text
    and no for false.

    Returns:
        The run, and the models whose trainings may be replaced according to ``--config replace=...``.
    """
    files = [os.path.relpath(path) for path in workflow.configfiles]
    # Permission to replace a training is given for one call. It is not a setting of the run.
    leave = [word for word in workflow.config_settings.config_args or [] if word.startswith("replace=")]
    overrides = [word for word in workflow.config_settings.config_args or [] if word not in leave]
    said = {}
    try:
        for part in read_run(files, overrides):
            update_config(said, part)
        run = parse_config(said, ", ".join(files) + (" with --config" if overrides else ""))
        replaced = read_run([], leave)[-1]["replace"] if leave else []
    except UserError as error:
        sys.exit(f"error: {error}")
    models = [run.diffusion.name, *run.classifiers]
    names = models if replaced == "all" else replaced if isinstance(replaced, list) else [replaced]
    unknown = [name for name in names if name not in models]
    if unknown:
        sys.exit(
            f"error: --config replace names {unknown[0]}, which is no model of this run; {instead(unknown[0], models)}"
        )
    return run, names


RUN, REPLACED = read_config()

# The captions of Snakemake's own report use this.
config = RUN.resolved()

METHODS = RUN.sampling.methods
GUIDED = list(RUN.sampling.guided)
# Methods that draw separate samples for each target.
TARGETED = [name for name, method in METHODS.items() if method.classifier]
UNGUIDED = [name for name in METHODS if name not in TARGETED]
PAGES = pages_of(RUN.report, RUN)

# What sampling.search screens before it is confirmed; empty where there is nothing to choose.
VARIANTS = variants(RUN)
SCREENED = screening_of(RUN) if VARIANTS else None
