"""The plan of a campaign: the same bytes for the same plan, and nothing that does not fit together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from wholepage.annotation.events import Kind, Task
from wholepage.annotation.hmm import usual_hmm
from wholepage.annotation.plan import Plan
from wholepage.pages import Modality, Page, Query, Ranking, Result
from wholepage.pages.errors import InputError


def page(query_id: str, texts: int, answers: int = 0) -> Page:
    results = [Result(f"t{i}", Modality.TEXT, "words") for i in range(texts)]
    results += [Result(f"a{i}", Modality.ANSWER, "words") for i in range(answers)]
    return Page(Query(query_id, "words"), tuple(results))


ONE, TWO = page("q1", 3, 1), page("q2", 2)
TEXTS = Ranking("q1", ("t2", "t0", "t1"))
PAIR = Task.pair(Kind.PREFERENCE, "q1", "t0", "a0")
WHOLE = Ranking("q1", ("a0", "t0", "t1", "t2"))


def full(**changed: Any) -> Plan:
    given: dict[str, Any] = {
        "pages": (ONE, TWO),
        "orders": {"q1": {Modality.TEXT: TEXTS, Modality.ANSWER: Ranking("q1", ("a0",))}},
        "selected": {"q1": ("a0", "t1")},
        "pairs": (PAIR,),
        "page_orders": {"q1": {"old": WHOLE, "new": Ranking("q1", ONE.result_ids), "mine": WHOLE}},
        "hmm": usual_hmm(4),
        "confusions": {"bob": ((0.9, 0.1), (0.2, 0.8))},
    }
    return Plan(**(given | changed))


def test_bytes_come_back_and_do_not_depend_on_the_order_of_dicts() -> None:
    plan = full()
    turned = full(
        orders={"q1": dict(reversed(plan.orders["q1"].items()))},
        page_orders={"q1": dict(reversed(plan.page_orders["q1"].items()))},
    )
    assert Plan.from_json(plan.to_json()) == plan
    assert turned.to_json() == plan.to_json()
    assert turned.sha256 == plan.sha256
    assert len(plan.sha256) == 64


@pytest.mark.parametrize(
    "changed",
    [
        {"pages": (TWO, ONE)},
        {"selected": {"q1": ("t1", "a0")}},
        {"pairs": ()},
        {"hmm": None},
        {"page_orders": {}},
        {"confusions": {"ann": ((1.0,),)}},
    ],
)
def test_another_plan_has_another_hash(changed: dict[str, Any]) -> None:
    assert full(**changed).sha256 != full().sha256


def test_what_is_graded() -> None:
    assert full().graded(ONE) == ("a0", "t1")
    assert full().graded(TWO) == ()
    assert full(selected={}).graded(TWO) == TWO.result_ids
    assert full().results == 6


def test_comparisons_are_pairs_and_each_two_orders_of_a_page() -> None:
    orders = [Task.pair(Kind.PAGES, "q1", *two) for two in (("mine", "new"), ("mine", "old"), ("new", "old"))]
    assert list(full().comparisons()) == [PAIR, *orders]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"pages": ()}, "one page at least"),
        ({"pages": (ONE, TWO, ONE)}, "3 pages of 2 queries"),
        ({"orders": {"q9": {}}}, r"orders: got the queries \['q9'\]"),
        ({"selected": {"q9": ()}}, "selected: got the queries"),
        ({"page_orders": {"q9": {}}}, "page_orders: got the queries"),
        ({"orders": {"q1": {Modality.TEXT: Ranking("q1", ("t0", "t1"))}}}, r"lost \['t2'\]"),
        ({"orders": {"q1": {Modality.TEXT: WHOLE}}}, r"invented \['a0'\]"),
        ({"orders": {"q1": {Modality.TEXT: Ranking("q2", TEXTS.result_ids)}}}, "'q2'"),
        ({"page_orders": {"q1": {"old": TEXTS}}}, r"page order 'old'.*lost \['a0'\]"),
        ({"page_orders": {"q1": {"": WHOLE}}}, "without a name"),
        ({"selected": {"q1": ("t0", "t0")}}, "2 ids, 1 of them different"),
        ({"selected": {"q1": ("t9",)}}, "t9"),
        ({"pairs": (PAIR, PAIR)}, "2 pairs, 1 of them different"),
        ({"pairs": (Task.grade("q1", "t0"),)}, "allowed: preference tasks"),
        ({"pairs": (Task.pair(Kind.PAGES, "q1", "new", "old"),)}, "allowed: preference tasks"),
        ({"pairs": (Task.pair(Kind.PREFERENCE, "q1", "t0", "t9"),)}, "t9"),
        ({"pairs": (Task.pair(Kind.PREFERENCE, "q9", "t0", "t1"),)}, "q9"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        full(**changed)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1],
        lambda text: text.replace(b'"pages"', b'"sites"', 1),
        lambda text: text.replace(b'"t2"', b'"t1"', 1),
        lambda _: b"\xff",
    ],
)
def test_spoilt_bytes_are_refused(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InputError, match="plan"):
        Plan.from_json(spoil(full().to_json()))


def test_unknown_fields_are_refused() -> None:
    told = msgspec.json.decode(full().to_json()) | {"notes": "none"}
    with pytest.raises(InputError, match="notes"):
        Plan.from_json(msgspec.json.encode(told))
