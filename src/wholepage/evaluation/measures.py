"""How good an order is: the measures everybody knows, as ir_measures computes them.

The name of a measure says its variant, as ir_measures prints it. ``nDCG@10`` is trec_eval's: **linear** gains and a
log2 discount; ``nDCG(dcg='exp-log2')@10`` has exponential ones. ``ERR@10`` is gdeval's: grades up to 4, five decimals.

Rankings carry an order, so trec_eval never meets a tie here: it is given made-up scores that fall by 1 a place. Grades
reach it as whole numbers, mean grades rounded down (``Judgments.to_qrels``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import ir_measures
import msgspec

from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Ranking

_ALLOWED = (
    "nDCG@10, nDCG(dcg='exp-log2')@10, RR@10, P@5, P(rel=2)@5, R@100, AP, AP@100, Success@1, ERR@10, Judged@10, "
    "Rprec, Bpref (also mrr@10, map, recall_100, P_5, ndcg_cut_10)"
)
_TREC_NAMES = {
    "ndcg_cut": "nDCG",
    "recip_rank": "RR",
    "map_cut": "AP",
    "iprec_at_recall": "IPrec",
    "set_map": "SetAP",
    "set_recall": "SetR",
    "set_p": "SetP",
    "set_f": "SetF",
    "num_ret": "NumRet",
    "num_rel": "NumRel",
    "num_rel_ret": "NumRelRet",
}
_NAMES = {**{name.lower(): name for name in sorted(ir_measures.measures.registry)}, **_TREC_NAMES}
_SPELLING = re.compile(r"\s*(?P<name>\w+?)\s*(?P<options>\(.*\))?\s*(?:[@_]\s*(?P<at>\d+(?:\.\d+)?))?\s*", re.DOTALL)


class Evaluation(msgspec.Struct, frozen=True):
    """What each measure gave for each query: ``{measure: {query_id: value}}``, NaN = nothing to measure."""

    values: dict[str, dict[str, float]]

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures' names, in the order asked."""
        return tuple(self.values)

    def of(self, measure: str) -> dict[str, float]:
        """One measure's value for each query.

        Raises:
            InputError: it was not measured.
        """
        if measure in self.values:
            return self.values[measure]
        try:
            return self.values[str(parse_measure(measure))]
        except (InputError, KeyError):
            raise InputError(
                f"measure: got {measure!r}; allowed: {', '.join(self.values)}; ask evaluate() for it first"
            ) from None

    def mean(self, measure: str) -> float:
        """The mean over the queries whose value is not NaN; NaN when there is none.

        Raises:
            InputError: it was not measured.
        """
        return mean_of(self.of(measure).values())

    def means(self) -> dict[str, float]:
        """The mean of every measure, in the order asked."""
        return {measure: mean_of(values.values()) for measure, values in self.values.items()}


def parse_measure(name: str) -> ir_measures.Measure:
    """The measure that a name means: ``nDCG@10``, ``ndcg_cut_10``, ``mrr@10``, ``P(rel=2)@5``, ``map``.

    Args:
        name: as ir_measures or trec_eval spells it; upper and lower case are the same.
    Raises:
        InputError: there is no such measure, its options are wrong, or nothing installed computes it.
    """
    found = _SPELLING.fullmatch(name)
    known = _NAMES.get(found["name"].lower()) if found else None
    if found is None or known is None:
        raise InputError(
            f"measure: got {name!r}; allowed: {_ALLOWED}; correct the name (measures of whole pages, such as "
            "BlockNDCG@10, are asked of evaluate_page_measures, with the pages)"
        )
    at = "" if found["at"] is None else f"@{found['at']}"
    try:
        measure = ir_measures.parse_measure(f"{known}{found['options'] or ''}{at}")
    except (AttributeError, KeyError, NameError, TypeError, ValueError) as error:
        raise InputError(f"measure: got {name!r}; allowed: {_ALLOWED}; correct its options") from error
    return _computable(measure)


def evaluate(
    rankings: Iterable[Ranking],
    judgments: Judgments,
    measures: Sequence[str | ir_measures.Measure],
    *,
    skip_unjudged: bool = False,
) -> Evaluation:
    """What each measure says of each query's ranking.

    There is one row for every query with a grade in ``judgments``, as in trec_eval: a query that nobody ranked, or
    whose grades are all 0, counts as 0. So restrict the judgments to the split that was ranked.

    Args:
        rankings: one a query, at most.
        judgments: the grades; a result without grade counts as grade 0, comparisons are not read.
        measures: names or ir_measures objects, at least one.
        skip_unjudged: leave out rankings of queries that nobody graded; without it they are an error, because 0 would
            be a lie about them.
    Raises:
        InputError: two rankings of one query, an ungraded query, no grade at all, or a measure that cannot be computed.
    """
    wanted = [parse_measure(m) if isinstance(m, str) else _computable(m) for m in measures]
    if not wanted:
        raise InputError(f"measures: got none; allowed: {_ALLOWED}; name at least one")
    by_query = one_each(rankings)
    qrels = judgments.to_qrels()
    unjudged = sorted(set(by_query).difference(qrels))
    if len(unjudged) == len(by_query) or (unjudged and not skip_unjudged):
        raise InputError(
            f"judgments: got no grade for {len(unjudged)} of {len(by_query)} ranked queries, such as {unjudged[:3]}; "
            "allowed: at least one grade a query; grade them, or pass skip_unjudged=True where some are graded"
        )
    for measure in wanted:
        _check_grades(measure, qrels)
    values: dict[str, dict[str, float]] = {str(measure): dict.fromkeys(sorted(qrels), math.nan) for measure in wanted}
    asked = sorted(qrels)
    numbered = _numbered(by_query, qrels, asked)
    try:
        for metric in ir_measures.iter_calc(list(dict.fromkeys(wanted)), *numbered):
            values[str(metric.measure)][asked[int(metric.query_id)]] = float(metric.value)
    except ZeroDivisionError as error:
        raise InputError(
            f"measures: got {', '.join(values)} on pages for which one of them divides by zero; allowed: measures that "
            "each page defines; leave Accuracy out, it is not defined where no irrelevant result is ranked"
        ) from error
    return Evaluation(values)


def one_each(rankings: Iterable[Ranking]) -> dict[str, Ranking]:
    """Rankings by query.

    Raises:
        InputError: two are of one query.
    """
    by_query: dict[str, Ranking] = {}
    for ranking in rankings:
        if ranking.query_id in by_query:
            raise InputError(
                f"rankings: got two of query {ranking.query_id!r}, by {by_query[ranking.query_id].by!r} and "
                f"{ranking.by!r}; allowed: one a query; evaluate one ranker at a time"
            )
        by_query[ranking.query_id] = ranking
    return by_query


def _computable(measure: ir_measures.Measure) -> ir_measures.Measure:
    providers = ir_measures.DefaultPipeline.providers
    try:
        computed = any(provider.is_available() and provider.supports(measure) for provider in providers)
    except (AssertionError, TypeError) as error:  # how ir_measures refuses options
        raise InputError(
            f"measure: got {measure.NAME} with wrong or missing options; allowed: {_ALLOWED}; correct its options "
            "(P, R, Success and ERR need a cutoff)"
        ) from error
    if not computed:
        raise InputError(
            f"measure: got {measure}, which nothing installed computes; allowed: {_ALLOWED}; choose another "
            "(ERR and exponential nDCG need perl)"
        )
    cutoff = measure.params.get("cutoff")
    if cutoff is not None and cutoff < 1:
        raise InputError(f"measure: got {measure}; allowed: a cutoff of 1 or more; correct the number after @")
    return measure


def _check_grades(measure: ir_measures.Measure, qrels: Mapping[str, Mapping[str, int]]) -> None:
    if not ir_measures.gdeval.supports(measure):
        return
    for query_id, graded in qrels.items():
        for result_id, grade in graded.items():
            if grade > 4:
                raise InputError(
                    f"{measure}: got grade {grade} of {query_id!r}/{result_id!r}; allowed: 0 to 4 (gdeval); "
                    "shrink the scale, or use nDCG@10"
                )


def _numbered(
    by_query: Mapping[str, Ranking], qrels: Mapping[str, Mapping[str, int]], asked: Sequence[str]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """Grades and scores with numbers for ids: gdeval knows no other queries, and splits its files at spaces.

    The made-up scores are whole and fall by 1 a place: exact in trec_eval's single precision.
    """
    grades: dict[str, dict[str, int]] = {}
    scores: dict[str, dict[str, float]] = {}
    for number, query_id in enumerate(asked):
        ranked = by_query[query_id].result_ids if query_id in by_query else ()
        ids = {result_id: str(i) for i, result_id in enumerate(dict.fromkeys((*ranked, *qrels[query_id])))}
        grades[str(number)] = {ids[result_id]: grade for result_id, grade in qrels[query_id].items()}
        if ranked:
            scores[str(number)] = {ids[result_id]: float(len(ranked) - i) for i, result_id in enumerate(ranked)}
    return grades, scores


def mean_of(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN when there is none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
