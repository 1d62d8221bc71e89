"""What a worker holds: a ranker or encoders by name, and their fingerprint.

Nothing is kept between calls that could change a result: a vector from a cache has the rounding of the batch in which
it was made first, and output must not depend on which worker met a text first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

import wholepage
from wholepage.apps.resolve import OFFLINE, image_encoder, load, model_folder, text_encoder, vectors_for
from wholepage.apps.serving.served_models import BM25, load_model, spec_of
from wholepage.pages.errors import InputError
from wholepage.pages.model import ImageRef
from wholepage.pages.protocols import Ranker
from wholepage.rankers.encoders import CachedImageEncoder, CachedTextEncoder, ImageEncoder, TextEncoder
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.shipped import SHIPPED
from wholepage.rankers.weights import MANIFEST, read_manifest

_BLOCK_BYTES = 1 << 20
_NAMES = (OFFLINE, BM25, *SHIPPED)

_Item = TypeVar("_Item", str, ImageRef)


def ranker_named(model: str) -> Ranker:
    """A ranker that keeps nothing: ``offline``, ``bm25``, a model folder, or a folder that transformers saved.

    Raises:
        NotFound: neither a known name nor a folder.
        WeightsError: another kind of model, or a damaged file.
        MissingExtra: a library is not installed.
        InputError: a folder that holds no model.
    """
    spec = spec_of(model)
    if spec.kind == "folder" and "encoders" in read_manifest(Path(spec.source)).config:
        return load(spec.source, vectors=_keeping_nothing(vectors_for(spec.source)))
    return load_model(spec).ranker


def encoders_named(model: str) -> ResultVectors:
    """Encoders that keep nothing.

    Args:
        model: ``minilm``, ``minilm+pixels``, ``minilm+mobilenet``, a folder or hub id of a sentence encoder with or
            without a picture encoder after ``+``; or a model folder, whose encoders are taken.
    Raises:
        NotFound: an unknown name, or weights that are not there.
        WeightsError: an encoder cannot be loaded.
        MissingExtra: a library is not installed.
    """
    if (Path(model).expanduser() / MANIFEST).is_file():
        return _keeping_nothing(vectors_for(Path(model).expanduser()))
    text, *image = _parts(model)
    return _keeping_nothing(ResultVectors(text_encoder(text), image_encoder("+".join(image) or None)))


def fingerprint_of(model: str) -> str:
    """The sha256 of a model: of a folder's files by name and content, else of the name and this version.

    Raises:
        InputError: a file of the folder cannot be read.
    """
    digest = hashlib.sha256()
    for part in _parts(model):
        folder = model_folder(part) if part in SHIPPED else Path(part).expanduser()
        if part in (OFFLINE, BM25) or not folder.is_dir():
            digest.update(f"{part}\0{wholepage.__version__}\n".encode())
            continue
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = file.relative_to(folder).as_posix()
            digest.update(f"{name}\0{_digest_of(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def placed(model: str) -> str:
    """The same model, a folder named in a way that holds wherever a worker runs; names of encoders stay as they are."""
    folder = Path(model).expanduser()
    return str(folder.absolute()) if model not in _NAMES and (folder / MANIFEST).is_file() else model


def _parts(model: str) -> list[str]:
    """A folder whose name holds ``+`` is one model; else ``+`` joins encoders."""
    return [model] if Path(model).expanduser().is_dir() else model.split("+")


def _digest_of(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"model: got {path}, which cannot be read ({error}); allowed: a whole folder; mend it"
        ) from error


class EachOnce:
    """An encoder that is asked once for what stands several times in a call, and keeps nothing after it."""

    def __init__(self, name: str, dim: int) -> None:
        self.name, self.dim = name, dim

    def _encode(
        self, encode: Callable[[Sequence[_Item]], NDArray[np.float32]], items: Sequence[_Item]
    ) -> NDArray[np.float32]:
        place = {item: row for row, item in enumerate(dict.fromkeys(items))}
        if not place:
            return np.zeros((0, self.dim), np.float32)
        return np.asarray(encode(list(place))[[place[item] for item in items]], np.float32)


class TextsOnce(EachOnce):
    """A ``TextEncoder`` that encodes each distinct text of a call once."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__(encoder.name, encoder.dim)
        self.encoder = encoder

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows ``[len(texts), dim]`` in the order of ``texts``."""
        return self._encode(self.encoder.encode_texts, texts)


class ImagesOnce(EachOnce):
    """An ``ImageEncoder`` that encodes each distinct picture of a call once."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__(encoder.name, encoder.dim)
        self.encoder = encoder

    def encode_images(self, refs: Sequence[ImageRef]) -> NDArray[np.float32]:
        """Rows ``[len(refs), dim]`` in the order of ``refs``."""
        return self._encode(self.encoder.encode_images, refs)


def _keeping_nothing(vectors: ResultVectors) -> ResultVectors:
    """The encoders under their caches."""
    text, image = vectors.text, vectors.image
    for cached in (text, image):
        if isinstance(cached, (CachedTextEncoder, CachedImageEncoder)):
            cached.cache.close()
    plain_text = text.encoder if isinstance(text, CachedTextEncoder) else text
    plain_image = image.encoder if isinstance(image, CachedImageEncoder) else image
    return ResultVectors(TextsOnce(plain_text), None if plain_image is None else ImagesOnce(plain_image))
