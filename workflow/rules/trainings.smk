# Which checkpoints stand, and which the run would train again.
#
# Snakemake has no record of a checkpoint that DVC or a colleague brought, and its age says nothing. Its card decides: if
# the card names these data and settings, the checkpoint stands however old it is. Any other checkpoint is another
# training, which took its time to make, so it is replaced only if --config replace=... names it.
import sys

from nonrobust_guidance.records.trainings import mismatches

TRAININGS = mismatches(config, DATA)
VOUCHED = {name for name, reason in TRAININGS.items() if not reason}
OTHERS = {name: reason for name, reason in TRAININGS.items() if reason}


def model_files(name):
    """Return the files of a model's checkpoint."""
    return diffusion_files() if name == config["diffusion"]["name"] else classifier_files([name])


def training_data(name):
    """Return the manifest of what a model is trained on. A checkpoint that stands may be older than it."""
    manifest = f"{DATA}/manifest.json"
    return ancient(manifest) if name in VOUCHED else manifest


def describe_other(name):
    """Say how a checkpoint is another training than the run asks for, and what to do."""
    folder, reason = f"{CHECKPOINTS}/{name}", OTHERS[name]
    if name in REPLACED:
        return f"{folder} is replaced: {reason}"
    key = "diffusion.name" if name == config["diffusion"]["name"] else f"another key than classifiers.{name}"
    key = "dataset.name" if reason.endswith("other data") else key
    return (
        f"{folder} is another training, and this run would replace it: {reason}. To keep both, give this run's another"
        f" name ({key}); to replace it, add --config replace=[{name}]"
    )


def require_leave_to_replace():
    """End with a sentence for each training that would be lost without leave."""
    made = {file for job in workflow.dag.needrun_jobs() for file in job.output}
    lost = [name for name in OTHERS if name not in REPLACED and not made.isdisjoint(model_files(name))]
    if lost:
        sys.exit("\n".join(f"error: {describe_other(name)}" for name in lost))
