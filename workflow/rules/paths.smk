# Where the files of a run lie.
import os
from pathlib import Path

from nonrobust_guidance.config import sample_files
from nonrobust_guidance.metrics import screening, tables

# The folders are Path objects because rules take them as params: snakemake --lint refuses a string there that is the
# beginning of an input or output, for the sake of jobs without a shared file system. The jobs here share one.

# Runs of one dataset share its data and checkpoints.
DATA = Path("data", RUN.dataset.name)
CHECKPOINTS = DATA / "checkpoints"
DIFFUSION = CHECKPOINTS / RUN.diffusion.name
JUDGE = CHECKPOINTS / RUN.metrics.judge
# The Inception networks, which serve every dataset.
WEIGHTS = Path("data/weights")
RESULTS = Path("results", RUN.run)

# The first file has the settings that runs of one dataset share, the second those of this run.
MODEL_CONFIG = f"{DATA}/config.yaml"
RUN_CONFIG = f"{RESULTS}/config.yaml"

TABLES = [f"{RESULTS}/{file.name}" for file in tables.RESULT_FILES if file.key and file.belongs_to(RUN)]
# The screening's results, and the run that confirms its choice. Without a screening that is the run itself.
SCREENING = RESULTS / screening.FOLDER
SCREENING_CONFIG = f"{SCREENING}/config.yaml"
CONFIRMED_CONFIG = f"{RESULTS}/confirmed.yaml" if VARIANTS else RUN_CONFIG


# A training and a fetch make the same files, so the functions below work for both.


def diffusion_files():
    """Return the files of the diffusion model's checkpoint."""
    parts = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
    return [f"{DIFFUSION}/{file}" for file in [*parts, "scheduler/scheduler_config.json"]]


def classifier_files(names):
    """Return the files of these classifiers' checkpoints."""
    return [f"{CHECKPOINTS}/{name}/{file}" for name in names for file in ("config.json", "model.safetensors")]


def drawn_files(folder, targets):
    """Return the files of samples and their cards of a cell, or of a shard of it."""
    return [f"{folder}/{target}.{kind}" for target in targets for kind in ("npy", "json")]


def files_of_cells(run, methods=None):
    """Return the files of samples of a run, or of some of its methods, and their cards, in the folder of samples."""
    files = [os.path.splitext(file)[0] for file in sample_files(run) if not methods or file.split("/")[0] in methods]
    return [f"{file}.{kind}" for file in files for kind in ("npy", "json")]


def table(file):
    """Return a table of the results as an output, with its caption in Snakemake's own report.

    Where the table has no caption of its own, the report shows the parameter ``holds`` of the rule.
    """
    own = f"{Path(file.name).stem}.rst"
    caption = own if os.path.isfile(f"{workflow.basedir}/workflow/report/{own}") else "table.rst"
    return report(f"{RESULTS}/{file.name}", caption=f"../report/{caption}", category="Results")
