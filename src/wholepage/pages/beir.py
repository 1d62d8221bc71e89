"""BEIR folders: text collections as their benchmark stores them.

    corpus.jsonl        {"_id", "title", "text"}            title may be left out; "metadata" is not looked at
    queries.jsonl       {"_id", "text"}                     "metadata" is not looked at
    qrels/<split>.tsv   query-id <TAB> corpus-id <TAB> score, with this header line

Each file may also end in ``.gz``. A result's text is ``title + ". " + text``, or the one of them that is not empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from wholepage.pages.errors import RecordError
from wholepage.pages.judgments import Judgments
from wholepage.pages.lines import build, decode, encode, read_lines, text_of, write_lines
from wholepage.pages.model import Modality, Page, Query, Ranking, Result
from wholepage.pages.trec import QRELS_HEADER, Negative, judged, read_run


class BeirDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A line of ``corpus.jsonl``."""

    id: str = msgspec.field(name="_id")
    text: str
    title: str = ""
    metadata: dict[str, Any] = {}


class BeirQuery(msgspec.Struct, forbid_unknown_fields=True):
    """A line of ``queries.jsonl``."""

    id: str = msgspec.field(name="_id")
    text: str
    metadata: dict[str, Any] = {}


DOCUMENT = msgspec.json.Decoder(BeirDocument)
QUERY = msgspec.json.Decoder(BeirQuery)


def read_beir(
    folder: str | Path,
    split: str = "test",
    run: Sequence[Ranking] | str | Path | None = None,
    *,
    negative: Negative = "refuse",
) -> tuple[list[Page], Judgments]:
    """Pages and judgments of one split of a BEIR folder.

    The corpus is read line by line; only documents that stand on a page are kept.

    Args:
        run: who stands on each page, and in which order: rankings, or the path of a TREC run; pages come in its
            order. Without it, pages hold the judged documents of each query of the split, sorted by id (so that the
            order tells nothing), in the order of queries.jsonl.
        negative: as for ``read_qrels``.
    Returns:
        The pages, and all judgments of the split, also of documents that stand on no page.
    Raises:
        RecordError: a file is missing or a line cannot be read, an id comes twice, or a query or document is not there.
    """
    folder = Path(folder)
    judgments = _read_qrels(_plain_or_gz(folder / "qrels" / f"{split}.tsv"), negative)
    queries_path = _plain_or_gz(folder / "queries.jsonl")
    rankings = read_run(run) if isinstance(run, str | Path) else run
    if rankings is None:
        asked = set(judgments.query_ids)
        queries = _read_queries(queries_path, asked)
        candidates = {query_id: tuple(sorted(judgments.by_result(query_id))) for query_id in queries}
    else:
        candidates = {}
        for ranking in rankings:
            if ranking.query_id in candidates:
                raise RecordError(folder, 0, "run", f"query {ranking.query_id!r} twice", "each once", "remove one")
            candidates[ranking.query_id] = ranking.result_ids
        asked = set(candidates)
        queries = _read_queries(queries_path, asked)
    _all_there(queries_path, "query", asked, queries)
    corpus_path = _plain_or_gz(folder / "corpus.jsonl")
    wanted = {result_id for ids in candidates.values() for result_id in ids}
    corpus = _read_corpus(corpus_path, wanted)
    _all_there(corpus_path, "document", wanted, corpus)
    pages = [Page(queries[query_id], tuple(corpus[i] for i in ids)) for query_id, ids in candidates.items()]
    return pages, judgments


def write_beir(folder: str | Path, pages: Iterable[Page], judgments: Judgments, split: str = "test") -> int:
    """Write pages of texts and their judgments as one split of a BEIR folder; returns the number of pages.

    Documents and queries join those already in the folder, so that splits can be written one after another; the
    split's own qrels are replaced. Grades are ``Judgments.to_qrels()``. BEIR has no place for the order of a page
    (write it with ``write_run``), features, users, or whether a text is an answer: they are left out.

    Raises:
        RecordError: pictures (``page.only(Modality.TEXT)`` has none), an id with two texts, a query twice, a judged
            result that is on no page, or an id that a table cannot hold (``line`` counts the pages, or rows).
    """
    folder = Path(folder)
    corpus_path, queries_path = _plain_or_gz(folder / "corpus.jsonl"), _plain_or_gz(folder / "queries.jsonl")
    documents = _present(corpus_path, DOCUMENT)
    queries = _present(queries_path, QUERY)
    on_page: dict[str, set[str]] = {}
    for number, page in enumerate(pages, start=1):
        if page.query_id in on_page:
            raise RecordError(queries_path, number, "query_id", f"{page.query_id!r} again", "each once", "remove one")
        on_page[page.query_id] = set(page.result_ids)
        text_only(queries_path, number, page)
        _add(queries, BeirQuery(page.query_id, page.query.text), queries_path, number)
        for result in page.results:
            _add(documents, BeirDocument(result.result_id, result.text), corpus_path, number)
    qrels_path = _plain_or_gz(folder / "qrels" / f"{split}.tsv")
    rows = [(q, r, g) for q, of in judgments.to_qrels().items() for r, g in sorted(of.items())]
    for number, (query_id, result_id, _) in enumerate(rows, start=1):
        if result_id not in on_page.get(query_id, ()):
            raise RecordError(
                qrels_path, number, "corpus-id", f"a grade of {result_id!r} for {query_id!r}, which is on no page",
                "results of the pages", "pass judgments.restrict({p.query_id: p.result_ids for p in pages})",
            )  # fmt: skip
    qrels_path.parent.mkdir(parents=True, exist_ok=True)
    write_lines(corpus_path, (encode(d, DOCUMENT, corpus_path, n) for n, d in enumerate(documents.values(), 1)))
    write_lines(queries_path, (encode(q, QUERY, queries_path, n) for n, q in enumerate(queries.values(), 1)))
    cells = ((_cell(qrels_path, n, q), _cell(qrels_path, n, r), str(g)) for n, (q, r, g) in enumerate(rows, 2))
    write_lines(qrels_path, ("\t".join(row).encode() for row in (QRELS_HEADER, *cells)))
    return len(on_page)


def titled(title: str, text: str) -> str:
    """Title and text as one text."""
    return f"{title}. {text}" if title and text else title or text


def text_only(path: str | Path, number: int, page: Page) -> None:
    """Refuse what a file of texts cannot hold.

    Raises:
        RecordError: the query or a result has pictures.
    """
    pictured = ["query"] if page.query.image is not None else []
    pictured += [f"results[{i}]" for i, result in enumerate(page.results) if result.images]
    if pictured:
        raise RecordError(
            path, number, pictured[0], f"pictures, on the page of query {page.query_id!r}", "texts only",
            "write page.only(Modality.TEXT), or use write_pages",
        )  # fmt: skip


def _read_qrels(path: Path, negative: Negative) -> Judgments:
    def rows() -> Iterator[tuple[int, str, str, str]]:
        for number, raw in read_lines(path):
            columns = text_of(path, number, raw).rstrip("\r\n").split("\t")
            if number == 1:
                if columns != QRELS_HEADER:
                    raise RecordError(
                        path, 1, "line", repr(columns), "the header " + "<TAB>".join(QRELS_HEADER), "add it"
                    )
                continue
            if len(columns) != 3 or not columns[0] or not columns[1]:
                raise RecordError(path, number, "line", repr(columns), "<TAB>".join(QRELS_HEADER), "mend the line")
            yield number, columns[0], columns[1], columns[2]

    return judged(path, rows(), negative)


def _read_queries(path: Path, wanted: set[str]) -> dict[str, Query]:
    found: dict[str, Query] = {}
    for number, raw in read_lines(path):
        record = decode(QUERY, path, number, raw)
        if record.id in found:
            raise RecordError(path, number, "_id", f"{record.id!r} again", "each id once", "remove one")
        if record.id in wanted:
            found[record.id] = build(path, number, "_id", Query, record.id, record.text)
    return found


def _read_corpus(path: Path, wanted: set[str]) -> dict[str, Result]:
    found: dict[str, Result] = {}
    for number, raw in read_lines(path):
        record = decode(DOCUMENT, path, number, raw)
        if record.id not in wanted:
            continue
        if record.id in found:
            raise RecordError(path, number, "_id", f"{record.id!r} again", "each id once", "remove one")
        text = titled(record.title, record.text)
        found[record.id] = build(path, number, "text", Result, record.id, Modality.TEXT, text)
    return found


def _all_there(path: Path, what: str, wanted: set[str], found: Mapping[str, object]) -> None:
    if lost := sorted(wanted.difference(found)):
        raise RecordError(
            path, 0, "_id", f"no {what} {lost[:5]} ({len(lost)} missing)", f"every {what} that qrels or run name",
            "take the files of one collection",
        )  # fmt: skip


def _plain_or_gz(path: Path) -> Path:
    """The file, or the same with ``.gz`` when only that is there."""
    packed = path.with_name(f"{path.name}.gz")
    return packed if packed.is_file() and not path.is_file() else path


def _present(path: Path, decoder: msgspec.json.Decoder[Any]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    records: dict[str, Any] = {}
    for number, raw in read_lines(path):
        record = decode(decoder, path, number, raw)
        if record.id in records:
            raise RecordError(path, number, "_id", f"{record.id!r} again", "each id once", "remove one")
        records[record.id] = record
    return records


def _add(records: dict[str, Any], record: BeirDocument | BeirQuery, path: Path, number: int) -> None:
    there = records.setdefault(record.id, record)
    title = there.title if isinstance(there, BeirDocument) else ""
    if titled(title, there.text) != record.text:
        raise RecordError(
            path, number, "_id", f"{record.id!r} with two different texts", "one text an id, over all pages and splits",
            "make ids unique over pages, or write to an empty folder",
        )  # fmt: skip


def _cell(path: Path, number: int, text: str) -> str:
    if not text or any(mark in text for mark in "\t\r\n"):
        raise RecordError(path, number, "id", repr(text), "an id without tabs and line ends", "rename it")
    return text
