"""Readings and scores that are remembered, for many rankers are asked about the same pages in turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.model import Page
from wholepage.pages.protocols import Scorer
from wholepage.rankers.features import Featurizer, PageItems


class ReadOnce(Featurizer):
    """A Featurizer that remembers the pages it read last, for many rankers are asked about the same ones in turn."""

    _kept: dict[bool, tuple[list[Page], Sequence[NDArray[np.float32]], list[PageItems]]] | None = None

    def read(self, pages: Sequence[Page], scores: Sequence[NDArray[np.float32]] | None = None) -> list[PageItems]:
        """See ``Featurizer.read``; pages and scores count as the same when they are the same objects.

        The last reading with scores given and the last without are both remembered.
        """
        kept = {} if self._kept is None else self._kept
        last = kept.get(scores is None)
        if last is None or not (_same(last[0], pages) and _same(last[1], scores or ())):
            last = (list(pages), list(scores or ()), super().read(pages, scores))
            self._kept = {**kept, scores is None: last}
        return last[2]

    @classmethod
    def of(cls, featurizer: Featurizer) -> ReadOnce:
        """The same reading, remembered."""
        f = featurizer
        return cls(f.upstream, f.vectors, f.known, f.scale, f.vector_scale, f.read_as, users=f.users)


class ScoredOnce:
    """A Scorer that remembers the pages it scored last."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._last: tuple[list[Page], list[NDArray[np.float32]]] | None = None

    @property
    def name(self) -> str:
        return self.scorer.name

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Scores ``[len(page)]`` a page, NaN = no opinion."""
        if self._last is None or not _same(self._last[0], pages):
            self._last = (list(pages), self.scorer.score(pages))
        return self._last[1]


def _same(ours: Sequence[object], theirs: Sequence[object]) -> bool:
    return len(ours) == len(theirs) and all(a is b for a, b in zip(ours, theirs, strict=True))
