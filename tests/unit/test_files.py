"""Disks that are full or not to be written to, names that hold anything, and the paths of a run file."""

import contextlib
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import save_file

from nonrobust_guidance import cli, fetching
from nonrobust_guidance.data import prepare_data
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import Origin, unpack
from nonrobust_guidance.files import expand_path, naming, write_atomically
from nonrobust_guidance.models.classifiers import build_from_card, save_classifier
from nonrobust_guidance.models.diffusion import build_unet, save_diffusion
from nonrobust_guidance.models.resuming import STATE_FILE, TrainingState
from nonrobust_guidance.models.training import write_history
from nonrobust_guidance.sampling.draw import Parts
from nonrobust_guidance.sampling.files import save_samples

LIMIT = 20_000
SETTINGS = {
    "name": "small",
    "kind": "sportballs",
    "seed": 3,
    "image_size": 16,
    "ball_size": 0.75,
    "num_images": {"train": 100, "validation": 5, "test": 4},
}
IMAGES = np.arange(30 * 32 * 32 * 3, dtype=np.uint8).reshape(30, 32, 32, 3)
CARD = {"architecture": "judge_cnn", "classes": ["a", "b", "none of these"], "factors": []}


@contextlib.contextmanager
def no_file_larger_than(num_bytes):
    """Within, the system cuts every file off there, as a full disk does, and needs no rights for that.

    Other programs that run within, such as git, are killed by it and leave their locks.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save_state(path):
    model = torch.nn.Linear(100, 100)
    TrainingState(path, {}).save(1, [], [], model, torch.optim.AdamW(model.parameters()), {})


def save_unet(folder):
    unet = build_unet({"block_out_channels": [16], "layers_per_block": 1, "norm_num_groups": 4} | UNET, 16, 0)
    save_diffusion(unet, DDPMScheduler(), folder)


UNET = {"attention_levels": [], "attention_head_dim": 8}
WRITERS = {
    "prepared.npy": lambda path: prepare_data(SETTINGS, path),
    "part.npy": lambda path: Parts(path, "origin").save(range(30), IMAGES),
    "samples.npy": lambda path: save_samples(path, [IMAGES]),
    STATE_FILE: save_state,
    "unet": save_unet,
    "classifier": lambda path: save_classifier(build_from_card(CARD), CARD, path),
    "history.csv": lambda path: write_history(path, [{"step": i, "loss": i / 7} for i in range(5000)]),
    "metrics.csv": lambda path: write_atomically(path, pd.DataFrame({"a": range(9999)}).to_csv),
    "index.html": lambda path: write_atomically(path, lambda file: file.write_text("page" * LIMIT)),
    "model.safetensors": lambda path: write_atomically(path, lambda f: save_file({"a": torch.zeros(LIMIT)}, f)),
    "source.json": lambda path: Origin({"repository": "x" * LIMIT}, None, {}).write(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_does_not_fit_is_named_and_no_half_of_it_stays(tmp_path, name):
    with pytest.raises(UserError) as raised, no_file_larger_than(LIMIT):
        WRITERS[name](tmp_path / name)
    assert str(raised.value).startswith(f"{tmp_path / name}")
    assert str(raised.value).endswith(
        "cannot be written (File too large); raise the limit on the size of files, and run the command again"
    )
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "config.json"]


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_finished_before_the_disk_was_full_stays(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(UserError), no_file_larger_than(LIMIT):
        WRITERS[name](path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "(No space left on device); make room there, and run the command again"),
        (errno.EDQUOT, "(Disk quota exceeded); make room there, and run the command again"),
        (errno.EROFS, "(Read-only file system); name another place"),
        (errno.EACCES, "(Permission denied); change its permissions, or name another place"),
    ],
)
def test_whatever_a_write_is_refused_for_is_one_sentence(tmp_path, number, words):
    def of_python(path):
        path.write_text("half")
        raise OSError(number, os.strerror(number))

    def of_rust(path):
        raise RuntimeError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})")

    for write in (of_python, of_rust):
        with pytest.raises(UserError) as raised:
            write_atomically(tmp_path / "table.csv", write)
        assert str(raised.value) == f"{tmp_path / 'table.csv'} cannot be written {words}"
        assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=rf"^{tmp_path}/file/b/c\.csv cannot be written \(Not a directory\); remove"):
        write_atomically(tmp_path / "file" / "b" / "c.csv", lambda path: path.write_text(""))
    with pytest.raises(UserError, match=r"file cannot be written \(File exists\); remove what is in its way"):
        prepare_data(SETTINGS, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_errors_that_are_no_refusal_go_on_as_they_are(tmp_path):
    for error in (FileNotFoundError(errno.ENOENT, "No such file"), ValueError("(os error of mine)"), OSError("odd")):
        with pytest.raises(type(error)) as raised, naming(tmp_path):
            raise error
        assert raised.value is error


def test_a_source_that_cannot_be_read_is_not_mistaken_for_the_target(tmp_path):
    def copy(_):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/source.csv")

    with pytest.raises(UserError, match=r"^/elsewhere/source\.csv cannot be used \(Permission denied\)"):
        write_atomically(tmp_path / "table.csv", copy)


def test_an_archive_that_does_not_fit_is_not_called_broken(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights", b"0" * 2 * LIMIT)
    with pytest.raises(UserError, match=r"unpacked cannot be written \(File too large\)"), no_file_larger_than(LIMIT):
        unpack(tmp_path / "a.zip", tmp_path / "unpacked")


def test_a_download_that_does_not_fit_is_not_blamed_on_the_network(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"0" * 2 * LIMIT)
    url = (tmp_path / "weights.bin").as_uri()
    sentence = r"to/weights\.bin cannot be written \(File too large\)"
    with pytest.raises(UserError, match=sentence), no_file_larger_than(LIMIT):
        fetching.fetch_url(url, tmp_path / "to", "fetch it elsewhere")


def test_a_quota_that_is_met_while_data_are_prepared_is_a_sentence_and_not_a_bus_error(tmp_path):
    """Where the file system allows it on a small one, which refuses pages of mapped files by a signal."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], capture_output=True
        ).returncode
    )
    limit = [] if mounted else ["import resource", "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))"]
    config = Path(__file__).parents[2] / "config" / "tiny.yaml"
    script = [
        *limit,
        "import shutil, sys",
        "from nonrobust_guidance import cli",
        # A quota is not seen beforehand.
        "shutil.disk_usage = lambda _: shutil._ntuple_diskusage(10**12, 0, 10**12)",
        f"sys.exit(cli.main(['prepare-data', '--config', {str(config)!r}, '--output', {str(folder / 'data')!r}]))",
    ]
    try:
        run = subprocess.run([sys.executable, "-c", "\n".join(script)], capture_output=True, text=True)
        assert run.returncode == 1, run.stderr
        last = run.stderr.splitlines()[-1]
        assert last.startswith(f"error: {folder / 'data'} cannot be written ("), run.stderr
        assert "Traceback" not in run.stderr
        assert not list((folder / "data").iterdir())
    finally:
        if mounted:
            subprocess.run(["umount", folder], check=True)


def test_the_command_line_turns_a_refusal_from_anywhere_into_a_sentence(monkeypatch, capsys):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "/\udcffa\nb")

    monkeypatch.setattr("nonrobust_guidance.cli.load_config", lambda *_, **__: {"dataset": {}})
    monkeypatch.setattr("nonrobust_guidance.data.prepare_data", refuse)
    assert cli.main(["prepare-data", "--config", "x.yaml", "--output", "y"]) == 1
    assert capsys.readouterr().err == (
        "error: /\\udcffa\\nb cannot be used (Permission denied); change its permissions, or name another place\n"
    )


def test_a_sentence_stays_on_one_line_and_can_be_printed_whatever_the_name():
    sentence = str(UserError("a\nb\r\x1b[2J\udcff é ü 蛇 'q' is no image"))
    assert sentence == "a\\nb\\r\\x1b[2J\\udcff é ü 蛇 'q' is no image"
    sentence.encode("utf-8")
    assert json.loads(json.dumps(sentence)) == sentence


def test_paths_of_a_run_file_are_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PETS", "/data/pets")
    monkeypatch.delenv("CATS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert expand_path("~/pets", "dataset.root") == tmp_path / "pets"
    assert expand_path("$PETS/of/${PETS}", "dataset.root") == Path("/data/pets/of//data/pets")
    assert expand_path("plain/pets", "dataset.root") == Path("plain/pets")
    Path("$CATS").mkdir()
    assert expand_path("$CATS", "dataset.root") == Path("$CATS")
    for text, name in (("/x/$CATS/y", "$CATS"), ("${CATS}/y", "${CATS}")):
        with pytest.raises(UserError) as raised:
            expand_path(text, "dataset.root")
        assert str(raised.value) == (
            f"dataset.root is {text}, and there is no variable {name} in the environment; set it"
        )
    with pytest.raises(UserError, match=r"dataset\.root is ~nobody0/x, and ~nobody0 is nobody's home; write"):
        expand_path("~nobody0/x", "dataset.root")
