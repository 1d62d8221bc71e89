"""The pages on which rankers differ most, side by side, with their pictures: the cases to look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from wholepage.evaluation.measure_words import higher_is_better, plain, signed
from wholepage.evaluation.page_view import NoPicture, PageView, view_page
from wholepage.evaluation.report import Heading, Prose, Section
from wholepage.evaluation.report_differences import QueryDifference, clip, differences
from wholepage.evaluation.run_comparison import EvaluatedRun, RunComparison
from wholepage.evaluation.thumbnails import Thumbnails
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Grade
from wholepage.pages.model import ImageRef, Page

_DEPTH = 10
_LETTERS = 600

Thumbnail = Callable[[ImageRef], str | NoPicture | None]


def pages_section(comparison: RunComparison, *, thumbnail: Thumbnail | None = None, shown: int = 2) -> list[Section]:
    """For each other ranker the pages where it loses most and gains most; of a single ranker its worst and best.

    Args:
        comparison: what was measured; without pages there is nothing to show.
        thumbnail: makes a small picture; None = words only.
        shown: pages of each kind; 0 = none.
    Raises:
        InputError: ``shown`` is negative.
        DecodingError: a ranking shown is not a permutation of its page.
    """
    if shown < 0:
        raise InputError(f"shown: got {shown}; allowed: 0 or more; say how many pages of each kind to show")
    if comparison.pages is None or not shown:
        return []
    measure, first = comparison.asked[0], comparison.first
    pages = {page.query_id: page for page in comparison.pages}
    sections: list[Section] = []
    for other in comparison.others:
        found = differences(first, other, measure)
        here = msgspec.structs.replace(
            found,
            queries=tuple(q for q in found.queries if _can_show(pages.get(q.query_id), first, other)),
        )
        for way, ones in (("loses", here.losses(shown)), ("gains", here.gains(shown))):
            if ones:
                sections.append(Heading(f"Where {other.name} {way} most against {first.name}", level=3))
            sections += [_pair(pages[one.query_id], one, comparison, other, thumbnail) for one in ones]
    if not comparison.others:
        sections = _of_one(comparison, pages, thumbnail, shown)
    if not sections:
        return []
    told = (
        f"Chosen by {measure} alone, so these are extremes, not typical pages. Grades are what people said; a result "
        "without one was not graded."
    )
    return [Heading("Worst and best pages"), Prose(told), *sections]


def _can_show(page: Page | None, *runs: EvaluatedRun) -> bool:
    return page is not None and len(page) > 0 and all(page.query_id in run.rankings for run in runs)


def pictures_left_out(thumbnails: Thumbnails | None) -> list[Section]:
    """A sentence on pictures that pages asked for and a report does not show; nothing where it shows all of them."""
    said = []
    if thumbnails is not None and thumbnails.not_shown:
        said.append(f"{_pictures(thumbnails.not_shown)} could not be opened")
    if thumbnails is not None and thumbnails.over_budget:
        said.append(f"{_pictures(thumbnails.over_budget)} found no room, to keep this file small")
    return [Prose(f"On these pages {' and '.join(said)}; each place says so.")] if said else []


def _pictures(count: int) -> str:
    return f"{count:,} picture{'s' * (count != 1)}"


def _pair(
    page: Page, one: QueryDifference, comparison: RunComparison, other: EvaluatedRun, thumbnail: Thumbnail | None
) -> PageView:
    measure, first = comparison.asked[0], comparison.first
    title = f"{measure} {plain(one.first)} → {plain(one.other)} ({signed(one.other - one.first)})"
    return _view(page, comparison, (first, other), (one.first, one.other), title, thumbnail)


def _of_one(
    comparison: RunComparison, pages: dict[str, Page], thumbnail: Thumbnail | None, shown: int
) -> list[Section]:
    measure, run = comparison.asked[0], comparison.first
    sign = 1.0 if higher_is_better(measure) else -1.0
    values = {
        query: value
        for query, value in run.values[measure].items()
        if not math.isnan(value) and _can_show(pages.get(query), run)
    }
    order = sorted(values, key=lambda query: (sign * values[query], query))
    worst = order[:shown]
    best = [query for query in order[::-1][:shown] if query not in worst]
    sections: list[Section] = []
    for heading, queries in (("The worst", worst), ("The best", best)):
        if queries:
            sections.append(Heading(heading, level=3))
        for query in queries:
            title = f"{measure} {plain(values[query])}"
            sections.append(_view(pages[query], comparison, (run,), (values[query],), title, thumbnail))
    return sections


def _view(
    page: Page,
    comparison: RunComparison,
    runs: Sequence[EvaluatedRun],
    values: Sequence[float],
    title: str,
    thumbnail: Thumbnail | None,
) -> PageView:
    grades = comparison.judgments.by_result(page.query_id)
    measure = comparison.asked[0]
    rankings = [msgspec.structs.replace(run.rankings[page.query_id], by=run.name) for run in runs]
    on_page = {result_id: grade for result_id, grade in grades.items() if result_id in page.result_ids}
    best = max(on_page.values(), default=0.0)
    wanted = {result_id for result_id, grade in on_page.items() if grade == best > 0}
    notes = [
        f"{measure} {plain(value)}{_found(wanted, ranking.result_ids, best)}"
        for value, ranking in zip(values, rankings, strict=True)
    ]
    top = max((said.grade for said in comparison.judgments if isinstance(said, Grade)), default=1.0) or 1.0
    return view_page(
        _short(page),
        rankings,
        title=title,
        grades=grades,
        notes=notes,
        thumbnail=thumbnail,
        depth=_DEPTH,
        top_grade=top,
    )


def _found(wanted: set[str], ranked: Sequence[str], grade: float) -> str:
    """How many of the best-graded results stand in the part that is shown."""
    if not wanted:
        return " · nothing here is graded above 0"
    here = len(wanted.intersection(ranked[:_DEPTH]))
    return f" · {here} of {len(wanted)} graded {grade:g} in the first {_DEPTH}"


def _short(page: Page) -> Page:
    """The page with long texts cut, so that a report of few pages stays small."""
    results = tuple(
        msgspec.structs.replace(result, text=clip(result.text, _LETTERS)) if len(result.text) > _LETTERS else result
        for result in page.results
    )
    return Page(msgspec.structs.replace(page.query, text=clip(page.query.text, _LETTERS)), results)
