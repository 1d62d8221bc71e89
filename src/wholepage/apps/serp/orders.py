"""The orders of a page by name: as received, or as a ranker puts it; each is found once and kept for a while."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

import msgspec
import numpy as np

from wholepage.pages.errors import ImageError, InputError, NoRanker, WholepageError, shorten
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Ranker, Scorer, ranking_of
from wholepage.rankers.calibration import Calibration

RECEIVED = "received"
"""The name of the order in which a page came; no ranker may have it."""

KEPT = 256

_LOG = logging.getLogger("wholepage.serp")
_WORDS: tuple[tuple[type[WholepageError], str], ...] = (
    (NoRanker, "It does not know one of the kinds of result on this page."),
    (ImageError, "It looks at pictures, and one of this page cannot be opened."),
    (InputError, "It cannot take this page."),
)
_UNKNOWN = "It did not answer. The log of the server says why."


class Ordered(msgspec.Struct, frozen=True):
    """A page in somebody's order, with what is known of why.

    Attributes:
        name: by which it was asked for.  by: as the ranker calls itself.
        ids: best first.
        scores: by id, where the ranker gives any; None = it had no opinion.
        chances: by id, P(grade >= ``threshold``), of a ranker that is calibrated.
        alone: by id, the place of the result in the list of its kind, by the ranker of that list, 1 = first.
        alone_by: who ordered these lists.
        took_s: seconds that it took.
        problem: why the page is as received after all; empty = it was ordered.
    """

    name: str
    by: str
    ids: tuple[str, ...]
    scores: dict[str, float | None] = {}
    chances: dict[str, float] = {}
    threshold: float = 0.0
    alone: dict[str, int] = {}
    alone_by: str = ""
    took_s: float = 0.0
    problem: str = ""


class Orders:
    """Rankers by name, and the orders that they gave last.

    A ranker is asked by one visitor at a time; who asks for what another is waiting for waits, and gets the same.

    Args:
        rankers: by the name that people read.
        kept: how many orders are kept.
    Raises:
        InputError: a name that is empty or taken, or something that cannot rank.
    """

    def __init__(self, rankers: Mapping[str, Ranker], *, kept: int = KEPT) -> None:
        for name, ranker in rankers.items():
            if not name.strip() or name == RECEIVED:
                raise InputError(f"rankers: got the name {name!r}; allowed: any but {RECEIVED!r}; choose another")
            if not isinstance(ranker, Ranker):
                raise InputError(
                    f"rankers: {name!r}: got {type(ranker).__name__}; allowed: a Ranker (name, rank(pages)); wrap a "
                    "Scorer with wholepage.by_score"
                )
        self._rankers = dict(rankers)
        self._room = kept
        self._kept: OrderedDict[tuple[str, str], Ordered] = OrderedDict()
        self._lock = Lock()
        self._turns = {name: Lock() for name in rankers}

    @property
    def names(self) -> tuple[str, ...]:
        """Every order that can be asked for, ``RECEIVED`` first."""
        return (RECEIVED, *self._rankers)

    @property
    def usual(self) -> str:
        """The order that people see who ask for none: the first ranker's."""
        return next(iter(self._rankers), RECEIVED)

    def of(self, name: str, key: str, page: Page) -> Ordered:
        """A page in the order of a name.

        Args:
            name: one of ``names``.
            key: what tells the page from all others.
            page: to be ordered.
        Raises:
            InputError: no such name.
        """
        if name == RECEIVED:
            return Ordered(RECEIVED, "the order in which the page came", page.result_ids)
        if name not in self._rankers:
            raise InputError(f"order: got {shorten(name)!r}; allowed: {', '.join(self.names)}; choose one of them")
        found = self._known(name, key)
        if found is not None:
            return found
        with self._turns[name]:
            found = self._known(name, key)
            if found is None:
                found = _ordered(name, self._rankers[name], page)
                if not found.problem:  # what failed may go well next time
                    self._keep(name, key, found)
        return found

    def _known(self, name: str, key: str) -> Ordered | None:
        with self._lock:
            found = self._kept.get((name, key))
            if found is not None:
                self._kept.move_to_end((name, key))
            return found

    def _keep(self, name: str, key: str, made: Ordered) -> None:
        with self._lock:
            self._kept[name, key] = made
            while len(self._kept) > self._room:
                self._kept.popitem(last=False)


def single_of(ranker: Ranker) -> Scorer | None:
    """The single-modal rankers that a ranker of whole pages stands on, where it has any of its own.

    A merge keeps them under ``single``, a learned ranker as what its featurizer reads (``upstream``).
    """
    reads = getattr(ranker, "featurizer", None)
    for held in (getattr(ranker, "single", None), getattr(reads, "upstream", None)):
        if isinstance(held, Scorer):
            return held
    return None


def _ordered(name: str, ranker: Ranker, page: Page) -> Ordered:
    began = time.perf_counter()
    if not page.results:
        return Ordered(name, ranker.name, ())
    try:
        ranking = ranker.rank([page])[0].check(page)
    except WholepageError as error:
        _LOG.warning("ranker %s, query %r: %s", name, page.query_id, error)
        words = next((words for kind, words in _WORDS if isinstance(error, kind)), _UNKNOWN)
        return Ordered(name, ranker.name, page.result_ids, problem=words)
    took_s = time.perf_counter() - began
    scores = {} if ranking.scores is None else dict(zip(ranking.result_ids, ranking.scores, strict=True))
    calibration = getattr(ranker, "calibration", None)
    known = calibration if isinstance(calibration, Calibration) else None
    alone, alone_by = _alone(ranker, page)
    return Ordered(
        name=name,
        by=ranking.by or ranker.name,
        ids=ranking.result_ids,
        scores=scores,
        chances=_chances(known, scores) if known is not None else {},
        threshold=known.threshold if known is not None else 0.0,
        alone=alone,
        alone_by=alone_by,
        took_s=took_s,
    )


def _chances(calibration: Calibration, scores: Mapping[str, float | None]) -> dict[str, float]:
    given = {result_id: score for result_id, score in scores.items() if score is not None}
    values = calibration.probabilities(np.array(list(given.values()), dtype=np.float32))
    return dict(zip(given, map(float, values), strict=True))


def _alone(ranker: Ranker, page: Page) -> tuple[dict[str, int], str]:
    """Each result's place in the list of its kind: by the rankers of single kinds that the ranker stands on, else by
    the ranker itself, shown each list alone."""
    parts = [page.only(modality) for modality in page.modalities]
    single = single_of(ranker)
    try:
        lists = ranker.rank(parts) if single is None else _lists(single, page)
    except WholepageError as error:
        _LOG.info("ranker %s, query %r, single kinds: %s", ranker.name, page.query_id, error)
        return {}, ""
    places = {result_id: place for of in lists for place, result_id in enumerate(of.result_ids, start=1)}
    return places, ranker.name if single is None else single.name


def _lists(single: Scorer, page: Page) -> list[Ranking]:
    scores = single.score([page])[0]
    kinds = np.array([list(Modality).index(result.modality) for result in page.results])
    return [
        ranking_of(page.only(modality), scores[kinds == list(Modality).index(modality)], single.name)
        for modality in page.modalities
    ]
