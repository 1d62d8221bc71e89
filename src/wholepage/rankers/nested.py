"""Single-modal rankers as model folders: which kinds there are, and how each is read back.

A page reranker keeps its single-modal rankers inside its own folder when all of them are of these kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import WeightsError
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Scorer, by_score
from wholepage.rankers import cross_encoder, tower
from wholepage.rankers.fusion import SingleModal
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.weights import read_manifest


@runtime_checkable
class SavedScorer(Protocol):
    """A trained single-modal ranker that is a model folder of its own.

    Attributes:
        kind: of the folder.  modality: what it was trained on.  also: what it may order besides.
    """

    kind: str
    modality: Modality
    also: tuple[Modality, ...]

    @property
    def name(self) -> str: ...

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]: ...

    def save(self, folder: Path) -> None: ...


_Load: TypeAlias = Callable[[Path, ResultVectors | None], SavedScorer]

_LOADS: Mapping[str, _Load] = {
    tower.KIND: lambda folder, vectors: tower.TowerScorer.load(folder, _needed(folder, vectors)),
    cross_encoder.KIND: lambda folder, vectors: cross_encoder.TrainedCrossEncoder.load(folder),
}

KINDS = tuple(_LOADS)
"""Kinds of model folders that hold one single-modal ranker."""

ON_FROZEN_VECTORS = (tower.KIND,)
"""Those of them that read results through the frozen encoders."""


def load_single(folder: Path, vectors: ResultVectors | None = None) -> SavedScorer:
    """Read a single-modal ranker, whatever its kind.

    Args:
        vectors: the frozen encoders it was trained on; only ``ON_FROZEN_VECTORS`` need them.
    Raises:
        WeightsError: the folder is of none of ``KINDS``, damaged, or was trained on other encoders
            than those given, if any.
    """
    kind = read_manifest(folder).kind
    if kind not in _LOADS:
        raise WeightsError(
            f"{folder}: got a model of kind {kind!r}; allowed: {', '.join(KINDS)}; name the folder of a single-modal "
            "ranker"
        )
    return _LOADS[kind](Path(folder), vectors)


def nestable(upstream: Scorer) -> dict[Modality, SavedScorer]:
    """The rankers to put into a page reranker's folder; empty when any of them cannot be saved."""
    scorers = upstream.scorers if isinstance(upstream, SingleModal) else {}
    saved = {m: scorer for m, scorer in scorers.items() if isinstance(scorer, SavedScorer) and scorer.kind in KINDS}
    return saved if len(saved) == len(scorers) else {}


def places(scorers: Mapping[Modality, SavedScorer]) -> dict[Modality, str]:
    """Sub-folder of each ranker; one that orders several modalities is kept once, named by the first of them."""
    named: dict[int, str] = {}
    for modality, scorer in scorers.items():
        named.setdefault(id(scorer), f"single-{modality.value}")
    return {modality: named[id(scorer)] for modality, scorer in scorers.items()}


def load_nested(folder: Path, kept: Mapping[str, str], vectors: ResultVectors) -> dict[Modality, Scorer]:
    """The rankers inside a page reranker's folder.

    Args:
        kept: sub-folder by modality, as ``places`` named them.
    Raises:
        WeightsError: one of them is damaged, of an unknown kind, or was trained on other encoders.
    """
    made = {name: load_single(folder / name, vectors) for name in sorted(set(kept.values()))}
    return {Modality(modality): made[name] for modality, name in kept.items()}


class SingleModalRanker:
    """A single-modal ranker by itself: it orders pages of its modality, and refuses any other.

    Args:
        scorer: as ``load_single`` reads it.
    """

    def __init__(self, scorer: SavedScorer) -> None:
        self.scorer = scorer

    @property
    def name(self) -> str:
        return self.scorer.name

    @property
    def truncated(self) -> int:
        """Texts ranked so far that were longer than the model reads; 0 of a kind that does not count them."""
        return self.scorer.truncated if isinstance(self.scorer, cross_encoder.TrainedCrossEncoder) else 0

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page, best first.

        Raises:
            NoRanker: a page holds a result of another modality.
        """
        return by_score(self.scorer).rank(pages)


def _needed(folder: Path, vectors: ResultVectors | None) -> ResultVectors:
    if vectors is None:
        raise WeightsError(
            f"{folder}: got no encoders; allowed: those it was trained on, which its manifest names; pass vectors=..."
        )
    return vectors
