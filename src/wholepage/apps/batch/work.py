"""The three things that are done with pages, each ``pages -> records``, one record a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.apps.batch.models import encoders_named, ranker_named
from wholepage.apps.batch.plan import Settings
from wholepage.apps.documents import check_pictures
from wholepage.pages.errors import DecodingError, ImageError, InputError
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Ranker, scores_on
from wholepage.rankers.matching import ResultVectors

ROW_ERRORS = (InputError, ImageError, DecodingError)
"""What a page can be to blame for; anything else ends the job."""


class PageScores(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of a page's results in the page's own order; None = no opinion; of a mere order the negated ranks."""

    query_id: str
    result_ids: tuple[str, ...]
    scores: tuple[float | None, ...]
    by: str


class EncodedPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Vectors of a page.

    Attributes:
        query: of its words; None where it has none.
        text, image: one a result, in the page's order; None where it has no text or picture.
        by: the encoders' name.
    """

    query_id: str
    query: list[float] | None
    result_ids: tuple[str, ...]
    text: tuple[list[float] | None, ...]
    image: tuple[list[float] | None, ...]
    by: str


Record = Ranking | PageScores | EncodedPage


class Work(Protocol):
    """What is done with pages."""

    @property
    def name(self) -> str: ...

    def records(self, pages: Sequence[Page]) -> list[Record]:
        """One record a page, in the order of ``pages``."""
        ...


class RankPages:
    """Orders of pages."""

    def __init__(self, ranker: Ranker, top_k: int | None = None) -> None:
        self._ranker, self._top_k = ranker, top_k

    @property
    def name(self) -> str:
        return self._ranker.name

    def records(self, pages: Sequence[Page]) -> list[Record]:
        """One ``Ranking`` a page, each a permutation of it, cut to the first ``top_k``.

        Raises:
            ImageError: a picture cannot be opened; all are, before anything is ranked.
            Whatever the ranker raises.
        """
        ranked = ranked_all(self._ranker, pages)
        return [one if self._top_k is None else one.top(self._top_k) for one in ranked]


class ScorePages:
    """Scores of pages."""

    def __init__(self, ranker: Ranker) -> None:
        self._ranker = ranker

    @property
    def name(self) -> str:
        return self._ranker.name

    def records(self, pages: Sequence[Page]) -> list[Record]:
        """One ``PageScores`` a page; raises what ``RankPages`` does."""
        found: list[Record] = []
        for page, ranking in zip(pages, ranked_all(self._ranker, pages), strict=True):
            known = dict(zip(ranking.result_ids, ranking.scores or (), strict=bool(ranking.scores)))
            scores = (
                tuple(known[result_id] for result_id in page.result_ids)
                if ranking.scores is not None
                else tuple(float(score) for score in scores_on(page, ranking))
            )
            found.append(PageScores(page.query_id, page.result_ids, scores, ranking.by or self.name))
        return found


class EncodePages:
    """Vectors of pages."""

    def __init__(self, vectors: ResultVectors) -> None:
        self._vectors = vectors

    @property
    def name(self) -> str:
        return self._vectors.name

    def records(self, pages: Sequence[Page]) -> list[Record]:
        """One ``EncodedPage`` a page.

        Raises:
            InputError: a query without words.
            ImageError: a picture cannot be read.
            DecodingError: a vector is not finite.
        """
        for page in pages:
            check_pictures(page)
        found: list[Record] = []
        for page, encoded in zip(pages, self._vectors.encode(pages), strict=True):
            if not all(np.isfinite(part).all() for part in (encoded.query, encoded.text, encoded.image)):
                raise DecodingError(
                    f"encoders {self.name!r}: got a vector that is not finite, of page {page.query_id!r}; allowed: "
                    "finite numbers; mend the encoder, or leave the page out"
                )
            seen = self._vectors.image is not None
            found.append(
                EncodedPage(
                    page.query_id,
                    encoded.query.tolist(),
                    page.result_ids,
                    _present(encoded.text, [bool(result.text.strip()) for result in page.results]),
                    _present(encoded.image, [seen and bool(result.images) for result in page.results]),
                    self.name,
                )
            )
        return found


class OneModality:
    """Shows the work the results of one modality only."""

    def __init__(self, work: Work, modality: Modality) -> None:
        self._work, self._modality = work, modality

    @property
    def name(self) -> str:
        return self._work.name

    def records(self, pages: Sequence[Page]) -> list[Record]:
        """One record a page; raises what the work does."""
        return self._work.records([page.only(self._modality) for page in pages])


def work_for(settings: Settings) -> Work:
    """Load the model, once a worker.

    Raises:
        NotFound, WeightsError, MissingExtra, InputError: the model cannot be loaded.
    """
    work: Work
    match settings.task:
        case "rank":
            work = RankPages(ranker_named(settings.model), settings.top_k)
        case "score":
            work = ScorePages(ranker_named(settings.model))
        case "encode":
            work = EncodePages(encoders_named(settings.model))
    return work if settings.only is None else OneModality(work, Modality(settings.only))


def ranked_all(ranker: Ranker, pages: Sequence[Page]) -> list[Ranking]:
    """Rankings of pages whose pictures can all be opened, checked against their pages.

    Raises:
        ImageError: a picture cannot be opened.
        DecodingError: not one ranking a page, or one that is no permutation.
        Whatever the ranker raises.
    """
    for page in pages:
        check_pictures(page)
    ranked = ranker.rank(pages)
    if len(ranked) != len(pages):
        raise DecodingError(
            f"ranker {ranker.name!r}: got {len(ranked)} rankings for {len(pages)} pages; allowed: one each; mend the "
            "ranker"
        )
    return [ranking.check(page) for ranking, page in zip(ranked, pages, strict=True)]


def silent_in(record: Record) -> int:
    """How many results the record has no opinion on, or no vector of."""
    match record:
        case EncodedPage(text=text, image=image):
            return sum(words is None and look is None for words, look in zip(text, image, strict=True))
        case Ranking() | PageScores():
            return sum(score is None for score in record.scores or ())


def _present(rows: NDArray[np.float32], present: Sequence[bool]) -> tuple[list[float] | None, ...]:
    return tuple(row.tolist() if there else None for row, there in zip(rows, present, strict=True))
