# Which jobs a call needs. Snakemake 9.27 leaves out jobs behind a checkpoint that stands, and they are put back here.
from snakemake import workflow as engine
from snakemake.dag import DAG


class Triggers:
    """Which jobs run because another one does, read from all jobs that depend on it; an ancient input is no reason."""

    def __init__(self, depending):
        self.depending = depending

    def __getitem__(self, job):
        following = self.depending[job].items()
        return {other: files for other, files in following if not all(file.is_ancient for file in files)}


class Plan(DAG):
    """Snakemake's plan, in which a job behind an ancient input has reasons of its own to run.

    Snakemake looks for no reason to run a job if one before it runs, since it will run for that. It forgets that an
    ancient input does not pass this on: where the data were prepared again and the checkpoints stood, it drew no samples,
    however many were missing or of other settings, and called the run complete.
    """

    looks_for_reasons = False

    async def update_needrun(self, create_inventory=False):
        self.looks_for_reasons = True
        try:
            await super().update_needrun(create_inventory)
        finally:
            self.looks_for_reasons = False

    def bfs(self, direction, *jobs, **options):
        return super().bfs(Triggers(direction) if self.looks_for_reasons else direction, *jobs, **options)


engine.DAG = Plan
