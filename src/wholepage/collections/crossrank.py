"""CrossRank: results of two queues of a web search engine, texts both, graded together by people, 0 to 4.

Tables, each Parquet (or as ``table_files`` says)::

    <kind>_Train, <kind>_Eval, <kind>_Test    query, search_idx, search_result_details_with_idx
    MultiModalCorpus, SingleModalCorpus       query_intent, real_title, abs_basic, title_highlight_basic, modal, numbers

``search_result_details_with_idx`` is a list of ``{"candidate_idx", "upstream_label", "label", "position"}`` and maybe
more. ``candidate_idx`` is the number of a row, from 0: of the multimodal corpus for a ``search_idx`` up to 24009, of
the single-modal one beyond.

The format was read from the released code of arXiv 2510.16803; the files themselves were not at hand. Facts of that
code that are relied on: the names above, ``modal`` is the text "0" or "1", ``position`` is unique in a list.

- Both queues are TEXT; ``modal:0`` and ``modal:1`` are 0/1 features. ``second`` makes the queue "1" a modality of its
  own, for methods that have one ranker a queue.
- ``upstream_label`` is the score of the queue's own ranker, so it is a feature, as are the corpus's numbers. ``label``
  is the grade. ``position`` is the order that the released code trains towards, so it is no feature and not the order
  of the page, which is by corpus row; ``by_position`` has it, lowest first: in the one record that the code quotes,
  position 0 has grade 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from wholepage.collections import qilin_rows
from wholepage.collections.graded_pages import GradedPages
from wholepage.collections.homes import home_of
from wholepage.collections.row_store import RowStore, stamp_of
from wholepage.collections.table_files import Row, files_of, read_table
from wholepage.pages import Grade, InputError, Modality, Page, Query, Ranking, RecordError, Result
from wholepage.pages.lines import build

LAST_OF_MULTIMODAL = 24009
"""The last ``search_idx`` whose candidates are rows of the multimodal corpus."""

NUMBERS = tuple(f"{whose}_feat_{n}" for whose in ("query", "candidate") for n in range(1, 6))
_SHOWN = "search_result_details_with_idx"
_MULTI, _SINGLE = "MultiModalCorpus", "SingleModalCorpus"
_WORDS = ("query_intent", "real_title", "abs_basic", "title_highlight_basic")
_ENDINGS = ("_Train", "_Eval", "_Test")


class _Kept(msgspec.Struct, frozen=True):
    text: str
    modal: Literal["0", "1"]
    numbers: dict[str, float]


class Candidate(msgspec.Struct, frozen=True):
    """One entry of a list: which row, what the queue's own ranker said, what people said, and where it belongs."""

    candidate_idx: int
    upstream: float | None
    label: float
    position: float


_KEPT = msgspec.json.Decoder(_Kept)


class CrossRank(GradedPages):
    """Lists of two queues of texts, with people's grades across them.

    The splits are the names of the tables of lists, such as ``"Multimodal_Train"``.

    Args:
        root: the folder of the tables, or a data folder with them in ``crossrank/`` or ``CrossRankData/``.
        second: the modality of the queue ``"1"``.
        index: a file that keeps the corpora for the next time; None = copied anew, into a temporary file.
    Raises:
        InputError: no tables are found, or another ``second``.
    """

    name: ClassVar[str] = "crossrank"
    licence: ClassVar[str] = "CC BY-NC 4.0: non-commercial"
    source: ClassVar[str] = "CrossRank, Baidu (arXiv 2510.16803)"

    def __init__(
        self, root: str | Path, *, second: Literal["text", "answer"] = "text", index: str | Path | None = None
    ) -> None:
        if second not in ("text", "answer"):
            raise InputError(f"second: got {second!r}; allowed: text, answer; choose one of them")
        self.root = home_of(
            self.name, root, ("crossrank", "CrossRankData"), lambda folder: bool(_lists(folder)),
            f"tables named <kind>{' or <kind>'.join(_ENDINGS)}",
        )  # fmt: skip
        self.second = Modality(second)
        self._index = None if index is None else Path(index)
        self._kept: dict[str, RowStore] = {}

    def __repr__(self) -> str:
        return f"CrossRank({str(self.root)!r})"

    def splits(self) -> tuple[str, ...]:
        """The tables of lists, sorted."""
        return _lists(self.root)

    def graded_pages(self, split: str) -> Iterator[tuple[Page, tuple[Grade, ...]]]:
        """Lists with people's grades of all results, 0 to 4; results by corpus row.

        Raises:
            InputError: no such table, or no corpus.
            RecordError: a row cannot be read, a list comes twice, or a candidate is in no corpus.
        """
        for row, search_idx, candidates in self._rows(split):
            corpus = _MULTI if search_idx <= LAST_OF_MULTIMODAL else _SINGLE
            results = tuple(self._result(row, corpus, one) for one in candidates)
            page = build(
                row.path, row.line, _SHOWN, Page, Query(str(search_idx), str(row.cells["query"] or "")), results
            )
            yield (
                page,
                tuple(
                    Grade(page.query_id, result.result_id, one.label, who=self.name)
                    for one, result in zip(candidates, results, strict=True)
                ),
            )

    def by_position(self, split: str) -> Iterator[Ranking]:
        """The order of each list by ``position``, lowest first.

        Raises:
            InputError, RecordError: as ``pages``.
        """
        for _, search_idx, candidates in self._rows(split):
            ordered = sorted(candidates, key=lambda one: one.position)
            yield Ranking(str(search_idx), tuple(str(one.candidate_idx) for one in ordered), None, "position")

    def _rows(self, split: str) -> Iterator[tuple[Row, int, list[Candidate]]]:
        if split not in self.splits():
            raise InputError(
                f"collection 'crossrank': got split {split!r}; allowed: {', '.join(self.splits())} (in {self.root}); "
                "choose one of them"
            )
        met: set[int] = set()
        for row in read_table(self.root, split, ("query", "search_idx", _SHOWN)):
            search_idx = qilin_rows.whole(row, "search_idx", row.cells["search_idx"])
            if search_idx in met:
                raise row.error("search_idx", f"{search_idx} again", "each list once", "drop one")
            met.add(search_idx)
            yield row, search_idx, _candidates(row)

    def _result(self, row: Row, corpus: str, one: Candidate) -> Result:
        kept = self._store(corpus).get(str(one.candidate_idx))
        if not kept:
            raise row.error("candidate_idx", one.candidate_idx, f"a row of {corpus}", "fetch it of the same release")
        told = _KEPT.decode(kept[0])
        features = {"modal:0": float(told.modal == "0"), "modal:1": float(told.modal == "1"), **told.numbers}
        if one.upstream is not None:
            features["upstream_label"] = one.upstream
        modality = self.second if told.modal == "1" else Modality.TEXT
        text = told.text or f"candidate {one.candidate_idx}"
        return build(row.path, row.line, "candidate_idx", Result, str(one.candidate_idx), modality, text, (), features)

    def _store(self, corpus: str) -> RowStore:
        if corpus not in self._kept:
            place = None if self._index is None else self._index.with_name(f"{self._index.name}.{corpus}")
            store = RowStore(place)
            store.fill(stamp_of(files_of(self.root, corpus), "crossrank-1"), _packed(self.root, corpus))
            self._kept[corpus] = store
        return self._kept[corpus]


def _lists(folder: Path) -> tuple[str, ...]:
    names = {path.name.split(".", 1)[0] for path in folder.iterdir()}
    return tuple(sorted(one for one in names if one.endswith(_ENDINGS) and files_of(folder, one)))


def _candidates(row: Row) -> list[Candidate]:
    """The entries of a list, by corpus row; each row and each position once."""
    found: list[Candidate] = []
    for index, one in enumerate(qilin_rows.nested(row, _SHOWN)):
        field = f"{_SHOWN}[{index}]"
        try:
            told = msgspec.convert(one, _Entry)
        except msgspec.ValidationError as error:
            raise row.error(field, error, "a record of candidate_idx, upstream_label, label, position") from error
        if not 0 <= told.label <= 4:
            raise row.error(f"{field}.label", told.label, "0 to 4")
        if told.candidate_idx != int(told.candidate_idx):
            raise row.error(f"{field}.candidate_idx", told.candidate_idx, "the number of a row")
        found.append(Candidate(int(told.candidate_idx), told.upstream_label, told.label, told.position))
    for name in ("candidate_idx", "position"):
        if len({getattr(one, name) for one in found}) < len(found):
            raise row.error(f"{_SHOWN}.{name}", "the same one twice", "each once in a list")
    return sorted(found, key=lambda one: one.candidate_idx)


class _Entry(msgspec.Struct, frozen=True):
    candidate_idx: float
    label: float
    position: float
    upstream_label: float | None = None


def _packed(root: Path, corpus: str) -> Iterator[tuple[str, bytes]]:
    for number, row in enumerate(read_table(root, corpus, (*_WORDS, "modal"), NUMBERS)):
        yield str(number), msgspec.json.encode(_kept(row))


def _kept(row: Row) -> _Kept:
    cells: dict[str, Any] = row.cells
    if cells["modal"] not in ("0", "1"):
        raise RecordError(row.path, row.line, "modal", repr(cells["modal"]), "'0' or '1'", "mend the row")
    # The title highlighted repeats the title; it is read only where there is no other.
    title = cells["real_title"] or cells["title_highlight_basic"] or ""
    text = "\n".join(str(part) for part in (title, cells["abs_basic"]) if part)
    numbers = {f"{name}": float(cells[name]) for name in NUMBERS if isinstance(cells.get(name), (int, float))}
    if cells["query_intent"]:
        text = f"{text}\n{cells['query_intent']}".strip()
    return _Kept(text, cells["modal"], numbers)
