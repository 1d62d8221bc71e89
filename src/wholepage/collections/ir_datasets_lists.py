"""BEIR, TREC Deep Learning and the other sets of texts that the library ``ir_datasets`` knows, under its names.

``dataset`` is an id of the library, such as ``"beir/scifact/test"`` or ``"msmarco-passage/trec-dl-2019/judged"``. It
keeps its files in ``IR_DATASETS_HOME`` (``~/.ir_datasets``), checks their MD5 and fetches what is missing; so reading a
set whose documents are not there yet is refused unless ``download="allow"`` is passed. (What the library can tell
without fetching is where documents lie. Queries and judgments that are missing beside them, it fetches.)

The interface was read from ir_datasets 0.6.3: ``load``, ``queries_iter``, ``qrels_iter``, ``scoreddocs_iter``,
``docs_store().get_many``, ``docs_path(force=False)``, ``default_text()``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from wholepage.collections.row_store import RowStore
from wholepage.pages import Grade, InputError, Judgments, Modality, Page, Query, Result
from wholepage.pages.errors import RecordError, require
from wholepage.pages.lines import build
from wholepage.pages.trec import read_run

WHOLE = "all"
"""The only split: what part of a set is read, its id says."""


class _Found(msgspec.Struct, frozen=True):
    doc_id: str
    score: float


_FOUND = msgspec.json.Decoder(_Found)


class IrDatasetsLists:
    """Lists of texts for queries, judged.

    Args:
        dataset: the library's id of a set that has queries and documents.
        run: a TREC run that says which documents are on each page, and in which order. None = the set's own first
            stage (``scoreddocs``), best first; where it has none, the judged documents sorted by id.
        depth: how many documents a page holds, from the top; judged documents are not cut.
        download: ``"allow"`` lets the library fetch what is missing.
        negative: grades below 0 are refused, or ``"zero"``: read as 0.
    Raises:
        MissingExtra: the library is not installed.
        InputError: the id or an option is unknown, or files are missing and may not be fetched.
    """

    name: ClassVar[str] = "ir_datasets"
    licence: ClassVar[str] = "that of each set, on its page at ir-datasets.com; MS MARCO text is for research only"
    source: ClassVar[str] = "ir_datasets (arXiv 2103.02280) and the set's own papers"

    def __init__(
        self,
        *,
        dataset: str,
        run: str | Path | None = None,
        depth: int = 100,
        download: Literal["refuse", "allow"] = "refuse",
        negative: Literal["refuse", "zero"] = "refuse",
    ) -> None:
        for option, given, allowed in (
            ("download", download, ("refuse", "allow")),
            ("negative", negative, ("refuse", "zero")),
        ):
            if given not in allowed:
                raise InputError(f"{option}: got {given!r}; allowed: {', '.join(allowed)}; choose one of them")
        if depth < 1:
            raise InputError(f"depth: got {depth}; allowed: 1 and up; pass how many documents a page holds")
        library: Any = require("ir_datasets", "collections")
        try:
            self._set: Any = library.load(dataset)
        except KeyError as error:
            raise InputError(
                f"dataset: got {dataset!r}; allowed: an id such as beir/scifact/test; see ir-datasets.com"
            ) from error
        lacking = [part for part in ("queries", "docs") if not getattr(self._set, f"has_{part}")()]
        if lacking:
            raise InputError(
                f"dataset: got {dataset!r}, which has no {lacking[0]}; allowed: a set with queries and documents; name "
                "one of its parts"
            )
        if download == "refuse" and not _there(self._set):
            raise InputError(
                f"dataset {dataset!r}: got no files of it in the library's folder; allowed: files that are there; pass "
                'download="allow" to have the library fetch them, after reading the licence'
            )
        self.dataset, self.depth, self.negative = dataset, depth, negative
        self.run = None if run is None else Path(run)

    def __repr__(self) -> str:
        return f"IrDatasetsLists(dataset={self.dataset!r})"

    def splits(self) -> tuple[str, ...]:
        """The only one, ``"all"``."""
        return (WHOLE,)

    def pages(self, split: str = WHOLE) -> Iterator[Page]:
        """The queries that have candidates, in the library's order, one page at a time.

        Raises:
            InputError: another split.
            RecordError: a document is not in the set, or a query or a candidate comes twice.
        """
        _only(split)
        lists = self._lists()
        documents = self._set.docs_store()
        met: set[str] = set()
        for asked in self._set.queries_iter():
            ids = lists(asked.query_id)
            if not ids:
                continue
            if asked.query_id in met:
                raise RecordError(self.dataset, 0, "query_id", f"{asked.query_id!r} again", "each once", "drop one")
            met.add(asked.query_id)
            found = documents.get_many(ids)
            lost = [one for one in ids if one not in found]
            if lost:
                raise RecordError(
                    self.dataset, 0, "doc_id", f"{lost[:3]} of query {asked.query_id!r}", "documents of the set",
                    "take a run of this set",
                )  # fmt: skip
            results = tuple(Result(one, Modality.TEXT, _words(found[one]) or one) for one in ids)
            yield build(self.dataset, 0, "query_id", Page, Query(asked.query_id, _words(asked)), results)

    def judgments(self, split: str = WHOLE) -> Judgments:
        """All judgments of the set, also of documents that are on no page.

        Raises:
            InputError: another split, or the set has no judgments.
            RecordError: a grade is below 0.
        """
        _only(split)
        if not self._set.has_qrels():
            raise InputError(f"dataset {self.dataset!r}: got no qrels; allowed: a set with them; name one of its parts")
        return Judgments(self._grades())

    def _grades(self) -> Iterator[Grade]:
        for one in self._set.qrels_iter():
            if one.relevance < 0 and self.negative == "refuse":
                raise RecordError(
                    self.dataset, 0, "relevance", str(one.relevance), "0 and up", 'pass negative="zero" to read it as 0'
                )
            yield Grade(one.query_id, one.doc_id, float(max(0, one.relevance)))

    def _lists(self) -> Any:
        """A function from a query's id to the ids of its page."""
        if self.run is not None:
            of = {one.query_id: one.top(self.depth).result_ids for one in read_run(self.run)}
            return lambda query_id: of.get(query_id, ())
        if not self._set.has_scoreddocs():
            said = self.judgments()
            return lambda query_id: tuple(sorted(said.by_result(query_id)))
        store = RowStore()  # a thousand candidates a query, and not sorted by query
        rows = (
            (one.query_id, msgspec.json.encode(_Found(one.doc_id, one.score))) for one in self._set.scoreddocs_iter()
        )
        store.fill(self.dataset, rows)

        def best(query_id: str) -> tuple[str, ...]:
            found = sorted((_FOUND.decode(raw) for raw in store.get(query_id)), key=lambda one: -one.score)
            return tuple(one.doc_id for one in found[: self.depth])

        return best


def _there(dataset: Any) -> bool:
    """Whether the documents lie where the library would put them; False where it cannot say."""
    try:
        place = dataset.docs_path(force=False)
    except (AttributeError, TypeError):
        return False
    return place is not None and os.path.exists(place)


def _words(record: Any) -> str:
    """A document or query as one text, as the library itself would index it."""
    told = record.default_text() if hasattr(record, "default_text") else record.text
    return str(told).strip()


def _only(split: str) -> None:
    if split != WHOLE:
        raise InputError(f"collection 'ir_datasets': got split {split!r}; allowed: {WHOLE}; name the part in dataset")
