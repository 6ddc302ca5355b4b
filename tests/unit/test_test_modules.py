"""The tests themselves: pytest imports a test module by its bare name, so no two folders may have one of the same."""

from collections import Counter

from commands import ROOT


def test_no_two_test_modules_share_a_name():
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
