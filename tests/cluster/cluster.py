"""A Slurm of one node with fake GPUs on this machine's loopback, and what tests ask of it and do to it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

CONFIGURED = Path("/etc/slurm")
NODE = socket.gethostname().partition(".")[0]
MARK = "# The cluster of nonrobust-guidance's tests: made and removed by make test-cluster."

# Ports of its own, and its own munge. The partition `cells` leaves cores and GPUs to the others.
SLURM_CONF = f"""{MARK}
ClusterName=test
SlurmctldHost={NODE}(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
AuthInfo=socket={{folder}}/munge/socket
SlurmUser=root
StateSaveLocation={{folder}}/state
SlurmdSpoolDir={{folder}}/spool
SlurmctldPidFile={{folder}}/slurmctld.pid
SlurmdPidFile={{folder}}/slurmd.pid
SlurmctldLogFile={{folder}}/slurmctld.log
SlurmdLogFile={{folder}}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
MinJobAge=3600
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName={NODE} NodeAddr=127.0.0.1 CPUs=6 RealMemory=100000 Gres=gpu:fake:4
PartitionName=cpu Nodes=ALL Default=YES PriorityTier=2
PartitionName=gpu Nodes=ALL PriorityTier=2
PartitionName=cells Nodes=ALL PriorityTier=1 MaxCPUsPerNode=3
"""
# Any device file will do: Slurm hands them out, and sets CUDA_VISIBLE_DEVICES.
GRES_CONF = """AutoDetect=off
Name=gpu Type=fake File=/dev/null
Name=gpu Type=fake File=/dev/zero
Name=gpu Type=fake File=/dev/full
Name=gpu Type=fake File=/dev/random
"""


def say(text: str) -> None:
    """Tell who watches what happens."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.__stderr__, flush=True)


def wait_until(reached: Callable[[], object], never: str, patience: float = 300, pause: float = 0.2) -> None:
    """Return as soon as it is there; fail with what never came."""
    deadline = time.monotonic() + patience
    while not reached():
        assert time.monotonic() < deadline, never
        time.sleep(pause)


class Job(NamedTuple):
    """What Slurm knows of a job."""

    number: str
    state: str
    rule: str
    partition: str
    gpus: str
    memory: str
    minutes: int
    seconds: int


class Slurm:
    """The cluster; all that it writes lies in one folder, but for two links in /etc/slurm."""

    def __init__(self) -> None:
        # Not in pytest's folder, which munge's user may not enter.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.folder.chmod(0o755)
        self.log = self.folder / "slurmd.log"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.links = {name: CONFIGURED / name for name in ("slurm.conf", "gres.conf")}

    def start(self) -> None:
        """Write the configuration, start the daemons and wait until the node takes jobs."""
        self._check_nobody_else()
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        for name, text in {"slurm.conf": SLURM_CONF.format(folder=self.folder), "gres.conf": GRES_CONF}.items():
            (self.folder / name).write_text(text)
            self.links[name].unlink(missing_ok=True)
            self.links[name].symlink_to(self.folder / name)
        munge = self.folder / "munge"
        munge.mkdir()
        (munge / "key").touch(mode=0o600)
        (munge / "key").write_bytes(os.urandom(128))
        for path in (munge, munge / "key"):
            shutil.chown(path, "munge", "munge")
        places = [f"--{name}-file={munge / name}" for name in ("key", "pid", "seed", "log")]
        self._run("munged", "--foreground", "--force", f"--socket={munge / 'socket'}", *places, user="munge")
        wait_until((munge / "socket").exists, "munged does not answer")
        self._run("slurmctld", "-D", "-c")
        self.start_node()

    def start_node(self) -> None:
        """Start the node's daemon and wait until it takes jobs."""
        self._run("slurmd", "-D")
        wait_until(lambda: ask("sinfo", "--noheader", "--format=%T").strip() in ("idle", "mixed"), "the node is not up")

    def release(self, job: Job) -> None:
        """Let a job that Slurm took back start at once, and not after its two minutes."""
        subprocess.run(["scontrol", "update", f"JobId={job.number}", "StartTime=now"], check=True)

    def kill_node(self) -> None:
        """Do what a power cut does: the daemon and all that its jobs run is gone at once, and Slurm notices."""
        victims = [pid for pid in processes() if b"slurmstepd" in command_of(pid)]
        victims += [child for victim in victims for child in descendants(victim)]
        self.daemons["slurmd"].kill()
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        self.daemons.pop("slurmd").wait()
        subprocess.run(["scontrol", "update", f"NodeName={NODE}", "State=DOWN", "Reason=power"], check=True)

    def stop(self) -> None:
        """End all jobs and daemons, and remove what was written."""
        subprocess.run(["scancel", "--user", "root"], capture_output=True)
        wait_until(lambda: not ask("squeue", "--noheader"), "jobs do not end")
        for name in reversed(self.daemons):
            self.daemons[name].terminate()
            self.daemons[name].wait(timeout=60)
        for link in self.links.values():
            link.unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def jobs(self, folder: Path) -> list[Job]:
        """List all jobs submitted from a folder, those that ended too, in the order of their submission."""
        found = []
        for record in ask("scontrol", "--oneliner", "show", "job").splitlines():
            values = dict(word.split("=", 1) for word in record.split() if "=" in word)
            if values.get("WorkDir") == str(folder):
                job = Job(
                    number=values["JobId"],
                    state=values["JobState"],
                    rule=re.match("(?:rule|group)_(.*?)(?:_wildcards_|$)", values["Comment"])[1],
                    partition=values["Partition"],
                    gpus=values.get("TresPerJob", ""),
                    memory=values["MinMemoryNode"],
                    minutes=seconds_in(values["TimeLimit"]) // 60,
                    seconds=seconds_in(values["RunTime"]),
                )
                found.append(job)
        return sorted(found, key=lambda job: int(job.number))

    def _run(self, program: str, *arguments: str, user: str = "root") -> None:
        """Start a daemon as a child that ends with us, however we end."""
        command = [
            "setpriv",
            "--pdeathsig",
            "TERM",
            "--reuid",
            user,
            "--regid",
            user,
            "--clear-groups",
            program,
            *arguments,
        ]
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        with (self.folder / f"{program}.out").open("ab") as out:
            self.daemons[program] = subprocess.Popen(command, stdout=out, stderr=out, env=environment)

    def _check_nobody_else(self) -> None:
        for link in self.links.values():
            if link.exists() and MARK not in link.read_text() and link.name == "slurm.conf":
                pytest.exit(f"error: {link} exists: this machine is part of a cluster, which the tests leave alone", 1)


def ask(*command: str) -> str:
    """Return what a command prints; nothing where it fails."""
    return subprocess.run(command, capture_output=True, text=True).stdout


def seconds_in(text: str) -> int:
    """Read a time as Slurm writes it: 1-02:03:04."""
    days, _, time_of_day = text.rpartition("-")
    hours, minutes, seconds = map(int, time_of_day.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def processes() -> list[int]:
    """List the processes of this machine."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def command_of(process: int) -> bytes:
    """Return a process's command line, its words ended by zeros; nothing if it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def place_of(process: int) -> Path | None:
    """Return the folder that a process works in; None if it is gone."""
    try:
        return Path(f"/proc/{process}/cwd").resolve(strict=True)
    except OSError:
        return None


def descendants(process: int) -> list[int]:
    """List the children of a process, theirs, and so on."""
    try:
        children = [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []
    return children + [further for child in children for further in descendants(child)]


def signals_of(process: int, kind: str) -> set[int]:
    """Return the signals that a process catches (SigCgt) or that wait for it (ShdPnd)."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return set()
    mask = int(re.search(rf"^{kind}:\s+([0-9a-f]+)$", status, re.MULTILINE)[1], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
