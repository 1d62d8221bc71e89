"""MixBench: queries over a corpus that mixes texts, pictures, and pictures with texts.

One folder a subset (``MSCOCO``, ``Google_WIT``, ``VisualNews``, ``OVEN``), JSONL or Parquet::

    <subset>/queries.jsonl         query_id, text, image          | queries.parquet        id, text, image
    <subset>/mixed_corpus.jsonl    corpus_id, text, image         | mixed_corpus.parquet   id, text, image
    <subset>/corpus.jsonl          the same documents, whole
    <subset>/qrels/qrels.tsv       query_id, corpus_id, score, with that header

In JSONL an image is a path, taken to lie in the folder of the subset; in Parquet it is the bytes. The first form was
read from MixBench25.py and the cards of mixed-modality-search/MixBench and MixBench25, the second (MixBench2026, which
came without qrels: put those of MixBench25 beside it) from public code that compares the two; the files themselves were
not at hand. What a text or image that is missing looks like in JSONL is not documented: left out, null and empty all
count as missing.

- A document with a picture is IMAGE (its text beside it, if any), else TEXT. A query may have a picture too.
- A page is a query with what a run found, or with the relevant documents and others drawn by the seed.
- Relevance was made by programs from the four sources, not judged by people.
- Ids and judgments are held in memory, documents in a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from wholepage.collections.drawn_lists import drawn, read_candidates
from wholepage.collections.homes import home_of, inside
from wholepage.collections.row_store import RowStore, stamp_of
from wholepage.collections.table_files import Row, files_of, read_rows
from wholepage.collections.table_pictures import picture_of
from wholepage.pages import Grade, ImageRef, InputError, Judgments, Modality, Page, Query, RecordError, Result
from wholepage.pages.lines import build, read_lines, text_of

_HEADER = ["query_id", "corpus_id", "score"]


class _Document(msgspec.Struct, frozen=True):
    text: str
    image: ImageRef | None


_DOCUMENT = msgspec.json.Decoder(_Document)


class MixBench:
    """Documents of mixed modalities for queries. The splits are the subsets.

    Args:
        root: the folder of the subsets, or a data folder with them in ``mixbench/``.
        corpus: ``"mixed_corpus"``, or ``"corpus"`` in which every document is whole.
        run: a TREC run that says which documents are on each page; None = drawn ones.
        results: the most documents of a page.
        seed: of the draw and the order on the page.
        pictures: where pictures of Parquet files are unpacked; None = ``pictures`` below root.
    Raises:
        InputError: no subset is found, or an option is out of range.
        RecordError: the run cannot be read.
    """

    name: ClassVar[str] = "mixbench"
    licence: ClassVar[str] = "MIT as its card says; pictures and texts belong to the four sources' owners"
    source: ClassVar[str] = "mixed-modality-search/MixBench25 and MixBench2026"

    def __init__(
        self,
        root: str | Path,
        *,
        corpus: Literal["mixed_corpus", "corpus"] = "mixed_corpus",
        run: str | Path | None = None,
        results: int = 20,
        seed: int = 0,
        pictures: str | Path | None = None,
    ) -> None:
        if corpus not in ("mixed_corpus", "corpus"):
            raise InputError(f"corpus: got {corpus!r}; allowed: mixed_corpus, corpus; choose one of them")
        self.root = home_of(
            self.name, root, ("mixbench", "MixBench25"), lambda folder: bool(_subsets(folder, corpus)),
            f"folders that hold queries, {corpus} and qrels/qrels.tsv",
        )  # fmt: skip
        self.corpus, self.results, self.seed = corpus, results, seed
        self.pictures = (self.root / "pictures" if pictures is None else Path(pictures)).resolve()
        self._run = read_candidates(run, results)
        self._kept: dict[str, RowStore] = {}

    def __repr__(self) -> str:
        return f"MixBench({str(self.root)!r}, corpus={self.corpus!r})"

    def splits(self) -> tuple[str, ...]:
        """The subsets, sorted."""
        return _subsets(self.root, self.corpus)

    def pages(self, split: str) -> Iterator[Page]:
        """The queries of one subset in their order, one page at a time; of a run, those that it has.

        Raises:
            InputError: no such subset.
            RecordError: a record cannot be read, an id comes twice, or a document is missing.
        """
        grades, store = self.judgments(split), self._store(split)
        corpus = () if self._run is not None else tuple(store.keys())
        met: set[str] = set()
        for row in _records(self.root / split, "queries", "query_id"):
            query_id, asked = self._document(row, "query_id", split)
            if query_id in met:
                raise row.error("query_id", f"{query_id!r} again", "each query once", "drop one")
            met.add(query_id)
            said = grades.by_result(query_id)
            ids = (
                drawn(query_id, said, corpus, self.results, self.seed) if self._run is None else self._run.get(query_id)
            )
            if ids is not None:
                query = Query(query_id, asked.text, asked.image)
                results = tuple(_result(row, store, one) for one in ids)
                yield build(row.path, row.line, "query_id", Page, query, results)

    def judgments(self, split: str) -> Judgments:
        """The scores of the qrels; what a page holds beside is not judged.

        Raises:
            InputError: no such subset.
            RecordError: a line cannot be read, or a pair comes twice.
        """
        if split not in self.splits():
            raise InputError(
                f"collection 'mixbench': got split {split!r}; allowed: {', '.join(self.splits())} (in {self.root}); "
                "choose one of them"
            )
        return Judgments(_qrels(self.root / split / "qrels" / "qrels.tsv"))

    def _store(self, split: str) -> RowStore:
        if split not in self._kept:
            store = RowStore()
            store.fill(stamp_of(files_of(self.root / split, self.corpus), "mixbench-1"), self._documents(split))
            self._kept[split] = store
        return self._kept[split]

    def _documents(self, split: str) -> Iterator[tuple[str, bytes]]:
        met: set[str] = set()
        for row in _records(self.root / split, self.corpus, "corpus_id"):
            corpus_id, document = self._document(row, "corpus_id", split)
            if corpus_id in met:
                raise row.error("corpus_id", f"{corpus_id!r} again", "each document once", "drop one")
            met.add(corpus_id)
            yield corpus_id, msgspec.json.encode(document)

    def _document(self, row: Row, ident: str, split: str) -> tuple[str, _Document]:
        told, text = row.cells.get(ident, row.cells.get("id")), row.cells.get("text") or ""
        if not isinstance(told, (str, int)) or isinstance(told, bool) or not str(told) or not isinstance(text, str):
            raise row.error(f"{ident}, text", f"{told!r}, {text!r}", "an id and words")
        cell = row.cells.get("image")
        if isinstance(cell, str):
            image = ImageRef(str(inside(row, "image", self.root / split, cell))) if cell else None
        else:
            image = picture_of(row, "image", self.pictures)
        if not text.strip() and image is None:
            raise row.error("text, image", "neither", "a text, an image, or both")
        return str(told), _Document(text, image)


def _result(row: Row, store: RowStore, corpus_id: str) -> Result:
    kept = store.get(corpus_id)
    if not kept:
        raise row.error("corpus_id", f"{corpus_id!r}, which the corpus does not have", "documents of the corpus",
                        "take files of one release, or another run")  # fmt: skip
    found = _DOCUMENT.decode(kept[0])
    modality = Modality.TEXT if found.image is None else Modality.IMAGE
    return Result(corpus_id, modality, found.text, () if found.image is None else (found.image,))


def _records(folder: Path, table: str, ident: str) -> Iterator[Row]:
    for path in files_of(folder, table):
        columns = ("id",) if path.suffix == ".parquet" else (ident,)
        yield from read_rows(path, columns, ("text", "image"))


def _qrels(path: Path) -> Iterator[Grade]:
    met: set[tuple[str, str]] = set()
    for number, raw in read_lines(path):
        cells = text_of(path, number, raw).rstrip("\r\n").split("\t")
        if number == 1:
            if cells != _HEADER:
                raise RecordError(path, 1, "line", repr(cells), "the header " + "<TAB>".join(_HEADER), "add it")
            continue
        if len(cells) != 3 or not cells[2].isdigit() or (cells[0], cells[1]) in met:
            raise RecordError(path, number, "line", repr(cells), "query_id, corpus_id, a whole score; each pair once",
                              "mend the line")  # fmt: skip
        met.add((cells[0], cells[1]))
        yield Grade(cells[0], cells[1], float(cells[2]))


def _subsets(folder: Path, corpus: str) -> tuple[str, ...]:
    return tuple(
        sorted(
            one.name
            for one in folder.iterdir()
            if one.is_dir()
            and (one / "qrels" / "qrels.tsv").is_file()
            and all(files_of(one, table) for table in ("queries", corpus))
        )
    )
