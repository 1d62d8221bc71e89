"""MMDocIR's training set: a question, the sheets of a document that answer it, and sheets that do not.

(The benchmark says "page" for a sheet of a document; here a page is a result page. Its expert-judged part is
``mmdocir``.) As ``MMDocIR/MMDocIR_Train_Dataset`` is given out, for each subset (ArxivQA, DUDE, MP-DocVQA, SciQAG,
SlideVQA, TAT-DQA, Wiki-ss)::

    annotations_top1_negative/<subset>_train.jsonl
        {"query_id", "query", "positive_passages": [{"doc_name", "page_id"}], "negative_passages": [...]}
    parquet/<subset>_filter.parquet
        file_name, page, image (the bytes of the sheet's picture), and page_size, layouts, which are not looked at

The format is that of the data set's own ``train_dataset.py`` and of public readers of it; the files themselves were not
at hand. So ``query_id`` may be missing (the line stands in for it), numbers may be text, ``image`` may be the bytes or
a struct that holds them, further fields are not looked at, and rows that come again word for word (Wiki-ss has some)
count once.

A list holds the positive sheets (grade 1), the negative ones, and others of the positive sheets' documents, drawn by
the seed, up to ``results`` (all 0). The labels were made by programs, not by people, and nobody looked at the others.
Documents are held out: ``dev`` has those of a share that a hash picks; a question with documents on both sides is
in neither split, see ``left_out``.

Parquet cannot be read one picture at a time: what a subset holds is unpacked once, when it is first needed, into
files named by their checksum. That takes as much room again as the parquet files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np

from wholepage.collections.judged_pages import Identifier, Written
from wholepage.collections.synthetic_drawing import filed
from wholepage.pages import Grade, ImageRef, InputError, Judgments, Modality, Page, Query, RecordError, Result
from wholepage.pages.errors import require
from wholepage.pages.lines import decode, read_lines, write_lines

_ANNOTATIONS, _LINES = "annotations_top1_negative", "_train.jsonl"
_PARQUET, _TABLE = "parquet", "_filter.parquet"
_DEV_OF = 1_000_000
_BATCH = 16  # rows; pictures are large
_MAGIC = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}


_Place = tuple[str, str]
"""A document and the number of a sheet."""


class _Sheet(msgspec.Struct, frozen=True):
    doc_name: Identifier
    page_id: int | str

    @property
    def place(self) -> _Place:
        return self.doc_name, str(self.page_id).strip()


class _Question(msgspec.Struct, frozen=True):
    query: Written
    positive_passages: tuple[_Sheet, ...]
    negative_passages: tuple[_Sheet, ...] = ()
    query_id: int | str | None = None

    @property
    def positive(self) -> tuple[_Place, ...]:
        return tuple(one.place for one in self.positive_passages)


class _Unpacked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    doc: str
    page: str
    file: str
    sha256: str


_QUESTION = msgspec.json.Decoder(_Question)
_UNPACKED = msgspec.json.Decoder(_Unpacked)
_Sheets = Mapping[_Place, ImageRef]


class _List(NamedTuple):
    subset: str
    query_id: str
    question: _Question
    places: list[_Place]


class NotAsked(NamedTuple):
    """A question that is in no split, and why."""

    query_id: str
    why: str


class MMDocIRTrain:
    """Lists of sheets (IMAGE, without words) for MMDocIR's training questions.

    Args:
        root: the folder of the data set.
        subsets: which to read, in order; None = all whose questions and sheets are both there.
        pictures: where sheets are unpacked; None = ``pictures`` below root.
        results: the most results of a list.
        dev_share: the share of documents that is held out.
        seed: of the other sheets and of the order on the page.
    Raises:
        InputError: a subset or its files are missing, or an option is out of range.
    """

    name: ClassVar[str] = "mmdocir_train"
    licence: ClassVar[str] = "non-commercial: CC BY-NC 4.0, for research; the sheets belong to the sources' owners"
    source: ClassVar[str] = "MMDocIR/MMDocIR_Train_Dataset (arXiv 2501.08828)"

    def __init__(
        self,
        root: str | Path,
        *,
        subsets: Sequence[str] | None = None,
        pictures: str | Path | None = None,
        results: int = 20,
        dev_share: float = 0.05,
        seed: int = 0,
    ) -> None:
        self.root = Path(root).resolve()
        if results < 2 or not 0 <= dev_share < 1:
            raise InputError(
                f"results, dev_share: got {results}, {dev_share}; allowed: 2 and up, 0 <= share < 1; mend them"
            )
        asked, drawn = _names(self.root / _ANNOTATIONS, _LINES), _names(self.root / _PARQUET, _TABLE)
        there = [subset for subset in asked if subset in drawn]
        self.subsets = tuple(there if subsets is None else subsets)
        if not self.subsets or not set(self.subsets) <= set(there) or len(set(self.subsets)) < len(self.subsets):
            raise InputError(
                f"collection 'mmdocir_train': got subsets {self.subsets}; allowed: of those in {str(self.root)!r}, "
                f"{', '.join(there) or 'none'} ({_ANNOTATIONS}/<subset>{_LINES} beside {_PARQUET}/<subset>{_TABLE}), "
                "each once; fetch the files or mend root"
            )
        self.pictures = Path(pictures).resolve() if pictures is not None else self.root / "pictures"
        self.results, self.dev_share, self.seed = results, dev_share, seed
        self._sheets: dict[str, _Sheets] = {}

    def __repr__(self) -> str:
        return f"MMDocIRTrain({str(self.root)!r}, subsets={self.subsets})"

    def splits(self) -> tuple[str, ...]:
        """``dev`` and ``train``."""
        return ("dev", "train")

    def pages(self, split: str) -> Iterator[Page]:
        """The lists of one split, subset by subset, in the order of the files.

        Raises:
            InputError: there is no such split.
            RecordError: a line or a picture cannot be read, a sheet is missing, or two questions share an id.
        """
        for one in self._lists(split):
            sheets = self._sheets[one.subset]
            results = tuple(Result(_id(place), Modality.IMAGE, images=(sheets[place],)) for place in one.places)
            yield Page(Query(one.query_id, one.question.query), results)

    def judgments(self, split: str) -> Judgments:
        """Grade 1 for the positive sheets, 0 for the others of their list.

        Raises:
            InputError, RecordError: as ``pages``.
        """
        return Judgments(
            Grade(
                query_id, _id(place), float(place in {one.place for one in question.positive_passages}), who=self.name
            )
            for _, query_id, question, places in self._lists(split)
            for place in places
        )

    def left_out(self) -> tuple[NotAsked, ...]:
        """The questions that are in no split, with the reason.

        Raises:
            RecordError: as ``pages``.
        """
        return tuple(NotAsked(one.query_id, why) for one, _, why in self._tried() if why)

    def _lists(self, split: str) -> Iterator[_List]:
        if split not in self.splits():
            raise InputError(
                f"collection 'mmdocir_train': got split {split!r}; allowed: {', '.join(self.splits())}; choose one"
            )
        return (one for one, of, why in self._tried() if not why and of == split)

    def _tried(self) -> Iterator[tuple[_List, str, str]]:
        """Every question's list, its split, and why it is in none (or empty)."""
        for subset in self.subsets:
            sheets = self._unpacked(subset)
            of_document: dict[str, list[_Place]] = {}
            for place in sheets:
                of_document.setdefault(place[0], []).append(place)
            for line, query_id, question in self._questions(subset):
                places = self._places(query_id, question, of_document)
                for place in places:
                    if place not in sheets:
                        raise RecordError(
                            self._questions_file(subset), line, "passages", f"sheet {place[1]!r} of {place[0]!r}",
                            f"a row of {subset}{_TABLE}", "fetch both files again, or drop the line",
                        )  # fmt: skip
                split, why = self._split_of(question)
                if not why and set(places) <= set(question.positive):
                    why = "no sheet that is not positive"
                yield _List(subset, query_id, question, places), split, why

    def _places(self, query_id: str, question: _Question, of_document: Mapping[str, list[_Place]]) -> list[_Place]:
        rng = np.random.default_rng([self.seed, *hashlib.sha256(query_id.encode()).digest()])
        said = [*question.positive, *(one.place for one in question.negative_passages)]
        places = list(dict.fromkeys(said))[: self.results]
        documents = dict.fromkeys(one.doc_name for one in question.positive_passages)
        taken = set(said)
        others = [place for document in documents for place in of_document.get(document, ()) if place not in taken]
        places += [others[i] for i in rng.permutation(len(others))[: self.results - len(places)]]
        return [places[i] for i in rng.permutation(len(places))]

    def _split_of(self, question: _Question) -> tuple[str, str]:
        """The split of a question, or why it is in none."""
        documents = {one.doc_name for one in (*question.positive_passages, *question.negative_passages)}
        sides = {"dev" if _share_of(document) < self.dev_share else "train" for document in documents}
        if not question.positive:
            return "", "no positive sheet"
        if set(question.positive) & {one.place for one in question.negative_passages}:
            return "", "a sheet both positive and negative"
        if len(sides) > 1:
            return "", "documents of train and of dev"
        return sides.pop(), ""

    def _questions_file(self, subset: str) -> Path:
        return _names(self.root / _ANNOTATIONS, _LINES)[subset]

    def _questions(self, subset: str) -> Iterator[tuple[int, str, _Question]]:
        path = self._questions_file(subset)
        met: dict[str, _Question] = {}
        for line, raw in read_lines(path):
            question = decode(_QUESTION, path, line, raw)
            query_id = f"{subset}:{line if question.query_id is None else question.query_id}"
            if query_id not in met:
                met[query_id] = question
                yield line, query_id, question
            elif met[query_id] != question:
                raise RecordError(path, line, "query_id", f"{query_id!r} again, of another question", "each id once",
                                  "rename one")  # fmt: skip

    def _unpacked(self, subset: str) -> _Sheets:
        if subset not in self._sheets:
            table = _names(self.root / _PARQUET, _TABLE)[subset]
            # The size is in the name, so that another table is not taken for this one.
            index = self.pictures / f"{subset}.{table.stat().st_size}.sheets.jsonl"
            if not index.is_file():
                self.pictures.mkdir(parents=True, exist_ok=True)
                write_lines(index, (msgspec.json.encode(one) for one in _unpack(table, self.pictures / subset)))
            found = (decode(_UNPACKED, index, line, raw) for line, raw in read_lines(index))
            self._sheets[subset] = {
                (one.doc, one.page): ImageRef(str(self.pictures / subset / one.file), one.sha256) for one in found
            }
        return self._sheets[subset]


def _unpack(table: Path, folder: Path) -> Iterator[_Unpacked]:
    """Every row of a table, its picture written to the folder."""
    parquet: Any = require("pyarrow.parquet", "eval")
    arrow: Any = require("pyarrow", "eval")
    row, seen = 0, set[_Place]()
    try:
        opened = parquet.ParquetFile(table)
        missing = {"file_name", "page", "image"} - set(opened.schema_arrow.names)
        if missing:
            raise RecordError(
                table, 0, "columns", ", ".join(opened.schema_arrow.names), "file_name, page, image", "fetch it again"
            )
        for batch in opened.iter_batches(batch_size=_BATCH, columns=["file_name", "page", "image"]):
            for one in batch.to_pylist():
                row += 1
                doc, page, image = str(one["file_name"]), str(one["page"]).strip(), one["image"]
                raw: bytes = (image.get("bytes") if isinstance(image, dict) else image) or b""
                suffix = next((end for start, end in _MAGIC.items() if raw.startswith(start)), None)
                if suffix is None:
                    raise RecordError(
                        table, row, "image", "no PNG, JPEG or WEBP", "a picture's bytes", "fetch it again"
                    )
                if (doc, page) in seen:
                    raise RecordError(table, row, "page", f"{page!r} of {doc!r} again", "each sheet once", "drop one")
                seen.add((doc, page))
                ref = filed(raw, folder, suffix)
                yield _Unpacked(doc, page, str(Path(ref.uri).relative_to(folder)), str(ref.sha256))
    except arrow.ArrowException as error:
        raise RecordError(table, row, "table", str(error), "a whole parquet file", "fetch it again") from error


def _names(folder: Path, ending: str) -> dict[str, Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.name.removesuffix(ending): path for path in found if path.name.endswith(ending)}


def _share_of(document: str) -> float:
    """A number from 0 to 1 that is the document's own, the same everywhere and always."""
    return int.from_bytes(hashlib.sha256(document.encode()).digest(), "big") % _DEV_OF / _DEV_OF


def _id(place: _Place) -> str:
    return f"{place[0]}#{place[1]}"
