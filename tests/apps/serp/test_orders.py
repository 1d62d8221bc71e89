"""Orders of a page by name: found once, kept, explained; and the exact facts of what moved."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.apps.serp.moves import moves
from wholepage.apps.serp.orders import RECEIVED, Ordered, Orders, single_of
from wholepage.apps.serp.present import listed, moved, ordinal, took
from wholepage.apps.serp.slopes import slopes
from wholepage.pages.errors import ImageError, InputError, NoRanker
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result
from wholepage.pages.protocols import by_score
from wholepage.rankers.fusion import SingleModal, ZScoreMerge

from .world import Backwards, Calibrated, Failing, Lengths, pages


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return pages(tmp_path)[0]


def test_a_page_is_ordered_once(page: Page) -> None:
    ranker = Backwards()
    orders = Orders({"b": ranker})
    first = orders.of("b", "#0", page)
    assert first.ids == page.result_ids[::-1]
    assert (first.by, first.scores, first.problem) == ("from the end", {}, "")
    assert orders.of("b", "#0", page) is first
    assert ranker.asked.count(page) == 1
    assert orders.of(RECEIVED, "#0", page).ids == page.result_ids
    assert (orders.names, orders.usual) == ((RECEIVED, "b"), "b")
    assert Orders({}).usual == RECEIVED


def test_the_order_asked_for_longest_ago_is_forgotten(page: Page) -> None:
    ranker = Backwards()
    orders = Orders({"b": ranker}, kept=2)
    for key in ("#0", "#1", "#0", "#2", "#0", "#1"):
        orders.of("b", key, page)
    assert ranker.asked.count(page) == 4  # 0, 1, 2, and 1 again


def test_many_who_wait_for_one_order_get_the_same(page: Page) -> None:
    ranker, found = Backwards(), list[Ordered]()
    orders, together = Orders({"b": ranker}), Barrier(6)

    def look() -> None:
        together.wait()
        found.append(orders.of("b", "#0", page))

    threads = [Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in found}) == 1
    assert ranker.asked.count(page) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [(None, "did not answer"), (NoRanker("no video"), "one of the kinds"), (InputError("q"), "cannot take"),
     (ImageError("/secret/a.png", "missing", "x"), "cannot be opened")],
)  # fmt: skip
def test_a_ranker_that_fails_is_said_and_asked_again(page: Page, error: Exception | None, words: str) -> None:
    ranker = Failing(error)
    orders = Orders({"f": ranker})
    found = orders.of("f", "#0", page)
    assert found.ids == page.result_ids
    assert words in found.problem
    assert "secret" not in found.problem
    ranker.error = None
    assert orders.of("f", "#0", page).problem == ""


def test_an_order_that_is_none_is_a_problem(page: Page) -> None:
    class Loses:
        name = "loses"

        def rank(self, given: list[Page]) -> list[Ranking]:
            return [Ranking(p.query_id, p.result_ids[1:]) for p in given]

    assert Orders({"l": Loses()}).of("l", "#0", page).problem


def test_a_page_without_results_needs_no_ranker() -> None:
    assert Orders({"f": Failing()}).of("f", "#0", Page(Query("q", "x"))).problem == ""


def test_names_and_rankers_are_checked(page: Page) -> None:
    for bad in ({"": Backwards()}, {RECEIVED: Backwards()}, {"s": Lengths()}):
        with pytest.raises(InputError):
            Orders(bad)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="allowed: received, b"):
        Orders({"b": Backwards()}).of("c", "#0", page)


def test_places_alone_are_those_of_the_single_modal_rankers(page: Page) -> None:
    found = Orders({"c": Calibrated()}).of("c", "#0", page)
    # The page ranker puts short texts first; the rankers of the lists that it stands on long ones.
    assert found.alone == {"t2": 1, "t1": 2, "i1": 1, "i2": 2, "v1": 1, "a1": 1}
    assert found.alone_by == "lengths"
    assert found.ids[0] == "i1"
    assert found.ids[-1] == "i2"
    assert found.scores["i2"] is None


def test_without_any_the_ranker_is_asked_about_each_list_alone(page: Page) -> None:
    ranker = Backwards()
    found = Orders({"b": ranker}).of("b", "#0", page)
    assert found.alone == {"t2": 1, "t1": 2, "i2": 1, "i1": 2, "v1": 1, "a1": 1}
    assert found.alone_by == "backwards"
    assert [p.modalities for p in ranker.asked[1:]] == [(m,) for m in Modality]


def test_merges_tell_their_single_modal_rankers() -> None:
    single = SingleModal(dict.fromkeys(Modality, Lengths()))
    assert single_of(ZScoreMerge(single)) is single
    assert single_of(by_score(Lengths())) is None
    assert single_of(Backwards()) is None


def test_chances_are_those_of_the_calibration(page: Page) -> None:
    found = Orders({"c": Calibrated()}).of("c", "#0", page)
    assert found.threshold == 2.0
    assert set(found.chances) == {"t1", "i1", "v1", "a1", "t2"}  # none where there is no score
    for result_id, chance in found.chances.items():
        assert chance == pytest.approx(1 / (1 + math.exp(-(2.0 * found.scores[result_id] - 0.5))), rel=1e-5)


KINDS = st.lists(st.sampled_from(list(Modality)), min_size=1, max_size=12)


@given(kinds=KINDS, data=st.data())
def test_what_moved_adds_up(kinds: list[Modality], data: st.DataObject) -> None:
    picture = (ImageRef("x.png"),)
    page = Page(Query("q", "x"), tuple(Result(str(i), kind, "t", picture) for i, kind in enumerate(kinds)))
    before = data.draw(st.permutations(page.result_ids))
    after = data.draw(st.permutations(page.result_ids))
    kind_of = {r.result_id: r.modality for r in page.results}
    for result_id, way in moves(page, before, after).items():
        passed = [
            other for other in before
            if before.index(other) < before.index(result_id) and after.index(other) > after.index(result_id)
        ]  # fmt: skip
        passed_by = [
            other for other in before
            if before.index(other) > before.index(result_id) and after.index(other) < after.index(result_id)
        ]  # fmt: skip
        assert dict(way.passed) == Counter(kind_of[o] for o in passed)
        assert dict(way.passed_by) == Counter(kind_of[o] for o in passed_by)
        assert way.rise == len(passed) - len(passed_by) == before.index(result_id) - after.index(result_id)
        mine = [o for o in after if kind_of[o] is kind_of[result_id]]
        assert (way.own, way.of) == (mine.index(result_id) + 1, len(mine))


@given(kinds=KINDS, data=st.data())
def test_the_drawing_has_every_result_in_both_places(kinds: list[Modality], data: st.DataObject) -> None:
    ids = [str(i) for i in range(len(kinds))]
    after = data.draw(st.permutations(ids))
    drawn = slopes(ids, after, dict(zip(ids, kinds, strict=True)), {i: f"k{i}" for i in ids}, 200)
    heights = {label.text: label.y for label in drawn.labels}
    assert len(drawn.lines) == len(ids)
    for line in drawn.lines:
        result_id = line.key[1:]
        assert line.start == heights[str(ids.index(result_id) + 1)]
        assert line.end == heights[str(after.index(result_id) + 1)]
        rise = ids.index(result_id) - after.index(result_id)
        assert line.way == ("up" if rise > 0 else "down" if rise < 0 else "same")
        assert 0 < line.start < drawn.height
        assert 0 < line.end < drawn.height


def test_many_results_are_drawn_closer(page: Page) -> None:
    ids = [str(i) for i in range(500)]
    drawn = slopes(ids, ids[::-1], dict.fromkeys(ids, Modality.TEXT), dict(zip(ids, ids, strict=True)), 200)
    assert [label.text for label in drawn.labels[:4]] == ["1", "5", "10", "15"]


def test_words_for_people(page: Page) -> None:
    places = {1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 112: "112th"}
    assert {n: ordinal(n) for n in places} == places
    assert listed(((Modality.TEXT, 1), (Modality.IMAGE, 2), (Modality.ANSWER, 1))) == "1 text, 2 pictures and 1 answer"
    assert (took(0), took(0.0123), took(0.9996), took(2.34)) == ("", "12 ms", "1.0 s", "2.3 s")
    ways = list(moves(page, page.result_ids, page.result_ids[::-1]).values())
    assert moved(ways) == "6 of 6 results moved. Furthest up: 6th to 1st. Furthest down: 1st to 6th."
    assert "both orders are the same" in moved(list(moves(page, page.result_ids, page.result_ids).values()))
