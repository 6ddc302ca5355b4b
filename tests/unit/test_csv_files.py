"""Tables that are read back: a class or a method may have any name that a run file may give it."""

import ast
import json
from pathlib import Path

import pytest

from nonrobust_guidance.audit.record import record_results
from nonrobust_guidance.csv_files import read_numbers, read_texts
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.gather import gather_scores
from nonrobust_guidance.metrics.tables import PUBLISHED

PACKAGE = Path(__file__).parents[2] / "src" / "nonrobust_guidance"
READERS = {"read_csv", "read_table", "DictReader", "reader", "loadtxt", "genfromtxt"}
NAMES = ["None", "NA", "nan", "null", "N-A", "01", "1", "1e5", "100000", "inf", "Infinity", "true", "True"]


def write_metrics(path: Path, names: list[str]) -> None:
    rows = [f"{name},0.5,{name},7,{i / 8}," for i, name in enumerate(names)]
    path.write_text("\n".join(["method,scale,target,seed,accuracy_heldout,accuracy_self", *rows]) + "\n")


def test_what_dvc_shows_has_an_entry_for_every_class(tmp_path):
    for file in PUBLISHED:
        (tmp_path / file.name).write_text("")
    write_metrics(tmp_path / "metrics.csv", NAMES)
    record_results(tmp_path, tmp_path / "published")
    shown = json.loads((tmp_path / "published" / "metrics.json").read_text())
    expected = {name: {"scale 0.5": {name: {"seed 7": {"accuracy_heldout": i / 8}}}} for i, name in enumerate(NAMES)}
    assert shown == expected


def test_gathered_tables_hold_the_names_of_their_parts(tmp_path):
    for name in NAMES:
        write_metrics(tmp_path / f"{name}.csv", [name])
    gather_scores(NAMES, tmp_path, tmp_path / "all.csv")
    write_metrics(tmp_path / "expected.csv", NAMES)
    texts = read_texts(tmp_path / "all.csv", "")
    assert list(texts["method"]) == list(texts["target"]) == NAMES
    assert set(texts["accuracy_self"]) == {""}


def test_numbers_are_numbers_and_names_are_texts(tmp_path):
    write_metrics(tmp_path / "metrics.csv", NAMES)
    table = read_numbers(tmp_path / "metrics.csv", "")
    assert list(table["target"]) == NAMES
    assert table["accuracy_heldout"].sum() == sum(range(len(NAMES))) / 8
    assert table["accuracy_self"].isna().all()
    assert table["seed"].dtype == "int64"


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2,3,4\n5", b'a\n"b', b"\xff\xfe\x00", b"scale\nlarge\n"])
def test_what_is_no_table_is_named_in_one_sentence(tmp_path, content):
    path = tmp_path / "metrics.csv"
    with pytest.raises(UserError, match=r"metrics\.csv is missing; make this run first$"):
        read_numbers(path, "make this run")
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"metrics\.csv is no table: .*; delete it and make this run again$"):
        read_numbers(path, "make this run")


def test_nothing_reads_a_runs_tables_another_way():
    # What the stage data reads are lists of others, such as CelebA's.
    calls = [
        (file.relative_to(PACKAGE).as_posix(), node.attr)
        for file in PACKAGE.rglob("*.py")
        if not file.is_relative_to(PACKAGE / "data")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("read_csv", "DictReader", "reader", "loadtxt", "genfromtxt")
    ]
    assert calls == [("csv_files.py", "read_csv")]
    notebooks = [path.read_text() for path in (PACKAGE.parents[1] / "notebooks").glob("*.ipynb")]
    assert notebooks
    assert not any("read_csv" in text for text in notebooks)
