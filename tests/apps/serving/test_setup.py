"""What a command line says becomes settings, models and keys; what would leave a door open by mistake is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from wholepage.apps.places import NotFound
from wholepage.apps.serving.engine_settings import EngineSettings
from wholepage.apps.serving.keys import Keys
from wholepage.apps.serving.served_models import ModelSpec
from wholepage.apps.serving.setup import (
    Setup,
    check_fit,
    check_reach,
    found_keys,
    is_own,
    named_models,
    read_setup,
)
from wholepage.pages.errors import InputError, RecordError

KEY, OTHER = "a-key-of-enough-letters", "another-key-of-letters"


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


@pytest.fixture
def cross_encoder(tmp_path: Path) -> Path:
    folder = tmp_path / "mini lm"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


# ---------------------------------------------------------------- settings


def test_options_go_before_the_file_and_the_file_before_what_is_usual(tmp_path: Path) -> None:
    path = tmp_path / "serving.toml"
    path.write_text("leave_s = 0.5\n[engine]\nworkers = 3\nmax_wait_s = 4.0\n[fetch]\nhosts = ['pictures.example']\n")
    told = read_setup(path, {"engine": {"workers": 1, "max_queued_calls": None}, "requests": {"timeout_s": 5.0}})
    assert told.engine == EngineSettings(workers=1, max_wait_s=4.0)
    assert (told.requests.timeout_s, told.requests.max_documents) == (5.0, 1000)
    assert (told.fetch.hosts, told.leave_s) == (("pictures.example",), 0.5)
    assert read_setup(None, {"engine": {"workers": None}}) == Setup()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nope = 1", "nope"),
        ("[engine]\nworkres = 2", "workres"),
        ("[engine]\nworkers = 0", "workers=0"),
        ("[engine]\nworkers = 'two'", "engine.workers"),
        ("engine = 3", "engine"),
        ("[requests]\ntimeout_s = 500", "timeout_s"),
        ("[fetch]\nports = [0]", "ports"),
        ("leave_s = -1.0", "leave_s"),
        ("leave_s = nan", "leave_s"),
        ("leave_s =", "Invalid value"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(text: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "serving.toml"
    path.write_text(text)
    with pytest.raises(RecordError, match=named) as caught:
        read_setup(path, {"engine": {"workers": None}})
    assert str(path) in str(caught.value)


def test_settings_that_are_not_there_or_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="settings"):
        read_setup(tmp_path / "none.toml", {})
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecordError, match="UTF-8"):
        read_setup(tmp_path / "odd.toml", {})


# ---------------------------------------------------------------- models


def test_models_go_by_the_names_they_are_given_or_have(cross_encoder: Path) -> None:
    assert named_models([]) == {"offline": ModelSpec("offline")}
    found = named_models(["rerank-v3.5=offline", "bm25", f"BAAI/bge:1={cross_encoder}"])
    assert list(found) == ["rerank-v3.5", "bm25", "BAAI/bge:1"], "the first is the default"
    assert found["BAAI/bge:1"] == ModelSpec("cross-encoder", str(cross_encoder.resolve()))
    plain = cross_encoder.rename(cross_encoder.parent / "minilm")
    assert list(named_models([f"{plain}/"])) == ["minilm"]
    assert list(named_models([str(plain / ".." / "minilm")])) == ["minilm"]


def test_the_folder_one_stands_in_has_a_name(cross_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = cross_encoder.rename(cross_encoder.parent / "minilm")
    monkeypatch.chdir(plain)
    assert list(named_models(["."])) == ["minilm"]


@pytest.mark.parametrize(
    ("given", "error", "named"),
    [
        (["bm25", "bm25"], InputError, "two by the name 'bm25'"),
        (["a=bm25", "a=offline"], InputError, "two by the name 'a'"),
        (["=bm25"], InputError, "whose name would be ''"),
        (["a b=bm25"], InputError, "whose name would be 'a b'"),
        ([f"{'n' * 101}=bm25"], InputError, "whose name would be"),
        (["nowhere/at/all"], NotFound, "no folder"),
        (["a=nowhere"], NotFound, "'nowhere'"),
        (["a="], InputError, "behind the sign"),
        (["."], InputError, "without"),
        ([f"a={__file__}"], NotFound, "no folder"),
    ],
)
def test_models_that_cannot_be(
    given: list[str], error: type[Exception], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=named):
        named_models(given)


def test_a_folder_whose_name_cannot_be_asked_for_wants_another(cross_encoder: Path) -> None:
    with pytest.raises(InputError, match=r"'mini lm'.*write name=folder"):
        named_models([str(cross_encoder)])
    assert list(named_models([f"mini={cross_encoder}"])) == ["mini"]


# ---------------------------------------------------------------- keys


def test_keys_come_from_both_places_each_once(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# of ann\nann {KEY}\n\nsha256:{digest(OTHER).hex()}\n")
    assert found_keys(path, None, {}) == [digest(KEY), digest(OTHER)]
    assert found_keys(None, None, {"WHOLEPAGE_KEYS": f"{KEY}, {OTHER}"}) == [digest(KEY), digest(OTHER)]
    assert found_keys(path, "MINE", {"MINE": OTHER, "WHOLEPAGE_KEYS": "x"}) == [digest(OTHER), digest(KEY)]
    assert found_keys(None, None, {}) == found_keys(None, None, {"WHOLEPAGE_KEYS": " "}) == []


def test_keys_that_were_named_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nobody yet\n")
    with pytest.raises(InputError, match="without a key in it"):
        found_keys(tmp_path / "empty", None, {"WHOLEPAGE_KEYS": KEY})
    with pytest.raises(InputError, match="MINE, which holds none"):
        found_keys(None, "MINE", {"WHOLEPAGE_KEYS": KEY})
    with pytest.raises(FileNotFoundError):
        found_keys(tmp_path / "nowhere", None, {})
    with pytest.raises(InputError, match="WHOLEPAGE_KEYS"):
        found_keys(None, None, {"WHOLEPAGE_KEYS": "short"})
    (tmp_path / "bad").write_text("short\n")
    with pytest.raises(RecordError, match="bad:1") as caught:
        found_keys(tmp_path / "bad", None, {})
    assert "short" not in str(caught.value).replace(str(tmp_path), "")


def test_what_is_found_is_what_lets_people_in(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{KEY}\n")
    keys = Keys(found_keys(tmp_path / "keys", None, {}), Setup().requests)
    keys.admit(f"Bearer {KEY}")
    assert len(keys) == 1


# ---------------------------------------------------------------- who reaches it


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost", "0:0:0:0:0:0:0:1"])
def test_this_machine(host: str) -> None:
    assert is_own(host)
    check_reach(host, locked=False, opened=False)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "",
        "10.1.2.3",
        "192.168.1.9",
        "localhost.example.org",
        "my-name",
        "::ffff:10.0.0.1",
        "0",
        "127.1",
    ],
)
def test_other_machines_reach_it_only_with_keys_or_openly(host: str) -> None:
    assert not is_own(host)
    with pytest.raises(InputError, match="--open"):
        check_reach(host, locked=False, opened=False)
    check_reach(host, locked=True, opened=False)
    check_reach(host, locked=False, opened=True)


def fit(setup: Setup, **wishes: Any) -> None:
    check_fit(setup, **{"fetch": False, "hosts": (), "locked": False, "pages": None, "judge_into": None, **wishes})


def test_wishes_without_effect_are_refused() -> None:
    with pytest.raises(InputError, match="--fetch-images"):
        fit(Setup(), hosts=["a.example"], locked=True)
    rated = read_setup(None, {"requests": {"requests_per_s": 2.0}})
    with pytest.raises(InputError, match="--keys"):
        fit(rated)
    with pytest.raises(InputError, match="--pages"):
        fit(Setup(), judge_into="shoes")
    fit(rated, fetch=True, hosts=["a.example"], locked=True, pages="pages.jsonl", judge_into="shoes")
