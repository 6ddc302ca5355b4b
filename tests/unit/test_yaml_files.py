"""YAML: what is read, what is refused in one sentence, and that what is written is read the same everywhere."""

import time
from pathlib import Path

import pytest
import yaml

from nonrobust_guidance.audit.tracked import locked_files, read_data_file
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.yaml_files import dump_yaml, parse_yaml, read_yaml

ROOT = Path(__file__).parents[2]
TENFOLD = ["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 20))]
MERGED = ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 20))]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1e-3, 3e-05, 1E5, .5, 1., -1e+2]", [0.001, 0.00003, 100000.0, 0.5, 1.0, -100.0]),
        ("[1_000, 0o17, 017, 0x1f]", [1000, 15, 17, 31]),
        ("[yes, no, on, off, y, n]", ["yes", "no", "on", "off", "y", "n"]),
        ("[true, False, null, ~, ]", [True, False, None, None]),
        ("[12:30, 2024-01-01, '1e5', \"true\", =]", ["12:30", "2024-01-01", "1e5", "true", "="]),
        ("2024-01-01: 1", {"2024-01-01": 1}),
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        ("a: &a [1]\nb: *a", {"a": [1], "b": [1]}),
        (b"\xef\xbb\xbfa: \xc3\xa9", {"a": "é"}),
        ("", None),
    ],
)
def test_yaml_1_2_is_read(text, value):
    assert parse_yaml(text, "") == value


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a: 1\nb: 2\na: 3", "f: a is written twice, at lines 1 and 3; remove one of them"),
        (
            "a:\n  b:\n  - c: 1\n    d: 2\n    c: 1",
            "f: a.b[0].c is written twice, at lines 3 and 5; remove",
        ),
        ("{a: 1, 'a': 1}", "f: a is written twice, at line 1; remove one of them"),
        ("a: {<<: {x: 1}, <<: {y: 1}}", "f: a.<< is written twice, at line 1; remove one of them"),
        ("a:\n  true: 1", "f: a has the key true at line 2; give a text, in quotes"),
        ("1e5: 1", "f: the file has the key 1e5 at line 1; give a text, in quotes"),
        ("? [1]\n: 2", "f: the file has the key a sequence at line 1; give a text, in quotes"),
        ("a: &a\n  b: *a", "f: a.b is an alias of what it stands in, from line 1; write out what you mean"),
        ("a: *b", "f is not valid YAML at line 1; correct it, and indent with spaces only (found undefined alias 'b')"),
        ("\n".join(TENFOLD), "holds more than 100000 values, with its aliases written out"),
        ("\n".join(MERGED), "holds more than 100000 values, with its aliases written out"),
        ("[" * 5000, "f nests deeper than 50 levels at line 1; write less"),
        ("a:\n\tb: 1", "f is not valid YAML at line 2, which has a tab; correct it, and indent with spaces only"),
        ("a: 1\n---\nb: 2", "f begins a second document at line 2; keep one of them"),
        ("a: 1\nb: [2", "f is not valid YAML at line 2; correct it, and indent with spaces only (expected ',' or ']'"),
        ("a: 1\nb\x00: 2", "f has the character U+0000 at line 2; remove it"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "f: a has the tag !!python/object/apply:os.system at line 1; ",
        ),
        ("a: !!binary aGk=", "f: a has the tag !!binary at line 1; write the value without it"),
        ("a: !!int x", "f: a cannot be read as int at line 1; correct it"),
        ("a: " + "1" * 5000, "f: a cannot be read as int at line 1; correct it"),
        ("%YAML 1.3\n---\na: 1", "f is not valid YAML; correct it"),
        ("a: 1\n".encode("utf-16"), "f is in UTF-16; save it as UTF-8"),
        ("a: 1\n".encode("utf-16-le"), "f has the character U+0000 at line 1; is it UTF-16? Save it as UTF-8"),
        ("a: 1\n".encode("utf-32"), "f is in UTF-32; save it as UTF-8"),
        (
            "a: 1\nb: é\n".encode("latin-1"),
            "f is not valid YAML at line 2, where byte 0xe9 is no UTF-8; save it",
        ),
    ],
    ids=lambda part: repr(part[:30]),
)
def test_anything_else_ends_in_one_sentence_and_soon(content, sentence):
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        parse_yaml(content, "f")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("path", "reason"), [("nowhere.yaml", "No such file"), (".", "Is a directory"), ("big.yaml", "is larger than 1 MB")]
)
def test_what_is_no_file_of_settings(tmp_path, monkeypatch, path, reason):
    monkeypatch.chdir(tmp_path)
    Path("big.yaml").write_text(" " * 1_000_001)
    with pytest.raises(UserError, match=f"^{path} .*{reason}"):
        read_yaml(Path(path))


ODD_NAMES = ["1e5", "01", "08", "0o17", "017", "0x1f", "1_000", "12:30", "2024-01-01", "true", "No", "y", "null", "nan"]
ODD_NAMES += [".inf", "inf", "", "~", "=", "<<", " a", "a: b", "- a", "#a", "é", "a\nb", "\\", "'", '"', "*a", "?", "-"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_texts_that_look_like_something_else_stay_texts_for_both_readers(name):
    value = {"list": [name], name: {"value": name}}
    assert parse_yaml(dump_yaml(value), "") == value
    assert yaml.safe_load(dump_yaml(value)) == value


@pytest.mark.parametrize("number", [1e-05, 3.0e-7, 1e22, 0.1, 5e-324, 2**53, -1, True, None])
def test_numbers_are_numbers_for_both_readers(number):
    assert parse_yaml(dump_yaml([number]), "") == yaml.safe_load(dump_yaml([number])) == [number]


def test_every_yaml_file_of_the_repository_is_read():
    files = [ROOT / "data.dvc", ROOT / "dvc.lock", ROOT / "dvc.yaml"]
    files += [
        file for folder in ("config", "workflow", "slurm", "profiles") for file in (ROOT / folder).rglob("*.yaml")
    ]
    assert len(files) > 14
    for file in files:
        if file.name != "site.yaml":
            assert read_yaml(file) == yaml.safe_load(file.read_text())


def test_a_key_twice_in_what_dvc_writes_is_named():
    with pytest.raises(UserError, match=r"^data\.dvc: outs\[0\]\.md5 is written twice, .*git checkout data\.dvc"):
        read_data_file(b"outs: [{path: a, md5: b, md5: c}]")
    with pytest.raises(UserError, match=r"^dvc\.lock: stages\.a is written twice, .*git checkout dvc\.lock"):
        list(locked_files(b"stages: {a: {}, a: {}}", ROOT))
