"""ViDoRe: questions and the sheets of documents that answer them, each sheet a picture.

One folder a data set, or a folder of such folders, Parquet in the layout that the benchmark calls BEIR::

    corpus/<split>-*.parquet    corpus-id, image
    queries/<split>-*.parquet   query-id, query
    qrels/<split>-*.parquet     query-id, corpus-id, score

The columns were read from the cards of vidore/*_beir (benchmark 1) and of its copies with ``doc-id`` and ``language``
(benchmark 2), which are not looked at; the files themselves were not at hand. Other names of columns, as in the
question-answering layout of benchmark 1 and in benchmark 3, are refused with their list.

- A page is a question with what a run found, or with the relevant sheets and others drawn by the seed (see
  ``drawn_lists``). Sheets are IMAGE without words.
- Splits are ``<data set>/<split>``, or ``<split>`` where the folder is one data set.
- Sheets are unpacked once into files, which takes as much room again. Ids and judgments are held, sheets are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import msgspec

from wholepage.collections.drawn_lists import drawn, read_candidates
from wholepage.collections.homes import home_of
from wholepage.collections.row_store import RowStore, stamp_of
from wholepage.collections.table_files import Row, read_rows
from wholepage.collections.table_pictures import picture_folder, picture_of
from wholepage.pages import Grade, ImageRef, InputError, Judgments, Modality, Page, Query, RecordError, Result
from wholepage.pages.lines import build

_PARTS = ("corpus", "queries", "qrels")


class Vidore:
    """Sheets of documents for questions.

    Args:
        root: the folder of a data set or of several, or a data folder with them in ``vidore/``.
        run: a TREC run that says whose sheets are on each page; None = drawn ones.
        results: the most sheets of a page.
        seed: of the draw and the order on the page.
        pictures: where sheets are unpacked; None = ``pictures`` below root.
    Raises:
        InputError: no data set is found, or results is below 2.
        RecordError: the run cannot be read.
    """

    name: ClassVar[str] = "vidore"
    licence: ClassVar[str] = "that of each data set, named on its card; many are non-commercial"
    source: ClassVar[str] = "vidore/*_beir and vidore/*_v2 (arXiv 2407.01449, arXiv 2505.17166)"

    def __init__(
        self,
        root: str | Path,
        *,
        run: str | Path | None = None,
        results: int = 20,
        seed: int = 0,
        pictures: str | Path | None = None,
    ) -> None:
        self.root = home_of(
            self.name, root, ("vidore",), lambda folder: bool(_sets(folder)),
            "corpus/, queries/ and qrels/ of *.parquet, or folders that hold these",
        )  # fmt: skip
        self.results, self.seed = results, seed
        self.pictures = (self.root / "pictures" if pictures is None else Path(pictures)).resolve()
        self._run = read_candidates(run, results)
        self._sets = _sets(self.root)
        self._kept: dict[str, RowStore] = {}

    def __repr__(self) -> str:
        return f"Vidore({str(self.root)!r})"

    def splits(self) -> tuple[str, ...]:
        """The splits, sorted."""
        return tuple(sorted(self._sets))

    def pages(self, split: str) -> Iterator[Page]:
        """The questions of one split in their order, one page at a time; of a run, those that it has.

        Raises:
            InputError: no such split, or pictures cannot be written.
            RecordError: a row cannot be read, an id comes twice, or a sheet is missing.
        """
        grades, sheets = self.judgments(split), self._sheets(split)
        corpus = () if self._run is not None else tuple(sheets.keys())
        met: set[str] = set()
        for row in self._rows(split, "queries", ("query-id", "query")):
            query_id, text = _ident(row, "query-id"), row.cells["query"]
            if query_id in met or not isinstance(text, str) or not text.strip():
                raise row.error("query-id, query", f"{query_id!r}, {text!r}", "each question once, with words")
            met.add(query_id)
            said = grades.by_result(query_id)
            ids = (
                drawn(query_id, said, corpus, self.results, self.seed) if self._run is None else self._run.get(query_id)
            )
            if ids is not None:
                results = tuple(self._sheet(row, sheets, one) for one in ids)
                yield build(row.path, row.line, "query-id", Page, Query(query_id, text), results)

    def judgments(self, split: str) -> Judgments:
        """The scores of the qrels, also of sheets that are on no page; what a page holds beside is not judged.

        Raises:
            InputError: no such split.
            RecordError: a row cannot be read.
        """
        return Judgments(_grade(row) for row in self._rows(split, "qrels", ("query-id", "corpus-id", "score")))

    def _rows(self, split: str, part: str, columns: tuple[str, ...]) -> Iterator[Row]:
        if split not in self._sets:
            raise InputError(
                f"collection 'vidore': got split {split!r}; allowed: {', '.join(self.splits())} (in {self.root}); "
                "choose one of them"
            )
        for path in self._sets[split][part]:
            yield from read_rows(path, columns)

    def _sheets(self, split: str) -> RowStore:
        if split not in self._kept:
            store = RowStore(picture_folder(self.pictures) / f"{split.replace('/', '.')}.sqlite")
            store.fill(stamp_of(self._sets[split]["corpus"], "vidore-1"), self._unpacked(split))
            self._kept[split] = store
        return self._kept[split]

    def _unpacked(self, split: str) -> Iterator[tuple[str, bytes]]:
        met: set[str] = set()
        for row in self._rows(split, "corpus", ("corpus-id", "image")):
            corpus_id, ref = _ident(row, "corpus-id"), picture_of(row, "image", self.pictures)
            if ref is None or corpus_id in met:
                raise row.error("corpus-id, image", f"{corpus_id!r}", "each sheet once, with its picture")
            met.add(corpus_id)
            where = ImageRef(str(Path(ref.uri).relative_to(self.pictures)), ref.sha256)
            yield corpus_id, msgspec.json.encode(where)

    def _sheet(self, row: Row, sheets: RowStore, corpus_id: str) -> Result:
        kept = sheets.get(corpus_id)
        if not kept:
            raise row.error("corpus-id", f"{corpus_id!r}, which the corpus does not have", "sheets of the corpus",
                            "take files of one release, or another run")  # fmt: skip
        ref = msgspec.json.decode(kept[0], type=ImageRef)
        return Result(corpus_id, Modality.IMAGE, images=(ImageRef(str(self.pictures / ref.uri), ref.sha256),))


def _ident(row: Row, column: str) -> str:
    told = row.cells[column]
    if not isinstance(told, (int, str)) or isinstance(told, bool) or not str(told):
        raise row.error(column, repr(told), "a number or a text")
    return str(told)


def _grade(row: Row) -> Grade:
    score = row.cells["score"]
    if not isinstance(score, (int, float)) or not score >= 0:
        raise row.error("score", repr(score), "a number, 0 and up")
    return Grade(_ident(row, "query-id"), _ident(row, "corpus-id"), float(score))


def _sets(folder: Path) -> dict[str, dict[str, tuple[Path, ...]]]:
    """Split -> the files of each part."""
    found: dict[str, dict[str, tuple[Path, ...]]] = {}
    for place in (folder, *sorted(one for one in folder.iterdir() if one.is_dir())):
        if not all((place / part).is_dir() for part in _PARTS):
            continue
        there = {part: sorted((place / part).glob("*.parquet")) for part in _PARTS}
        for split in sorted({path.name.partition("-")[0] for path in there["qrels"]}):
            of = {part: tuple(p for p in paths if p.name.partition("-")[0] == split) for part, paths in there.items()}
            missing = [part for part, paths in of.items() if not paths]
            if missing:
                raise RecordError(
                    place, 0, split, f"no {missing[0]}/{split}-*.parquet", "all of corpus, queries, qrels", "fetch it"
                )
            found[split if place == folder else f"{place.name}/{split}"] = of
    return found
