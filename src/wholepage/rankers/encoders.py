"""Encoders turn texts and pictures into vectors; caches keep the vectors on disk by content hash.

A vector is found again by the encoder's name and the sha256 of what was encoded, so an encoder's name must say which
weights it runs (``fingerprint``). Nothing depends on file names, order, or on what else was encoded with it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.images import read_image_bytes
from wholepage.pages.model import ImageRef

CHUNK_ITEMS = 256
"""How many items are encoded between two commits of a cache."""

_FORMAT_VERSION = 1
_KEYS_PER_SELECT = 500  # below SQLite's smallest limit of variables (999)
_BUSY_TIMEOUT_S = 60.0

_Item = TypeVar("_Item")

Progress = Callable[[int, int, str], None]
"""``progress(done, total, what)``; ``done`` counts what the cache already held."""


@runtime_checkable
class TextEncoder(Protocol):
    """Gives every text a vector; ``name`` says which weights, a vector is the same in any batch (to 1e-5)."""

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows ``[len(texts), dim]`` in the order of ``texts``, finite."""
        ...


@runtime_checkable
class ImageEncoder(Protocol):
    """Gives every picture a vector; ``name`` says which weights, a vector is the same in any batch (to 1e-5)."""

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def encode_images(self, refs: Sequence[ImageRef]) -> NDArray[np.float32]:
        """Rows ``[len(refs), dim]`` in the order of ``refs``, finite."""
        ...


class ReadBytes(Protocol):
    """How a picture's bytes are read: ``pages.images.read_image_bytes``, or a ``partial`` of it with other limits."""

    def __call__(self, ref: ImageRef, *, at: str = "") -> bytes: ...


class ContentStore:
    """Bytes by (maker, content hash) in one SQLite table, shared by threads and processes.

    Args:
        path: the file, made when missing; None = memory only.
        table: ``"vectors"`` or ``"texts"``; both may lie in one file.
    Raises:
        InputError: the file is not such a store, or a newer version wrote it.
    """

    def __init__(self, path: Path | None, table: str) -> None:
        if not table.isidentifier():
            raise InputError(f"store table: got {table!r}; allowed: a plain name; pass 'vectors' or 'texts'")
        self.path, self.table = path, table
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        target = ":memory:" if self.path is None else str(self.path)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = sqlite3.connect(target, timeout=_BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")  # a lost last chunk is encoded again, never half written
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version not in (0, _FORMAT_VERSION):
                connection.close()
                raise InputError(
                    f"cache {target}: got format version {version}; allowed: {_FORMAT_VERSION}; "
                    "use another file, or upgrade wholepage"
                )
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self.table} "
                "(maker TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (maker, key))"
            )
            connection.execute(f"PRAGMA user_version={_FORMAT_VERSION}")
        except sqlite3.Error as error:
            raise InputError(
                f"cache {target}: cannot be opened ({error}); allowed: a writable SQLite file made by wholepage; "
                "name another file"
            ) from error
        return connection

    def _connected(self) -> sqlite3.Connection:
        if self._pid != os.getpid() and self.path is not None:  # a SQLite connection must not cross a fork
            self._pid, self._connection = os.getpid(), self._open()
        return self._connection

    def get(self, maker: str, keys: Iterable[str]) -> dict[str, bytes]:
        """What is known of the keys; unknown ones are absent."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, bytes] = {}
        with self._lock:
            connection = self._connected()
            for start in range(0, len(wanted), _KEYS_PER_SELECT):
                part = wanted[start : start + _KEYS_PER_SELECT]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, value FROM {self.table} WHERE maker = ? AND key IN ({marks})"
                found.update(connection.execute(query, (maker, *part)).fetchall())
        return found

    def put(self, maker: str, values: Mapping[str, bytes]) -> None:
        """Keep all of them in one transaction; a key already there is overwritten."""
        with self._lock:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(
                    f"INSERT OR REPLACE INTO {self.table} VALUES (?, ?, ?)", [(maker, k, v) for k, v in values.items()]
                )
                connection.execute("COMMIT")
            except sqlite3.Error:
                connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        with self._lock:
            self._connection.close()


class VectorCache:
    """Vectors by (encoder name, content hash).

    Args:
        path: a SQLite file, made when missing, shared by processes; None = memory only.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._store = ContentStore(self.path, "vectors")

    def get_many(self, encoder: str, keys: Iterable[str], dim: int) -> dict[str, NDArray[np.float32]]:
        """The vectors known for the keys; unknown keys are absent.

        Raises:
            ShapeError: a kept vector has not ``dim`` numbers.
        """
        found = self._store.get(encoder, keys)
        for key, blob in found.items():
            if len(blob) != 4 * dim:
                raise ShapeError(
                    f"cache {self.path or 'in memory'}: vector {key[:12]} of encoder {encoder!r}: "
                    f"got {len(blob) / 4:g} numbers; allowed: {dim}; "
                    "name encoders of different sizes differently, or use another file"
                )
        return {key: np.frombuffer(blob, dtype="<f4").astype(np.float32) for key, blob in found.items()}

    def put_many(self, encoder: str, vectors: Mapping[str, NDArray[np.float32]], dim: int) -> None:
        """Keep vectors, all or none.

        Raises:
            ShapeError: a vector has not ``dim`` numbers, or one of them is not finite.
        """
        for key, vector in vectors.items():
            if vector.shape != (dim,) or not np.isfinite(vector).all():
                raise ShapeError(
                    f"encoder {encoder!r}: vector of {key[:12]}: got shape {vector.shape}, "
                    f"{int(np.sum(~np.isfinite(vector)))} numbers not finite; allowed: ({dim},), all finite; "
                    "mend the encoder"
                )
        self._store.put(encoder, {key: vector.astype("<f4").tobytes() for key, vector in vectors.items()})

    def close(self) -> None:
        """Close the file; the cache cannot be used afterwards."""
        self._store.close()


def text_key(text: str) -> str:
    """The hex sha256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def image_key(ref: ImageRef, read: ReadBytes = read_image_bytes, *, at: str = "") -> str:
    """The hex sha256 of a picture's bytes; taken from the reference when it carries it, else the picture is read.

    Raises:
        ImageError: the picture has to be read and cannot be.
    """
    return ref.sha256.lower() if ref.sha256 else hashlib.sha256(read(ref, at=at)).hexdigest()


class CachedTextEncoder:
    """A TextEncoder that encodes each distinct text once, ever.

    New texts are encoded in chunks and kept chunk by chunk: a killed run resumes where it stopped.

    Args:
        encoder: asked for what the cache does not hold.
        cache: where vectors are kept.
        progress: called after every chunk, when there is anything to encode.
        chunk_items: texts between two commits.
    Raises:
        InputError: ``chunk_items`` is not positive.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        cache: VectorCache,
        progress: Progress | None = None,
        *,
        chunk_items: int = CHUNK_ITEMS,
    ) -> None:
        self.encoder, self.cache, self.progress = encoder, cache, progress
        self.chunk_items = _positive_chunk(chunk_items)

    @property
    def name(self) -> str:
        return self.encoder.name

    @property
    def dim(self) -> int:
        return self.encoder.dim

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows ``[len(texts), dim]``; a text's row does not depend on the others beyond 1e-5.

        Raises:
            ShapeError: the encoder returned another shape, or numbers that are not finite.
        """
        keys = [text_key(text) for text in texts]
        return _encode(self, keys, texts, self.encoder.encode_texts, "texts")


class CachedImageEncoder:
    """An ImageEncoder that encodes each distinct picture (by its bytes) once, ever.

    A reference that carries its sha256 is looked up without being opened.

    Args:
        encoder: asked for what the cache does not hold.
        cache: where vectors are kept.
        progress: called after every chunk, when there is anything to encode.
        chunk_items: pictures between two commits.
        read: how bytes are read for hashing; give it the same limits as the encoder's own reading.
    Raises:
        InputError: ``chunk_items`` is not positive.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        cache: VectorCache,
        progress: Progress | None = None,
        *,
        chunk_items: int = CHUNK_ITEMS,
        read: ReadBytes = read_image_bytes,
    ) -> None:
        self.encoder, self.cache, self.progress, self.read = encoder, cache, progress, read
        self.chunk_items = _positive_chunk(chunk_items)

    @property
    def name(self) -> str:
        return self.encoder.name

    @property
    def dim(self) -> int:
        return self.encoder.dim

    def encode_images(self, refs: Sequence[ImageRef]) -> NDArray[np.float32]:
        """Rows ``[len(refs), dim]``; a picture's row does not depend on the others beyond 1e-5.

        Raises:
            ImageError: a picture cannot be read.
            ShapeError: the encoder returned another shape, or numbers that are not finite.
        """
        hashes = {ref: image_key(ref, self.read, at=f"images[{i}]") for ref, i in _first_index(refs).items()}
        return _encode(self, [hashes[ref] for ref in refs], refs, self.encoder.encode_images, "images")


def _first_index(refs: Sequence[ImageRef]) -> dict[ImageRef, int]:
    first: dict[ImageRef, int] = {}
    for index, ref in enumerate(refs):
        first.setdefault(ref, index)
    return first


def _positive_chunk(chunk_items: int) -> int:
    if chunk_items < 1:
        raise InputError(f"chunk_items: got {chunk_items}; allowed: 1 or more; leave it out for {CHUNK_ITEMS}")
    return chunk_items


def _encode(
    cached: CachedTextEncoder | CachedImageEncoder,
    keys: Sequence[str],
    items: Sequence[_Item],
    encode: Callable[[Sequence[_Item]], NDArray[np.float32]],
    what: str,
) -> NDArray[np.float32]:
    name, dim = cached.name, cached.dim
    item_of = dict(zip(keys, items, strict=True))
    known = cached.cache.get_many(name, item_of, dim)
    missing = [key for key in item_of if key not in known]
    report = cached.progress if missing else None
    if report:
        report(len(known), len(item_of), what)
    for start in range(0, len(missing), cached.chunk_items):
        chunk = missing[start : start + cached.chunk_items]
        rows = encode([item_of[key] for key in chunk])
        if rows.shape != (len(chunk), dim):
            raise ShapeError(
                f"encoder {name!r}: got {rows.shape} for {len(chunk)} {what}; allowed: ({len(chunk)}, {dim}); "
                "return one row an item"
            )
        vectors = {key: np.asarray(row, dtype=np.float32) for key, row in zip(chunk, rows, strict=True)}
        cached.cache.put_many(name, vectors, dim)
        known.update(vectors)
        if report:
            report(len(known), len(item_of), what)
    return np.stack([known[key] for key in keys]) if keys else np.zeros((0, dim), dtype=np.float32)
