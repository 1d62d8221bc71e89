"""Printed lists and records: what Python and numpy really print, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.collections.printed import parse_printed
from wholepage.pages import InputError

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)
VALUES = st.recursive(
    LEAVES, lambda of: st.lists(of, max_size=4) | st.dictionaries(st.text(max_size=4), of, max_size=4), max_leaves=12
)


@given(VALUES)
def test_what_python_prints_comes_back(value: Any) -> None:
    assert parse_printed(repr(value)) == value


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=30))
def test_what_numpy_prints_of_numbers_comes_back(numbers: list[float]) -> None:
    array = np.array(numbers, dtype=np.float32)
    with np.printoptions(threshold=1000):
        np.testing.assert_allclose(parse_printed(str(array)), array, rtol=1e-5, atol=1e-6)


def test_what_numpy_prints_of_records_and_pairs_comes_back() -> None:
    records = np.array(
        [{"click": 1, "page_time": float("nan"), "id": "it's"}, {"click": 0, "id": 'a "b"'}], dtype=object
    )
    first, second = parse_printed(str(records))
    assert math.isnan(first.pop("page_time"))
    assert (first, second) == ({"click": 1, "id": "it's"}, {"click": 0, "id": 'a "b"'})
    pairs = np.empty(2, dtype=object)
    pairs[0], pairs[1] = np.array([632496.0, 33.5]), np.array([7.0, 1.25])
    assert parse_printed(str(pairs)) == [[632496.0, 33.5], [7.0, 1.25]]
    assert parse_printed("array([], dtype=float64)") == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[1 2 ... 9]", "cut"),
        ("[1 2", "no end"),
        ("[1] 2", "more after"),
        ("{'a': 1, 'a': 2}", "again"),
        ("{1: 2}", "in place of a name"),
        ("[__import__('os')]", "something else"),
        ("array(1)", "of no list"),
        ("", "no end"),
        ("[" * 40 + "]" * 40, "nested too deeply"),
    ],
)
def test_anything_else_is_refused(text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        parse_printed(text)
