# Where the files of a run lie.
import os
from pathlib import Path

from nonrobust_guidance.config import sample_files
from nonrobust_guidance.metrics import tables

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

SAMPLES = [f"{RESULTS}/samples/{file}" for file in sample_files(RUN)]
SAMPLE_CARDS = [f"{os.path.splitext(file)[0]}.json" for file in SAMPLES]
TABLES = [f"{RESULTS}/{file.name}" for file in tables.files_of(RUN.metrics) if file.key]


# A training and a fetch make the same files, so the functions below serve for both.


def diffusion_files():
    """Return the files of the diffusion model's checkpoint."""
    parts = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
    return [f"{DIFFUSION}/{file}" for file in [*parts, "scheduler/scheduler_config.json"]]


def classifier_files(names):
    """Return the files of these classifiers' checkpoints."""
    return [f"{CHECKPOINTS}/{name}/{file}" for name in names for file in ("config.json", "model.safetensors")]


def drawn_files(folder, targets):
    """Return the files of samples and their cards that one job draws."""
    return [f"{folder}/{target}.{kind}" for target in targets for kind in ("npy", "json")]


def table(file):
    """Return a table of the results as an output, with its caption in Snakemake's own report.

    Where the table has no caption of its own, the report shows the parameter ``holds`` of the rule.
    """
    own = f"{Path(file.name).stem}.rst"
    caption = own if os.path.isfile(f"{workflow.basedir}/workflow/report/{own}") else "table.rst"
    return report(f"{RESULTS}/{file.name}", caption=f"../report/{caption}", category="Results")
