"""The order that behaviour tells, against a comparison of every pair."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.collections.behaviour import (
    Seen,
    by_behaviour,
    dwell_of,
    merged,
    simulated_pool,
)
from wholepage.pages import InputError

ONE = st.builds(
    Seen,
    st.sampled_from("abcdefgh"),
    st.integers(1, 9).map(float),
    st.booleans(),
    st.one_of(st.none(), st.floats(0.1, 99)),
)


def better(a: Seen, b: Seen) -> bool:
    """The rule in words: read before clicked before passed over; of two read, the longer."""
    kinds = [2 if one.clicked and one.dwell_s else 1 if one.clicked else 0 for one in (a, b)]
    return kinds[0] > kinds[1] or (kinds == [2, 2] and (a.dwell_s or 0) > (b.dwell_s or 0))


@given(st.lists(ONE, max_size=12), st.randoms())
def test_no_pair_is_out_of_order(shown: list[Seen], random: object) -> None:
    once = merged(shown)
    by_id = {one.result_id: one for one in once}
    ranking = by_behaviour("q", once)
    assert sorted(ranking.result_ids) == sorted({one.result_id for one in shown})
    for first, later in itertools.combinations(ranking.result_ids, 2):
        assert not better(by_id[later], by_id[first])
        scores = dict(zip(ranking.result_ids, ranking.scores or (), strict=True))
        assert (scores[first] == scores[later]) == (not better(by_id[first], by_id[later]))
    random.shuffle(shown)  # type: ignore[attr-defined]
    assert merged(shown) == once


@given(st.lists(ONE, max_size=20), st.tuples(*[st.integers(0, 4)] * 3))
def test_a_pool_keeps_the_best_of_each_kind(shown: list[Seen], most: tuple[int, int, int]) -> None:
    once = merged(shown)
    pool = simulated_pool(once, most)
    assert [one for one in once if one in pool] == list(pool)
    for grade, limit in zip((2, 1, 0), most, strict=True):
        there, kept = ([one for one in of if one.grade == grade] for of in (once, pool))
        assert len(kept) == min(limit, len(there))
        for out in set(there) - set(kept):
            assert not any(better(out, one) for one in kept)


def test_a_result_shown_twice_is_merged() -> None:
    twice = [Seen("a", 5, True, 3.0), Seen("b", 1, False, 9.0), Seen("a", 2, False, 50.0), Seen("a", 7, True, 8.0)]
    assert merged(twice) == (Seen("b", 1, False), Seen("a", 2, True, 8.0))


@pytest.mark.parametrize(("logged", "dwell"), [(None, None), (math.nan, None), (0.0, None), (-1.0, None), (4.5, 4.5)])
def test_what_logs_write_for_no_dwell(logged: float | None, dwell: float | None) -> None:
    assert dwell_of(logged) == dwell


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(InputError, match="allowed: three numbers"):
        simulated_pool((), (1, -1, 1))
