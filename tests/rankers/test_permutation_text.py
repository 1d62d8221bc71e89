"""Orders read from free text: what counts as a mention, and every repair counted."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.pages.errors import DecodingError, InputError
from wholepage.rankers.permutation_text import Parsed, Repairs, parse_permutation

ABCD = ("A", "B", "C", "D")


def read(text: str, depth: int | None = None) -> tuple[str, Repairs]:
    parsed = parse_permutation(text, ABCD, depth=depth)
    return "".join(ABCD[i] for i in parsed.order), parsed.repairs


@pytest.mark.parametrize(
    ("text", "order", "repairs"),
    [
        ("[B] > [D] > [A] > [C]", "BDAC", Repairs()),
        ("[B]>[ D ]\n> [A] >\t[C].", "BDAC", Repairs()),
        ("[B] > [D] > [B] > [A] > [C]", "BDAC", Repairs(duplicated=1)),
        ("[B] > [X] > [D] > [] > [A] > [C]", "BDAC", Repairs(unknown=2)),
        ("[D] > [B]", "DBAC", Repairs(missing=2)),
        ("[b] > [D] > [C] > [AB]", "DCAB", Repairs(unknown=2, missing=2)),
        ("B > D > A > C", "ABCD", Repairs(missing=4, none_found=1)),
        ("", "ABCD", Repairs(missing=4, none_found=1)),
        ("Sorry, [1] > [2].", "ABCD", Repairs(unknown=2, missing=4, none_found=1)),
        ("1. [C]\n2. [A]\n3. [B]\n4. [D]", "CABD", Repairs(unjoined=3)),
        ("[C], [A]", "CABD", Repairs(unjoined=1, missing=2)),
        ("[C]", "CABD", Repairs(missing=3)),
        # What is said about the items before or after the ranking does not move them.
        ("I compared [A] with [B]. [B] > [D] > [A] > [C]", "BDAC", Repairs(stray=2)),
        ("[A] > [B], hmm, no: [B] > [D] > [A] > [C] as [C] is off", "BDAC", Repairs(stray=3)),
        ("[A] > [B]? Rather [B] > [A]!", "BACD", Repairs(stray=2, missing=2)),
        ("[A] > [A] > [A] > [A]. [C] > [B]", "CBAD", Repairs(stray=4, missing=2)),
        ("[[B]] > [A]", "BACD", Repairs(unjoined=1, missing=2)),
        ("[B] > [A", "BACD", Repairs(missing=3)),
        ("\uff3bB\uff3d > \u3010A\u3011", "ABCD", Repairs(missing=4, none_found=1)),
    ],
)
def test_answers(text: str, order: str, repairs: Repairs) -> None:
    assert read(text) == (order, repairs)
    if repairs:
        with pytest.raises(DecodingError, match="Repairs"):
            parse_permutation(text, ABCD, strict=True)
    else:
        assert parse_permutation(text, ABCD, strict=True).order == tuple(map(ABCD.index, order))


def test_numbers_in_the_prose_say_nothing() -> None:
    said = parse_permutation("I considered all 4 passages: [2] > [1]", ("1", "2", "3", "4"))
    assert said == Parsed((1, 0, 2, 3), Repairs(missing=2))
    assert parse_permutation("Of 4 passages 3 fit: [2] > [1]", ("1", "2")).repairs == Repairs()


def test_asked_for_few_only_few_can_be_missing() -> None:
    assert read("[D] > [B]", depth=2) == ("DBAC", Repairs())
    assert read("[D]", depth=2) == ("DABC", Repairs(missing=1))
    assert read("[D] > [B] > [A]", depth=2) == ("DBAC", Repairs())
    assert read("[D] > [B]", depth=9) == ("DBAC", Repairs(missing=2))


def test_nothing_to_order_is_no_repair() -> None:
    assert parse_permutation("[A] > [B]", ()) == Parsed((), Repairs(unknown=2))
    assert parse_permutation("", (), strict=True) == Parsed((), Repairs())


PIECES = st.sampled_from(["[A]", "[B]", "[C]", "[D]", "[Z]", "[", "]", ">", " > ", " ", "\n", "A", "4", "[]", "no"])


@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=60))
def test_any_text_gives_a_permutation_and_the_counts_add_up(text: str) -> None:
    order, repairs = read(text)
    assert sorted(order) == sorted(ABCD)
    mentions = sum(text.count(f"[{name}]") for name in ABCD)
    # Every mention placed an item, repeated one, or stood beside the ranking.
    assert 4 - repairs.missing + repairs.duplicated + repairs.stray == mentions
    assert repairs.none_found == (repairs.missing == 4)


@given(st.permutations(ABCD))
def test_what_the_automaton_writes_needs_no_repair(order: list[str]) -> None:
    assert read(" > ".join(f"[{name}]" for name in order)) == ("".join(order), Repairs())


def test_repairs_add_up() -> None:
    total = sum((Repairs(duplicated=1), Repairs(missing=2, none_found=1), Repairs(1, 2, 3, 4, 5, 6)), Repairs())
    assert total == Repairs(duplicated=2, unknown=2, missing=5, stray=4, unjoined=5, none_found=7)
    assert not Repairs()
    assert Repairs(stray=1)


def test_two_items_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="2 identifiers, 1 of them different"):
        parse_permutation("[A]", ("A", "A"))


@pytest.mark.parametrize("text", ["[" * 10**6, "[A] > " * 10**5, "[" + "A" * 10**6, "[A" * 10**5, "] > [" * 10**5])
def test_long_answers_take_no_long_time(text: str) -> None:
    begun = time.process_time()
    assert sorted(parse_permutation(text, ABCD).order) == [0, 1, 2, 3]
    assert time.process_time() - begun < 5
