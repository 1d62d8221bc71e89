"""The hash chain: right as written, wrong at the first row that is not."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from wholepage.annotation.chain import GENESIS, Row, entry_hash, verify_entries, verify_rows
from wholepage.annotation.events import Answered, Closed, Entry, Paused, Task, decode_event, encode_event
from wholepage.pages.errors import ChainBroken, StoreError

AT = "2026-11-21T12:30:00.250Z"
EVENTS = [Answered("ann", AT, Task.grade("q", f"r{i}"), grade=i % 4, seconds=1.5) for i in range(6)]


def chained(bodies: list[bytes]) -> list[Row]:
    """Rows with hashes made by other means than the module's own."""
    rows, before = [], "0" * 64
    for seq, body in enumerate(bodies, start=1):
        digest = hashlib.sha256()
        for part in (before.encode("ascii"), b"\n", body):
            digest.update(part)
        before = digest.hexdigest()
        rows.append(Row(seq, body, before))
    return rows


ROWS = chained([encode_event(event) for event in EVENTS])


def test_a_hash_is_over_the_hash_before_and_the_bytes() -> None:
    # sha256 of 64 zeros, a newline and "{}", computed with sha256sum.
    assert entry_hash(GENESIS, b"{}") == "5649d09ed68c17156095d175eef152856c5b1a81c117c409c1e00f096aa6838e"
    assert ROWS[0].hash == entry_hash(GENESIS, ROWS[0].body)
    assert ROWS[1].hash == entry_hash(ROWS[0].hash, ROWS[1].body)


def test_right_rows_are_their_entries() -> None:
    entries = list(verify_rows(ROWS))
    assert entries == [Entry(row.seq, event, row.hash) for row, event in zip(ROWS, EVENTS, strict=True)]
    assert verify_entries(entries) == len(EVENTS)
    assert verify_entries([]) == 0


def test_a_log_is_read_from_the_middle() -> None:
    assert [e.seq for e in verify_rows(ROWS[2:], after=2, previous=ROWS[1].hash)] == [3, 4, 5, 6]
    with pytest.raises(ChainBroken, match="row 3") as broken:
        list(verify_rows(ROWS[2:], after=2, previous=ROWS[2].hash))
    assert broken.value.wrong == "hash"


@pytest.mark.parametrize("at", range(len(ROWS)))
def test_every_flipped_bit_of_a_body_is_found_at_its_row(at: int) -> None:
    row = ROWS[at]
    for place in range(len(row.body)):
        for bit in range(8):
            body = bytearray(row.body)
            body[place] ^= 1 << bit
            got: list[int] = []
            with pytest.raises(ChainBroken) as broken:
                got.extend(
                    entry.seq for entry in verify_rows([*ROWS[:at], row._replace(body=bytes(body)), *ROWS[at + 1 :]])
                )
            assert (broken.value.seq, broken.value.wrong) == (at + 1, "hash")


@pytest.mark.parametrize("at", range(len(ROWS)))
def test_every_changed_digit_of_a_hash_is_found_at_its_row(at: int) -> None:
    row = ROWS[at]
    for place in range(64):
        digit = format(int(row.hash[place], 16) ^ 1, "x")
        wrong = row._replace(hash=row.hash[:place] + digit + row.hash[place + 1 :])
        with pytest.raises(ChainBroken) as broken:
            list(verify_rows([*ROWS[:at], wrong, *ROWS[at + 1 :]]))
        assert (broken.value.seq, broken.value.wrong) == (at + 1, "hash")


def test_rows_gone_repeated_or_swapped_are_found() -> None:
    for rows, seq in (
        ([*ROWS[:2], *ROWS[3:]], 3),
        (ROWS[1:], 1),
        ([*ROWS[:3], ROWS[2], *ROWS[3:]], 4),
        ([ROWS[0], ROWS[2], ROWS[1], *ROWS[3:]], 2),
    ):
        with pytest.raises(ChainBroken) as broken:
            list(verify_rows(rows))
        assert (broken.value.seq, broken.value.wrong) == (seq, "gap")


def test_all_before_the_bad_row_is_handed_out() -> None:
    rows = [*ROWS[:4], ROWS[4]._replace(body=b"{}"), ROWS[5]]
    entries = verify_rows(rows, log="shoes")
    assert [next(entries).seq for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(
        ChainBroken, match=r"^log 'shoes', row 5: hash: got the hash .*; allowed: .*; bring the log back"
    ):
        next(entries)


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b'{"event":"nonsense"}', b'{"event":"closed","who":"a"}'])
def test_rightly_chained_nonsense_is_unreadable(body: bytes) -> None:
    with pytest.raises(ChainBroken, match="row 7: unreadable") as broken:
        list(verify_rows(chained([*(row.body for row in ROWS), body])))
    assert (broken.value.seq, broken.value.wrong) == (7, "unreadable")


@pytest.mark.parametrize(
    "odd", [{"body": "text"}, {"body": None}, {"hash": None}, {"hash": b"x"}, {"seq": "3"}, {"seq": None}]
)
def test_a_row_of_other_types_is_broken_not_a_crash(odd: dict[str, object]) -> None:
    with pytest.raises(ChainBroken) as broken:
        list(verify_rows([*ROWS[:2], ROWS[2]._replace(**odd), *ROWS[3:]]))
    assert broken.value.seq == 3


def test_changed_entries_are_found() -> None:
    entries = [Entry(row.seq, decode_event(row.body), row.hash) for row in ROWS]
    other = msgspec.structs.replace(entries[3], event=Closed("ann", AT))
    with pytest.raises(ChainBroken) as broken:
        verify_entries([*entries[:3], other, *entries[4:]])
    assert (broken.value.seq, broken.value.wrong) == (4, "hash")


def test_the_error_is_the_store_s_and_survives_a_process() -> None:
    error = ChainBroken(3, "gap", "got row 5 next", log="shoes")
    assert isinstance(error, StoreError)
    kind, parts = error.__reduce__()
    again = kind(*parts)
    assert (str(again), again.seq, again.wrong, again.log) == (str(error), 3, "gap", "shoes")


def test_text_of_any_kind_is_chained() -> None:
    rows = chained([encode_event(Paused("ann", AT, person="Zoë 🙂", reason="line\nbreak\u2028\x00"))])
    assert next(verify_rows(rows)).event.person == "Zoë 🙂"
