# When Snakemake looks for jobs to start. Snakemake 9.27 looks too often, and takes the time from the jobs.
from snakemake import workflow as engine


class Scheduler(engine.JobScheduler):
    """Snakemake's scheduler, which looks again by the clock only where its limit on jobs a second held some back.

    Otherwise a job that ends is what calls for a look. Snakemake orders the next look with each, so that every job that
    ends adds one a second for the rest of the run; all that could start is looked at each time. After sixty jobs it
    takes half a core.
    """

    def _schedule_reevalutation(self, delay):
        if self.job_rate_limiter is None or self.job_rate_limiter.get_free_jobs() == 0:
            super()._schedule_reevalutation(delay)


engine.JobScheduler = Scheduler
