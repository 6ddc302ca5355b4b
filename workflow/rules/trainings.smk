# Which checkpoints are up to date, and which the run would train again. Snakemake has no record of a checkpoint that
# DVC or a colleague brought, and its age says nothing. Its card decides: if the card has these data and settings, the
# checkpoint is up to date however old it is. Any other checkpoint is a different training, which took time to make, so
# it is replaced only if --config replace=... names it.
import sys

from nonrobust_guidance.models.origins import fetched_models, trained_models
from nonrobust_guidance.records.trainings import mismatches

TRAINED_MODELS = trained_models(RUN)
TRAININGS = mismatches(RUN.dataset.recorded(), TRAINED_MODELS, fetched_models(RUN), DATA)
VOUCHED = {name for name, reason in TRAININGS.items() if not reason}
OTHERS = {name: reason for name, reason in TRAININGS.items() if reason}


def model_files(name):
    """Return the files of a model's checkpoint."""
    return diffusion_files() if name == RUN.diffusion.name else classifier_files([name])


def training_data(name):
    """Return the manifest of a model's training data. An up-to-date checkpoint may be older than it."""
    manifest = f"{DATA}/manifest.json"
    return ancient(manifest) if name in VOUCHED else manifest


def describe_other(name):
    """Say how a checkpoint's training differs from the run's, and what to do."""
    folder, reason = f"{CHECKPOINTS}/{name}", OTHERS[name]
    if name in REPLACED:
        return f"{folder} is replaced: {reason}"
    key = "diffusion.name" if name == RUN.diffusion.name else f"another key than classifiers.{name}"
    key = "dataset.name" if reason.endswith("other data") else key
    return (
        f"{folder} is another training, and this run would replace it: {reason}. To keep both, give this run's another"
        f" name ({key}); to replace it, add --config replace=[{name}]"
    )


def require_leave_to_replace():
    """End with a sentence for each training that would be lost without permission."""
    made = {file for job in workflow.dag.needrun_jobs() for file in job.output}
    lost = [name for name in OTHERS if name not in REPLACED and not made.isdisjoint(model_files(name))]
    if lost:
        sys.exit("\n".join(f"error: {describe_other(name)}" for name in lost))
