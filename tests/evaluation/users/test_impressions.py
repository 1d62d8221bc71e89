"""The log: records, their file, their columns."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.evaluation.users.impressions import (
    NO,
    UNKNOWN,
    YES,
    Click,
    Impression,
    read_impressions,
    records_of,
    table_of,
    write_impressions,
)
from wholepage.pages import Modality, PageError, RecordError, ShapeError

FIRST = Impression(
    "i1", "ann", "q1", ("a", "b", "c"), (Modality.TEXT, Modality.IMAGE, Modality.IMAGE),
    (Click(2, 3.0, 40.0), Click(0, 50.5)), at_s=1.7e9, arm="new", teams=("A", "", "B"), blocks=(0, 1, 1),
    reformulated=True, satisfied_without_click=False,
)  # fmt: skip
SECOND = Impression("i2", "bob", "q1", ("c",), (Modality.IMAGE,), satisfied_without_click=True)
EMPTY = Impression("i3", "ann", "q2", (), ())


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    for name in ("log.jsonl", "log.jsonl.gz"):
        assert write_impressions(tmp_path / name, [FIRST, SECOND, EMPTY]) == 3
        assert list(read_impressions(tmp_path / name)) == [FIRST, SECOND, EMPTY]


def test_what_is_not_known_is_left_out_of_the_file(tmp_path: Path) -> None:
    write_impressions(tmp_path / "log.jsonl", [Impression("i", "u", "q", ("a",), (Modality.TEXT,), (Click(0),))])
    assert (tmp_path / "log.jsonl").read_text() == (
        '{"impression_id":"i","user":"u","query_id":"q","shown":["a"],"modalities":["text"],"clicks":[{"place":0}]}\n'
    )


def test_any_nan_is_the_same_unknown() -> None:
    assert Click(1, dwell_s=float("nan")) == Click(1)
    assert msgspec.json.encode(Click(1, np.float64("nan").item())) == b'{"place":1}'


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"impression_id":"i","user":"u","query_id":"q","shown":["a"]}', "modalities"),
        ('{"impression_id":"i","user":"u","query_id":"q","shown":["a"],"modalities":["smell"]}', "modalities"),
        ('{"impression_id":"i","user":"u","query_id":"q","shown":[],"modalities":[],"colour":1}', "colour"),
        ('{"impression_id":"i","user":"u","query_id":"q","shown":[],"modalities":[],"at_s":NaN}', "NaN"),
        (
            '{"impression_id":"i","user":"u","query_id":"q","shown":["a"],"modalities":["text"],"clicks":[{"place":1}]}',
            r"clicks on places \[1\] of 1",
        ),
    ],
)
def test_a_bad_line_is_told_with_its_place(tmp_path: Path, line: str, told: str) -> None:
    write_impressions(tmp_path / "log.jsonl", [FIRST])
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write(line + "\n")
    reader = read_impressions(tmp_path / "log.jsonl")
    assert next(reader) == FIRST
    with pytest.raises(RecordError, match=told) as caught:
        next(reader)
    assert caught.value.line == 2


def test_an_id_comes_once_and_a_failed_file_does_not_appear(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="'i1', already in record 1"):
        write_impressions(tmp_path / "log.jsonl", [FIRST, FIRST])
    assert not list(tmp_path.iterdir())
    line = msgspec.json.encode(FIRST).decode() + "\n"
    (tmp_path / "twice.jsonl").write_text(line * 2)
    with pytest.raises(RecordError, match="already in record 1"):
        list(read_impressions(tmp_path / "twice.jsonl"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"user": ""}, "Impression.user: got an empty name"),
        ({"shown": ("a", "a", "b")}, r"\['a'\] shown twice"),
        ({"modalities": (Modality.TEXT,)}, "1 modalities for 3"),
        ({"teams": ("A",)}, "1 teams for 3"),
        ({"blocks": (0, 1)}, "2 blocks for 3"),
        ({"blocks": (0, -1, 1)}, "block number -1"),
        ({"at_s": math.inf}, "at_s inf"),
        ({"satisfied_without_click": True}, "beside 2 clicks"),
        ({"clicks": (Click(3),)}, r"places \[3\] of 3"),
    ],
)
def test_impossible_impressions_are_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(PageError, match=told):
        msgspec.structs.replace(FIRST, **changes)


@pytest.mark.parametrize("bad", [{"place": -1}, {"place": 0, "at_s": -1.0}, {"place": 0, "dwell_s": math.inf}])
def test_impossible_clicks_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(PageError, match="allowed"):
        Click(**bad)


def test_columns_of_a_log() -> None:
    table = table_of([FIRST, SECOND, EMPTY])
    assert (len(table), table.depth, table.length.tolist()) == (3, 3, [3, 1, 0])
    assert table.query_ids == ("q1", "q2")
    assert [table.users[u] for u in table.user] == ["ann", "bob", "ann"]
    assert table.item.tolist() == [[0, 1, 2], [2, -1, -1], [-1, -1, -1]]
    assert table.modality.tolist() == [[0, 1, 1], [1, -1, -1], [-1, -1, -1]]
    assert table.clicked.tolist() == [[True, False, True], [False] * 3, [False] * 3]
    np.testing.assert_array_equal(table.dwell_s[0], [math.nan, math.nan, 40.0])
    assert table.block.tolist() == [[0, 1, 1], [0, -1, -1], [-1] * 3]
    assert table.satisfied_without_click.tolist() == [NO, YES, UNKNOWN]
    assert table.there.sum() == 4


def test_the_same_result_of_two_queries_is_two_items() -> None:
    table = table_of([SECOND, msgspec.structs.replace(SECOND, impression_id="i4", query_id="q9")])
    assert table.item[:, 0].tolist() == [0, 1]
    assert (table.result_ids, table.item_query.tolist()) == (("c", "c"), [0, 1])


def test_clicks_on_one_place_are_one_click_of_their_first_moment_and_whole_time() -> None:
    clicks = (Click(0, 9.0, 5.0), Click(0, 4.0, 7.0))
    table = table_of([Impression("i", "u", "q", ("a",), (Modality.TEXT,), clicks)])
    assert (table.click_at_s[0, 0], table.dwell_s[0, 0]) == (4.0, 12.0)


def test_rows_are_chosen_by_number_or_mask() -> None:
    table = table_of([FIRST, SECOND, EMPTY])
    assert list(records_of(table.rows(np.array([1, 0])))) == [SECOND, FIRST]
    assert list(records_of(table.rows(np.array([False, True, False])))) == [SECOND]


def test_columns_that_do_not_fit_are_refused() -> None:
    table = table_of([FIRST, SECOND])
    for name, wrong in {
        "user": np.zeros(3, dtype=int), "clicked": np.zeros((2, 2), dtype=bool), "item_query": np.zeros(1, dtype=int),
        "impression_ids": ("i1",), "length": np.array([9, 1]), "dwell_s": np.zeros((3, 3)),
    }.items():  # fmt: skip
        with pytest.raises(ShapeError, match="ImpressionTable"):
            msgspec.structs.replace(table, **{name: wrong})
    with pytest.raises(ShapeError, match="clicks beyond the length"):
        msgspec.structs.replace(table, clicked=np.ones((2, 3), dtype=bool))


@st.composite
def _impressions(draw: st.DrawFn) -> list[Impression]:
    made = []
    for number in range(draw(st.integers(0, 5))):
        shown = tuple(draw(st.permutations("abcdé"))[: draw(st.integers(0, 5))])
        places = draw(st.lists(st.sampled_from(range(len(shown))), unique=True)) if shown else []
        # In the order they came, those of unknown moment last and by place, as records_of writes them.
        known = draw(st.integers(0, len(places)))
        moments = sorted(draw(st.lists(st.floats(0, 1e6), min_size=known, max_size=known, unique=True)))
        dwell = st.one_of(st.just(math.nan), st.floats(0, 1e6))
        clicks = [Click(p, t, draw(dwell)) for p, t in zip(places, moments, strict=False)]
        clicks += [Click(p, math.nan, draw(dwell)) for p in sorted(places[known:])]
        teams = tuple(draw(st.sampled_from(["", "A", "B"])) for _ in shown) if draw(st.booleans()) else ()
        made.append(
            Impression(
                f"i{number}",
                draw(st.sampled_from("uv")),
                draw(st.sampled_from("pq")),
                shown,
                tuple(draw(st.sampled_from(Modality)) for _ in shown),
                tuple(clicks),
                draw(st.floats(-1e9, 1e9)),
                draw(st.sampled_from(["", "new"])),
                teams if any(teams) else (),
                reformulated=draw(st.booleans()),
                satisfied_without_click=draw(st.sampled_from([None, False] if clicks else [None, False, True])),
            )
        )
    return made


@given(_impressions())
def test_records_and_columns_say_the_same(records: list[Impression]) -> None:
    assert list(records_of(table_of(records))) == records
