"""Which models a server answers for: a name for each, what it is made of, and how a worker reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from wholepage.apps.places import NotFound
from wholepage.apps.resolve import LISTWISE, OFFLINE, model_folder, ranker_from
from wholepage.pages.errors import InputError, require
from wholepage.pages.model import Modality
from wholepage.pages.protocols import Ranker, by_score
from wholepage.rankers.weights import MANIFEST, read_manifest

BM25 = "bm25"
CROSS_ENCODER = "cross-encoder"
FOLDER = "folder"
Kind = Literal["offline", "bm25", "folder", "cross-encoder"]

_EVERY = tuple(modality.value for modality in Modality)
_READ = (Modality.TEXT.value, Modality.ANSWER.value)


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a model is made of.

    Attributes:
        kind: ``offline`` (the ranker when nobody named one), ``bm25``, ``folder`` (a model folder of ours), or
            ``cross-encoder`` (a sequence classifier as transformers saves it).
        source: the folder; of a cross-encoder also a hub id that lies in the local cache.
    Raises:
        InputError: a source where there is none, or none where one is needed.
    """

    kind: Kind
    source: str = ""

    def __post_init__(self) -> None:
        if (self.kind in (FOLDER, CROSS_ENCODER)) != bool(self.source):
            raise InputError(
                f"model of kind {self.kind!r}: got source {self.source!r}; allowed: a folder for {FOLDER!r} and "
                f"{CROSS_ENCODER!r}, and none for the others; mend the spec"
            )


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker tells of a model that it has read.

    Attributes:
        name: as it is served.  kind: of ranker.  modalities: that it ranks.  ranker: the ranker's own name.
        reads: tokens of a query and a result that it reads at most; 0 = it reads everything.
        pace_s: seconds a token, as measured on sample pages; 0 = not measured.
    """

    name: str
    kind: str
    modalities: tuple[str, ...]
    ranker: str
    reads: int = 0
    pace_s: float = 0.0


@dataclass(frozen=True)
class LoadedModel:
    """A ranker that is ready; the attributes as in ``Description``."""

    ranker: Ranker
    kind: str
    modalities: tuple[str, ...]
    reads: int = 0


def spec_of(model: str | Path) -> ModelSpec:
    """Whatever names a model on a command line, as a spec.

    Args:
        model: ``"offline"``, ``"bm25"``, a model folder, or a folder that transformers saved.
    Raises:
        NotFound: neither a known name nor a folder.
        InputError: a folder that holds no model.
    """
    if model == OFFLINE:
        return ModelSpec("offline")
    if model == BM25:
        return ModelSpec("bm25")
    folder = model_folder(model).resolve()
    if (folder / MANIFEST).is_file():
        return ModelSpec("folder", str(folder))
    if (folder / "config.json").is_file():
        return ModelSpec("cross-encoder", str(folder))
    raise InputError(
        f"model: got the folder {str(model)!r} without {MANIFEST} or config.json; allowed: 'offline', 'bm25', a model "
        "folder, or a sequence classifier as transformers saves it; check the path"
    )


def load_model(spec: ModelSpec) -> LoadedModel:
    """Read a model; nothing is asked from the network.

    Raises:
        NotFound: there is no such folder.
        WeightsError: another kind of model, or a damaged file.
        MissingExtra: a library is not installed.
    """
    match spec.kind:
        case "bm25":
            from wholepage.rankers.bm25 import BM25Scorer

            return LoadedModel(by_score(BM25Scorer()), BM25, _READ)
        case "offline":
            return LoadedModel(ranker_from(OFFLINE), OFFLINE, _EVERY)
        case "cross-encoder":
            return _plain_cross_encoder(spec.source)
        case "folder":
            return _from_folder(spec.source)


def _plain_cross_encoder(source: str) -> LoadedModel:
    require("sentence_transformers", "text")
    from wholepage.rankers.text import CrossEncoderScorer

    if source.startswith(("/", "~", ".")) and not Path(source).expanduser().is_dir():
        raise NotFound(f"model: got {source!r}, which is no folder; allowed: a folder; check the path")
    scorer = CrossEncoderScorer(source, local_files_only=True)
    return LoadedModel(by_score(scorer), CROSS_ENCODER, _READ, scorer.max_tokens)


def _from_folder(source: str) -> LoadedModel:
    folder = model_folder(source)
    manifest = read_manifest(folder)
    config = manifest.config
    ranker = ranker_from(folder)
    if manifest.kind == LISTWISE:
        return LoadedModel(ranker, manifest.kind, _EVERY if _sees(ranker) else _READ)
    if "modality" in config:
        also = config.get("also", ())
        return LoadedModel(ranker, manifest.kind, (config["modality"], *also), int(config.get("max_tokens", 0)))
    return LoadedModel(ranker, manifest.kind, _trained_on(config))


def _sees(ranker: Ranker) -> bool:
    return getattr(ranker, "pictures", None) is not None


def _trained_on(config: Mapping[str, object]) -> tuple[str, ...]:
    """The modalities that a page reranker knows, as its folder says; every one where it says nothing."""
    known, read_as = config.get("known"), config.get("read_as")
    if not isinstance(known, list):
        return _EVERY
    also = read_as if isinstance(read_as, dict) else {}
    return tuple(modality for modality in _EVERY if modality in known or modality in also)
