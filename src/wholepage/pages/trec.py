"""TREC runs and qrels: the files that every measuring tool reads.

    run    qid Q0 docid rank score tag     or  qid docid rank score
    qrels  qid 0 docid rel                 or  qid docid rel, perhaps with the header  query-id corpus-id score

Columns are separated by blanks or tabs, all lines of a file have the same number of them, and ids hold no white space.
The second column of the long forms is not looked at. Rankings of no results have no lines, so they are not read back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.judgments import Grade, Judgments
from wholepage.pages.lines import read_lines, text_of, write_lines
from wholepage.pages.model import Ranking

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_RANK = re.compile(r"\d{1,9}", re.ASCII)
_GRADE = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_TAG = "wholepage"
QRELS_HEADER = ["query-id", "corpus-id", "score"]
Negative = Literal["refuse", "zero"]


def read_run(path: str | Path) -> list[Ranking]:
    """Rankings of a TREC run, best first by its rank column.

    Scores may not say otherwise: trec_eval and its kin look at them only, and would measure another order. Equal
    scores are fine. Queries come in the order they are first named, and their lines may lie anywhere. Ranks may start
    at any number and leave gaps. ``by`` is the tag (empty in the short form).

    Raises:
        RecordError: a line cannot be read, or a score is not finite; within a query a result or rank comes twice, a
            better rank has a lower score, or tags differ.
    """
    queries: dict[str, list[tuple[int, float, str, int]]] = {}
    results: dict[tuple[str, str], int] = {}
    ranks: dict[tuple[str, int], int] = {}
    tags: dict[str, str] = {}
    for number, columns in _columns(path, {6: "qid Q0 docid rank score tag", 4: "qid docid rank score"}):
        query_id, *_ = columns
        result_id, rank_text, score_text, tag = columns[2:] if len(columns) == 6 else (*columns[1:], "")
        rank, score = _rank(path, number, rank_text), _score(path, number, score_text)
        if (line := results.setdefault((query_id, result_id), number)) != number:
            raise _twice(path, number, "docid", f"{result_id!r} of query {query_id!r}", line)
        if (line := ranks.setdefault((query_id, rank), number)) != number:
            raise _twice(path, number, "rank", f"rank {rank} of query {query_id!r}", line)
        if (other := tags.setdefault(query_id, tag)) != tag:
            raise RecordError(path, number, "tag", f"{tag!r} after {other!r}", "one tag a query", "split the file")
        queries.setdefault(query_id, []).append((rank, score, result_id, number))
    return [_by_rank(path, query_id, sorted(of), tags[query_id]) for query_id, of in queries.items()]


def _by_rank(path: str | Path, query_id: str, of: list[tuple[int, float, str, int]], tag: str) -> Ranking:
    for (rank, better, _, line), (_, worse, _, number) in pairwise(of):
        if worse > better:
            raise RecordError(
                path, number, "score", f"{worse}, above the {better} of rank {rank} (line {line}) of {query_id!r}",
                "scores that do not rise with the rank number", "sort by score and number the ranks again",
            )  # fmt: skip
    return Ranking(query_id, tuple(r for _, _, r, _ in of), tuple(s for _, s, _, _ in of), tag)


def write_run(path: str | Path, rankings: Iterable[Ranking], tag: str | None = None) -> int:
    """Write rankings as a TREC run; returns the number of lines.

    The scores of a ranking are written when they fall strictly, as 32-bit numbers too. Otherwise (ties, None, order
    only, or scores against the order) the lines get made-up scores from the rank, n for the first of n: trec_eval
    and its kin do not look at the rank column, hold scores in 32 bits, and break ties by docid, so that only strictly
    falling scores keep the order.

    Args:
        tag: who ordered; the default is each ranking's ``by``, or ``wholepage`` where that is empty.
    Raises:
        RecordError: a query comes twice, or an id or tag is empty or holds white space (``line`` counts the rankings).
    """
    first: dict[str, int] = {}

    def lines() -> Iterator[bytes]:
        for number, ranking in enumerate(rankings, start=1):
            if (line := first.setdefault(ranking.query_id, number)) != number:
                raise _twice(path, number, "query_id", f"query {ranking.query_id!r}", line)
            name = _word(path, number, "tag", (ranking.by or _TAG) if tag is None else tag)
            query_id = _word(path, number, "query_id", ranking.query_id)
            for rank, (result_id, score) in enumerate(
                zip(ranking.result_ids, _falling_scores(ranking), strict=True), start=1
            ):
                result_id = _word(path, number, f"result_ids[{rank - 1}]", result_id)
                yield f"{query_id} Q0 {result_id} {rank} {score!r} {name}".encode()

    return write_lines(path, lines())


def made_up_scores(count: int) -> list[float]:
    """Scores that say no more than a rank: ``count``, ... 2, 1."""
    return [float(count - rank) for rank in range(count)]


def _falling_scores(ranking: Ranking) -> list[float]:
    """A ranking's scores when they fall strictly in 32 bits; else made-up ones."""
    given = [float(score) for score in ranking.scores or () if score is not None]
    if len(given) != len(ranking):
        return made_up_scores(len(ranking))
    with np.errstate(over="ignore"):
        narrow = np.array(given, dtype=np.float64).astype(np.float32)
    return given if np.isfinite(narrow).all() and (narrow[1:] < narrow[:-1]).all() else made_up_scores(len(ranking))


def read_qrels(path: str | Path, *, negative: Negative = "refuse") -> Judgments:
    """Judgments of a TREC qrels file, or of a table of three columns; whole grades, ``who`` is empty.

    Args:
        negative: grades below 0 (junk, in some collections) are refused, or ``"zero"``: read as 0.
    Raises:
        RecordError: a line cannot be read, a result of a query comes twice, or a grade is not whole, or below 0.
        InputError: another ``negative``.
    """
    rows = _columns(path, {4: "qid 0 docid rel", 3: "qid docid rel"})
    graded = ((number, row[0], row[-2], row[-1]) for number, row in rows if number > 1 or row != QRELS_HEADER)
    return judged(path, graded, negative)


def judged(path: str | Path, rows: Iterable[tuple[int, str, str, str]], negative: Negative) -> Judgments:
    """Judgments of rows ``line, query id, result id, grade``, checked.

    Raises:
        RecordError: a result of a query comes twice, or a grade is not whole, or below 0.
        InputError: another ``negative``.
    """
    if negative not in ("refuse", "zero"):
        raise InputError(f"negative: got {negative!r}; allowed: 'refuse', 'zero'; choose one")
    seen: dict[tuple[str, str], int] = {}
    grades: list[Grade] = []
    for number, query_id, result_id, text in rows:
        if (line := seen.setdefault((query_id, result_id), number)) != number:
            raise _twice(path, number, "docid", f"{result_id!r} of query {query_id!r}", line)
        if not _GRADE.fullmatch(text):
            raise RecordError(path, number, "rel", repr(text), "a whole number", "mend the line")
        grade = int(text)
        if grade < 0 and negative == "refuse":
            raise RecordError(path, number, "rel", str(grade), "0 and up", 'pass negative="zero" to read it as 0')
        grades.append(Grade(query_id, result_id, float(max(grade, 0))))
    return Judgments(grades)


def write_qrels(path: str | Path, judgments: Judgments) -> int:
    """Write the grades as TREC qrels, sorted by query and result; returns the number of lines.

    Grades are ``Judgments.to_qrels()``: the mean over people, rounded down. Preferences have no place in qrels and
    are left out.

    Raises:
        RecordError: an id is empty or holds white space (``line`` counts the lines).
    """
    rows = ((q, r, grade) for q, of in judgments.to_qrels().items() for r, grade in sorted(of.items()))
    return write_lines(
        path,
        (
            f"{_word(path, n, 'query_id', q)} 0 {_word(path, n, 'result_id', r)} {grade}".encode()
            for n, (q, r, grade) in enumerate(rows, start=1)
        ),
    )


def _columns(path: str | Path, forms: dict[int, str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and columns of each line, all of the same one of the forms."""
    width = 0
    for number, raw in read_lines(path):
        text_of(path, number, raw)
        # Bytes split at ASCII blanks only, as trec_eval does: ids may hold any other character.
        columns = [column.decode() for column in raw.split()]
        if len(columns) not in forms or (width and len(columns) != width):
            allowed = forms[width] if width else " or ".join(forms.values())
            raise RecordError(path, number, "line", f"{len(columns)} columns", allowed, "mend or remove the line")
        width = len(columns)
        yield number, columns


def _rank(path: str | Path, number: int, text: str) -> int:
    if not _RANK.fullmatch(text):
        raise RecordError(path, number, "rank", repr(text), "a whole number from 0 up", "number the ranks again")
    return int(text)


def _score(path: str | Path, number: int, text: str) -> float:
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise RecordError(path, number, "score", repr(text), "a finite number", "mend the ranker, or drop the line")
    return float(text)


def _twice(path: str | Path, number: int, field: str, what: str, first: int) -> RecordError:
    return RecordError(path, number, field, f"{what} again, first in line {first}", "each once", "remove one")


def _word(path: str | Path, number: int, field: str, text: str) -> str:
    """An id or tag that a column can hold; white space of any kind would make two columns somewhere."""
    if text.split() != [text]:
        raise RecordError(path, number, field, repr(text), "a name without white space", "rename it")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise RecordError(path, number, field, ascii(text), "whole characters (UTF-8)", "rename it")
    return text
