"""The page that teaches the library: its blocks run in order, and print what it says they print."""

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "library.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^print\(.*\)  # (.+)$", re.MULTILINE)


def test_the_page_runs_and_prints_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(page))
    assert len(blocks) == page.count("```") // 2 > 5
    namespace = {"__name__": "library"}
    for block in blocks:
        # Blank lines before it, so that a failure names the line of the page.
        code = "\n" * page[: block.start(1)].count("\n") + block[1]
        assert code.count("print(") == len(PRINTED.findall(code)), "Every print says what it prints."
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(code, PAGE.name, "exec"), namespace)
        assert output.getvalue().splitlines() == PRINTED.findall(code)
