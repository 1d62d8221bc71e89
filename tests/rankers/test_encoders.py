from __future__ import annotations

import hashlib
import multiprocessing
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wholepage.pages.errors import ImageError, InputError, ShapeError
from wholepage.pages.model import ImageRef
from wholepage.rankers.encoders import (
    CachedImageEncoder,
    CachedTextEncoder,
    ContentStore,
    ImageEncoder,
    TextEncoder,
    VectorCache,
    image_key,
    text_key,
)


class LetterCounts:
    """A vector of letter counts; remembers what it was asked."""

    name = "letters"
    dim = 26

    def __init__(self, dies_after: int | None = None) -> None:
        self.asked: list[str] = []
        self.dies_after = dies_after

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        self.asked.extend(texts)
        return np.array([[t.count(chr(97 + i)) for i in range(26)] for t in texts], dtype=np.float32)


class MeanColour:
    name = "mean"
    dim = 3

    def __init__(self) -> None:
        self.asked: list[ImageRef] = []

    def encode_images(self, refs: Sequence[ImageRef]) -> NDArray[np.float32]:
        self.asked.extend(refs)
        return np.stack([np.asarray(Image.open(ref.uri)).reshape(-1, 3).mean(axis=0) for ref in refs]).astype("f4")


def test_doubles_are_encoders() -> None:
    assert isinstance(LetterCounts(), TextEncoder)
    assert isinstance(MeanColour(), ImageEncoder)


@pytest.mark.parametrize("on_disk", [True, False])
def test_each_text_is_encoded_once_and_rows_follow_the_question(on_disk: bool, tmp_path: Path) -> None:
    inner = LetterCounts()
    encoder = CachedTextEncoder(inner, VectorCache(tmp_path / "v.db" if on_disk else None), chunk_items=2)
    first = encoder.encode_texts(["abba", "c", "abba", "", "c"])
    assert inner.asked == ["abba", "c", ""]
    again = encoder.encode_texts(["", "c", "new", "abba"])
    assert inner.asked == ["abba", "c", "", "new"]
    np.testing.assert_array_equal(first[[3, 1, 0]], again[[0, 1, 3]])
    np.testing.assert_array_equal(again, LetterCounts().encode_texts(["", "c", "new", "abba"]))
    assert again.dtype == np.float32


def test_nothing_to_encode_gives_no_rows() -> None:
    assert CachedTextEncoder(LetterCounts(), VectorCache()).encode_texts([]).shape == (0, 26)


def test_a_killed_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    texts = [f"text {chr(97 + i)}" for i in range(10)]
    dying = LetterCounts(dies_after=6)
    with pytest.raises(KeyboardInterrupt):
        CachedTextEncoder(dying, VectorCache(tmp_path / "v.db"), chunk_items=3).encode_texts(texts)
    seen: list[tuple[int, int, str]] = []
    fresh = LetterCounts()
    rows = CachedTextEncoder(
        fresh, VectorCache(tmp_path / "v.db"), lambda *step: seen.append(step), chunk_items=3
    ).encode_texts(texts)
    assert fresh.asked == texts[6:]
    assert seen == [(6, 10, "texts"), (9, 10, "texts"), (10, 10, "texts")]
    np.testing.assert_array_equal(rows, LetterCounts().encode_texts(texts))


def test_progress_is_silent_when_all_is_known() -> None:
    cache = VectorCache()
    CachedTextEncoder(LetterCounts(), cache).encode_texts(["a"])
    seen: list[object] = []
    CachedTextEncoder(LetterCounts(), cache, lambda *step: seen.append(step)).encode_texts(["a"])
    assert seen == []


def test_encoders_do_not_share_vectors() -> None:
    cache = VectorCache()
    cache.put_many("other", {text_key("a"): np.ones(26, dtype=np.float32)}, 26)
    inner = LetterCounts()
    assert CachedTextEncoder(inner, cache).encode_texts(["a"]).sum() == 1
    assert inner.asked == ["a"]


def test_a_kept_vector_of_another_size_is_refused(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "v.db")
    cache.put_many("letters", {text_key("a"): np.ones(5, dtype=np.float32)}, 5)
    with pytest.raises(ShapeError, match=r"'letters'.*got 5 numbers; allowed: 26"):
        CachedTextEncoder(LetterCounts(), cache).encode_texts(["a"])


@pytest.mark.parametrize("bad", [np.ones(3, "f4"), np.full(26, np.nan, "f4"), np.full(26, np.inf, "f4")])
def test_wrong_vectors_are_never_kept(bad: NDArray[np.float32]) -> None:
    cache = VectorCache()
    with pytest.raises(ShapeError):
        cache.put_many("letters", {text_key("good"): np.ones(26, "f4"), text_key("bad"): bad}, 26)
    assert cache.get_many("letters", [text_key("good"), text_key("bad")], 26) == {}


def test_an_encoder_that_loses_a_row_is_refused() -> None:
    class Lossy(LetterCounts):
        def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return super().encode_texts(texts)[:-1]

    with pytest.raises(ShapeError, match="2 texts"):
        CachedTextEncoder(Lossy(), VectorCache()).encode_texts(["a", "b"])


def test_pictures_are_known_by_their_bytes(tmp_path: Path) -> None:
    for name, colour in [("a", (255, 0, 0)), ("same", (255, 0, 0)), ("b", (0, 0, 255))]:
        Image.new("RGB", (4, 4), colour).save(tmp_path / f"{name}.png")
    refs = [ImageRef(str(tmp_path / f"{name}.png")) for name in ("a", "same", "b", "a")]
    inner = MeanColour()
    cache = VectorCache(tmp_path / "v.db")
    rows = CachedImageEncoder(inner, cache).encode_images(refs)
    assert len(inner.asked) == 2
    np.testing.assert_array_equal(rows, [[255, 0, 0], [255, 0, 0], [0, 0, 255], [255, 0, 0]])
    digest = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert image_key(refs[0]) == digest
    (tmp_path / "a.png").unlink()
    known = CachedImageEncoder(MeanColour(), cache).encode_images([ImageRef(refs[0].uri, digest)])
    np.testing.assert_array_equal(known, rows[:1])
    with pytest.raises(ImageError, match=r"images\[1\]"):
        CachedImageEncoder(MeanColour(), cache).encode_images([refs[2], refs[0]])


def _fill(path: Path, start: int) -> None:
    CachedTextEncoder(LetterCounts(), VectorCache(path), chunk_items=5).encode_texts(
        [f"word {i}" for i in range(start, start + 60)]
    )


def test_processes_share_one_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fill, args=(tmp_path / "v.db", start)) for start in (0, 30, 60)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    inner = LetterCounts()
    rows = CachedTextEncoder(inner, VectorCache(tmp_path / "v.db")).encode_texts([f"word {i}" for i in range(120)])
    assert inner.asked == []
    assert rows.shape == (120, 26)


def test_a_store_survives_a_fork(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "v.db", "texts")
    store.put("m", {"parent": b"1"})
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child
        store.put("m", {"child": store.get("m", ["parent"])["parent"] + b"2"})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert store.get("m", ["child", "nobody"]) == {"child": b"12"}


def test_files_that_are_no_caches_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, but it is long enough to be looked at as one " * 20)
    with pytest.raises(InputError, match=r"text\.db"):
        VectorCache(tmp_path / "text.db")
    connection = sqlite3.connect(tmp_path / "new.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(InputError, match="version 99"):
        VectorCache(tmp_path / "new.db")
    with pytest.raises(InputError, match="table"):
        ContentStore(None, "x; drop")


def test_chunks_must_be_positive() -> None:
    with pytest.raises(InputError, match="chunk_items"):
        CachedTextEncoder(LetterCounts(), VectorCache(), chunk_items=0)
