"""Several rankers on the same queries: what each reached, and whether it differs from the first by more than luck.

What ``wholepage evaluate`` prints and what its report shows is made from one ``RunComparison``, so that the two cannot
disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from wholepage.evaluation.measures import evaluate, mean_of, one_each, parse_measure
from wholepage.evaluation.page.registry import evaluate_page_measures, is_page_measure, parse_page_measure
from wholepage.evaluation.page_measures import evaluate_pages
from wholepage.evaluation.significance import Comparison, bca_interval, compare_to
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page, Ranking


class Estimate(msgspec.Struct, frozen=True):
    """A mean over queries and where it may lie.

    Attributes:
        mean: NaN = no query has a value.
        low, high: of the 95 % interval (BCa); NaN = fewer than two queries.
        queries: that have a value.
    """

    mean: float
    low: float
    high: float
    queries: int


class EvaluatedRun(msgspec.Struct, frozen=True):
    """One ranker's orders, measured.

    Attributes:
        name: of the ranker.
        rankings: by query.
        values: by measure and query; NaN = nothing to measure, or of a page that was not ranked.
        estimates: by measure.
        against_first: by measure, the comparison with the first ranker, where they share two queries or more.
    """

    name: str
    rankings: dict[str, Ranking]
    values: dict[str, dict[str, float]]
    estimates: dict[str, Estimate]
    against_first: dict[str, Comparison]


class RunComparison(msgspec.Struct, frozen=True):
    """Rankers measured on the same judgments; the first is what the others are compared with.

    Attributes:
        runs: at least one.
        asked: the measures asked for; the first decides which pages are shown as worst and best.
        measures: all that were measured, ``asked`` first.
        judgments: what people said.
        pages: what was ranked; None = not at hand.
        seed: of every draw.
    """

    runs: tuple[EvaluatedRun, ...]
    asked: tuple[str, ...]
    measures: tuple[str, ...]
    judgments: Judgments
    pages: tuple[Page, ...] | None
    seed: int

    @property
    def first(self) -> EvaluatedRun:
        """The ranker that the others are compared with."""
        return self.runs[0]

    @property
    def others(self) -> tuple[EvaluatedRun, ...]:
        """All rankers but the first."""
        return self.runs[1:]

    def lacking(self, run: EvaluatedRun) -> tuple[str, ...]:
        """Queries with a grade, or a page, that a ranker did not order; sorted."""
        wanted = {query for query in self.judgments.query_ids if self.judgments.grades(query)}
        wanted.update(page.query_id for page in self.pages or ())
        return tuple(sorted(wanted.difference(run.rankings)))


def spelled(name: str) -> str:
    """The name of a measure as it is printed: of a list (ir_measures) or of a page.

    Raises:
        InputError: there is no such measure.
    """
    return str(parse_page_measure(name) if is_page_measure(name) else parse_measure(name))


def evaluate_runs(
    runs: Mapping[str, Sequence[Ranking]],
    judgments: Judgments,
    measures: Sequence[str],
    *,
    pages: Sequence[Page] | None = None,
    skip_unjudged: bool = False,
    seed: int = 0,
) -> RunComparison:
    """Measure several rankers and compare each with the first.

    A judged query that a run lacks counts as 0 in the measures of lists, as in trec_eval. In those of pages it has no
    value and is left out: for some of them 0 would be the best there is.

    Args:
        runs: rankings by the ranker's name; one a query, at most.
        measures: names, of ir_measures or of page measures.
        pages: what was ranked; with them come pair accuracies and the exposure gap, asked or not.
        skip_unjudged: leave out ranked queries that nobody graded; without it they are an error.
        seed: of bootstrap and permutation test.
    Raises:
        InputError: no run, two rankings of a query, an ungraded query, a page measure without pages, or a measure that
            cannot be computed.
        DecodingError: pages are given, and a ranking is not a permutation of its page.
    """
    if not runs:
        raise InputError("runs: got none; allowed: one or more; name the rankings to measure")
    asked = tuple(dict.fromkeys(spelled(name) for name in measures))
    needs = [name for name in asked if is_page_measure(name)]
    if needs and pages is None:
        raise InputError(
            f"measure: got {needs[0]} without pages; allowed: with pages; pass --pages (pages=... in Python)"
        )
    by_name = {name: one_each(rankings) for name, rankings in runs.items()}
    values = {name: _values(of, judgments, asked, pages, skip_unjudged) for name, of in by_name.items()}
    names = tuple(dict.fromkeys(name for of in values.values() for name in of))
    queries = [page.query_id for page in pages or ()]
    for of in values.values():
        for name in names:
            of.setdefault(name, dict.fromkeys(queries, math.nan))
    estimates = {run: {name: _estimate(of[name], seed) for name in names} for run, of in values.items()}
    against = _against_first(values, names, seed)
    evaluated = tuple(
        EvaluatedRun(run, by_name[run], {name: values[run][name] for name in names}, estimates[run], against[run])
        for run in by_name
    )
    return RunComparison(evaluated, asked, names, judgments, None if pages is None else tuple(pages), seed)


def _values(
    rankings: Mapping[str, Ranking],
    judgments: Judgments,
    asked: Sequence[str],
    pages: Sequence[Page] | None,
    skip_unjudged: bool,
) -> dict[str, dict[str, float]]:
    """By measure and query, in the order asked, then what comes with pages."""
    of_lists = [name for name in asked if not is_page_measure(name)]
    of_pages = [name for name in asked if is_page_measure(name)]
    found: dict[str, dict[str, float]] = {name: {} for name in asked}
    if of_lists:
        found |= evaluate(rankings.values(), judgments, of_lists, skip_unjudged=skip_unjudged).values
    if pages is None:
        return found
    ranked = [page for page in pages if page.query_id in rankings]
    given = [rankings[page.query_id] for page in ranked]
    if of_pages:
        found |= evaluate_page_measures(given, ranked, judgments, of_pages).values
    found |= {name: of for name, of in evaluate_pages(given, ranked, judgments).values.items() if name not in found}
    return {
        name: of if name in of_lists else {page.query_id: of.get(page.query_id, math.nan) for page in pages}
        for name, of in found.items()
    }


def _estimate(values: Mapping[str, float], seed: int) -> Estimate:
    known = [value for value in values.values() if not math.isnan(value)]
    low, high = bca_interval(known, seed=seed) if len(known) > 1 else (math.nan, math.nan)
    return Estimate(mean_of(known), low, high, len(known))


def _against_first(
    values: Mapping[str, Mapping[str, Mapping[str, float]]], measures: Sequence[str], seed: int
) -> dict[str, dict[str, Comparison]]:
    first, *others = values
    found: dict[str, dict[str, Comparison]] = {run: {} for run in values}
    for measure in measures:
        reference = values[first][measure]
        compared = {run: values[run][measure] for run in others if _shared(reference, values[run][measure]) > 1}
        for one in compare_to(reference, compared, seed=seed):
            found[one.name][measure] = one
    return found


def _shared(one: Mapping[str, float], other: Mapping[str, float]) -> int:
    """How many queries both have a value for; queries that only one of them has are for ``compare_to`` to refuse."""
    return sum(1 for query in one if not math.isnan(one[query]) and not math.isnan(other.get(query, 0.0)))
