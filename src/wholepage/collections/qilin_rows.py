"""Rows of Qilin's tables as records: requests with what was shown and done, notes, users.

Numbers may come as floats or text, nested cells as lists (Parquet) or as they were printed (CSV).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from wholepage.collections.behaviour import Seen, dwell_of, merged
from wholepage.collections.printed import parse_printed
from wholepage.collections.table_files import Row
from wholepage.pages import InputError, Ranking
from wholepage.pages.lines import build

STATISTICS = (
    "rec_view_time", "video_width", "video_height", "full_view_times", "search_follow_num", "valid_view_times",
    "video_duration", "search_view_time", "view_time", "search_comment_num", "comment_num", "search_share_num",
    "share_num",
)  # fmt: skip
"""The numbers of a note that whole-page reranking was given (released code of arXiv 2510.16803)."""
NOTE_COLUMNS = ("note_idx", "note_title", "note_content", "note_type", "image_path", *STATISTICS)
DENSE = tuple(f"dense_feat{n}" for n in range(1, 41))
USER_WORDS = ("gender", "platform", "age", "location")
USER_NUMBERS = ("fans_num", "follows_num", *DENSE)
USER_COLUMNS = ("user_idx", *USER_WORDS, *USER_NUMBERS)
_VIDEO = 2
_ANSWER_CLICKS = ("is_like_clk", "is_onebox_trace_clk", "is_content_clk", "is_experience_clk")


class Kind(NamedTuple):
    """How one of the three tasks names its columns."""

    ident: str
    shown: str
    runs: tuple[str, ...]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "search": Kind("search_idx", "search_result_details_with_idx", ("bm25_results", "dpr_results")),
        "recommendation": Kind("request_idx", "rec_result_details_with_idx", ()),
        "dqa": Kind("search_idx", "search_result_details_with_idx", ("bm25_results", "dpr_results")),
    }
)


class Note(msgspec.Struct, frozen=True):
    """A note, as it is kept until a page needs it."""

    title: str
    content: str
    video: bool
    images: tuple[str, ...]
    numbers: dict[str, float]


class Request(NamedTuple):
    """A search, a recommendation or a question, and what came of it.

    Attributes:
        shown: each note once, in the order shown.
        answer: the written answer; None = none was shown.  answer_clicked: whether anything of it was clicked.
        cites: the notes that the answer refers to.
    """

    row: Row
    query_id: str
    query: str
    user: str
    shown: tuple[Seen, ...]
    answer: str | None
    answer_clicked: bool
    cites: tuple[str, ...]


def request_of(row: Row, kind: Kind) -> Request:
    """One row of a table of requests.

    Raises:
        RecordError: a cell cannot be read.
    """
    shown = []
    for index, one in enumerate(nested(row, kind.shown)):
        field = f"{kind.shown}[{index}]"
        if not isinstance(one, dict):
            raise row.error(field, one, "a record of note_idx, position, click, page_time")
        note, position, click = (whole(row, f"{field}.{name}", one.get(name)) for name in _SHOWN)
        time = one.get("page_time")
        shown.append(Seen(str(note), position, click > 0, dwell_of(None if time is None else _float(row, field, time))))
    said = str(row.cells.get("dqa_output", "-1"))
    answered = said.strip() not in ("", "-1")
    clicks = (row.cells.get(name) for name in _ANSWER_CLICKS)
    return Request(
        row,
        str(whole(row, kind.ident, row.cells[kind.ident])),
        str(row.cells["query"] or ""),
        str(whole(row, "user_idx", row.cells["user_idx"])),
        merged(shown),
        said if answered else None,
        answered and any(one not in (None, "") and _float(row, "is_..._clk", one) > 0 for one in clicks),
        tuple(str(whole(row, "ref_note_idx_list", one)) for one in nested(row, "ref_note_idx_list")),
    )


_SHOWN = ("note_idx", "position", "click")


def request_columns(kind: Kind) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that a table of requests must have, and those that it may."""
    return ("query", "user_idx", kind.ident, kind.shown), ("dqa_output", "ref_note_idx_list", *_ANSWER_CLICKS)


def run_of(row: Row, kind: Kind, name: str) -> Ranking:
    """What one retriever found for a request, best first, with its scores.

    Raises:
        RecordError: the cell cannot be read, or a note comes twice.
    """
    pairs = []
    for index, one in enumerate(nested(row, name)):
        if not isinstance(one, list) or len(one) != 2:
            raise row.error(f"{name}[{index}]", one, "[note_idx, score]")
        pairs.append((str(whole(row, f"{name}[{index}][0]", one[0])), _float(row, f"{name}[{index}][1]", one[1])))
    query_id = str(whole(row, kind.ident, row.cells[kind.ident]))
    ids, scores = tuple(note for note, _ in pairs), tuple(score for _, score in pairs)
    return build(row.path, row.line, name, Ranking, query_id, ids, scores, name.removesuffix("_results"))


def note_of(row: Row) -> tuple[str, Note]:
    """One row of the table of notes: its id, and what it holds.

    Raises:
        RecordError: a cell cannot be read.
    """
    cells = row.cells
    images = nested(row, "image_path")
    if not all(isinstance(one, str) and one for one in images):
        raise row.error("image_path", images, "a list of paths")
    numbers = {name: number for name in STATISTICS if (number := _known(row, name)) is not None}
    note = Note(
        str(cells["note_title"] or ""),
        str(cells["note_content"] or ""),
        _known(row, "note_type") == _VIDEO,
        tuple(images),
        numbers,
    )
    return str(whole(row, "note_idx", cells["note_idx"])), note


def user_of(row: Row) -> tuple[str, dict[str, float | str]]:
    """One row of the table of users: its id, and the features that are known.

    Raises:
        RecordError: a cell cannot be read.
    """
    told: dict[str, float | str] = {name: str(said) for name in USER_WORDS if (said := row.cells[name])}
    told |= {name: number for name in USER_NUMBERS if (number := _known(row, name)) is not None}
    return str(whole(row, "user_idx", row.cells["user_idx"])), told


def nested(row: Row, name: str) -> list[Any]:
    """A cell that is a list; empty where there is none.

    Raises:
        RecordError: it is something else, or was cut when it was printed.
    """
    cell = row.cells.get(name)
    if isinstance(cell, str):
        if not cell.strip():
            return []
        try:
            cell = parse_printed(cell)
        except InputError as error:
            raise row.error(name, error, "a list", "export the table again") from error
    if cell is None:
        return []
    if not isinstance(cell, list):
        raise row.error(name, cell, "a list")
    return cell


def whole(row: Row, field: str, value: Any) -> int:
    """A whole number, 0 and up, however it was written.

    Raises:
        RecordError: it is something else.
    """
    number = _float(row, field, value)
    if not math.isfinite(number) or number != int(number) or number < 0:
        raise row.error(field, repr(value), "a whole number, 0 and up")
    return int(number)


def _known(row: Row, name: str) -> float | None:
    """A number, or None where the cell is empty or NaN."""
    cell = row.cells[name]
    if cell is None or cell == "":
        return None
    number = _float(row, name, cell)
    return number if math.isfinite(number) else None


def _float(row: Row, field: str, value: Any) -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError as error:
            raise row.error(field, repr(value), "a number") from error
    raise row.error(field, repr(value), "a number")
