"""The jobs of a Snakemake that was killed: Slurm still runs them, and the next Snakemake must not write beside them.

Run as a program, with the folder that the jobs write to, this cancels them. The profile only gives the command
(BEFORE_SUBMITTING), and the workflow runs it before it submits its first job, so calls that only look cancel nothing.
"""

import getpass
import hashlib
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

PATIENCE = 120


class Submitter(NamedTuple):
    """The Snakemake that submitted a job, as given by the job's name."""

    folder: str
    machine: str
    process: str
    start: str

    @property
    def prefix(self) -> str:
        """Prefix of the names of its jobs; the executor accepts letters, digits and ``-``, 50 at most."""
        return "-".join(self)

    @classmethod
    def of_this_process(cls, folder: Path) -> "Submitter":
        """Describe this process, which works in that folder."""
        digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
        machine = re.sub("[^A-Za-z0-9]", "", socket.gethostname())[:20]
        return cls(digest, machine, str(os.getpid()), _start_of(os.getpid()))

    def lives(self) -> bool:
        """Return whether that process still runs on this machine: a later one may share its number, not its start."""
        return _start_of(self.process) == self.start


def cancel_orphans(folder: Path) -> None:
    """Cancel the jobs of a dead Snakemake that worked in that folder, and wait for their end.

    Jobs of a Snakemake that is still running are left alone. If that cannot be known, because it was started on another
    machine, this ends the program with one sentence.
    """
    me = Submitter.of_this_process(folder)
    jobs = {job: submitter for job, submitter in _queued().items() if submitter.folder == me.folder}
    elsewhere = {job: submitter.machine for job, submitter in jobs.items() if submitter.machine != me.machine}
    if elsewhere:
        sys.exit(
            f"error: a Snakemake on {' and '.join(sorted(set(elsewhere.values())))} has jobs in the queue that write to"
            f" {folder.resolve()}; go on there, or, if it is dead, cancel them first: scancel {' '.join(elsewhere)}"
        )
    orphans = {job for job, submitter in jobs.items() if not submitter.lives()}
    if orphans:
        print(f"Cancelling the jobs of a Snakemake that was killed: {' '.join(sorted(orphans))}", file=sys.stderr)
        subprocess.run(["scancel", *orphans], check=True)
        deadline = time.monotonic() + PATIENCE
        while orphans & set(_queued()):
            if time.monotonic() > deadline:
                sys.exit(
                    f"error: the jobs {' '.join(sorted(orphans))} do not end; see squeue, and start again without them"
                )
            time.sleep(1)


def _queued() -> dict[str, Submitter]:
    """Return who submitted each of this user's waiting, running or ending jobs, where the job's name has it."""
    command = ["squeue", "--noheader", "--user", getpass.getuser(), "--format", "%i|%j"]
    try:
        table = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        sys.exit("error: squeue is not there; start Snakemake with this profile on a login node of the cluster")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: squeue does not say which jobs there are: {error.stderr.strip().splitlines()[-1]}")
    rows = (re.fullmatch(r"([^|]+)\|([0-9a-f]{8})-([A-Za-z0-9]*)-(\d+)-(\d+)_.*", row) for row in table.splitlines())
    return {row[1]: Submitter(*row.groups()[1:]) for row in rows if row}


def _start_of(process: int | str) -> str:
    """Return when a process of this machine started, in ticks since the machine did; empty if there is none."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    # The program's name, in brackets, may contain anything.
    return stat.rpartition(")")[2].split()[19]


if __name__ == "__main__":
    cancel_orphans(Path(sys.argv[1]))
