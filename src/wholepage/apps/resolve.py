"""Names become rankers and encoders here, and nowhere else; ``places`` says where files lie."""

from __future__ import annotations

import re
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING

from wholepage.apps.offline import OfflineRanker
from wholepage.apps.places import NotFound, cache_folder, data_root
from wholepage.pages.errors import InputError, WeightsError, require
from wholepage.pages.protocols import Ranker
from wholepage.rankers.encoders import (
    CachedImageEncoder,
    CachedTextEncoder,
    ImageEncoder,
    Progress,
    TextEncoder,
    VectorCache,
)
from wholepage.rankers.image import DualEncoder, MobileNetEncoder, PixelDescriptor
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.shipped import SHIPPED, shipped
from wholepage.rankers.text import MINILM, SentenceEncoder
from wholepage.rankers.weights import read_manifest

if TYPE_CHECKING:
    from wholepage.rankers.nested import SavedScorer
    from wholepage.rankers.whole_page import WholePageRanker

MOBILENET_FILE = "weights/mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"
OFFLINE = "offline"
LISTWISE = "listwise"
_VECTORS_NAME = re.compile(r"(?P<text>.+?/\d+)(?:\+(?P<image>.+))?")  # a sentence encoder's name ends in /<tokens>


@once
def text_encoder(name: str = MINILM) -> TextEncoder:
    """A sentence encoder by name, made once a process.

    Args:
        name: ``"minilm"`` (packaged, no network), a folder, or a hub id (``owner/model``).
    Raises:
        NotFound: neither a known name, a folder, nor a hub id.
        WeightsError: it cannot be loaded.
        MissingExtra: its library is not installed.
    """
    _check_model_name("text encoder", name, (MINILM,))
    return SentenceEncoder(name)


def image_encoder(name: str | None, *, root: str | Path | None = None) -> ImageEncoder | None:
    """A picture encoder by name.

    Args:
        name: ``"pixels"`` (no weights), ``"mobilenet"`` (weights in the data folder), a folder or hub id of a dual
            encoder, or None for none.
        root: the data folder, None = ``WHOLEPAGE_DATA``; asked for only by ``"mobilenet"``.
    Raises:
        NotFound: an unknown name, or the weights are not in the data folder.
        WeightsError: it cannot be loaded.
        MissingExtra: its library is not installed.
    """
    if name is None:
        return None
    if name == "pixels":
        return PixelDescriptor()
    if name == "mobilenet":
        weights = data_root(root) / MOBILENET_FILE
        if not weights.is_file():
            raise NotFound(
                f"image encoder 'mobilenet': got no file {str(weights)!r}; allowed: the .tflite network there; "
                "put it there, or use 'pixels', which needs no weights"
            )
        return MobileNetEncoder(weights)
    _check_model_name("image encoder", name, ("pixels", "mobilenet"))
    return DualEncoder(name)


def result_vectors(
    text: str = MINILM,
    image: str | None = "pixels",
    *,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> ResultVectors:
    """The frozen encoders that learned rankers stand on; each text and picture is encoded once, ever.

    Args:
        text, image: names for ``text_encoder`` and ``image_encoder``.
        root: the data folder.  cache: the cache folder; None = the usual one.
        progress: told of what is encoded anew.
    Raises:
        NotFound: a name is unknown, or weights are not there.
        WeightsError: an encoder cannot be loaded.
        MissingExtra: a library is not installed.
    """
    reads, looks = text_encoder(text), image_encoder(image, root=root)
    kept = VectorCache(cache_folder(cache) / "vectors.sqlite")
    return ResultVectors(
        CachedTextEncoder(reads, kept, progress),
        None if looks is None else CachedImageEncoder(looks, kept, progress),
    )


def vectors_for(
    folder: str | Path,
    *,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> ResultVectors:
    """The encoders that a model folder was trained on, found by the name in its manifest.

    Raises:
        NotFound: there is no such folder, or the weights of an encoder are not there.
        WeightsError: the manifest cannot be read, or names encoders that cannot be found by name.
    """
    path = model_folder(folder)
    named = read_manifest(path).config.get("encoders")
    found = _VECTORS_NAME.fullmatch(named) if isinstance(named, str) else None
    image = found["image"] if found else None
    by_name = {None: None, PixelDescriptor.name: "pixels"}
    known = image in by_name or (image or "").startswith("mobilenet@")
    if found is None or not found["text"].startswith(f"{MINILM}@") or not known:
        raise WeightsError(
            f"{path}: got encoders {named!r}; allowed: '{MINILM}@...', alone or with '+{PixelDescriptor.name}' or "
            "'+mobilenet@...', which are found by name; pass the encoders themselves: wholepage.load(path, vectors=...)"
        )
    return result_vectors(MINILM, by_name.get(image, "mobilenet"), root=root, cache=cache, progress=progress)


def model_folder(path: str | Path) -> Path:
    """The path of a model folder; ``listwise-small`` comes with the package.

    Raises:
        NotFound: there is no such folder.
    """
    if str(path) in SHIPPED:
        return shipped(str(path))
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise NotFound(
            f"model: got {str(path)!r}, which is no folder; allowed: a model folder, as `wholepage train` and "
            "`wholepage demo` write it; check the path"
        )
    return folder


def load(
    path: str | Path,
    *,
    vectors: ResultVectors | None = None,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Ranker:
    """Read a trained ranker: of whole pages, its single-modal rankers included, of one modality, or a listwise one.

    Args:
        path: a model folder, as ``wholepage train`` writes it.
        vectors: the encoders it was trained on; None = found by the name in its manifest.
        root: the data folder, where weights may lie.  cache: where vectors, and pictures seen, are kept.
        progress: told of what is encoded anew.
    Returns:
        A ``WholePageRanker``; a ``SingleModalRanker``, which raises NoRanker for a page with another modality; or a
        ``ListwiseRanker``.
    Raises:
        NotFound: there is no such folder.
        WeightsError: another kind of model, a damaged file, or other encoders than those it was trained on.
        MissingExtra: torch is not installed.
    """
    require("torch", "train")
    from wholepage.rankers import nested

    folder = model_folder(path)
    kind = read_manifest(folder).kind
    if kind == LISTWISE:
        from wholepage.rankers.listwise import ListwiseRanker

        return ListwiseRanker.load(folder, store=cache_folder(cache) / "pictures", progress=progress)
    if kind in nested.KINDS:
        return nested.SingleModalRanker(
            single_modal(folder, vectors=vectors, root=root, cache=cache, progress=progress)
        )
    return page_ranker(folder, vectors=vectors, root=root, cache=cache, progress=progress)


def page_ranker(
    path: str | Path,
    *,
    vectors: ResultVectors | None = None,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> WholePageRanker:
    """Read a trained page reranker, its single-modal rankers included.

    Args:
        path: a model folder of kind ``whole-page``.
        vectors, root, cache, progress: as for ``load``.
    Raises:
        NotFound: there is no such folder.
        WeightsError: another kind of model, a damaged file, or other encoders than those it was trained on.
        MissingExtra: torch is not installed.
    """
    require("torch", "train")
    from wholepage.rankers import whole_page

    folder = model_folder(path)
    kind = read_manifest(folder).kind
    if kind != whole_page.KIND:
        raise WeightsError(
            f"{folder}: got a model of kind {kind!r}; allowed: {whole_page.KIND!r}; name the folder of a page reranker"
        )
    if vectors is None:
        vectors = vectors_for(folder, root=root, cache=cache, progress=progress)
    return whole_page.WholePageRanker.load(folder, vectors)


def single_modal(
    path: str | Path,
    *,
    vectors: ResultVectors | None = None,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> SavedScorer:
    """Read a trained ranker of one modality.

    Args:
        path: a model folder, as ``wholepage train text`` and its like write it.
        vectors, root, cache, progress: as for ``load``.
    Raises:
        NotFound: there is no such folder.
        WeightsError: another kind of model, a damaged file, or other encoders than those it was trained on.
        MissingExtra: torch is not installed.
    """
    require("torch", "train")
    from wholepage.rankers import nested

    folder = model_folder(path)
    if vectors is None and read_manifest(folder).kind in nested.ON_FROZEN_VECTORS:
        vectors = vectors_for(folder, root=root, cache=cache, progress=progress)
    return nested.load_single(folder, vectors)


def ranker_from(
    model: str | Path | Ranker | None,
    *,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Ranker:
    """Whatever names a ranker, as a ranker.

    Args:
        model: a Ranker as it is; a model folder; None or ``"offline"`` = the offline default.
        root, cache, progress: as for ``load``; without ``cache`` the offline default keeps nothing on disk.
    Raises:
        NotFound: there is no such folder.
        InputError: something that cannot rank.
        WeightsError: the folder is not a ranker, or damaged.
    """
    if model is None or model == OFFLINE:
        return _offline(None if cache is None else cache_folder(cache))
    if isinstance(model, (str, Path)):
        return load(model, root=root, cache=cache, progress=progress)
    if not isinstance(model, Ranker):
        raise InputError(
            f"model: got {type(model).__name__}; allowed: a Ranker (name, rank(pages)), a model folder, or None; "
            "wrap a Scorer with wholepage.by_score"
        )
    return model


@once
def _offline(cache: Path | None) -> OfflineRanker:
    return OfflineRanker(text_encoder(), None if cache is None else cache / "words.sqlite")


def _check_model_name(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known and "/" not in name and not Path(name).is_dir():
        raise NotFound(
            f"{what}: got {name!r}; allowed: {', '.join(known)}, a folder, or a hub id 'owner/model'; choose one"
        )
