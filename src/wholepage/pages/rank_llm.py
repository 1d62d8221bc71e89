"""Rerank requests as rank_llm writes them.

    {"query": {"text": "...", "qid": "1"}, "candidates": [{"docid": "d1", "score": 9.1, "doc": {"contents": "..."}}]}

One request a line, or one JSON list of requests; candidates are best first. Ids may be numbers. Of a ``doc``, exactly
one of ``text``, ``segment``, ``contents``, ``content``, ``body``, ``passage`` is the text, a ``title`` is put before it
(``title + ". " + text``), and these are allowed and not looked at: ``_id``, ``id``, ``docid``, ``url``, ``headings``,
``start_char``, ``end_char``, ``metadata``. A ``doc`` may also be the text itself. ``score`` may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

from wholepage.pages.beir import text_only, titled
from wholepage.pages.errors import RecordError
from wholepage.pages.lines import build, decode, encode, read_lines, write_lines
from wholepage.pages.model import Modality, Page, Query, Ranking, Result
from wholepage.pages.trec import made_up_scores

_TEXTS = ("text", "segment", "contents", "content", "body", "passage")


class _Query(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    qid: str | int


class _Doc(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    text: str | None = None
    segment: str | None = None
    contents: str | None = None
    content: str | None = None
    body: str | None = None
    passage: str | None = None
    title: str | None = None
    id_: Any = msgspec.field(name="_id", default=None)
    id: Any = None
    docid: Any = None
    url: Any = None
    headings: Any = None
    start_char: Any = None
    end_char: Any = None
    metadata: Any = None


class _Candidate(msgspec.Struct, forbid_unknown_fields=True):
    docid: str | int
    doc: _Doc | str
    score: float | None = None


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    query: _Query
    candidates: list[_Candidate]


_REQUEST = msgspec.json.Decoder(_Request)
_RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def read_rank_llm(path: str | Path) -> Iterator[tuple[Page, Ranking]]:
    """Pages of a rank_llm file, each with the order and scores its candidates came with.

    The page holds the candidates in that order too. In a file that is one JSON list, errors name line 1 and the field
    begins with the request, such as ``[3].candidates[0].docid``.

    Raises:
        RecordError: a request cannot be read, a query or a docid comes twice, or a document has no text or two.
    """
    first: dict[str, str] = {}
    for number, place, raw in _requests(path):
        request = decode(_REQUEST, path, number, raw, place=place)
        query_id = str(request.query.qid)
        here = place or f"line {number}"
        if first.setdefault(query_id, here) != here:
            raise RecordError(
                path, number, f"{place}query.qid", f"{query_id!r}, first in {first[query_id]}", "each query once",
                "remove one",
            )  # fmt: skip
        yield _page_and_ranking(path, number, place, request)


def write_rank_llm(path: str | Path, pages: Iterable[Page], rankings: Iterable[Ranking]) -> int:
    """Write pages of texts, each in the order of its ranking, one request a line; returns how many.

    rank_llm wants a score of every candidate: where a ranking has not one for each result, they are made up from the
    rank, n for the first of n. Modalities, features and the ranking's ``by`` have no place in the file.

    Args:
        pages, rankings: one ranking a page, in the same order.
    Raises:
        RecordError: pictures, a query twice, not one ranking a page, or a ranking that is no permutation of its page.
    """
    first: dict[str, int] = {}

    def lines() -> Iterator[bytes]:
        paired = _paired(path, pages, rankings)
        for number, (page, ranking) in enumerate(paired, start=1):
            if first.setdefault(page.query_id, number) != number:
                raise RecordError(path, number, "query.qid", f"{page.query_id!r} again", "each once", "remove one")
            build(path, number, "candidates", ranking.check, page)
            text_only(path, number, page)
            yield encode(_request(page, ranking), _REQUEST, path, number)

    return write_lines(path, lines())


def _requests(path: str | Path) -> Iterator[tuple[int, str, bytes]]:
    """Line, place within it, and bytes of each request."""
    lines = read_lines(path)
    for number, raw in lines:
        if number > 1 or not raw.lstrip().startswith(b"["):
            yield number, "", raw
            continue
        whole = raw + b"".join(rest for _, rest in lines)
        requests = decode(_RAW_LIST, path, 1, whole)
        for index, one in enumerate(requests):
            yield 1, f"[{index}].", bytes(one)


def _page_and_ranking(path: str | Path, number: int, place: str, request: _Request) -> tuple[Page, Ranking]:
    query_id = str(request.query.qid)
    query = build(path, number, f"{place}query.qid", Query, query_id, request.query.text)
    seen: dict[str, int] = {}
    results = []
    for index, candidate in enumerate(request.candidates):
        here, result_id = f"{place}candidates[{index}]", str(candidate.docid)
        if (first := seen.setdefault(result_id, index)) != index:
            raise RecordError(
                path, number, f"{here}.docid", f"{result_id!r} again, first in candidates[{first}]", "each docid once",
                "remove one",
            )  # fmt: skip
        text = _text(path, number, f"{here}.doc", candidate.doc)
        results.append(build(path, number, here, Result, result_id, Modality.TEXT, text))
    given = tuple(candidate.score for candidate in request.candidates)
    scores = given if any(score is not None for score in given) else None
    ranking = build(path, number, f"{place}candidates", Ranking, query_id, tuple(seen), scores)
    return Page(query, tuple(results)), ranking


def _text(path: str | Path, number: int, field: str, doc: _Doc | str) -> str:
    if isinstance(doc, str):
        return doc
    told = {name: text for name in _TEXTS if (text := getattr(doc, name)) is not None}
    if len(told) != 1:
        raise RecordError(
            path, number, field, " and ".join(told) or "no text", "exactly one of " + ", ".join(_TEXTS),
            "keep the one to be read",
        )  # fmt: skip
    return titled(doc.title or "", next(iter(told.values())))


def _paired(path: str | Path, pages: Iterable[Page], rankings: Iterable[Ranking]) -> Iterator[tuple[Page, Ranking]]:
    for number, (page, ranking) in enumerate(zip_longest(pages, rankings), start=1):
        if page is None or ranking is None:
            more, less = ("rankings", "pages") if page is None else ("pages", "rankings")
            raise RecordError(
                path, number, "record", f"more {more} than {less}", "one ranking a page, in the same order",
                "pass as many of both",
            )  # fmt: skip
        yield page, ranking


def _request(page: Page, ranking: Ranking) -> _Request:
    results = {result.result_id: result for result in page.results}
    given = [score for score in ranking.scores or () if score is not None]
    if len(given) != len(ranking):
        given = made_up_scores(len(ranking))
    return _Request(
        _Query(page.query.text, page.query_id),
        [
            _Candidate(result_id, _Doc(contents=results[result_id].text), score)
            for result_id, score in zip(ranking.result_ids, given, strict=True)
        ],
    )
