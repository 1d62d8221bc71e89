"""From nouns, runs and arrays to the same arrays, and what is refused at the door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from wholepage.evaluation.page.arrays import from_arrays, from_rankings, from_runs
from wholepage.evaluation.page.blocks import block_numbers, blocks_of
from wholepage.evaluation.page.heights import Costs, Heights
from wholepage.pages.errors import DecodingError, InputError, ShapeError
from wholepage.pages.judgments import Grade, Judgments
from wholepage.pages.model import Modality, Page, Ranking

MakePage = Callable[[str, str], Page]


def test_nouns_and_arrays_agree(page: MakePage) -> None:
    pages = [page("q", "tiv"), page("empty", ""), page("p", "a")]
    order = [Ranking("p", ("r0",)), Ranking("q", ("r2", "r0", "r1")), Ranking("empty", ())]
    said = Judgments.from_mapping({"q": {"r0": 2, "r1": 0, "gone": 3}, "p": {"r0": 0}})
    found = from_rankings(order, said, pages)
    assert found.query_ids == ("q", "empty", "p")
    np.testing.assert_array_equal(found.grades, [[np.nan, 2, 0], [np.nan] * 3, [0, np.nan, np.nan]])
    np.testing.assert_array_equal(found.lengths, [3, 0, 1])
    np.testing.assert_array_equal(found.judged, [3, 0, 1])
    np.testing.assert_array_equal(found.ideal, [[3, 2], [0, 0], [0, 0]])
    np.testing.assert_array_equal(found.kinds(), [[2, 0, 1], [-1] * 3, [3, -1, -1]])
    same = from_arrays(
        [[np.nan, 2, 0], [9, 9, 9], [0, 9, 9]], lengths=[3, 0, 1], modality=[[2, 0, 1], [0] * 3, [3, 0, 0]]
    )
    np.testing.assert_array_equal(same.grades, found.grades)
    np.testing.assert_array_equal(same.kinds(), found.kinds())
    np.testing.assert_array_equal(same.ideal, [[2], [0], [0]])
    assert same.query_ids == ("0", "1", "2")


def test_grades_of_several_people_are_their_mean() -> None:
    said = Judgments([Grade("q", "a", 3, "ann"), Grade("q", "a", 2, "bob"), Grade("q", "b", 1, "ann")])
    found = from_rankings([Ranking("q", ("b", "a"))], said)
    np.testing.assert_array_equal(found.grades, [[1, 2.5]])


def test_runs_and_orders_agree(thousand: Any) -> None:
    run = {r.query_id: {i: -float(n) for n, i in reversed(list(enumerate(r.result_ids)))} for r in thousand.rankings}
    one, other = from_runs(run, thousand.qrels), from_rankings(thousand.rankings, thousand.judgments)
    assert one.query_ids == other.query_ids
    for name in ("grades", "lengths", "judged", "ideal"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_equal_scores_go_by_falling_id_and_missing_queries_are_empty() -> None:
    found = from_runs(
        {"q": {"a": 1, "c": 1, "b": 1, "z": 0}}, {"q": {"a": 1, "b": 2, "c": 3, "z": 0}, "lost": {"x": 1}}
    )
    np.testing.assert_array_equal(found.grades, [[3, 2, 1, 0], [np.nan] * 4])
    assert found.lengths.tolist() == [4, 0]


def test_nothing_at_all() -> None:
    assert len(from_rankings([], Judgments())) == 0
    assert from_runs({}, {}).grades.shape == (0, 0)
    assert from_rankings([Ranking("q", ())], Judgments()).grades.shape == (1, 0)


def test_what_is_refused(page: MakePage) -> None:
    one = page("q", "ti")
    with pytest.raises(InputError, match="got two of query 'q'"):
        from_rankings([Ranking("q", ("a",)), Ranking("q", ("b",))], Judgments())
    with pytest.raises(InputError, match="got none of query 'q'"):
        from_rankings([], Judgments(), [one])
    with pytest.raises(InputError, match="two of one query"):
        from_rankings([Ranking("q", ("r0", "r1"))], Judgments(), [one, one])
    with pytest.raises(DecodingError, match="lost"):
        from_rankings([Ranking("q", ("r0",))], Judgments(), [one])
    with pytest.raises(InputError, match=r"got -1\.0"):
        from_arrays([[0.0, -1.0]])
    with pytest.raises(InputError, match="got inf"):
        from_runs({"q": {"a": 1.0}}, {"q": {"a": float("inf")}})
    with pytest.raises(InputError, match="not finite"):
        from_runs({"q": {"a": float("nan")}}, {"q": {"a": 1}})
    with pytest.raises(ShapeError, match="grades"):
        from_arrays([1.0, 2.0])
    with pytest.raises(ShapeError, match="lengths"):
        from_arrays([[1.0]], lengths=[1, 1])
    with pytest.raises(InputError, match="lengths"):
        from_arrays([[1.0]], lengths=[2])
    with pytest.raises(InputError, match="modality"):
        from_arrays([[1.0]], modality=[[4]])
    with pytest.raises(InputError, match="without their pages"):
        from_arrays([[1.0]]).kinds()


def test_blocks_are_longest_runs(page: MakePage) -> None:
    one = page("q", "ttiita")
    assert blocks_of(Ranking("q", one.result_ids), one) == (0, 0, 1, 1, 2, 3)
    assert blocks_of(Ranking("e", ()), page("e", "")) == ()


def test_blocks_of_many_pages_equal_blocks_of_one(thousand: Any) -> None:
    found = block_numbers(from_rankings(thousand.rankings, thousand.judgments, thousand.pages).kinds())
    for row, page, ranking in zip(found, thousand.pages, thousand.rankings, strict=True):
        assert tuple(row[: len(page)].tolist()) == blocks_of(ranking, page)
        assert (row[len(page) :] == -1).all()


def test_heights_and_costs_go_by_modality() -> None:
    assert Heights().table().tolist() == [1.0, 2.5, 2.5, 4.0]
    assert Heights(video=9).of(Modality.VIDEO) == 9
    assert Costs(answer=3).table().tolist() == [1.0, 1.0, 1.0, 3.0]
    with pytest.raises(InputError, match=r"Heights\.image: got 0"):
        Heights(image=0)
    with pytest.raises(InputError, match=r"Costs\.beyond: got inf"):
        Costs(beyond=float("inf"))
