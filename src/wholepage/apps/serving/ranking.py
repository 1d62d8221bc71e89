"""What a worker does with a ranker: each page of a batch gets its own answer, whatever the others hold."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import astuple
from typing import Protocol, runtime_checkable

from wholepage.apps.serving.calls import Outcome, Told
from wholepage.apps.serving.failures import failure_of
from wholepage.apps.serving.flights import cost_of
from wholepage.apps.serving.frames import Answered, Refused
from wholepage.apps.serving.served_models import LoadedModel
from wholepage.pages.errors import DecodingError, WholepageError
from wholepage.pages.model import Modality, Page, Query, Ranking, Result
from wholepage.pages.protocols import Ranker
from wholepage.rankers.listwise_diagnostics import Diagnostics, PageDiagnostics

_LOG = logging.getLogger("wholepage.serving.worker")
# All that code raises without meaning to end the process. What is not here ends the worker, and the page is tried once
# more on another.
_SURVIVED = (
    WholepageError, ArithmeticError, AttributeError, BufferError, EOFError, ImportError, LookupError, MemoryError,
    NameError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
_SAMPLES = 4
_SAMPLE_TEXT = "A plain sentence about nothing, as long as a passage of a text that somebody looks for. " * 3


@runtime_checkable
class TellingRanker(Protocol):
    """A ranker that tells what it did for each page."""

    @property
    def name(self) -> str: ...

    def rank(self, pages: Sequence[Page]) -> list[Ranking]: ...

    def rank_and_tell(self, pages: Sequence[Page]) -> tuple[list[Ranking], Diagnostics]: ...


def answer_pages(ranker: Ranker, pages: Sequence[Page]) -> list[Answered | Refused]:
    """One answer a page, in their order.

    When the batch as a whole raises an error, each page is ranked by itself: only the one that is at fault fails.
    """
    began = time.perf_counter()
    try:
        rankings, told = _rank(ranker, pages)
        outcomes = [_outcome(page, ranking) for page, ranking in zip(pages, rankings, strict=True)]
    except _SURVIVED as error:
        if len(pages) > 1:
            return [answer for page in pages for answer in answer_pages(ranker, [page])]
        if not isinstance(error, WholepageError):
            _LOG.error("%s on a page of %d results", ranker.name, len(pages[0]), exc_info=error)
        return [Refused(failure_of(error))]
    rank_ms = (time.perf_counter() - began) * 1e3
    return [
        Answered(Outcome(order, scores, ranker.name, _told(page, of, rank_ms)))
        for page, (order, scores), of in zip(pages, outcomes, told, strict=True)
    ]


def measured_pace(model: LoadedModel) -> float:
    """Seconds a token on sample pages, the first of which warms the model up; 0.0 where it reads no texts."""
    if Modality.TEXT.value not in model.modalities:
        return 0.0
    results = tuple(Result(str(i), Modality.TEXT, f"{i} {_SAMPLE_TEXT}") for i in range(_SAMPLES))
    page = Page(Query("sample", "a plain question"), results)
    cost = cost_of(page, model.reads)
    for _ in range(2):
        began = time.perf_counter()
        if any(isinstance(answer, Refused) for answer in answer_pages(model.ranker, [page])):
            return 0.0
        spent = time.perf_counter() - began
    return spent / cost


def _rank(ranker: Ranker, pages: Sequence[Page]) -> tuple[list[Ranking], Sequence[PageDiagnostics | None]]:
    told: Sequence[PageDiagnostics | None]
    if isinstance(ranker, TellingRanker):
        rankings, diagnostics = ranker.rank_and_tell(pages)
        told = diagnostics.pages
    else:
        rankings, told = ranker.rank(pages), [None] * len(pages)
    if len(rankings) != len(pages) or len(told) != len(pages):
        raise DecodingError(
            f"ranker {ranker.name!r}: got {len(rankings)} rankings for {len(pages)} pages; allowed: one a page; "
            "mend the ranker"
        )
    return rankings, told


def _outcome(page: Page, ranking: Ranking) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """Order and scores by index; where only the order is known, the scores are the negated ranks.

    Raises:
        DecodingError: no permutation of the page.
    """
    ranking.check(page)
    place = {result_id: index for index, result_id in enumerate(page.result_ids)}
    order = tuple(place[result_id] for result_id in ranking.result_ids)
    values = ranking.scores if ranking.scores is not None else tuple(-float(rank) for rank in range(len(order)))
    scores: list[float | None] = [None] * len(order)
    for index, value in zip(order, values, strict=True):
        scores[index] = value
    return order, tuple(scores)


def _told(page: Page, told: PageDiagnostics | None, rank_ms: float) -> Told:
    if told is None:
        return Told(rank_ms=rank_ms)
    cut = tuple(index for index, result_id in enumerate(page.result_ids) if result_id in told.truncated)
    return Told(windows=told.windows, repairs=sum(astuple(told.repairs)), truncated=cut, rank_ms=rank_ms)
