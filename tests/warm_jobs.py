"""Jobs of the workflow, and its notebooks, without the imports that take most of their time in tests.

A server has imported the libraries that they use, none of this project's code, and forks for each call. What the PATH
has as ``nonrobust-guidance`` is a client: it hands over its words, environment, folder and files, passes on signals,
and ends as the job ends; if it is killed, so is the job, a moment later. Each job imports the project's code itself,
from wherever its PYTHONPATH says. A client for notebook kernels stands in for the Python interpreter inside a job.
Snakemake and DVC are started as they are: their locks ask whether a process that was killed still lives.
"""

import array
import atexit
import gc
import json
import multiprocessing
import os
import runpy
import shutil
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

module, words = {module!r}, sys.argv[1:]
if not module:
    if words[:2] != ["-m", "ipykernel_launcher"]:
        os.execv({python!r}, [{python!r}, *words])
    _, module, *words = words
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
job = json.dumps([module, words, dict(os.environ), os.getcwd()]).encode()
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
def warm_folder() -> Path:
    """Start this process's server, and return a folder with its clients."""
    folder = Path(mkdtemp(prefix="warm-jobs-"))
    address = str(folder / "socket")
    (folder / "bin").mkdir()
    # Only what asks for this interpreter by name gets the kernels' client, nobody who looks for a Python on the PATH.
    for name, module in {"bin/nonrobust-guidance": "nonrobust_guidance.cli", "python": ""}.items():
        client = folder / name
        client.write_text(CLIENT.format(python=sys.executable, address=address, module=module))
        client.chmod(0o755)
    # Without -P, jobs would find the tests' modules.
    command = [sys.executable, "-P", __file__, address]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    atexit.register(shutil.rmtree, folder)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return folder


def path_to_warm_jobs(programs: str | Path | None = None) -> str:
    """Return a PATH on which the clients come first, then this interpreter's programs, then others."""
    folders = (warm_folder() / "bin", Path(sys.executable).parent, programs or os.environ["PATH"])
    return os.pathsep.join(map(str, folders))


def python_with_warm_kernels() -> str:
    """Return what to take for this interpreter where notebooks are run."""
    return str(warm_folder() / "python")


def serve(address: str) -> None:
    """Take calls until the process that started the server is gone, and with it the other end of stdin."""
    import cleanfid.features
    import diffusers
    import ipykernel.kernelapp
    import matplotlib_inline.backend_inline
    import nbconvert
    import papermill
    import scipy.stats
    import seaborn
    import torchvision.models

    _ = cleanfid.features, diffusers.UNet2DModel, ipykernel.kernelapp, matplotlib_inline.backend_inline, nbconvert
    _ = papermill, scipy.stats, seaborn, torchvision.models
    # Else every job copies all of these modules, as a collection touches them.
    gc.freeze()
    # Nobody waits for those that watch a job.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    print("ready", flush=True)
    while sys.stdin not in wait([listener, sys.stdin]):
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
            job.join()
            return
        os.kill(job.pid, signals[0])
    job.join()
    client.sendall(job.exitcode.to_bytes(4, "big", signed=True))


def work(module: str, words: Sequence[str], environment: Mapping[str, str], folder: str, files: Sequence[int]) -> None:
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
    sys.executable = str(Path(sys.argv[1]).parent / "python")
    sys.argv = [module, *words]
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
