"""Qilin: searches, recommendations and questions of an app's users, with all that was shown and what they did.

Tables, each CSV (also ``.gz``), Parquet, or a folder of Parquet files (``table_files`` says which names)::

    search_train, search_test                   query, search_idx, user_idx, search_result_details_with_idx
    recommendation_train, recommendation_test   query, request_idx, user_idx, rec_result_details_with_idx
    dqa                                         as search, and dqa_output, ref_note_idx_list, is_..._clk
    notes                                       note_idx, note_title, note_content, note_type, image_path, numbers
    user_feat                                   user_idx, gender, platform, age, location, numbers; may be missing,
                                                and a user who is not in it has no features
    search.test.qrels, recommendation.test.qrels, dqa.qrels    qid, pid; may be missing

The format was read from the toy tables of RED-Search/Qilin (which are CSV, with lists as numpy prints them), from the
list of files of THUIR/Qilin (folders of Parquet), and from the released code of arXiv 2510.16803.
The Parquet files themselves were not at hand.

- A page is what was shown, in the order shown; a note that was shown twice stands where it stood first. The written
  answer of a question (ANSWER, id ``dqa``) is put first: the files do not say where it stood.
- A note is a VIDEO (``note_type`` 2), an IMAGE, or TEXT where it has no pictures or ``images`` is not given. Title
  and content are its text, 13 numbers of it and ``kind:video`` its features. Those were counted over all users and
  all days, also after the search. What the user did is never a feature.
- The grades are 2 = clicked and read, 1 = clicked, 0 = not clicked (see ``behaviour``); ``by_behaviour`` has the whole
  order, by dwell. In the qrels, ``qid`` is the row's number from 0 and a note is relevant when it was clicked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from wholepage.collections import qilin_rows
from wholepage.collections.behaviour import LEAST_CLICKS, MOST, Seen, by_behaviour, simulated_pool
from wholepage.collections.graded_pages import GradedPages
from wholepage.collections.homes import home_of, inside
from wholepage.collections.qilin_rows import KINDS, Kind, Note, Request
from wholepage.collections.row_store import RowStore, stamp_of
from wholepage.collections.table_files import Row, files_of, read_table
from wholepage.pages import Grade, ImageRef, InputError, Judgments, Modality, Page, Query, Ranking, Result
from wholepage.pages.beir import titled
from wholepage.pages.lines import build

TABLES = ("search_train", "search_test", "recommendation_train", "recommendation_test", "dqa")
ANSWER_ID = "dqa"
_QRELS = {
    "search_test": "search.test.qrels",
    "recommendation_test": "recommendation.test.qrels",
    "dqa": "dqa.qrels",
}
_NOTE = msgspec.json.Decoder(Note)
_USER = msgspec.json.Decoder(dict[str, float | str])


class Qilin(GradedPages):
    """Result pages of an app as they were shown, judged by what their readers did.

    The splits are the tables of requests found.

    Args:
        root: the folder of the tables, or a data folder with them in ``qilin/`` or ``qilin_toy/``.
        pool: ``"shown"``: all that was shown, of every request. ``"simulated"``: the pages of arXiv 2510.16803, of
            requests with at least ``least_clicks`` clicked notes, at most ``most`` read, clicked and other notes.
        missing: what becomes of a note that the table does not have: ``"refuse"`` is an error, ``"leave-out"``
            leaves it out, ``"name"`` makes its number its text (the toy tables lack the notes of their pages).
        images: the folder in which ``image/`` lies; None = pictures are left out.
        index: a file that keeps notes and users for the next time; None = copied anew, into a temporary file.
        least_clicks, most: of the simulated pages.
    Raises:
        InputError: no tables are found, or an option is out of range.
    """

    name: ClassVar[str] = "qilin"
    licence: ClassVar[str] = "MIT as its repository says, Apache-2.0 as its data card says; texts belong to their users"
    source: ClassVar[str] = "RED-Search/Qilin, THUIR/Qilin (arXiv 2503.00501)"

    def __init__(
        self,
        root: str | Path,
        *,
        pool: Literal["shown", "simulated"] = "shown",
        missing: Literal["refuse", "leave-out", "name"] = "refuse",
        images: str | Path | None = None,
        index: str | Path | None = None,
        least_clicks: int = LEAST_CLICKS,
        most: tuple[int, int, int] = MOST,
    ) -> None:
        for option, given, allowed in (
            ("pool", pool, ("shown", "simulated")),
            ("missing", missing, ("refuse", "leave-out", "name")),
        ):
            if given not in allowed:
                raise InputError(f"{option}: got {given!r}; allowed: {', '.join(allowed)}; choose one of them")
        if least_clicks < 0 or len(most) != 3 or min(most) < 0:
            raise InputError(
                f"least_clicks, most: got {least_clicks}, {most}; allowed: 0 and up, three numbers 0 and up; mend them"
            )
        self.root = home_of(
            self.name, root, ("qilin", "qilin_toy"), lambda folder: any(files_of(folder, one) for one in TABLES),
            f"one of the tables {', '.join(TABLES)}",
        )  # fmt: skip
        self.pool, self.missing, self.least_clicks, self.most = pool, missing, least_clicks, tuple(most)
        self.images = None if images is None else Path(images).resolve()
        self._index = None if index is None else Path(index)
        self._kept: dict[str, RowStore] = {}

    def __repr__(self) -> str:
        return f"Qilin({str(self.root)!r}, pool={self.pool!r})"

    def splits(self) -> tuple[str, ...]:
        """The tables of requests that are there."""
        return tuple(one for one in TABLES if files_of(self.root, one))

    def graded_pages(self, split: str) -> Iterator[tuple[Page, tuple[Grade, ...]]]:
        """Pages with what people did, as grades 2, 1, 0, said by ``behaviour``; of every result of the pages.

        Raises:
            InputError: no such table, or none of notes.
            RecordError: a row cannot be read, a request comes twice, or a note is missing.
        """
        for request, shown in self._pools(split):
            results = []
            if request.answer is not None:
                results.append(Result(ANSWER_ID, Modality.ANSWER, request.answer))
            results += [found for one in shown if (found := self._note(request, one)) is not None]
            query = Query(request.query_id, request.query, user=self._user(request))
            row = request.row
            page = build(row.path, row.line, "results", Page, query, tuple(results))
            grades = {one.result_id: one.grade for one in shown} | {ANSWER_ID: int(request.answer_clicked)}
            yield page, tuple(Grade(page.query_id, r, float(grades[r]), who="behaviour") for r in page.result_ids)

    def by_behaviour(self, split: str) -> Iterator[Ranking]:
        """The order of the notes of each page as behaviour tells it; notes that the table lacks included.

        Raises:
            InputError, RecordError: as ``pages``.
        """
        for request, shown in self._pools(split):
            yield by_behaviour(request.query_id, shown)

    def run(self, split: str, name: str) -> Iterator[Ranking]:
        """What a retriever found over all notes, such as ``"bm25_results"``; most of it is on no page.

        Raises:
            InputError: the table has no such column.
            RecordError: a row cannot be read.
        """
        kind = self._kind(split)
        if name not in kind.runs:
            raise InputError(f"run: got {name!r}; allowed: {', '.join(kind.runs) or 'none'} (of {split}); choose one")
        return (qilin_rows.run_of(row, kind, name) for row in read_table(self.root, split, (kind.ident, name)))

    def official(self, split: str) -> Judgments:
        """The qrels file of a split; its queries are the numbers of the rows of the whole table, from 0.

        Raises:
            InputError: the split has no such file.
            RecordError: a row cannot be read.
        """
        table = _QRELS.get(split, "")
        if not table or not files_of(self.root, table):
            raise InputError(
                f"official qrels: got split {split!r} of {str(self.root)!r}; allowed: "
                f"{', '.join(one for one, file in _QRELS.items() if files_of(self.root, file)) or 'none'}; fetch them"
            )
        return Judgments(
            Grade(str(qilin_rows.whole(row, "qid", row.cells["qid"])), str(row.cells["pid"]), 1.0, who="qrels")
            for row in read_table(self.root, table, ("qid", "pid"))
        )

    def _kind(self, split: str) -> Kind:
        if split not in self.splits():
            raise InputError(
                f"collection 'qilin': got split {split!r}; allowed: {', '.join(self.splits())} (in {self.root}); "
                "choose one of them"
            )
        return KINDS[split.split("_", 1)[0]]

    def _pools(self, split: str) -> Iterator[tuple[Request, tuple[Seen, ...]]]:
        kind = self._kind(split)
        met: set[int] = set()
        for row in read_table(self.root, split, *qilin_rows.request_columns(kind)):
            request = qilin_rows.request_of(row, kind)
            if int(request.query_id) in met:
                raise row.error(kind.ident, f"{request.query_id} again", "each request once", "drop one")
            met.add(int(request.query_id))
            if self.pool == "shown":
                yield request, request.shown
            elif sum(one.clicked for one in request.shown) >= self.least_clicks:
                yield request, simulated_pool(request.shown, (self.most[0], self.most[1], self.most[2]))

    def _note(self, request: Request, seen: Seen) -> Result | None:
        kept = self._store("notes").get(seen.result_id)
        row = request.row
        if not kept and self.missing == "refuse":
            raise row.error(
                "note_idx", f"{seen.result_id}, which the table notes does not have", "notes of the same release",
                'fetch them, or pass missing="leave-out" or "name"',
            )  # fmt: skip
        if not kept:
            if self.missing == "leave-out":
                return None
            return Result(seen.result_id, Modality.TEXT, f"note {seen.result_id}")
        note = _NOTE.decode(kept[0])
        pictures: tuple[ImageRef, ...] = ()
        if self.images is not None:
            pictures = tuple(ImageRef(str(inside(row, "image_path", self.images, one))) for one in note.images)
        modality = Modality.TEXT if not pictures else Modality.VIDEO if note.video else Modality.IMAGE
        features = {"kind:video": float(note.video), **note.numbers}
        text = titled(note.title, note.content).strip() or ("" if pictures else f"note {seen.result_id}")
        return build(row.path, row.line, "note_idx", Result, seen.result_id, modality, text, pictures, features)

    def _user(self, request: Request) -> dict[str, float | str]:
        if not files_of(self.root, "user_feat"):
            return {}
        kept = self._store("user_feat").get(request.user)
        return _USER.decode(kept[0]) if kept else {}

    def _store(self, table: str) -> RowStore:
        if table not in self._kept:
            files = files_of(self.root, table)
            place = None if self._index is None else self._index.with_name(f"{self._index.name}.{table}")
            store = RowStore(place)
            # The version is that of the records kept, not of the package.
            store.fill(stamp_of(files, "qilin-1"), _packed(table, self.root))
            self._kept[table] = store
        return self._kept[table]


def _packed(table: str, root: Path) -> Iterator[tuple[str, bytes]]:
    """The rows of a table as they are kept."""
    notes = table == "notes"
    columns = qilin_rows.NOTE_COLUMNS if notes else qilin_rows.USER_COLUMNS
    for row in read_table(root, table, columns):
        yield _packed_row(row, notes)


def _packed_row(row: Row, notes: bool) -> tuple[str, bytes]:
    key, record = qilin_rows.note_of(row) if notes else qilin_rows.user_of(row)
    return key, msgspec.json.encode(record)
