"""Query ids that come again, told with the row of the first."""

from __future__ import annotations

import random

import pytest

from wholepage.apps.batch.repeats import Repeats, query_id_in


def test_against_a_dictionary() -> None:
    draws = random.Random(3)
    ids = [draws.choice([None, *map(str, range(700))]) for _ in range(2000)]
    first: dict[str, int] = {}
    expected = []
    for row, query_id in enumerate(ids):
        if query_id is not None and first.setdefault(query_id, row) != row:
            expected.append((row, first[query_id]))
    with Repeats() as repeats:
        for query_id in ids:
            repeats.add(query_id)
        assert repeats.rows == 2000
        assert repeats.found() == expected
    assert len(expected) > 1000


def test_none_is_found_where_none_is() -> None:
    with Repeats() as repeats:
        assert repeats.found() == []
        for query_id in ("a", "A", "", "a ", None, None):
            repeats.add(query_id)
        assert repeats.found() == []


@pytest.mark.parametrize(
    ("raw", "query_id"),
    [
        (b'{"results": [{"text": "x"}], "query": {"text": "t", "query_id": "q\\u00e9"}}', "qé"),
        (b'{"query": {"query_id": 3}}', None),
        (b'{"query": null}', None),
        (b"{no json}", None),
        (b'{"query": {"query_id": "\xff"}}', None),
        (b"[" * 100_000, None),
    ],
)
def test_the_id_of_a_page_as_json(raw: bytes, query_id: str | None) -> None:
    assert query_id_in(raw) == query_id
