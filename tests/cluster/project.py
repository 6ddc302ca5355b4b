"""A clone of the project on the cluster, in whose root commands are typed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from cluster import say

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "workflow", "profiles", "slurm", "config", "notebooks")
METHODS = ("unguided", "robust_xt", "nonrobust_x0_ema09")
SITE = {"gpu_partition": "gpu", "gpu_model": "fake", "status_command": "squeue", "seconds_between_checks": 4}
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


class Project:
    """The clone, its files and its commands."""

    def __init__(self, folder: Path, **site: Any) -> None:
        """Copy what a clone has, and say what is the site's; with ``storage`` the work is done there."""
        self.folder = folder
        self.work = Path(site.get("storage", folder))
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, folder / part)
        self.write_site(**site)

    def write_site(self, **site: Any) -> None:
        """Write the file that is the site's."""
        (self.folder / "slurm" / "site.yaml").write_text(yaml.safe_dump(SITE | site))

    def write_config(self, change: Callable[[dict[str, Any]], None] = lambda config: None) -> None:
        """Write config/cluster.yaml: the tiny run with few methods, every stage in it, changed as a test wants it."""
        config = yaml.safe_load((ROOT / "config" / "tiny.yaml").read_text())
        config["sampling"]["methods"] = {method: config["sampling"]["methods"][method] for method in METHODS}
        config["sampling"]["methods"]["robust_xt"]["scales"] = [1]
        # The GPUs are none, and one that is handed out and cannot be used is an error.
        config["device"] = "cpu"
        config["sampling"]["shard_size"] = 8
        config["classifiers"]["nonrobust"]["training"] |= {"steps": 80, "checkpoint_every": 10}
        config["report"]["ground_truth"] = {"num_samples": 4, "num_steps": 50}
        change(config)
        (self.folder / "config" / "cluster.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def type(self, command: str) -> subprocess.Popen[str]:
        """Start a command, as typed; what it prints goes to ``output``."""
        say(f"{self.folder.name}$ {command}")
        # It ends with the tests, however they end.
        words = ["setpriv", "--pdeathsig", "KILL", *command.split()]
        with self.output.open("a") as file:
            return subprocess.Popen(words, cwd=self.folder, env=ENVIRONMENT, stdout=file, stderr=file, text=True)

    def finish(self, process: subprocess.Popen[str]) -> None:
        """Wait for a command's end, which must be a good one."""
        assert process.wait(timeout=900) == 0, self.output.read_text()

    def run(self, command: str) -> None:
        """Type a command and wait for its end, which must be a good one."""
        self.finish(self.type(command))

    @property
    def output(self) -> Path:
        """The file of all that commands printed."""
        return self.folder / "output.txt"
