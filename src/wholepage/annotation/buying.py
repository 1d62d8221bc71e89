"""Buying labels under one budget: a strategy, an annotator, and what came of it with its cost.

The budget is floor(p * all results) questions, whatever the strategy; audits count, inferred grades cost nothing.
``buy`` asks to the end; ``opening`` says what can be asked before any answer is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.active import select_active
from wholepage.annotation.anchors import GradeSearch, bisect_grades, fill_between, worst_case_questions
from wholepage.annotation.draws import as_written, drawn
from wholepage.annotation.oracles import ask, ask_one
from wholepage.annotation.selection import (
    Active,
    Anchors,
    Counts,
    Selection,
    Strategy,
    check_rankings,
    lists_of,
    select,
)
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Grade, Judgments, Question
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Annotator

INFERRED = "inferred"
"""Who grades that were not asked for go by."""

LEVELS = 4
"""Grades 0 to 3, as all collections here have them."""

_SEED_BITS = 63
Doubts = Callable[[Judgments], Sequence[NDArray[np.floating]]]
_Rankings = Sequence[Mapping[Modality, Ranking]]
_Item = tuple[str, str]


class Purchase(msgspec.Struct, frozen=True):
    """What was bought.

    Attributes:
        selection: everything that was asked, audits included.
        judgments: the grades asked for, and those inferred, which go by the name ``inferred``.
        weights: of inferred grades only: how far they are to be believed, above 0 to 1, by query and result. It is the
            share of audited grades that were right, one right and one wrong added.
        audited, audit_errors: inferred grades that were asked for after all, and how many of them were wrong.
    """

    selection: Selection
    judgments: Judgments
    weights: dict[str, dict[str, float]] = {}
    audited: int = 0
    audit_errors: int = 0

    @property
    def labels(self) -> int:
        """Questions asked: the cost."""
        return self.selection.labels


class Opening(msgspec.Struct, frozen=True):
    """What to ask before any answer is known.

    Attributes:
        selection: the first questions.
        budget: labels that the whole strategy may cost, never more.
        worst_case: labels that the pages of the selection may cost, where every list is in the order of its grades.
    """

    selection: Selection
    budget: int
    worst_case: int


def buy(
    pages: Sequence[Page],
    rankings_by_modality: _Rankings,
    strategy: Strategy,
    annotator: Annotator,
    *,
    seed: int,
    counts: Counts = "within-budget",
    doubts: Doubts | None = None,
    levels: int = LEVELS,
) -> Purchase:
    """Ask what a strategy asks, to the end of its budget.

    ``Anchors`` takes pages in the order of the seed's hash, and list by list asks until every grade is known or
    inferred, or the budget less the audit's part is spent; a list broken off keeps what it has. Then inferred grades
    are drawn and asked for, as far as they and the budget go. ``Active`` buys its first round as ``Concentrated``, each
    later one as ``select_active``. The others are selected and asked.

    Args:
        pages: each query once.
        rankings_by_modality: for each page the order of each modality's results.
        strategy: what to buy.  annotator: who answers.
        seed: of everything random.
        counts: as for ``select``; ``Anchors`` and ``Active`` know only ``within-budget``.
        doubts: for ``Active``: the judgments so far -> one array ``[len(page)]`` of doubt, 0 or more, a page.
        levels: for ``Anchors``: grades run from 0 to ``levels - 1``.
    Raises:
        InputError: as ``select``; ``Active`` without ``doubts``; the annotator gives no grade, or for ``Anchors`` one
            that is none of the levels, or goes by the name ``inferred``.
        NoRanker: a modality that the strategy needs has no order.
        ShapeError: rankings or doubts do not fit the pages.
    """
    if isinstance(strategy, Anchors):
        _check_counts(strategy, counts)
        return _buy_anchors(pages, rankings_by_modality, strategy, annotator, seed, levels)
    if isinstance(strategy, Active):
        _check_counts(strategy, counts)
        return _buy_active(pages, rankings_by_modality, strategy, annotator, seed, doubts)
    selection = select(pages, rankings_by_modality, strategy, seed=seed, counts=counts)
    return Purchase(selection, ask(pages, selection, annotator))


def opening(
    pages: Sequence[Page],
    rankings_by_modality: _Rankings,
    strategy: Strategy,
    *,
    seed: int,
    counts: Counts = "within-budget",
    levels: int = LEVELS,
) -> Opening:
    """What to ask first; where no question depends on answers that is all.

    Of ``Active`` it is the first round. Of ``Anchors`` it is the first question of every list of the first pages: as
    many as the budget less the audit's part pays for in the worst case, one at least.

    Args and errors: as for ``buy``.
    """
    if isinstance(strategy, Active):
        _check_counts(strategy, counts)
        first = _first_round(pages, rankings_by_modality, strategy, seed)
        return Opening(first, _budget(pages, strategy), first.labels)
    if isinstance(strategy, Anchors):
        _check_counts(strategy, counts)
        return _first_pages(pages, rankings_by_modality, strategy, seed, levels)
    selection = select(pages, rankings_by_modality, strategy, seed=seed, counts=counts)
    return Opening(selection, selection.labels, selection.labels)


def _check_counts(strategy: Anchors | Active, counts: Counts) -> None:
    if counts != "within-budget":
        raise InputError(
            f"buy: got {strategy.spec} with counts={counts!r}; allowed: 'within-budget', for its lists have no "
            "share of their own; leave counts out"
        )


def _budget(pages: Sequence[Page], strategy: Anchors | Active) -> int:
    full = sum(map(len, pages))
    budget = math.floor(strategy.exact * full)
    if full and not budget:
        raise InputError(
            f"buy: got {strategy.spec} of {full} results, which buys no label; allowed: one label at least; raise p or "
            "bring more pages"
        )
    return budget


def _selection(pages: Sequence[Page], asked: Mapping[str, set[str]], strategy: Strategy, seed: int) -> Selection:
    bought = {p.query_id: tuple(i for i in p.result_ids if i in asked.get(p.query_id, ())) for p in pages}
    return Selection(bought, sum(map(len, pages)), strategy.spec, "within-budget", seed)


# ------------------------------------------------------------------ anchors


def _buy_anchors(
    pages: Sequence[Page], rankings: _Rankings, strategy: Anchors, annotator: Annotator, seed: int, levels: int
) -> Purchase:
    check_rankings(pages, rankings, strategy)
    if annotator.name == INFERRED:
        raise InputError(
            f"buy: got an annotator named {INFERRED!r}; allowed: any other name, as inferred grades go by this one; "
            "rename it"
        )
    budget = _budget(pages, strategy)
    left = budget - _audit_share(strategy, budget)
    by_query = {page.query_id: page for page in pages}
    asked: dict[_Item, Grade] = {}
    inferred: dict[_Item, float] = {}
    for query_id, ids in _lists_in_turn(pages, rankings, seed):
        answers = _search(by_query[query_id], ids, bisect_grades(len(ids), levels), annotator, left)
        left -= len(answers)
        asked |= {(query_id, ids[index]): grade for index, grade in answers.items()}
        grades = fill_between(len(ids), levels, {index: grade.grade for index, grade in answers.items()})
        inferred |= {
            (query_id, ids[i]): grade for i, grade in enumerate(grades) if grade is not None and i not in answers
        }
        if not left:
            break
    audited = sorted(inferred, key=lambda item: drawn(seed, "audit", *item))[: budget - len(asked)]
    checked = {item: ask_one(Question(by_query[item[0]], item[1]), annotator) for item in audited}
    errors = sum(checked[item].grade != inferred.pop(item) for item in audited)
    weight = (len(audited) - errors + 1) / (len(audited) + 2)
    asked |= checked
    guessed = [Grade(query_id, result_id, grade, INFERRED) for (query_id, result_id), grade in inferred.items()]
    weights: dict[str, dict[str, float]] = {}
    for query_id, result_id in sorted(inferred):
        weights.setdefault(query_id, {})[result_id] = weight
    return Purchase(
        _selection(pages, _by_query(asked), strategy, seed),
        Judgments([*asked.values(), *guessed]),
        weights,
        len(audited),
        errors,
    )


def _lists_in_turn(pages: Sequence[Page], rankings: _Rankings, seed: int) -> list[tuple[str, tuple[str, ...]]]:
    """Every list with its query, pages in the order of the hash."""
    lists = lists_of(pages, rankings)
    return [(key[0], lists[key]) for key in sorted(lists, key=lambda key: drawn(seed, key[0]))]


def _search(page: Page, ids: Sequence[str], search: GradeSearch, annotator: Annotator, budget: int) -> dict[int, Grade]:
    """Drive a search while the budget lasts; the answers by index."""
    answers: dict[int, Grade] = {}
    if not budget:
        return answers
    try:
        index = next(search)
        while True:
            answers[index] = ask_one(Question(page, ids[index]), annotator)
            if len(answers) == budget:
                search.close()
                return answers
            index = _sent(search, answers[index])
    except StopIteration:
        return answers


def _sent(search: GradeSearch, grade: Grade) -> int:
    try:
        return search.send(grade.grade)
    except InputError as error:
        raise InputError(f"query {grade.query_id!r}: result {grade.result_id!r}: {error}") from error


def _audit_share(strategy: Anchors, budget: int) -> int:
    return math.floor(as_written(strategy.audit) * budget)


def _by_query(items: Mapping[_Item, object]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for query_id, result_id in items:
        found.setdefault(query_id, set()).add(result_id)
    return found


def _first_pages(pages: Sequence[Page], rankings: _Rankings, strategy: Anchors, seed: int, levels: int) -> Opening:
    check_rankings(pages, rankings, strategy)
    budget = _budget(pages, strategy)
    audit = _audit_share(strategy, budget)
    costs: dict[str, int] = {}
    first: dict[str, set[str]] = {}
    for query_id, ids in _lists_in_turn(pages, rankings, seed):
        costs[query_id] = costs.get(query_id, 0) + worst_case_questions(len(ids), levels)
        first.setdefault(query_id, set()).add(ids[next(bisect_grades(len(ids), levels))])
    spent = 0
    kept: dict[str, set[str]] = {}
    for query_id, cost in costs.items():
        if kept and spent + cost > budget - audit:
            break
        kept[query_id] = first[query_id]
        spent += cost
    return Opening(_selection(pages, kept, strategy, seed), budget, min(budget, spent + audit))


# ------------------------------------------------------------------ active


def _buy_active(
    pages: Sequence[Page],
    rankings: _Rankings,
    strategy: Active,
    annotator: Annotator,
    seed: int,
    doubts: Doubts | None,
) -> Purchase:
    if doubts is None:
        raise InputError(
            f"buy: got {strategy.spec} without doubts; allowed: a function from the judgments so far to one array "
            "[len(page)] of doubt, 0 or more, a page; pass doubts=..., such as the spread of an ensemble's scores"
        )
    budget = _budget(pages, strategy)
    first = _first_round(pages, rankings, strategy, seed)
    judgments = ask(pages, first, annotator)
    asked = {query_id: set(ids) for query_id, ids in first.bought.items()}
    for done in range(1, strategy.rounds):
        left = strategy.paid_until(done + 1, budget) - sum(map(len, asked.values()))
        if not left:
            continue
        round_seed = drawn(seed, "round", str(done)) >> (256 - _SEED_BITS)
        chosen = select_active(pages, rankings, doubts(judgments), asked, left, round_seed, strategy.floor)
        part = _selection(pages, {query_id: set(ids) for query_id, ids in chosen.items()}, strategy, seed)
        judgments = judgments.merge(ask(pages, part, annotator))
        for query_id, ids in chosen.items():
            asked.setdefault(query_id, set()).update(ids)
    return Purchase(_selection(pages, asked, strategy, seed), judgments)


def _first_round(pages: Sequence[Page], rankings: _Rankings, strategy: Active, seed: int) -> Selection:
    """Bought as ``Concentrated``; what does not fit into it is left to the next round."""
    check_rankings(pages, rankings, strategy)
    first = strategy.paid_until(1, _budget(pages, strategy))
    nothing = [np.zeros(len(page), np.float32) for page in pages]
    chosen = select_active(pages, rankings, nothing, {}, first, seed, 1.0)
    if any(map(len, pages)) and not chosen:
        raise InputError(
            f"buy: got {strategy.spec}, whose first round of {first} labels pays for a third of no page; allowed: one "
            "page at least; raise p or floor, or take fewer rounds"
        )
    return _selection(pages, {query_id: set(ids) for query_id, ids in chosen.items()}, strategy, seed)
