"""Files of others: checked before use, held to the first fetch, and never outside their folder."""

import hashlib
import io
import shutil
import zipfile

import pytest

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.fetching import (
    Origin,
    fetch_repository,
    fetch_url,
    hold_to,
    require_inside,
    require_space,
    unpack,
)

FILES = {"config.json": b"{}", "weights.safetensors": b"many numbers", "notes/readme.md": b"# Read"}
NO_HAND = "put it there by hand"


def everything(names):
    return list(names)


def fetch(hub, folder, revision=None, select=everything):
    return fetch_repository("owner/model", revision, "model", select, folder, NO_HAND)


def test_a_repository_comes_whole_and_with_its_commit(hub, tmp_path):
    commit = hub.add("model", "owner/model", FILES)
    origin = fetch(hub, tmp_path)
    assert origin.revision == commit
    for name, content in FILES.items():
        assert (tmp_path / name).read_bytes() == content
        assert origin.sha256[name] == hashlib.sha256(content).hexdigest()


def test_only_what_is_needed_is_downloaded_and_only_once(hub, tmp_path):
    hub.add("model", "owner/model", FILES)
    fetch(hub, tmp_path, select=lambda names: ["config.json"])
    assert not (tmp_path / "weights.safetensors").exists()
    hub.requests.clear()
    fetch(hub, tmp_path)
    assert {r for r in hub.requests if r.startswith("GET owner")} == {
        f"GET owner/model/resolve/{hub.commit('model', 'owner/model', 0)}/{name}" for name in list(FILES)[1:]
    }


def test_a_name_is_no_pattern(hub, tmp_path):
    hub.add("model", "owner/model", {"a[12].json": b"1", "a1.json": b"2", "b*.json": b"3", "bc.json": b"4"})
    fetch(hub, tmp_path, select=lambda names: ["a[12].json", "b*.json"])
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["a[12].json", "b*.json"]


def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100)
    content = bytes(range(250)) * 4
    hub.add("model", "owner/model", {"weights.safetensors": content})
    hub.breaks_after = 350
    fetch(hub, tmp_path)
    assert (tmp_path / "weights.safetensors").read_bytes() == content
    assert hub.starts == [0, 300]


def test_a_repository_that_goes_away_after_its_listing_leaves_one_sentence(hub, tmp_path):
    hub.add("model", "owner/model", FILES)
    (tmp_path / "of-an-earlier-fetch").touch()

    def select_and_remove(names):
        hub.repositories.clear()
        return list(names)

    with pytest.raises(UserError, match=r"cannot be fetched \(.*config\.json.*\); put it there by hand$"):
        fetch(hub, tmp_path, select=select_and_remove)


def test_a_revision_is_the_one_that_was_asked_for(hub, tmp_path):
    first = hub.add("model", "owner/model", FILES)
    hub.add("model", "owner/model", {**FILES, "config.json": b"[]"})
    assert fetch(hub, tmp_path / "old", first).revision == first
    assert (tmp_path / "old" / "config.json").read_bytes() == b"{}"
    fetch(hub, tmp_path / "new")
    assert (tmp_path / "new" / "config.json").read_bytes() == b"[]"


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json"])
def test_a_file_that_is_not_what_the_hub_lists_is_refused(hub, tmp_path, name):
    hub.add("model", "owner/model", FILES)
    hub.served[name] = bytes(len(FILES[name]))
    with pytest.raises(UserError, match=rf"{name} is not the file that .*owner/model lists"):
        fetch(hub, tmp_path)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/outside", "a/../../outside", "C:/outside", "..\\outside"])
def test_nothing_is_written_outside_the_folder(hub, tmp_path, name):
    hub.add("model", "owner/model", {name: b"x"})
    with pytest.raises(UserError, match="would lie outside its folder"):
        fetch(hub, tmp_path / "inside")
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(zipfile.ZipInfo(name), "x")
    with pytest.raises(UserError, match=r"archive\.zip has a file named"):
        unpack(archive, tmp_path / "inside")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.zip"]


def test_names_within_the_folder_pass():
    for name in ("a", "a/b.c", "a..b/c", "./a"):
        require_inside(name, "here")


def test_no_network_and_no_such_repository_are_one_sentence(hub, tmp_path, monkeypatch):
    hub.add("model", "owner/model", FILES)
    with pytest.raises(UserError, match=r"cannot be fetched \(.*\); put it there by hand$") as raised:
        fetch_repository("owner/other", None, "model", everything, tmp_path, NO_HAND)
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match=r"cannot be fetched \(.*\); put it there by hand$"):
        fetch(hub, tmp_path, revision="0" * 40)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        UserError, match=r"^http://127.0.0.1:9/owner/model cannot be fetched \(.*\); put it there by hand$"
    ):
        fetch(hub, tmp_path)


def test_a_url_is_one_file(hub, tmp_path):
    hub.served["my weights.safetensors"] = b"numbers"
    path = fetch_url(f"{hub.url}/plain/my%20weights.safetensors?download=1", tmp_path / "new", NO_HAND)
    assert (path.name, path.read_bytes()) == ("my weights.safetensors", b"numbers")
    for url in (f"{hub.url}/plain/nothing", "http://127.0.0.1:9/file"):
        with pytest.raises(UserError, match=r"cannot be downloaded \(.*\); put it there by hand$"):
            fetch_url(url, tmp_path, NO_HAND)


def test_archives_come_out_or_are_named(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        opened.writestr("unet/config.json", "{}")
    archive = tmp_path / "a.zip"
    archive.write_bytes(content.getvalue())
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "unet" / "config.json").read_text() == "{}"
    archive.write_bytes(content.getvalue()[:30])
    with pytest.raises(UserError, match=r"a\.zip cannot be unpacked"):
        unpack(archive, tmp_path / "out")


def test_the_disk_is_looked_at_first(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    require_space(tmp_path / "not" / "there" / "yet", free // 2, "it")
    with pytest.raises(UserError, match=r"^it needs .* GB, and .* GB are free at"):
        require_space(tmp_path / "not" / "there" / "yet", 2 * free, "it")


ORIGIN = Origin({"folder": "f"}, None, {"a": "1" * 64, "b": "2" * 64})


def test_a_record_is_of_its_request_alone(tmp_path):
    ORIGIN.write(tmp_path / "source.json")
    assert Origin.recorded(tmp_path / "source.json", {"folder": "f"}) == ORIGIN
    assert Origin.recorded(tmp_path / "source.json", {"folder": "g"}) is None
    assert Origin.recorded(tmp_path / "other.json", {"folder": "f"}) is None
    (tmp_path / "source.json").write_text("{")
    with pytest.raises(UserError, match=r"source\.json is no record"):
        Origin.recorded(tmp_path / "source.json", {"folder": "f"})


@pytest.mark.parametrize(
    ("earlier", "expected", "sentence"),
    [
        (None, {"a": "3" * 64}, r"a has the SHA-256 1{64} where key\.sha256 says 3{64}"),
        (None, {"c": "3" * 64}, r"key\.sha256 names c, which is not used of this source; give those of a, b"),
        ({"a": "1" * 64, "b": "3" * 64}, {}, r"b is not the file that .*source\.json recorded at the first fetch"),
        ({"a": "1" * 64}, {}, r"b is not the file"),
    ],
)
def test_other_files_are_refused(tmp_path, earlier, expected, sentence):
    record = earlier and Origin(ORIGIN.request, None, earlier)
    with pytest.raises(UserError, match=sentence):
        hold_to(ORIGIN, record, expected, tmp_path, tmp_path / "source.json", "key")


def test_the_log_says_whether_it_was_recorded_or_held(tmp_path, capsys):
    hold_to(ORIGIN, None, {"a": "1" * 64}, tmp_path, tmp_path / "source.json", "key")
    assert "recorded, and later fetches are held to it" in capsys.readouterr().err
    hold_to(ORIGIN, ORIGIN, {}, tmp_path, tmp_path / "source.json", "key")
    assert "as recorded at the first fetch" in capsys.readouterr().err
