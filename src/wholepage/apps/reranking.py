"""``wholepage.rerank``: documents in, an order out, in the shape that users of sentence-transformers know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypedDict

from wholepage.apps.documents import Document, check_pictures, ids_of, page_of
from wholepage.apps.offline import WHAT
from wholepage.apps.resolve import OFFLINE, ranker_from
from wholepage.pages.errors import InputError
from wholepage.pages.protocols import Ranker


class _Placed(TypedDict):
    corpus_id: int
    score: float | None


class RerankResult(_Placed, total=False):
    """One document in its place: ``corpus_id`` is its index in the list given, ``score`` None = no opinion."""

    id: str | int
    document: Any


class RerankResults(list[RerankResult]):
    """Documents best first; a list of dicts.

    Attributes:
        ranker: who ranked, in words.
        without_opinion: indices of documents that the ranker had no opinion on, in the order received. They stand
            last, with score None, and are listed here even where ``top_k`` cut them off.
    """

    def __init__(
        self, results: Iterable[RerankResult] = (), *, ranker: str = "", without_opinion: Sequence[int] = ()
    ) -> None:
        super().__init__(results)
        self.ranker, self.without_opinion = ranker, tuple(without_opinion)


def rerank(
    query: str,
    documents: Sequence[Document],
    *,
    top_k: int | None = None,
    return_documents: bool = False,
    model: str | Path | Ranker | None = None,
    ids: Sequence[str | int] | None = None,
) -> RerankResults:
    """Order documents of any modality for a query.

    Args:
        query: the words.
        documents: a list. Each is a text (``str`` is always text), a picture (``pathlib.Path`` or PIL image), or
            ``{"text": ..., "image": ..., "id": ..., "modality": ...}`` with any of these keys: ``image`` a path, a
            ``data:`` URI, a PIL image, or a list of them (a video's frames); ``modality`` one of text, image, video,
            answer (default: image where there is a picture, else text).
        top_k: how many to return; None = all.
        return_documents: put each document, as it was given, under ``"document"``.
        model: None = the offline default, single-modal rankers merged by z-score (no training, no network); or a
            model folder, or any Ranker.
        ids: one a document, instead of ``"id"`` in the documents; they come back under ``"id"``.
    Returns:
        Best first: ``{"corpus_id": index, "score": float}``, with ``"id"`` where one was given. Scores of one call are
        comparable across modalities, not across calls; of a ranker that only orders, they are the negated ranks.
        ``.ranker`` says who ranked, ``.without_opinion`` which documents nobody could judge (score None, placed last).
    Raises:
        InputError: an empty query, an empty or unknown kind of document, unknown keys, ``top_k`` below 1.
        PageError: two documents share an id.
        ImageError: a picture is missing or cannot be read; names the index. All are opened before anything is scored.
        NotFound: there is no such model folder.
        WeightsError: the model folder is of another kind, or damaged.
    """
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
        raise InputError(f"top_k: got {top_k!r}; allowed: a whole number from 1 up, or None for all; mend it")
    page = page_of(query, documents, ids)
    given = ids_of(documents, ids)
    if not documents and (model is None or model == OFFLINE):
        return RerankResults(ranker=WHAT)  # nothing to load encoders for
    ranker = ranker_from(model)
    if not documents:
        return RerankResults(ranker=ranker.name)
    check_pictures(page, "documents")
    ranking = ranker.rank([page])[0].check(page)
    index = {result_id: i for i, result_id in enumerate(page.result_ids)}
    scores = ranking.scores if ranking.scores is not None else tuple(-float(r) for r in range(len(ranking)))
    placed: list[RerankResult] = []
    for result_id, score in zip(ranking.result_ids, scores, strict=True):
        i = index[result_id]
        one: RerankResult = {"corpus_id": i, "score": score}
        own = given[i]
        if own is not None:
            one["id"] = own
        if return_documents:
            one["document"] = documents[i]
        placed.append(one)
    silent = sorted(one["corpus_id"] for one in placed if one["score"] is None)
    return RerankResults(placed[:top_k], ranker=ranking.by or ranker.name, without_opinion=silent)
