"""Errors say where and what, fit in a log, and travel between processes."""

from __future__ import annotations

import copy
import pickle

import pytest

from wholepage.pages import ImageError, InputError, MissingExtra, RecordError, WholepageError
from wholepage.pages.errors import require, shorten


def test_a_record_error_says_where() -> None:
    error = RecordError("a.jsonl", 7, "query.text", "int", "str", "mend the value")
    assert str(error) == "a.jsonl:7: query.text: got int; allowed: str; mend the value"
    assert str(RecordError("a.jsonl", 0, "file", "x", "y", "z")).startswith("a.jsonl: file: ")
    assert isinstance(error, InputError)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("turn", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_of_worker_processes_arrive_whole(turn) -> None:
    record = turn(RecordError("a.jsonl", 7, "f", "x", "y", "z"))
    assert type(record) is RecordError
    assert (record.path, record.line, record.field) == ("a.jsonl", 7, "f")
    assert str(record) == "a.jsonl:7: f: got x; allowed: y; z"
    image = turn(ImageError("data:" + "x" * 200, "missing", "got nothing", at="results[3]"))
    assert type(image) is ImageError
    assert (image.reason, image.at) == ("missing", "results[3]")
    assert str(image) == f"results[3]: image {image.uri!r} is missing: got nothing"


def test_long_addresses_are_cut() -> None:
    assert shorten("a" * 80) == "a" * 80
    assert shorten("a" * 81) == "a" * 65 + "...(81 chars)"
    assert len(str(ImageError("data:" + "x" * 10**6, "missing", "d"))) < 150


def test_a_missing_library_names_its_extra() -> None:
    assert require("json.decoder", "text").__name__ == "json.decoder"
    for module in ("no_such_library", "no_such_library.part"):
        with pytest.raises(MissingExtra, match=r"pip install 'wholepage\[text\]'") as caught:
            require(module, "text")
        assert isinstance(caught.value, ImportError)
        assert isinstance(caught.value, WholepageError)


def test_a_library_that_lacks_another_is_not_called_missing(tmp_path, monkeypatch) -> None:
    (tmp_path / "half_installed.py").write_text("import something_it_needs")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_it_needs"):
        require("half_installed", "text")
