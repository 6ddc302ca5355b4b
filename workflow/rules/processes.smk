# What every process of a run inherits: how it handles a signal, and its environment.
import signal

from nonrobust_guidance.records.trainings import REPLACE_VARIABLE

# A cluster sends SIGUSR1 to a whole job shortly before its time is over. A training then saves its state and ends, and
# the processes around it, Snakemake among them, have to survive the signal. Processes that are started from here ignore
# it too, unless they set a handler as a training does.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# By default glibc returns the memory of a guided step to the system, and the next step has to get the same pages again,
# which costs a tenth of the time at x0. These settings, read when a process starts, keep the memory, in huge pages.
TUNABLES = ":".join(
    f"glibc.malloc.{setting}" for setting in ("hugetlb=1", "trim_threshold=2000000000", "mmap_threshold=1000000000")
)
shell.prefix(f"set -euo pipefail; export GLIBC_TUNABLES={TUNABLES}; export {REPLACE_VARIABLE}='{' '.join(REPLACED)}'; ")
