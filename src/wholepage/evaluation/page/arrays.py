"""Many ranked and graded pages as a few arrays, which all page measures read.

Rows are pages, columns are places from the top. A grade of NaN is a result that nobody judged, or padding after the
last result; measures tell the two apart by ``lengths``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wholepage.evaluation.measures import one_each
from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking

CODES = {modality: code for code, modality in enumerate(Modality)}
_NAN = float("nan")
_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, eq=False)
class GradedPages:
    """Ranked pages and their grades as arrays; make them with ``from_rankings``, ``from_runs`` or ``from_arrays``.

    Attributes:
        query_ids: of the rows.
        grades: [n, depth] in ranked order; NaN = unjudged, or padding.
        lengths: [n] how many results are ranked.
        judged: [n] how many results of the query are judged, ranked or not.
        ideal: [n, width] all grades above 0 of the query, ranked or not, falling, then 0.
        modality: [n, depth] code (place in ``Modality``) in ranked order, -1 = padding; None = pages were not given.
    """

    query_ids: tuple[str, ...]
    grades: NDArray[np.float64]
    lengths: NDArray[np.int64]
    judged: NDArray[np.int64]
    ideal: NDArray[np.float64]
    modality: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.query_ids)

    @property
    def ranked(self) -> NDArray[np.bool_]:
        """[n, depth] True where a result stands, False in the padding."""
        return np.arange(self.grades.shape[1]) < self.lengths[:, None]

    @property
    def gains(self) -> NDArray[np.float64]:
        """[n, depth] grades, with 0 for results that nobody judged and for padding."""
        return np.nan_to_num(self.grades)

    def kinds(self) -> NDArray[np.int8]:
        """[n, depth] modality codes.

        Raises:
            InputError: pages were not given, so nothing is known about modalities.
        """
        if self.modality is None:
            raise InputError(
                "modalities: got rankings without their pages; allowed: both, for this measure; give the pages too"
            )
        return self.modality


def from_rankings(
    rankings: Iterable[Ranking], judgments: Judgments, pages: Iterable[Page] | None = None
) -> GradedPages:
    """Arrays from the nouns of this package: a row for each page, or without pages for each ranking.

    Mean grades are taken as they are, not rounded. An order has no ties.

    Args:
        judgments: a query without any grade has a row with nothing judged.
        pages: with them modalities are known, and every ranking must be a permutation of its page.
    Raises:
        InputError: two rankings of one query, a page without ranking, or two pages of one query.
        DecodingError: a ranking is not a permutation of its page.
    """
    by_query = one_each(rankings)
    shown = None if pages is None else list(pages)
    ordered = list(by_query.values()) if shown is None else [_ranking_of(page, by_query) for page in shown]
    if shown is not None and len({page.query_id for page in shown}) != len(shown):
        raise InputError("pages: got two of one query; allowed: one a query; measure one set of pages at a time")
    graded = [_grades_of(judgments, ranking.query_id) for ranking in ordered]
    made = _from_ordered(
        tuple(ranking.query_id for ranking in ordered), [ranking.result_ids for ranking in ordered], graded
    )
    if shown is None:
        return made
    codes = [{result.result_id: CODES[result.modality] for result in page.results} for page in shown]
    flat = chain.from_iterable(
        map(code.__getitem__, ranking.result_ids) for code, ranking in zip(codes, ordered, strict=True)
    )
    kinds = _padded(np.fromiter(flat, np.int8, count=int(made.lengths.sum())), made.lengths, np.int8(-1))
    return GradedPages(made.query_ids, made.grades, made.lengths, made.judged, made.ideal, kinds)


def from_runs(run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, float]]) -> GradedPages:
    """Arrays from a TREC run and qrels as dictionaries, as pytrec_eval takes them: a row for each query of the qrels.

    Results are ordered as trec_eval orders them: by falling score in single precision, and where scores are equal by
    falling id (code points). A query that the run does not hold has an empty row; one without qrels has none.

    Args:
        run: ``{query_id: {result_id: score}}``; the order of the inner dictionaries means nothing.
        qrels: ``{query_id: {result_id: grade}}``, grades of 0 or more.
    Raises:
        InputError: a score that is not finite, or a grade below 0 or not finite.
    """
    asked = tuple(qrels)
    scored: list[Mapping[str, float]] = [run.get(query_id, {}) for query_id in asked]
    lengths = np.fromiter(map(len, scored), np.int64, count=len(scored))
    total = int(lengths.sum())
    scores = np.fromiter(chain.from_iterable(of.values() for of in scored), np.float32, count=total)
    if not np.isfinite(scores).all():
        raise InputError("run: got a score that is not finite; allowed: finite single-precision numbers; mend the run")
    unordered = _from_ordered(asked, scored, [qrels[query_id] for query_id in asked])
    order = _score_order(_padded(-scores, lengths, np.float32(np.inf)), lengths, scored)
    grades = np.take_along_axis(unordered.grades, order, axis=1)
    return GradedPages(asked, grades, lengths, unordered.judged, unordered.ideal)


def from_arrays(
    grades: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    modality: ArrayLike | None = None,
    query_ids: Sequence[str] | None = None,
) -> GradedPages:
    """Arrays from arrays: every judged result is in the ranking.

    Args:
        grades: in ranked order; NaN = unjudged.
        lengths: how many results are ranked; all columns without it.
        modality: codes in the order of ``Modality``; anything in the padding is overwritten.
        query_ids: of the rows; "0", "1", ... without them.
    Shapes:
        grades, modality: [n, depth]
        lengths: [n]
    Raises:
        ShapeError: the shapes do not fit.
        InputError: a grade below 0 or infinite, a length or a code that cannot be.
    """
    given = np.array(grades, dtype=np.float64)
    if given.ndim != 2:
        raise ShapeError(f"grades: got {given.shape}; allowed: [n, depth]; one row a page")
    rows, depth = given.shape
    sizes = np.full(rows, depth) if lengths is None else np.asarray(lengths, dtype=np.int64)
    names = tuple(map(str, range(rows))) if query_ids is None else tuple(query_ids)
    kinds = None if modality is None else np.array(modality, dtype=np.int8)
    if sizes.shape != (rows,) or len(names) != rows or (kinds is not None and kinds.shape != given.shape):
        raise ShapeError(
            f"pages: got grades {given.shape}, lengths {sizes.shape}, {len(names)} ids"
            f"{'' if kinds is None else f', modality {kinds.shape}'}; allowed: [n, depth], [n], n and [n, depth]"
        )
    if ((sizes < 0) | (sizes > depth)).any():
        raise InputError(f"lengths: got {sizes.min()} to {sizes.max()}; allowed: 0 to {depth}; correct them")
    padding = np.arange(depth) >= sizes[:, None]
    given[padding] = _NAN
    if kinds is not None:
        if ((kinds < 0) | (kinds >= len(CODES)))[~padding].any():
            raise InputError(f"modality: got a code outside 0 to {len(CODES) - 1}; allowed: places in Modality")
        kinds[padding] = -1
    known = ~np.isnan(given)
    return GradedPages(names, given, sizes, known.sum(axis=1), _ideal(given[known], known.sum(axis=1)), kinds)


def _ranking_of(page: Page, by_query: Mapping[str, Ranking]) -> Ranking:
    if page.query_id not in by_query:
        raise InputError(f"rankings: got none of query {page.query_id!r}; allowed: one for each page; rank all pages")
    return by_query[page.query_id].check(page)


def _grades_of(judgments: Judgments, query_id: str) -> dict[str, float]:
    said = judgments.grades(query_id)
    grades = {grade.result_id: grade.grade for grade in said}
    return grades if len(grades) == len(said) else judgments.by_result(query_id)  # several people: their means


def _from_ordered(
    query_ids: tuple[str, ...], ids: Sequence[Collection[str]], graded: Sequence[Mapping[str, float]]
) -> GradedPages:
    lengths = np.fromiter(map(len, ids), np.int64, count=len(ids))
    judged = np.fromiter(map(len, graded), np.int64, count=len(graded))
    found = chain.from_iterable(map(of.get, row, repeat(_NAN)) for of, row in zip(graded, ids, strict=True))
    flat = np.fromiter(found, np.float64, count=int(lengths.sum()))
    known = np.fromiter(chain.from_iterable(of.values() for of in graded), np.float64, count=int(judged.sum()))
    return GradedPages(query_ids, _padded(flat, lengths, np.float64(_NAN)), lengths, judged, _ideal(known, judged))


def _padded(flat: NDArray[_Number], lengths: NDArray[np.int64], filler: _Number) -> NDArray[_Number]:
    """Rows of ``lengths`` laid out one below the other, ``[n, longest]``."""
    depth = int(lengths.max(initial=0))
    if (lengths == depth).all():
        return flat.reshape(len(lengths), depth)
    rows: NDArray[_Number] = np.full((len(lengths), depth), filler)
    rows[np.arange(depth) < lengths[:, None]] = flat
    return rows


def _ideal(known: NDArray[np.float64], judged: NDArray[np.int64]) -> NDArray[np.float64]:
    if not (np.isfinite(known) & (known >= 0)).all():
        wrong = known[~(np.isfinite(known) & (known >= 0))][0]
        raise InputError(f"grades: got {wrong}; allowed: finite numbers from 0 up; shift the scale or drop the grade")
    above = known > 0
    row = np.repeat(np.arange(len(judged)), judged)[above]
    counts = np.bincount(row, minlength=len(judged))
    falling = -np.sort(-_padded(known[above], counts, np.float64(0.0)), axis=1)
    return falling + 0.0  # no -0.0


def _score_order(
    falling: NDArray[np.float32], lengths: NDArray[np.int64], scored: Sequence[Mapping[str, float]]
) -> NDArray[np.int64]:
    """Columns of each row in trec_eval's order; ``falling`` holds scores with their sign turned."""
    depth = falling.shape[1]
    order = np.argsort(falling, axis=1)
    in_order = np.take_along_axis(falling, order, axis=1)
    tied = np.zeros(falling.shape, dtype=bool)  # with the place above: never in the first column
    tied[:, 1:] = (in_order[:, 1:] == in_order[:, :-1]) & (np.arange(1, depth) < lengths[:, None])
    edges = np.flatnonzero(np.diff(tied.reshape(-1), prepend=False, append=False)).tolist()
    columns, row, ids = order.reshape(-1), -1, list[str]()
    for second, stop in zip(edges[::2], edges[1::2], strict=True):
        if second // depth != row:
            row = second // depth
            ids = list(scored[row])
        columns[second - 1 : stop] = sorted(columns[second - 1 : stop].tolist(), key=ids.__getitem__, reverse=True)
    return order
