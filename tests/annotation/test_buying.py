"""What a budget buys: every question counted, and what was inferred held against the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from wholepage import annotation
from wholepage.annotation.anchors import worst_case_questions
from wholepage.annotation.buying import INFERRED, Purchase, buy, opening
from wholepage.annotation.oracles import NoisyAnnotator, PerfectAnnotator, ask
from wholepage.annotation.selection import Concentrated, parse_strategy, select
from wholepage.annotation.strategies import Active, Anchors, Strategy, Window
from wholepage.pages import (
    InputError,
    Judgments,
    Modality,
    NoRanker,
    Page,
    Query,
    Question,
    Ranking,
    Result,
    ShapeError,
    Verdict,
)


def page(query_id: str, texts: int, answers: int = 0) -> Page:
    results = [Result(f"t{i}", Modality.TEXT, "words") for i in range(texts)]
    results += [Result(f"a{i}", Modality.ANSWER, "words") for i in range(answers)]
    return Page(Query(query_id, "q"), tuple(results[::-1]))


def orders(pages: Sequence[Page]) -> list[dict[Modality, Ranking]]:
    """The order t0, t1, ... and a0, a1, ..."""
    return [{m: Ranking(p.query_id, p.only(m).result_ids[::-1]) for m in p.modalities} for p in pages]


def truth_of(pages: Sequence[Page], *, sorted_lists: bool = True) -> Judgments:
    """Grades that fall along every list, or in no order."""
    draw = np.random.default_rng(7)
    grades: dict[str, dict[str, float]] = {}
    for p in pages:
        of = grades.setdefault(p.query_id, {})
        for m in p.modalities:
            given = draw.integers(0, 4, len(p.only(m)))
            given = np.sort(given) if sorted_lists else given  # the page holds its lists upside down
            of |= {i: float(g) for i, g in zip(p.only(m).result_ids, given, strict=True)}
    return Judgments.from_mapping(grades)


PAGES = [page(f"q{i}", 12 + i % 20, i % 12) for i in range(40)]
FULL = sum(map(len, PAGES))
TRUTH = truth_of(PAGES)


class Counting:
    """Answers as the truth says, and notes what it is asked."""

    name = "ann"

    def __init__(self, truth: Judgments) -> None:
        self.perfect = PerfectAnnotator(truth)
        self.asked: list[tuple[str, str]] = []

    def answer(self, question: Question) -> Verdict:
        self.asked.append((question.page.query_id, question.left_id))
        return self.perfect.answer(question)


def no_doubts(_: Judgments) -> list[NDArray[np.float32]]:
    return [np.zeros(len(p), np.float32) for p in PAGES]


def bought(spec: str | Strategy, *, pages: Sequence[Page] = PAGES, truth: Judgments = TRUTH, seed: int = 0) -> Purchase:
    strategy = parse_strategy(spec) if isinstance(spec, str) else spec
    counting = Counting(truth)

    def doubts(_: Judgments) -> list[NDArray[np.float32]]:
        return [np.zeros(len(p), np.float32) for p in pages]

    found = buy(pages, orders(pages), strategy, counting, seed=seed, doubts=doubts)
    asked = {(q, i) for q, ids in found.selection.bought.items() for i in ids}
    assert len(counting.asked) == len(set(counting.asked)) == found.labels  # nothing twice, nothing unaccounted
    assert set(counting.asked) == asked
    assert {
        (g.query_id, g.result_id)
        for q in found.judgments.query_ids
        for g in found.judgments.grades(q)
        if g.who == "ann"
    } == asked
    whole_window = isinstance(strategy, Window)  # whose two cuts are each rounded down
    assert found.labels <= math.floor(strategy.exact * sum(map(len, pages))) + whole_window
    assert found.selection.strategy == strategy.spec
    return found


def inferred(found: Purchase) -> dict[tuple[str, str], float]:
    given = (g for q in found.judgments.query_ids for g in found.judgments.grades(q))
    return {(g.query_id, g.result_id): g.grade for g in given if g.who == INFERRED}


# ------------------------------------------------------------------ one shot


@pytest.mark.parametrize("spec", ["top(p=0.2)", "window(lo=0.2, hi=0.4)", "concentrated(p=0.1)", "whole_pages(p=0.3)"])
def test_strategies_without_answers_are_selected_and_asked(spec: str) -> None:
    found = bought(spec)
    selection = select(PAGES, orders(PAGES), parse_strategy(spec), seed=0)
    assert found == Purchase(selection, ask(PAGES, selection, Counting(TRUTH)))
    assert (found.weights, found.audited, found.audit_errors) == ({}, 0, 0)
    assert opening(PAGES, orders(PAGES), parse_strategy(spec), seed=0).selection == selection


# ------------------------------------------------------------------ anchors


@pytest.mark.parametrize("p", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("audit", [0.0, 0.1, 0.3])
def test_anchors_spend_the_budget_exactly_and_infer_what_is_true(p: float, audit: float) -> None:
    found = bought(Anchors(p, audit))
    assert found.labels == math.floor(p * FULL)
    known = {(q, i): g for q in TRUTH.query_ids for i, g in TRUTH.by_result(q).items()}
    guessed = inferred(found)
    assert guessed
    assert all(known[item] == grade for item, grade in guessed.items())  # lists in order, people right: a theorem
    assert found.audit_errors == 0
    assert found.audited == math.floor(audit * found.labels + 1e-9)
    weight = (found.audited + 1) / (found.audited + 2)
    assert {(q, i): w for q, of in found.weights.items() for i, w in of.items()} == dict.fromkeys(guessed, weight)
    assert not set(guessed) & {(q, i) for q, ids in found.selection.bought.items() for i in ids}


def test_anchors_grade_lists_whole_on_few_pages_in_the_order_of_concentrated() -> None:
    found = bought(Anchors(0.1, 0.0))
    guessed = inferred(found)
    whole = [
        p.query_id
        for p in PAGES
        if all(i in found.selection.bought[p.query_id] or (p.query_id, i) in guessed for i in p.result_ids)
    ]
    touched = {q for q, ids in found.selection.bought.items() if ids}
    assert len(touched) - len(whole) <= 1  # the last one may be broken off
    others = {q for q, ids in bought("concentrated(p=0.1)").selection.bought.items() if ids}
    assert len(touched & others) >= min(len(touched), len(others)) - 2  # both begin with the same pages


def test_wrong_orders_are_found_by_the_audit_and_lower_the_weight() -> None:
    mixed = truth_of(PAGES, sorted_lists=False)
    found = bought(Anchors(0.3, 0.3), truth=mixed)
    guessed = inferred(found)
    wrong = np.mean([mixed.by_result(q)[i] != g for (q, i), g in guessed.items()])
    assert found.audit_errors / found.audited == pytest.approx(float(wrong), abs=0.15)
    weights = {w for of in found.weights.values() for w in of.values()}
    assert weights == {(found.audited - found.audit_errors + 1) / (found.audited + 2)}
    assert max(weights) < 0.9
    noisy = buy(PAGES, orders(PAGES), Anchors(0.1), NoisyAnnotator(TRUTH, 0.3, 4, 0), seed=0)
    assert noisy.audit_errors > 0


def test_a_budget_for_everything_leaves_nothing_inferred() -> None:
    found = bought(Anchors(1.0, 0.0))
    assert inferred(found) == {}
    assert found.weights == {}
    assert found.labels == FULL
    assert found.judgments.restrict({q: list(TRUTH.by_result(q)) for q in TRUTH.query_ids}) == found.judgments


def test_one_question_is_asked_in_the_best_place() -> None:
    one = [page("q", 30)]
    found = bought(Anchors(0.04), pages=one, truth=truth_of(one))
    assert found.labels == 1
    assert found.audited == 0


# ------------------------------------------------------------------ active


def test_active_buys_rounds_and_shows_each_what_the_last_ones_answered() -> None:
    seen: list[Judgments] = []

    def doubts(so_far: Judgments) -> list[NDArray[np.float32]]:
        seen.append(so_far)
        return [np.full(len(p), float(p.query_id == "q11"), np.float32) for p in PAGES]

    strategy = Active(0.2, floor=0.25, rounds=4)
    found = buy(PAGES, orders(PAGES), strategy, Counting(TRUTH), seed=0, doubts=doubts)
    budget = math.floor(0.2 * FULL)
    assert [len(said) for said in seen] == sorted(len(said) for said in seen)
    for done, said in enumerate(seen, start=1):
        assert strategy.paid_until(done, budget) - 12 < len(said) <= strategy.paid_until(done, budget)
        assert said.restrict(found.selection.bought) == said
    assert len(seen) == 3
    assert budget - 12 < found.labels <= budget
    assert len(found.selection.bought["q11"]) >= len(PAGES[11]) / 2  # in doubt in every round
    assert found.judgments == ask(PAGES, found.selection, Counting(TRUTH))


def test_the_first_round_of_active_begins_as_concentrated() -> None:
    first = opening(PAGES, orders(PAGES), Active(0.2), seed=3)
    all_of_it = select(PAGES, orders(PAGES), Concentrated(0.2), seed=3)
    pages_of_both = [{q for q, ids in s.bought.items() if ids} for s in (first.selection, all_of_it)]
    assert len(pages_of_both[0] - pages_of_both[1]) <= 1  # one that fitted the end of the smaller budget
    assert first.budget == math.floor(0.2 * FULL)
    assert first.selection.labels <= first.budget / 2
    found = bought(Active(0.2), seed=3)
    assert all(set(ids) <= set(found.selection.bought[q]) for q, ids in first.selection.bought.items())


def test_active_refuses_to_go_without_doubts() -> None:
    with pytest.raises(InputError, match=r"without doubts.*pass doubts=\.\.\."):
        buy(PAGES, orders(PAGES), Active(0.1), Counting(TRUTH), seed=0)
    with pytest.raises(InputError, match="nan"):
        buy(
            PAGES,
            orders(PAGES),
            Active(0.1),
            Counting(TRUTH),
            seed=0,
            doubts=lambda _: [np.full(len(p), np.nan) for p in PAGES],
        )
    with pytest.raises(ShapeError, match="arrays for 40 pages"):
        buy(PAGES, orders(PAGES), Active(0.1), Counting(TRUTH), seed=0, doubts=lambda _: [])
    with pytest.raises(InputError, match="pays for a third of no page"):
        buy(PAGES, orders(PAGES), Active(0.004), Counting(TRUTH), seed=0, doubts=no_doubts)


# ------------------------------------------------------------------ all


@pytest.mark.parametrize("spec", ["anchors(p=0.1)", "active(p=0.2)", "window(lo=0.1, hi=0.3)"])
def test_the_order_of_pages_changes_nothing_and_the_seed_does(spec: str) -> None:
    one, other, back = bought(spec), bought(spec, seed=1), bought(spec, pages=PAGES[::-1])
    assert one == bought(spec)
    assert one.selection.to_json() == back.selection.to_json()
    assert (one.judgments, one.weights, one.audited) == (back.judgments, back.weights, back.audited)
    assert one.selection != other.selection


def test_what_does_not_fit_together_is_refused() -> None:
    ranked, counting = orders(PAGES), Counting(TRUTH)
    for strategy in (Anchors(0.1), Active(0.1)):
        with pytest.raises(InputError, match="'within-budget'"):
            buy(PAGES, ranked, strategy, counting, seed=0, counts="at-least-one", doubts=no_doubts)
        with pytest.raises(InputError, match="buys no label"):
            buy(PAGES[:1], ranked[:1], strategy.__class__(0.01), counting, seed=0, doubts=no_doubts)
        with pytest.raises(NoRanker, match="no ranking"):
            buy(PAGES, [{} for _ in PAGES], strategy, counting, seed=0, doubts=no_doubts)
        with pytest.raises(InputError, match="each query once"):
            buy(PAGES * 2, ranked * 2, strategy, counting, seed=0, doubts=no_doubts)
    assert counting.asked == []
    few = Judgments.from_mapping({p.query_id: dict.fromkeys(p.result_ids, 7.0) for p in PAGES})
    with pytest.raises(InputError, match=r"query 'q\d+': result '[ta]\d+'.*got grade 7.*0 to 3"):
        buy(PAGES, ranked, Anchors(0.1), PerfectAnnotator(few), seed=0)
    assert buy(PAGES, ranked, Anchors(0.1), PerfectAnnotator(few), seed=0, levels=8).labels > 0
    counting.name = INFERRED
    with pytest.raises(InputError, match="rename"):
        buy(PAGES, ranked, Anchors(0.1), counting, seed=0)


def test_nothing_of_nothing_is_nothing() -> None:
    for strategy in (Anchors(0.1), Active(0.1)):
        found = buy([], [], strategy, Counting(TRUTH), seed=0, doubts=lambda _: [])
        assert (found.labels, len(found.judgments)) == (0, 0)


# ------------------------------------------------------------------ the first step


@pytest.mark.parametrize("p", [0.01, 0.1, 0.4])
def test_the_opening_of_anchors_is_paid_for_and_asked_first(p: float) -> None:
    first = opening(PAGES, orders(PAGES), Anchors(p), seed=2)
    pages = [q for q, ids in first.selection.bought.items() if ids]
    assert pages
    budget = math.floor(p * FULL)
    assert first.budget == budget
    lists = [len(p.only(m)) for p in PAGES if p.query_id in pages for m in p.modalities]
    assert first.selection.labels == len(lists)  # one question a list
    worst = sum(worst_case_questions(n, 4) for n in lists) + math.floor(0.1 * budget)
    assert first.worst_case == min(budget, worst)
    assert len(pages) == 1 or worst <= budget
    if worst <= budget:
        found = bought(Anchors(p), seed=2)
        assert all(set(ids) <= set(found.selection.bought[q]) for q, ids in first.selection.bought.items())


def test_the_face_of_the_room_gives_its_names() -> None:
    for name in annotation.__all__:
        assert getattr(annotation, name) is not None
    assert annotation.buy is buy
    with pytest.raises(AttributeError, match="sell"):
        annotation.sell  # noqa: B018
