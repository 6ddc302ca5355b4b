"""What comes from outside cannot run code here, nor write outside its folder."""

import ast
from pathlib import Path

import pytest

from nonrobust_guidance.audit.comparison import Agreement, Compared
from nonrobust_guidance.audit.page import render_audit
from nonrobust_guidance.audit.tracked import read_data_file
from nonrobust_guidance.errors import UserError

PACKAGE = Path(__file__).parents[2] / "src" / "nonrobust_guidance"
UNPICKLING = {"cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# The module pickle is named for its exceptions alone.
FORBIDDEN = {"pickle.load", "pickle.loads", "pickle.Unpickler", "pandas.read_pickle", "pd.read_pickle"}
FORBIDDEN |= {"yaml.load", "yaml.unsafe_load", "eval", "exec"}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_unpickles_or_evaluates(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            assert not UNPICKLING & {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in UNPICKLING | {"pickle"}
        elif isinstance(node, ast.Call):
            assert dotted(node.func) not in FORBIDDEN
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            assert "allow_pickle" not in options
            # Tensors and nothing else: torch's own reader, which runs no code of the file.
            assert dotted(node.func) != "torch.load" or options.get("weights_only") == "True"


@pytest.mark.parametrize(
    "content",
    [
        "outs: [{path: ../../etc/passwd, md5: abc}]",
        "outs: [{path: /etc/passwd, md5: abc}]",
        "wdir: ..\nouts: [{path: a, md5: abc}]",
    ],
)
def test_data_dvc_names_no_file_outside(content):
    with pytest.raises(UserError, match="outside its folder"):
        read_data_file(content.encode())


@pytest.mark.parametrize("content", [b"outs: 3", b"[", b"\xff", b"wdir: data"])
def test_a_data_dvc_that_dvc_did_not_write_is_named_in_one_sentence(content):
    with pytest.raises(UserError, match=r"git checkout data\.dvc"):
        read_data_file(content)


def test_the_audit_page_shows_html_as_text(tmp_path):
    evil = "<script>alert(1)</script>"
    row = Compared("metrics.csv", (evil, "1", evil, "0"), Agreement.DIFFERENT, evil, evil, evil)
    render_audit(evil, [row], [evil], tmp_path / "audit.html")
    page = (tmp_path / "audit.html").read_text()
    assert evil not in page
    # The title; four cells of the row, its three texts, and the file.
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 1 + 2 + 3 + 1
