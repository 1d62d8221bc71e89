"""All page measures by name: ``BlockNDCG(gain=max)@10``, ``HBG(half=5)@10``, ``CWL.INST(T=2, part=ETU)``.

What is measured where there is little to measure:

* A query of which nothing is judged has NaN in every measure of grades but ``Judged`` and ``RBPResidual``; means leave
  NaN out.
* A query with judged results but no relevant one has 0 in the measures of lists (``nDCG``, ``P``, ``R``, ``RR``,
  ``AP``, ``Success``), as in trec_eval, and NaN in those that are shares of the best this page allows.
* Rankings are orders and have no ties. Runs with equal scores are ordered by ``arrays.from_runs``, as trec_eval does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wholepage.evaluation.measures import Evaluation, one_each
from wholepage.evaluation.page.arrays import from_rankings
from wholepage.evaluation.page.catalogue import LISTS, WHOLE, PageMeasure, Shown
from wholepage.evaluation.page.heights import Costs, Heights
from wholepage.evaluation.page.names import Asked, read_name
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page, Ranking

_BY_NAME: dict[str, PageMeasure] = {measure.form.name.casefold(): measure for measure in (*LISTS, *WHOLE)}
_FORMS = {name: measure.form for name, measure in _BY_NAME.items()}
_WHOLE = frozenset(measure.form.name for measure in WHOLE)


def page_measures() -> dict[str, str]:
    """Every measure with its defaults, as it is written, and what it means in one line."""
    return {measure.form.example: measure.meaning for measure in (*LISTS, *WHOLE)}


def is_page_measure(name: str) -> bool:
    """Whether this is a measure of whole pages; those that ir_measures computes (``nDCG@10``) are not.

    Raises:
        InputError: it is one by its name, but an option or the cutoff is wrong.
    """
    asked = name.partition("(")[0].partition("@")[0].strip().casefold()
    return asked in _BY_NAME and _BY_NAME[asked].form.name in _WHOLE and bool(parse_page_measure(name))


def parse_page_measure(name: str) -> Asked:
    """The page measure that a name means; ``str`` of it is the name with the whole variant in it.

    Raises:
        InputError: there is no such measure, or an option or the cutoff is wrong.
    """
    return read_name(name, _FORMS)


def evaluate_page_measures(
    rankings: Iterable[Ranking],
    pages: Iterable[Page],
    judgments: Judgments,
    names: Sequence[str],
    *,
    single: Iterable[Ranking] | None = None,
    heights: Heights | None = None,
    costs: Costs | None = None,
) -> Evaluation:
    """What each measure says of each page; the module says what of pages with little to measure.

    Mean grades are taken as they are (``evaluate`` rounds them down for trec_eval). There is a row for each page, and
    none for judged queries without page.

    Args:
        rankings: one for each page; rankings of other queries are not read.
        names: at least one, such as ``page_measures()`` lists.
        single: for the measures of consistency, the rankings of ``page.only(modality)``: several a query.
        heights: of results, for HBG; the defaults of ``Heights`` without.
        costs: of results, for C/W/L; 1 each without.
    Returns:
        Named in full: ``nDCG@10``, ``BlockNDCG(gain=max)@10``.
    Raises:
        InputError: no name or a wrong one, a page without ranking, two pages or two rankings of one query, or single
            rankings that are missing or do not fit.
        DecodingError: a ranking is not a permutation of its page.
    """
    asked = [parse_page_measure(name) for name in names]
    if not asked:
        raise InputError("measures: got none; allowed: " + ", ".join(page_measures()) + "; name at least one")
    shown_pages = list(pages)
    by_query = one_each(rankings)
    arrays = from_rankings(by_query.values(), judgments, shown_pages)
    shown = Shown(
        arrays,
        shown_pages,
        [by_query[page.query_id] for page in shown_pages],
        [judgments.by_result(page.query_id) for page in shown_pages],
        None if single is None else _by_page(single, shown_pages),
        heights or Heights(),
        costs or Costs(),
    )
    found = {str(one): _BY_NAME[one.form.name.casefold()].compute(shown, one).tolist() for one in asked}
    return Evaluation({name: dict(zip(arrays.query_ids, values, strict=True)) for name, values in found.items()})


def _by_page(single: Iterable[Ranking], pages: Sequence[Page]) -> list[list[Ranking]]:
    of: dict[str, list[Ranking]] = {page.query_id: [] for page in pages}
    for ranking in single:
        if ranking.query_id in of:
            of[ranking.query_id].append(ranking)
    return [of[page.query_id] for page in pages]
