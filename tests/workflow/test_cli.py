"""The command line: exit codes, sentences, threads, and progress that can be read in a log."""

import io
import os
import subprocess
import sys

import pytest
from commands import TINY

from nonrobust_guidance import cli
from nonrobust_guidance.progress import LinesOfProgress

MODEL_COMMANDS = ["prepare-data", "train-diffusion", "train-classifier", "fetch-checkpoint"]
RUN_COMMANDS = ["draw-samples", "score-samples", "gather-scores", "measure-noise-accuracy", "measure-signatures"]
RUN_COMMANDS += ["measure-references", "measure-sensitivity", "measure-trajectories", "gather-trajectories"]
RUN_COMMANDS += ["measure-ground-truth"]
REPORT_COMMANDS = ["render-page", "render-index"]
AUDIT_COMMANDS = ["gather-cards", "restore-checkpoints", "check-publishable", "audit", "trace"]


@pytest.mark.parametrize("command", [*MODEL_COMMANDS, *RUN_COMMANDS, *REPORT_COMMANDS, *AUDIT_COMMANDS, "check-config"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert "config" in capsys.readouterr().out


@pytest.mark.parametrize(("split", "count"), [("train", 8), ("test", 8)])
def test_too_small_a_class_is_known_before_anything_is_trained(tmp_path, capsys, split, count):
    """Of so few balls, drawn at random, some class has none or one."""
    text = TINY.read_text()
    counts = {"train": 200, "validation": 40, "test": 80}
    changed = ", ".join(f"{name}: {count if name == split else n}" for name, n in counts.items())
    (tmp_path / "run.yaml").write_text(text.replace("{train: 200, validation: 40, test: 80}", f"{{{changed}}}"))
    words = ["prepare-data", "--config", str(tmp_path / "run.yaml"), "--output", str(tmp_path / "data")]
    assert cli.main(words) == 1
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith("error: the dataset sportballs-tiny has ")
    assert f" {split} images of " in sentence
    assert sentence.endswith(f"needs at least 2; raise dataset.num_images.{split}, or take the class out")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(("command", "argument"), [("fetch-inception", "--extractor"), ("merge-shards", "shards")])
def test_commands_of_no_run_need_no_configuration(command, argument, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert argument in shown
    assert "--config" not in shown


def test_check_config_says_what_a_run_asks_for(capsys):
    assert cli.main(["check-config", str(TINY)]) == 0
    # Eight guided methods, one of them at two scales, for two targets each, and the unguided one.
    assert capsys.readouterr().out == f"{TINY} is valid: run tiny draws 19 files of samples with 9 methods\n"


@pytest.mark.parametrize(
    "arguments",
    [
        "check-config nowhere.yaml",
        "train-classifier --config TINY --name robus --data x --output x",
        "fetch-checkpoint --config TINY --name robust --output x",
        "merge-shards nowhere.npy --output x.npy",
        "draw-samples --config TINY --method roburst --scale 1 --seed 0 --checkpoints x --output x",
        "measure-trajectories --config TINY --method unguided --checkpoints x --output x",
        "train-diffusion --config TINY --data nowhere --output x",
        "score-samples --config TINY --method roburst --data x --checkpoints x --weights x --samples x --output x",
        "gather-scores --config TINY --scores nowhere --samples nowhere --output x --provenance x",
        "gather-cards --config TINY --checkpoints nowhere --output x",
        "record-results --results nowhere --output x",
        "check-publishable --config TINY",
        "audit --config TINY",
        "trace --config TINY --method roburst --scale 1 --target soccer --seed 0",
        "trace --config TINY --method robust_xt --scale 7 --target soccer --seed 0",
        "fetch-inception --extractor clip --output x",
        "measure-references --config TINY --extractor judge --data nowhere --weights x --rows 10 --output x",
    ],
    ids=lambda arguments: arguments.split()[0],
)
def test_a_mistake_ends_in_one_sentence_and_writes_nothing(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([str(TINY) if word == "TINY" else word for word in arguments.split()]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_with_its_own_code(monkeypatch):
    def interrupted(_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "check_config", interrupted)
    assert cli.main(["check-config", "x"]) == 130


def test_other_errors_are_not_swallowed(monkeypatch):
    def broken(_args):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "check_config", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["check-config", "x"])


def test_threads_are_set_before_torch_starts():
    code = "import nonrobust_guidance.cli as cli; cli.limit_threads(1); import torch; print(torch.get_num_threads())"
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == "1\n"


@pytest.mark.parametrize("threads", ["0", "-1", "many"])
def test_threads_must_be_positive(threads, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["prepare-data", "--config", "x", "--output", "x", "--threads", threads])
    assert caught.value.code == 2
    assert "--threads" in capsys.readouterr().err


def test_a_bar_becomes_lines_that_do_not_mix():
    stream = io.StringIO()
    first, second = LinesOfProgress(stream), LinesOfProgress(stream)
    for lines, text in [(first, "\ra:  0%"), (second, "\rb:  0%"), (first, "\ra: 50%  "), (second, "\rb: 99%")]:
        lines.write(text)
        lines.flush()
    first.write("\n")
    first.write("a warn")
    first.write("ing\nand more")
    first.flush()
    assert stream.getvalue().splitlines() == ["a:  0%", "b:  0%", "a: 50%", "b: 99%", "a warning", "and more"]


def test_tqdm_writes_lines_where_there_is_no_terminal():
    code = """
from nonrobust_guidance.progress import progress_lines
with progress_lines():
    from tqdm import tqdm
    for _ in tqdm(range(1000), desc="draw"):
        pass
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "\r" not in run.stderr
    lines = run.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("draw: ") for line in lines)
    assert run.stderr.isascii()
