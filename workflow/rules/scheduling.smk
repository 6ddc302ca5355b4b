# When Snakemake looks for jobs to start. Snakemake 9.27 looks too often, which takes time away from the jobs.
from snakemake import workflow as engine


class Scheduler(engine.JobScheduler):
    """Snakemake's scheduler, but with timed looks only where its limit on jobs per second held some back.

    Otherwise it is enough to look when a job ends. Snakemake schedules the next look with each look, so that every job
    that ends adds one per second for the rest of the run, and each look goes through all jobs that could start. After
    sixty jobs that takes half a core.
    """

    def _schedule_reevalutation(self, delay):
        if self.job_rate_limiter is None or self.job_rate_limiter.get_free_jobs() == 0:
            super()._schedule_reevalutation(delay)


engine.JobScheduler = Scheduler
