# Which jobs a call needs. Snakemake 9.27 forgets jobs that depend on an up-to-date checkpoint; this adds them back.
from snakemake import workflow as engine
from snakemake.dag import DAG


class Triggers:
    """Which jobs run because another one does, out of all that depend on it; an ancient input is not a reason."""

    def __init__(self, depending):
        self.depending = depending

    def __getitem__(self, job):
        following = self.depending[job].items()
        return {other: files for other, files in following if not all(file.is_ancient for file in files)}


class Plan(DAG):
    """Snakemake's plan, except that a job with an ancient input gets its own reasons to run.

    Snakemake does not look for a job's own reasons to run if a job that it depends on runs, since it will run because
    of that. It forgets that an ancient input does not pass this on: where the data were prepared again and the
    checkpoints were up to date, it drew no samples, however many were missing or had other settings, and called the run
    complete.
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
