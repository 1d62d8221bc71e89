"""Grades as Quepid has them: the ratings of a case, and the judgements of a book, both CSV.

    ratings     query,docid,rating                 one grade a result
    book        query,docid,ann,bob                 a column a rater, empty where they gave no grade

Quepid knows queries by their words and has no ids for them, so pages are needed to tell which query is meant. A blank
goes before words that begin with ``-``, ``=``, ``+`` or ``@``, as Quepid does, so that no table program takes them for
a formula; it is taken off again when read.

**Lost** are preferences, who said what (in ratings; grades are the mean over people, rounded down), when, and how long
it took.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from wholepage.pages.errors import InputError, RecordError, shorten
from wholepage.pages.judgments import Grade, Judgments
from wholepage.pages.model import Page

_QUERY, _DOC, _RATING = "query", "docid", "rating"
_FORMULA = ("-", "=", "+", "@")


def to_quepid(judgments: Judgments, pages: Iterable[Page]) -> str:
    """The grades as ratings of a Quepid case, by query id and result id.

    Raises:
        InputError: a graded query has no page, no words, or the words of another; or words or an id that Quepid would
            change (line breaks, white space at the ends).
    """
    words = _Words(pages)
    rows = [
        (words.told(query_id), _safe(result_id), str(grade))
        for query_id, of in judgments.to_qrels().items()
        for result_id, grade in sorted(of.items())
    ]
    return _table([(_QUERY, _DOC, _RATING), *rows])


def to_quepid_book(judgments: Judgments, pages: Iterable[Page]) -> str:
    """Everybody's grades as the judgements of a Quepid book, by query id and result id, raters by name.

    Raises:
        InputError: as ``to_quepid``; a grade that is not whole, a rater without a name, or one called ``rating`` alone,
            whose book would be read as ratings.
    """
    words = _Words(pages)
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for said in judgments:
        if isinstance(said, Grade):
            if said.grade != int(said.grade) or not said.who:
                raise InputError(
                    f"quepid: got grade {said.grade} of {said.result_id!r} by {said.who!r}; allowed: whole grades by "
                    "raters with a name; round it, or export ratings instead"
                )
            cells.setdefault((said.query_id, said.result_id), {})[said.who] = str(int(said.grade))
    raters = sorted({who for of in cells.values() for who in of})
    if raters == [_RATING]:
        raise InputError(f"quepid: got one rater, called {_RATING!r}; allowed: other names; export ratings instead")
    rows = [
        (words.told(query_id), _safe(result_id), *(of.get(who, "") for who in raters))
        for (query_id, result_id), of in sorted(cells.items())
    ]
    return _table([(_QUERY, _DOC, *map(_safe, raters)), *rows])


def from_quepid(text: str, pages: Iterable[Page], path: str | Path = "quepid.csv") -> Judgments:
    """The grades of a Quepid file, ratings or book; of ratings ``who`` is empty.

    Columns may stand in any order. A query without a rated result (a line with its words alone) says nothing.

    Args:
        text: of the file.
        pages: of the queries that are meant.
        path: what the file is called in errors.
    Raises:
        RecordError: no such table; a query that no page has; a rating that is not a whole number from 0; a result rated
            twice; or the words of two pages.
    """
    meant: dict[str, list[str]] = {}
    for page in pages:
        meant.setdefault(page.query.text.strip(), []).append(page.query_id)
    rows = _rows(text, path)
    names = _header(*next(rows, (1, [])), path)
    raters = [name for name in names if name not in (_QUERY, _DOC)]
    grades: list[Grade] = []
    first: dict[tuple[str, str], int] = {}
    for line, row in rows:
        if len(row) == 1 and len(names) > 1:  # how Quepid writes a query that nothing is rated of
            _known(meant, row[0], path, line)
            continue
        if len(row) != len(names):
            raise RecordError(path, line, "line", f"{len(row)} columns", f"{len(names)}", "mend or remove the line")
        cell = dict(zip(names, row, strict=True))
        query_id, result_id = _known(meant, cell[_QUERY], path, line), _plain(cell[_DOC]).strip()
        given = {who: cell[who].strip() for who in raters if cell[who].strip()}
        if not given:
            continue
        if not result_id:
            raise RecordError(path, line, _DOC, "none", "the id of the result that was rated", "mend the line")
        if (before := first.setdefault((query_id, result_id), line)) != line:
            raise RecordError(
                path,
                line,
                _DOC,
                f"{result_id!r} again, first in line {before}",
                "each result once a query",
                "remove one",
            )
        named = raters != [_RATING]
        grades += [
            Grade(query_id, result_id, _rating(rating, path, line, who), who if named else "")
            for who, rating in given.items()
        ]
    return Judgments(grades)


def _header(line: int, head: list[str], path: str | Path) -> list[str]:
    names = [_plain(name).strip() for name in head]
    if {_QUERY, _DOC} - set(names) or len(names) < 3 or len(set(names)) < len(names) or "" in names:
        raise RecordError(
            path, line, "header", repr(shorten(",".join(head))), f"{_QUERY},{_DOC},{_RATING} or {_QUERY},{_DOC} and a "
            "column for each rater, every name once", "export it from Quepid as CSV",
        )  # fmt: skip
    return names


def _rating(text: str, path: str | Path, line: int, field: str) -> float:
    whole, point, rest = text.partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) <= 9) or (point and rest.strip("0")):
        raise RecordError(path, line, field, repr(shorten(text)), "a whole number from 0", "mend or remove it")
    return float(whole)


def _known(meant: dict[str, list[str]], words: str, path: str | Path, line: int) -> str:
    queries = meant.get(_plain(words).strip(), [])
    if len(queries) != 1:
        got = f"{shorten(words)!r}, the words of {f'{len(queries)} pages' if queries else 'no page'}"
        raise RecordError(path, line, _QUERY, got, "words of exactly one page", "bring its page, or remove the line")
    return queries[0]


class _Words:
    """The words of each query; only those that no other query has can be told."""

    def __init__(self, pages: Iterable[Page]) -> None:
        self._of = {page.query_id: page.query.text.strip() for page in pages}
        self._times = Counter(self._of.values())

    def told(self, query_id: str) -> str:
        text = self._of.get(query_id, "")
        if not text or self._times[text] > 1:
            why = f"whose words {shorten(text)!r} are another's too" if text else "which has no page, or no words"
            raise InputError(
                f"quepid: got grades of query {query_id!r}, {why}; allowed: queries with words of their own, for "
                "Quepid has no ids for queries; bring its page, or leave it out"
            )
        return _safe(text)


def _safe(text: str) -> str:
    if not text or text != text.strip() or text.splitlines() != [text] or "\x00" in text:
        raise InputError(
            f"quepid: got {shorten(text)!r}; allowed: one line, no white space at its ends; rename it, or leave it out"
        )
    return f" {text}" if text.startswith(_FORMULA) else text


def _plain(text: str) -> str:
    """Words without the blank that keeps them from being a formula."""
    return text[1:] if text[:1] == " " and text[1:2] in _FORMULA else text


def _table(rows: Sequence[Sequence[str]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def _rows(text: str, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line that is not blank."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise RecordError(path, reader.line_num, "line", str(error), "CSV, quotes closed", "mend the line") from error
