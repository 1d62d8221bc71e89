"""BEIR data sets as they are given out: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv``, each also ``.gz``.

The format and the pages are those of ``pages.beir.read_beir``: what a TREC run found, or else the judged documents of
the query sorted by id. Here pages come one at a time: of the corpus, what stands on a page is kept on disk; ids,
queries and judgments are held.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from wholepage.collections.homes import home_of
from wholepage.collections.row_store import RowStore
from wholepage.pages import InputError, Judgments, Modality, Page, Query, RecordError, Result
from wholepage.pages.beir import DOCUMENT, QUERY, titled
from wholepage.pages.lines import build, decode, read_lines
from wholepage.pages.trec import Negative, read_qrels, read_run


class BeirFolder:
    """Texts for queries, judged.

    The splits are the names of the qrels.

    Args:
        root: the folder of one data set, or a data folder with it in ``beir/``.
        dataset: its name where root, or ``beir/``, holds several, such as ``"scifact"``.
        run: a TREC run that says which documents are on each page, and in which order.
        depth: how many documents a page holds, from the top of the run.
        negative: grades below 0 are refused, or ``"zero"``: read as 0.
    Raises:
        InputError: no data set is found, or depth is below 1.
    """

    name: ClassVar[str] = "beir"
    licence: ClassVar[str] = "that of each data set; see its own page"
    source: ClassVar[str] = "BEIR (arXiv 2104.08663), beir-cellar/beir"

    def __init__(
        self,
        root: str | Path,
        *,
        dataset: str | None = None,
        run: str | Path | None = None,
        depth: int = 100,
        negative: Negative = "refuse",
    ) -> None:
        if depth < 1:
            raise InputError(f"depth: got {depth}; allowed: 1 and up; pass how many documents a page holds")
        named = ("beir",) if dataset is None else (dataset, f"beir/{dataset}")
        what = "corpus.jsonl, queries.jsonl and qrels/<split>.tsv (name one of several with dataset=...)"
        self.root = home_of(self.name, root, named, lambda folder: bool(_splits(folder)), what)
        self.run, self.depth, self.negative = None if run is None else Path(run), depth, negative

    def __repr__(self) -> str:
        return f"BeirFolder({str(self.root)!r})"

    def splits(self) -> tuple[str, ...]:
        """The splits, sorted."""
        return _splits(self.root)

    def pages(self, split: str) -> Iterator[Page]:
        """The pages of one split, in the order of the run, or of the queries.

        Raises:
            InputError: no such split.
            RecordError: a line cannot be read, or a query or document is not there.
        """
        said = self.judgments(split)
        if self.run is not None:
            lists = {one.query_id: one.top(self.depth).result_ids for one in read_run(self.run)}
            texts = self._queries(set(lists))
        else:
            texts = self._queries(set(said.query_ids))
            lists = {query_id: tuple(sorted(said.by_result(query_id))) for query_id in texts}
        documents = self._documents({result_id for ids in lists.values() for result_id in ids})
        for query_id, ids in lists.items():
            results = tuple(self._result(documents, one) for one in ids)
            yield Page(Query(query_id, texts[query_id]), results)

    def judgments(self, split: str) -> Judgments:
        """All judgments of one split, also of documents that are on no page.

        Raises:
            InputError, RecordError: as ``pages``.
        """
        if split not in self.splits():
            raise InputError(
                f"collection 'beir': got split {split!r}; allowed: {', '.join(self.splits())} (in {self.root}); "
                "choose one of them"
            )
        return read_qrels(_plain_or_packed(self.root / "qrels" / f"{split}.tsv"), negative=self.negative)

    def _queries(self, wanted: set[str]) -> dict[str, str]:
        path, found = _plain_or_packed(self.root / "queries.jsonl"), dict[str, str]()
        for line, raw in read_lines(path):
            one = decode(QUERY, path, line, raw)
            if one.id in found:
                raise RecordError(path, line, "_id", f"{one.id!r} again", "each id once", "remove one")
            if one.id in wanted:
                found[one.id] = one.text
        _all_there(path, wanted, set(found))
        return found

    def _documents(self, wanted: set[str]) -> RowStore:
        path, met, store = _plain_or_packed(self.root / "corpus.jsonl"), set[str](), RowStore()

        def rows() -> Iterator[tuple[str, bytes]]:
            for line, raw in read_lines(path):
                one = decode(DOCUMENT, path, line, raw)
                if one.id in met:
                    raise RecordError(path, line, "_id", f"{one.id!r} again", "each id once", "remove one")
                if one.id in wanted:
                    met.add(one.id)
                    text = titled(one.title, one.text)
                    build(path, line, "text", Result, one.id, Modality.TEXT, text)  # so that errors name the line
                    yield one.id, text.encode()

        store.fill("", rows())
        _all_there(path, wanted, met)
        return store

    def _result(self, documents: RowStore, result_id: str) -> Result:
        return Result(result_id, Modality.TEXT, documents.get(result_id)[0].decode())


def _all_there(path: Path, wanted: set[str], found: set[str]) -> None:
    if lost := sorted(wanted - found):
        raise RecordError(
            path, 0, "_id", f"no {lost[:5]} ({len(lost)} missing)", "all that qrels or run name",
            "take the files of one data set",
        )  # fmt: skip


def _plain_or_packed(path: Path) -> Path:
    packed = path.with_name(f"{path.name}.gz")
    return packed if packed.is_file() and not path.is_file() else path


def _splits(folder: Path) -> tuple[str, ...]:
    there = all(any((folder / f"{name}.jsonl{end}").is_file() for end in ("", ".gz")) for name in ("corpus", "queries"))
    found = (folder / "qrels").glob("*.tsv*") if there else ()
    return tuple(sorted({one.name.removesuffix(".gz").removesuffix(".tsv") for one in found}))
