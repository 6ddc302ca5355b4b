"""The workflow's jobs without the imports that take most of a tiny job's time.

A server has imported the libraries that jobs use, none of this project's code, and forks for each job. What Snakemake
finds on its PATH as ``nonrobust-guidance`` is a client: it hands over its words, environment, folder and files, passes
signals on, and ends as the job ends; if it is killed, so is the job. Each job imports the project's code itself, from
wherever its PYTHONPATH says.
"""

import array
import atexit
import gc
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import mkdtemp

FORKS = multiprocessing.get_context("fork")
FILES = array.array("i", (0, 1, 2))
CLIENT = """#!{python} -IS
import array, json, os, signal, socket, sys

server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
job = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
files = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
server.sendmsg([len(job).to_bytes(4, "big")], [files])
server.sendall(job)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: server.sendall(bytes([number])))
status = int.from_bytes(server.recv(4) or (1).to_bytes(4, "big"), "big", signed=True)
if status < 0:
    signal.signal(-status, signal.SIG_DFL) if status != -signal.SIGKILL else None
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@cache
def path_to_warm_jobs() -> str:
    """Start this process's server, and return a PATH on which the client comes first."""
    folder = Path(mkdtemp(prefix="warm-jobs-"))
    address, client = folder / "socket", folder / "nonrobust-guidance"
    client.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    client.chmod(0o755)
    # Without -P, jobs would find the tests' modules.
    command, environment = [sys.executable, "-P", __file__, address], {**os.environ, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    atexit.register(server.kill)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return os.pathsep.join((str(folder), str(Path(sys.executable).parent), os.environ["PATH"]))


def serve(address: str) -> None:
    """Take jobs until the end of the process."""
    import cleanfid.features
    import diffusers
    import matplotlib.pyplot
    import papermill
    import scipy.stats
    import torchvision.models

    _ = cleanfid.features, diffusers.UNet2DModel, matplotlib.pyplot, papermill, scipy.stats, torchvision.models
    # Else every job copies all of these modules, as a collection touches them.
    gc.freeze()
    # Nobody waits for those that watch a job.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    print("ready", flush=True)
    while True:
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            watch(client)
            os._exit(0)
        client.close()


def watch(client: socket.socket) -> None:
    """Start a client's job, pass on its signals, and tell it how the job ended; without a client, end the job."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, [(_, _, sent)], _, _ = client.recvmsg(4, socket.CMSG_SPACE(len(FILES) * FILES.itemsize))
    length, content = int.from_bytes(head, "big"), b""
    while len(content) < length:
        content += client.recv(length - len(content))
    files = array.array("i", sent)
    job = FORKS.Process(target=work, args=(*json.loads(content), files))
    job.start()
    for file in files:
        os.close(file)
    while client in wait([job.sentinel, client]):
        signals = client.recv(1)
        if not signals:
            # The job has a session of its own, with all that it started.
            with suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
            job.kill()
            return
        os.kill(job.pid, signals[0])
    job.join()
    client.sendall(job.exitcode.to_bytes(4, "big", signed=True))


def work(words: Sequence[str], environment: Mapping[str, str], folder: str, files: Sequence[int]) -> None:
    """Become the command that a client stands for."""
    os.setsid()
    # As it is for whatever Snakemake starts.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    for number, file in zip(FILES, files, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["nonrobust-guidance", *words]
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    from nonrobust_guidance.cli import main

    sys.exit(main())


if __name__ == "__main__":
    serve(sys.argv[1])
