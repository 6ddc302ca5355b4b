"""A Slurm of one node with fake GPUs on this machine's loopback: everything it writes lies in one folder but a link."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

CONFIGURED = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf")
NODE = socket.gethostname().partition(".")[0]
MARK = "# A test's cluster, made and removed by nonrobust-guidance."

SLURM_CONF = f"""{MARK}
ClusterName=test
SlurmctldHost={NODE}(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmctldParameters=enable_configless
AuthType=auth/munge
AuthInfo=socket={{folder}}/munge/socket
SlurmUser=root
SlurmdUser=root
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
KillWait=20
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName={NODE} NodeAddr=127.0.0.1 CPUs={{cpus}} RealMemory=64000 Gres=gpu:fake:2
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE
PartitionName=gpu Nodes=ALL MaxTime=INFINITE
"""
GRES_CONF = """AutoDetect=off
Name=gpu Type=fake File=/dev/null
Name=gpu Type=fake File=/dev/zero
"""


class Slurm:
    """The cluster, its daemons, and what tests ask of it and do to it."""

    def __init__(self, folder: Path) -> None:
        """Name the folder that holds all of it."""
        self.folder = folder
        self.slurmd: subprocess.Popen[bytes] | None = None
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Write the configuration, start the daemons and wait until the node takes jobs."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(folder=self.folder, cpus=4))
        (self.folder / "gres.conf").write_text(GRES_CONF)
        for name in FILES:
            link = CONFIGURED / name
            assert not link.exists(), f"{link} exists: this machine has a Slurm of its own, and the tests leave it alone"
            link.unlink(missing_ok=True)
            link.symlink_to(self.folder / name)
        munge = self.folder / "munge"
        munge.mkdir(mode=0o755)
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o600)
        for path in (munge, munge / "key"):
            shutil.chown(path, "munge", "munge")
        options = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
        munged = ["munged", "--foreground", "--force", *(f"--{option}={munge / name}" for option, name in options.items())]
        self.run(munged, user="munge")
        wait_until((munge / "socket").exists, "munged does not answer")
        self.run(["slurmctld", "-D", "-c"])
        self.start_node()

    def run(self, command: list[str], **options: str) -> subprocess.Popen[bytes]:
        """Start a daemon in the foreground, so that it is our child and none of it is left behind."""
        log = (self.folder / f"{command[0]}.out").open("ab")
        path = f"/usr/sbin:/sbin:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        daemon = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True, **options)
        self.daemons.append(daemon)
        return daemon

    def start_node(self) -> None:
        """Start the node's daemon and wait until it takes jobs."""
        self.slurmd = self.run(["slurmd", "-D"])
        wait_until(lambda: self.ask("sinfo", "--noheader", "--format=%T").strip() in ("idle", "mixed"), "the node does not come up")

    def ask(self, *command: str) -> str:
        """Return what a client command prints; nothing where it fails."""
        return subprocess.run(command, capture_output=True, text=True).stdout
