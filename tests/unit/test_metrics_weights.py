"""Fetching the Inception weights, from files in place of the network."""

import hashlib
from pathlib import Path

import pytest

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.distances.inception_weights import (
    INCEPTION_WEIGHTS,
    WeightsFile,
    check_weights,
    fetch_inception,
)

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file at the address of clean-fid's weights."""
    file = tmp_path / "server" / "inception-2015-12-05.pt"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    monkeypatch.setitem(INCEPTION_WEIGHTS, "inception", WeightsFile(file.name, file.as_uri(), SHA256))
    return file


def test_a_file_is_fetched_checked_and_not_fetched_again(served: Path, tmp_path: Path) -> None:
    output = tmp_path / "weights" / served.name
    fetch_inception("inception", output)
    assert output.read_bytes() == CONTENT
    assert check_weights("inception", output) == SHA256
    served.unlink()
    fetch_inception("inception", output)


def test_a_wrong_file_is_replaced(served: Path, tmp_path: Path) -> None:
    output = tmp_path / served.name
    output.write_bytes(b"half of it")
    fetch_inception("inception", output)
    assert output.read_bytes() == CONTENT


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(CONTENT[:-1])])
def test_what_cannot_be_fetched_is_one_sentence_that_says_what_to_do(damage, served: Path, tmp_path: Path) -> None:
    damage(served)
    output = tmp_path / "weights" / served.name
    with pytest.raises(UserError) as caught:
        fetch_inception("inception", output)
    sentence = str(caught.value)
    for part in (served.as_uri(), SHA256, str(output)):
        assert part in sentence
    assert "\n" not in sentence
    assert list((tmp_path / "weights").iterdir()) == []


def test_the_digits_that_torchvision_tells_are_those_of_the_name() -> None:
    weights = INCEPTION_WEIGHTS["torchvision_inception"]
    assert weights.name.endswith(f"-{weights.sha256}.pth")
    assert weights.url.endswith(weights.name)
    assert f"a SHA-256 that begins with {weights.sha256}" in str(weights)


def test_the_address_is_torchvisions_own() -> None:
    from torchvision.models import Inception_V3_Weights

    assert Inception_V3_Weights.DEFAULT.url == INCEPTION_WEIGHTS["torchvision_inception"].url


def test_there_are_no_weights_of_the_judge(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="use inception or torchvision_inception"):
        fetch_inception("judge", tmp_path / "x")
