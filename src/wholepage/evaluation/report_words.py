"""What a report says in words: who differs from whom, what was measured, and by which rules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from wholepage.evaluation.measure_words import better_end, p_value, plain, signed
from wholepage.evaluation.report import Prose, Table
from wholepage.evaluation.run_comparison import RunComparison
from wholepage.evaluation.tables import Cell, Column, Marked
from wholepage.pages.model import Modality


def in_short(comparison: RunComparison, *, significant: float) -> list[str]:
    """What the first measure says of each ranker, a sentence or two each."""
    measure, first = comparison.asked[0], comparison.first
    one = first.estimates[measure]
    said = [
        f"{first.name} reaches {measure} {plain(one.mean)}{_interval(one.low, one.high)} on {_queries(one.queries)}."
    ]
    for other in comparison.others:
        mean, found = other.estimates[measure].mean, other.against_first.get(measure)
        if found is None:
            said.append(f"{other.name} reaches {plain(mean)}; fewer than two queries are shared, so nothing is tested.")
            continue
        way = _way(found.difference, measure)
        shown = (
            f"{way} than {first.name}" if found.p_holm < significant else f"no difference from {first.name} is shown"
        )
        apart = f"{signed(found.difference)}{_interval(found.low, found.high, signed)}"
        said.append(f"{other.name} reaches {plain(mean)}: {apart}, {p_value(found.p_holm)}: {shown}.")
    for run in comparison.runs:
        lacking = comparison.lacking(run)
        if lacking:
            count = f"{len(lacking):,} " + ("query" if len(lacking) == 1 else "queries")
            said.append(
                f"{run.name} lacks {count}, such as {lacking[0]}: 0 in measures of lists where somebody graded, left "
                "out of measures of pages."
            )
    return said


def counts_table(comparison: RunComparison) -> Table:
    """What was measured: queries, results and grades, by modality where pages are at hand."""
    said = comparison.judgments
    queries = [query for query in said.query_ids if said.grades(query)]
    if comparison.pages is None:
        grades = Counter(grade for query in queries for grade in said.by_result(query).values())
        rows: list[tuple[Cell, ...]] = [("all", len(queries), sum(grades.values()), _spread(grades))]
        return Table(
            ("results of", "queries with grades", "graded", "grades"), tuple(rows), caption="What was measured."
        )
    rows = []
    for kind in [*Modality, None]:
        results = graded = pages = 0
        grades = Counter[float]()
        for page in comparison.pages:
            of = said.by_result(page.query_id)
            mine = [result.result_id for result in page.results if kind in (None, result.modality)]
            pages += bool(mine)
            results += len(mine)
            known = [of[result_id] for result_id in mine if result_id in of]
            graded += len(known)
            grades.update(known)
        if results:
            rows.append(("all" if kind is None else kind.value, pages, results, graded, _spread(grades)))
    return Table(
        ("results of", "pages", "results", "graded", "grades"),
        tuple(rows),
        caption="What was measured.",
        note="grades: each grade and how many results have it; where several people graded one result, their mean.",
    )


def policies(comparison: RunComparison) -> Prose:
    """The rules that the numbers follow, one a paragraph."""
    rules = [
        "Order. A ranking is an order, so nothing is tied when it is measured: equal scores stand as the ranker or its "
        "file put them (of a TREC run, by its rank column). Whoever wants to know what ties are worth must measure "
        "several orders of them.",
        "Grades. In measures of lists a result without a grade counts as grade 0, and mean grades of several people "
        "are rounded down to whole ones. In pair accuracy only results with a grade count, with their mean grades as "
        "they are, and two results of equal grade are no pair.",
        "Queries. Of a query that somebody graded but a ranker lacks, measures of lists are 0, as in trec_eval; so are "
        "they of a query whose grades are all 0. Measures of pages have no value for a page they cannot say anything "
        "of: not ranked, nothing graded, no graded pair, or, of shares of the best that a page allows, nothing "
        "relevant. It is left out of the mean, and of a comparison where either ranker has no value.",
        "Uncertainty. Queries are what is sampled. Intervals are 95 % BCa bootstraps with 5,000 resamples; of a "
        "difference, paired by query. p-values are of a paired permutation test of the mean, two-sided, with all sign "
        "changes or 10,000 random ones, and Holm-corrected for the rankers compared under each measure.",
    ]
    return Prose("\n\n".join(rules))


def significance_table(comparison: RunComparison) -> Table | None:
    """Each other ranker against the first under each measure asked for; None where nothing was tested."""
    first = comparison.first
    rows: list[tuple[Cell, ...]] = []
    for measure in comparison.asked:
        for run in comparison.others:
            found = run.against_first.get(measure)
            if found is not None:
                apart = Marked(found.difference, "", found.low, found.high)
                rows.append((run.name, measure, apart, found.p, found.p_holm, found.queries))
    if not rows:
        return None
    return Table(
        ("ranker", "measure", "difference", Column("p", 4), Column("p (Holm)", 4), "queries"),
        tuple(rows),
        caption=f"Against {first.name}, paired by query.",
        note=f"difference: the ranker's mean less that of {first.name}, with its 95 % interval (BCa). A p of 0.0001 is "
        "about the least that 10,000 permutations can show.",
    )


def _spread(grades: Counter[float]) -> str:
    if len(grades) > 8:
        known = sorted(grades.elements())
        return f"{known[0]:g} to {known[-1]:g}, median {known[len(known) // 2]:g}"
    return ", ".join(f"{grade:g}: {count:,}" for grade, count in sorted(grades.items()))


def _way(difference: float, measure: str) -> str:
    end = better_end(measure)
    if end is None:
        return "higher" if difference > 0 else "lower"
    return "better" if (difference > 0) == (end == "highest") else "worse"


def _queries(count: int) -> str:
    return "1 query" if count == 1 else f"{count:,} queries"


def _interval(low: float, high: float, write: Callable[[float], str] = plain) -> str:
    if math.isnan(low) or math.isnan(high):
        return ""
    return f" [{write(low)}, {write(high)}]"
