"""The automaton of permutations: whatever the logits, the answer is one; and identifiers, drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from wholepage.pages.errors import DecodingError, InputError, ShapeError
from wholepage.rankers.permutation import (
    Identifiers,
    PermutationAutomaton,
    State,
    checked_pool,
    decoding,
    draw_identifiers,
    identifier_pool,
    letter_strings,
    log_probabilities,
    order_by_logits,
)

OPEN, JOIN, SHUT, END = (1,), (2, 3, 1), (2,), 0
FIRST = 4  # token of the first item, where tests do not draw them
SIZE = 300
POOL = checked_pool((name, 10 + i) for i, name in enumerate(letter_strings()))
ROWS = hnp.arrays(np.float32, SIZE, elements=st.floats(-10, 10, width=16) | st.sampled_from([np.inf, -np.inf, 0.0]))


def automaton(n: int, depth: int | None = None, end: int | None = END) -> PermutationAutomaton:
    tokens = range(FIRST, FIRST + n)
    return PermutationAutomaton(tokens, opening=OPEN, between=JOIN, closing=SHUT, end=end, depth=depth)


def written(order: Sequence[int]) -> tuple[int, ...]:
    """The tokens of an answer, put together by hand."""
    if not order:
        return ()
    tokens = [*OPEN, FIRST + order[0]]
    for item in order[1:]:
        tokens += [*JOIN, FIRST + item]
    return (*tokens, *SHUT, END)


def is_order(order: Sequence[int], n: int) -> bool:
    return sorted(order) == list(range(n))


@given(st.data(), st.integers(0, 200), st.integers(1, 210) | st.none())
def test_any_logits_give_a_permutation(data: st.DataObject, n: int, depth: int | None) -> None:
    rows = data.draw(st.lists(ROWS, min_size=1, max_size=3))
    machine = automaton(n, depth)
    turn, calls, read = decoding(machine), 0, ()
    try:
        read += next(turn)
        while True:
            calls += 1
            read += turn.send(np.roll(rows[calls % len(rows)], calls))
    except StopIteration as done:
        order = done.value
    assert is_order(order, n)
    assert calls == max(0, min(n if depth is None else depth, n - 1))
    # What the model was given to read is the beginning of the answer, token for token.
    assert written(order[:depth])[: len(read)] == read


@given(ROWS, st.integers(1, 40), st.integers(1, 40) | st.none())
def test_masked_logits_lead_to_a_legal_answer_token_by_token(row: np.ndarray, n: int, depth: int | None) -> None:
    machine = automaton(n, depth)
    state, tokens = machine.start, []
    while not machine.finished(state):
        masked = machine.mask_logits(row, state)
        legal = machine.mask(state, SIZE)
        assert np.isfinite(masked[legal]).all()
        assert (masked[~legal] == -np.inf).all()
        tokens.append(int(np.argmax(masked)))
        state = machine.advance(state, tokens[-1])
    order = machine.order(state)
    assert is_order(order, n)
    assert tuple(tokens) == written(order[:depth])


@given(st.permutations(range(12)), st.integers(1, 12))
def test_greedy_decoding_follows_the_logits(wished: list[int], depth: int) -> None:
    row = np.zeros(SIZE, np.float32)
    row[[FIRST + item for item in wished]] = -np.arange(12)
    turn = decoding(automaton(12, depth))
    next(turn)
    order: tuple[int, ...] = ()
    while not order:
        try:
            turn.send(row)
        except StopIteration as done:
            order = done.value
    assert order[:depth] == tuple(wished[:depth])
    assert list(order[depth:]) == sorted(wished[depth:])


@pytest.mark.parametrize(("n", "depth"), [(0, None), (1, None), (3, None), (4, 2), (5, 1), (4, 9)])
def test_there_are_as_many_answers_as_orders(n: int, depth: int | None) -> None:
    """Every path through the automaton, against every order there is."""
    machine = automaton(n, depth)
    paths, found = [((), machine.start)], set()
    while paths:
        tokens, state = paths.pop()
        if machine.finished(state):
            found.add(tokens)
        paths += [((*tokens, token), machine.advance(state, token)) for token in machine.allowed(state)]
    assert found == {written(order) for order in permutations(range(n), n if depth is None else min(depth, n))}


def test_forced_tokens_are_known_without_the_model() -> None:
    machine = automaton(3)
    assert machine.forced(machine.start) == OPEN
    one = machine.advance(machine.start, *OPEN, FIRST + 2)
    assert machine.forced(one) == JOIN
    assert not machine.decided(one)
    two = machine.advance(one, *JOIN, FIRST)
    assert machine.decided(two)
    assert not machine.finished(two)
    assert machine.forced(two) == (*JOIN, FIRST + 1, *SHUT, END)
    assert machine.order(two) == (2, 0, 1)
    last = machine.advance(two, *machine.forced(two))
    assert machine.finished(last)
    assert machine.forced(last) == ()
    assert machine.order(machine.start) == (0, 1, 2)
    single = automaton(1)
    assert single.decided(single.start)
    without_end = automaton(2, 1, end=None)
    assert without_end.finished(without_end.advance(without_end.start, *OPEN, FIRST, *SHUT))
    assert len(machine) == 3


def test_equal_logits_keep_the_order_of_the_prompt() -> None:
    machine = PermutationAutomaton((9, 4, 7), opening=OPEN)
    state = machine.advance(machine.start, *OPEN)
    assert machine.choose(np.zeros(10, np.float32), state) == 9
    assert machine.choose(np.full(10, -np.inf), state) == 9
    row = np.zeros(10)
    row[[4, 7]] = 1
    assert machine.choose(row, state) == 4
    assert machine.allowed(state) == (9, 4, 7)


def test_illegal_tokens_and_unreadable_logits_are_refused() -> None:
    machine = automaton(9)
    state = machine.advance(machine.start, *OPEN)
    with pytest.raises(DecodingError, match=r"got token 99 after 0 items; allowed: \[4, 5, 6, 7, 8\] and others"):
        machine.advance(state, 99)
    with pytest.raises(DecodingError, match="got token 4 after 1 items"):
        machine.advance(state, 4, *JOIN, 4)
    row = np.zeros(SIZE, np.float32)
    row[FIRST + 3] = np.nan
    for read in (machine.choose, machine.mask_logits):
        with pytest.raises(DecodingError, match="NaN"):
            read(row, state)
        # What may not come need not be a number.
        read(row, machine.advance(state, FIRST + 3, *JOIN))
        with pytest.raises(ShapeError, match="one row at a time"):
            read(np.zeros((2, SIZE)), state)
        with pytest.raises(ShapeError, match="vocabulary of 12 for token 12"):
            read(np.zeros(12), state)
        done = machine.advance(state, *written(range(9))[1:])
        with pytest.raises(DecodingError, match="after the end"):
            read(row, done)


def test_masks_keep_the_number_type() -> None:
    machine = automaton(3)
    state = machine.advance(machine.start, *OPEN)
    for kind in (np.float16, np.float32, np.float64):
        row = np.full(SIZE, np.inf, kind)
        masked = machine.mask_logits(row, state)
        assert masked.dtype == kind
        assert masked.max() == np.finfo(kind).max
        assert (row == np.inf).all()


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (lambda: PermutationAutomaton((1, 1)), "2 identifiers with 1 tokens"),
        (lambda: PermutationAutomaton((1, 2), end=-1), "least token -1"),
        (lambda: PermutationAutomaton((1, 2), depth=0), "depth 0"),
    ],
)
def test_an_automaton_that_makes_no_sense(made: object, named: str) -> None:
    with pytest.raises(InputError, match=named):
        made()  # type: ignore[operator]


def test_states_are_values() -> None:
    assert automaton(3).start == State() == automaton(5).start
    assert len({automaton(3).start, State()}) == 1


# ---------------------------------------------------------------- first-token logits
@given(
    hnp.arrays(np.float32, st.integers(0, 200), elements=st.floats(-4, 4, width=16) | st.sampled_from([np.inf, 0.0]))
)
def test_order_by_logits_is_pythons_stable_sort(values: np.ndarray) -> None:
    assert list(order_by_logits(values)) == sorted(range(len(values)), key=lambda i: -values[i])


@given(hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-500, 500)), st.randoms())
def test_log_probabilities_are_scipys_and_do_not_depend_on_the_order(values: np.ndarray, random: object) -> None:
    told = log_probabilities(values)
    np.testing.assert_allclose(told, special.log_softmax(values), rtol=1e-12, atol=1e-12)
    assert (np.diff(told[list(order_by_logits(values))]) <= 0).all()
    turned = np.array(random.sample(range(len(values)), len(values)))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(log_probabilities(values[turned]), told[turned])


def test_infinite_logits_have_finite_log_probabilities() -> None:
    told = log_probabilities(np.array([-np.inf, 3.0, np.inf, np.inf], np.float32))
    assert np.isfinite(told.astype(np.float32)).all()
    np.testing.assert_allclose(told[2:], np.log(0.5))
    assert log_probabilities(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("read", [order_by_logits, log_probabilities])
def test_logits_without_number_are_refused(read: object) -> None:
    with pytest.raises(DecodingError, match=r"NaN for items \[1\] of 3"):
        read(np.array([0, np.nan, 1]))  # type: ignore[operator]
    with pytest.raises(ShapeError, match=r"\(1, 3\)"):
        read(np.zeros((1, 3)))  # type: ignore[operator]


# ---------------------------------------------------------------- identifiers
@given(st.integers(0, len(POOL)), st.integers(), st.text())
def test_drawn_identifiers_are_of_the_pool_and_never_repeat(n: int, seed: int, request: str) -> None:
    drawn = draw_identifiers(POOL, n, seed=seed, request=request)
    assert len(drawn) == n == len(set(drawn.texts)) == len(set(drawn.tokens))
    assert set(zip(drawn.texts, drawn.tokens, strict=True)) <= set(zip(POOL.texts, POOL.tokens, strict=True))
    assert drawn == draw_identifiers(POOL, n, seed=seed, request=request)
    backwards = Identifiers(POOL.texts[::-1], POOL.tokens[::-1])
    assert drawn == draw_identifiers(backwards, n, seed=seed, request=request)
    assert draw_identifiers(POOL, n // 2, seed=seed, request=request).texts == drawn.texts[: n // 2]


def test_the_draw_is_fair_and_differs_by_request_and_seed() -> None:
    small = checked_pool([(name, i) for i, name in enumerate("ABCDEFGH")])
    first = Counter(draw_identifiers(small, 1, seed=3, request=str(i)).texts[0] for i in range(4000))
    assert stats.chisquare([first[name] for name in small.texts]).pvalue > 0.001
    drawn = {draw_identifiers(POOL, 20, seed=s, request=r) for s in range(5) for r in ("a", "b", "a ")}
    assert len(drawn) == 15


def test_the_same_draw_on_every_machine() -> None:
    assert draw_identifiers(POOL, 4, seed=0, request="q").texts == ("IJ", "WR", "VU", "JY")


def test_a_pool_too_small_is_refused() -> None:
    pool = checked_pool([("A", 1), ("B", 2)])
    with pytest.raises(InputError, match="3 items for a pool of 2"):
        draw_identifiers(pool, 3, seed=0, request="q")
    with pytest.raises(InputError, match="-1 items"):
        draw_identifiers(pool, -1, seed=0, request="q")


def test_candidates_are_letters_without_digits() -> None:
    names = list(letter_strings())
    assert len(names) == len(set(names)) == 26 + 26 * 26
    assert all(name.isalpha() and name.isupper() for name in names)


def test_a_pool_keeps_what_is_one_token_between_brackets() -> None:
    """A tokenizer of letters that has AB as one token, CC as two, and merges ``[D``."""
    merges = {"[D": 90, "AB": 91}

    def encode(text: str) -> list[int]:
        tokens = []
        while text:
            part = text[:2] if text[:2] in merges else text[:1]
            tokens.append(merges.get(part, ord(part[0])))
            text = text[len(part) :]
        return tokens

    pool = identifier_pool(encode, ["A", "D", "AB", "CC", "E"])
    assert pool == Identifiers(("A", "AB", "E"), (ord("A"), 91, ord("E")))
    assert identifier_pool(encode, ["D"], opening="(").texts == ("D",)


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ([("A", 1), ("A", 2)], "1 texts"),
        ([("A", 1), ("B", 1)], "1 tokens"),
        ([("A", 1), ("7", 2)], r"not made of letters: \['7'\]"),
        ([("", 1)], "not made of letters"),
        ([("A]", 1)], "not made of letters"),
    ],
)
def test_pools_that_would_confuse_are_refused(entries: list[tuple[str, int]], named: str) -> None:
    with pytest.raises(InputError, match=named):
        checked_pool(entries)
