"""Models that keep nothing between calls, and what tells one from another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wholepage.apps.batch.models import TextsOnce, encoders_named, fingerprint_of, placed, ranker_named
from wholepage.apps.places import NotFound
from wholepage.rankers.weights import MANIFEST

from .made import pages


class Counting:
    """Encodes a text as its length, and remembers what it was asked."""

    name, dim = "counting", 1

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked.append(list(texts))
        return np.array([[len(text)] for text in texts], np.float32)


def test_each_text_is_encoded_once_a_call_and_forgotten() -> None:
    inner = Counting()
    once = TextsOnce(inner)
    assert once.encode_texts(["aa", "b", "aa"]).ravel().tolist() == [2, 1, 2]
    assert once.encode_texts(["aa"]).shape == (1, 1)
    assert once.encode_texts([]).shape == (0, 1)
    assert inner.asked == [["aa", "b"], ["aa"]]


def test_a_fingerprint_is_of_names_and_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"1")
    first = fingerprint_of(str(tmp_path / "a"))
    assert first == fingerprint_of(str(tmp_path / "b"))
    (tmp_path / "b" / "weights").write_bytes(b"2")
    assert first != fingerprint_of(str(tmp_path / "b"))
    (tmp_path / "a" / "weights").rename(tmp_path / "a" / "other")
    assert first != fingerprint_of(str(tmp_path / "a"))
    (tmp_path / "a+b").mkdir()
    bare = fingerprint_of(str(tmp_path / "a+b"))
    (tmp_path / "a+b" / "weights").write_bytes(b"3")
    assert bare != fingerprint_of(str(tmp_path / "a+b"))
    assert fingerprint_of("bm25") != fingerprint_of("offline")
    assert fingerprint_of("minilm") != fingerprint_of("minilm+pixels")


def test_names_are_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = fingerprint_of("bm25")
    for name in ("bm25", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MANIFEST).write_bytes(b"{}")
    assert fingerprint_of("bm25") == named
    assert (placed("bm25"), placed("mine")) == ("bm25", str(tmp_path / "mine"))
    assert placed("minilm+pixels") == "minilm+pixels"


def test_models_by_name() -> None:
    found = ranker_named("bm25").rank(pages(2))
    assert [one.query_id for one in found] == ["q0", "q1"]
    with pytest.raises(NotFound):
        ranker_named("no-such-model")
    with pytest.raises(NotFound):
        encoders_named("no-such-encoder")
