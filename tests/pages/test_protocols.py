"""The waist: the only place that sorts, and the way back from an order to scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wholepage.pages import (
    Annotator,
    Modality,
    Page,
    PageError,
    Query,
    Question,
    Ranker,
    Ranking,
    Result,
    Scorer,
    ShapeError,
    Verdict,
    by_score,
    ranking_of,
    scores_on,
)


def page_of(count: int, query_id: str = "q") -> Page:
    return Page(Query(query_id), tuple(Result(f"r{i}", Modality.TEXT, "x") for i in range(count)))


class Told:
    """A scorer that says what it was told to."""

    name = "told"

    def __init__(self, *scores: Sequence[float]) -> None:
        self.scores = scores

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        return [np.array(scores, dtype=np.float32) for scores in self.scores]


SCORES = st.lists(
    st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, np.nan]), st.floats(-1e6, 1e6, width=32)), max_size=12
)


@given(SCORES)
def test_the_order_is_that_of_a_plain_stable_sort(scores: list[float]) -> None:
    page = page_of(len(scores))
    ranking = ranking_of(page, np.array(scores, dtype=np.float32), "me")
    expected = sorted(range(len(scores)), key=lambda i: (np.isnan(scores[i]), 0 if np.isnan(scores[i]) else -scores[i]))
    assert ranking.result_ids == tuple(f"r{i}" for i in expected)
    assert ranking.scores == tuple(None if np.isnan(scores[i]) else scores[i] for i in expected)
    assert ranking.by == "me"
    assert ranking.check(page) is ranking


@given(SCORES)
def test_scores_on_is_the_way_back(scores: list[float]) -> None:
    page, given_scores = page_of(len(scores)), np.array(scores, dtype=np.float32)
    back = scores_on(page, ranking_of(page, given_scores, "me"))
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, given_scores)


def test_ties_keep_the_order_received_and_no_opinion_goes_last() -> None:
    ranking = ranking_of(page_of(5), np.array([np.nan, 1.0, 2.0, 1.0, np.nan]), "me")
    assert ranking.result_ids == ("r2", "r1", "r3", "r0", "r4")
    assert ranking.scores == (2.0, 1.0, 1.0, None, None)


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 1), ()])
def test_not_one_score_a_result(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"query 'q'.*allowed: \(3,\)"):
        ranking_of(page_of(3), np.zeros(shape), "me")


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinite_scores_are_refused(bad: float) -> None:
    with pytest.raises(PageError, match="inf"):
        ranking_of(page_of(2), np.array([0.0, bad]), "me")


def test_a_scorer_becomes_a_ranker() -> None:
    ranker = by_score(Told([1.0, 2.0], [], [5.0]))
    pages = [page_of(2, "a"), page_of(0, "b"), page_of(1, "c")]
    assert isinstance(ranker, Ranker)
    assert isinstance(Told(), Scorer)
    assert not isinstance(Told(), Ranker)
    assert ranker.name == "told"
    assert ranker.rank(pages) == [
        Ranking("a", ("r1", "r0"), (2.0, 1.0), "told"),
        Ranking("b", (), (), "told"),
        Ranking("c", ("r0",), (5.0,), "told"),
    ]
    assert by_score(Told()).rank([]) == []


def test_a_page_without_an_array_is_told_of() -> None:
    with pytest.raises(ShapeError, match="1 arrays for 2 pages"):
        by_score(Told([1.0])).rank([page_of(1, "a"), page_of(1, "b")])


def test_scores_on_without_scores_are_negated_ranks_and_nan_where_unknown() -> None:
    found = scores_on(page_of(3), Ranking("q", ("r2", "x", "r0")))
    np.testing.assert_array_equal(found, np.array([-2.0, np.nan, 0.0], dtype=np.float32))


def test_an_annotator_is_who_answers_questions() -> None:
    class Kind:
        name = "kind"

        def answer(self, question: Question) -> Verdict:
            return Verdict(grade=3.0)

    assert isinstance(Kind(), Annotator)
    assert not isinstance(Told(), Annotator)


def test_scores_of_another_query_are_refused() -> None:
    page = Page(Query("q"), (Result("a", Modality.TEXT, "x"),))
    with pytest.raises(PageError, match="got query 'r' for the page of 'q'"):
        scores_on(page, Ranking("r", ("a",), (1.0,)))
