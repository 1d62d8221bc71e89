"""Orders that a language model writes, legal by construction: identifiers, their automaton, and logits to order.

A listwise prompt marks each item by an identifier, one token drawn at random per request, and the model answers
``[G] > [QB] > [M]``. An order, everywhere here, is a tuple of item numbers (places in the prompt, from 0), best first.

    names = draw_identifiers(pool, n=20, seed=7, request="query 12")
    order_by_logits(logits[list(names.tokens)])                      # one forward pass: the first answer token
    automaton = PermutationAutomaton(names.tokens, opening=.., between=.., closing=.., end=..)
    turn = decoding(automaton)                                       # a generator without I/O: tokens out, logits in

Pure: arrays and numbers, no model. Reading what a model wrote without such a mask is ``permutation_text``.
Source: own construction.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from string import ascii_uppercase
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import DecodingError, InputError, ShapeError

Order: TypeAlias = tuple[int, ...]
"""Item numbers, best first."""

Decoding: TypeAlias = Generator[tuple[int, ...], NDArray[np.floating], Order]
"""Yields the tokens to append, is sent the logits of the next one, returns the order."""

_FAR = 1e30  # an infinite logit, as a number that sums and fits float32


@dataclass(frozen=True)
class Identifiers:
    """What marks the items of one prompt, in the order of the items.

    Attributes:
        texts: as written in the prompt.  tokens: the one token each of them is.
    """

    texts: tuple[str, ...]
    tokens: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)


def letter_strings() -> Iterator[str]:
    """Candidates for identifiers: A to Z, then AA to ZZ; no digits, which results are full of."""
    for length in (1, 2):
        yield from map("".join, product(ascii_uppercase, repeat=length))


def identifier_pool(
    encode: Callable[[str], Sequence[int]], candidates: Iterable[str], *, opening: str = "[", closing: str = "]"
) -> Identifiers:
    """The candidates that are one token to a tokenizer, alone and between their brackets.

    Args:
        encode: the token ids of a text, without special tokens.
        candidates: such as ``letter_strings()``.
    Raises:
        InputError: a candidate that is not made of letters, or comes twice.
    """
    found: dict[str, int] = {}
    before, after = list(encode(opening)), list(encode(closing))
    for text in candidates:
        alone = list(encode(text))
        # A tokenizer may merge a letter with its bracket: the prompt would then not hold the token that is scored.
        if len(alone) == 1 and list(encode(opening + text + closing)) == before + alone + after:
            found[text] = alone[0]
    return checked_pool(found.items())


def checked_pool(entries: Iterable[tuple[str, int]]) -> Identifiers:
    """A pool of identifiers out of pairs of text and token.

    Raises:
        InputError: a text that is not made of letters; a text or token twice.
    """
    pairs = list(entries)
    texts, tokens = [text for text, _ in pairs], [token for _, token in pairs]
    odd = [text for text in texts if not text.isalpha()]
    if odd or len(set(texts)) < len(texts) or len(set(tokens)) < len(tokens):
        raise InputError(
            f"pool of identifiers: got {len(pairs)} with {len(set(texts))} texts and {len(set(tokens))} tokens, "
            f"not made of letters: {odd[:5]}; allowed: letters only, each text and each token once; drop the others"
        )
    return Identifiers(tuple(texts), tuple(tokens))


def draw_identifiers(pool: Identifiers, n: int, *, seed: int, request: str) -> Identifiers:
    """Identifiers for ``n`` items, drawn for this request, none twice.

    The draw depends on the seed, the request and which texts are in the pool, not on the pool's order or on what was
    drawn before; a smaller draw is the beginning of a larger one. What a result's text says can then name the
    identifier of a place only by chance: where results may be hostile, keep the seed secret.

    Raises:
        InputError: the pool is too small, or ``n`` is negative.
    """
    if not 0 <= n <= len(pool):
        raise InputError(
            f"identifiers: got {n} items for a pool of {len(pool)}; allowed: 0 to {len(pool)}; use smaller windows, or "
            "a larger pool"
        )

    def key(i: int) -> bytes:
        return hashlib.sha256(msgspec.json.encode([seed, request, pool.texts[i]])).digest()

    drawn = sorted(range(len(pool)), key=key)[:n]
    return Identifiers(tuple(pool.texts[i] for i in drawn), tuple(pool.tokens[i] for i in drawn))


class State(NamedTuple):
    """How far an answer has come: the items named, and the fixed tokens written since the last of them."""

    picked: Order = ()
    at: int = 0


class PermutationAutomaton:
    """Which token may come next, so that every finished answer names each item once.

    An answer is ``opening``, an identifier, ``between``, an identifier, and so on, ``closing``, ``end``: for
    ``[A] > [B]`` these are the tokens of ``[``, of ``] > [``, and of ``]``. States are values: share them, go back to
    them, keep many.

    Args:
        identifiers: the token of each item, in the order of the items.
        opening, between, closing: fixed tokens; each may be empty.
        end: the token that ends an answer; ``None`` = an answer ends with ``closing``.
        depth: how many items an answer names, at least 1; the others follow in the order of the prompt. More than
            there are, or ``None``: all of them.
    Raises:
        InputError: two items share a token, a token is negative, or the depth is below 1.
    """

    def __init__(
        self,
        identifiers: Sequence[int],
        *,
        opening: Sequence[int] = (),
        between: Sequence[int] = (),
        closing: Sequence[int] = (),
        end: int | None = None,
        depth: int | None = None,
    ) -> None:
        self.identifiers = tuple(identifiers)
        self._item = {token: item for item, token in enumerate(self.identifiers)}
        fixed = [*opening, *between, *closing, *([] if end is None else [end])]
        if len(self._item) < len(self.identifiers) or min([0, *self.identifiers, *fixed]) < 0:
            raise InputError(
                f"automaton: got {len(self.identifiers)} identifiers with {len(self._item)} tokens, least token "
                f"{min([0, *self.identifiers, *fixed])}; allowed: a token of its own for each item, from 0; draw them "
                "from a checked pool"
            )
        if depth is not None and depth < 1:
            raise InputError(f"automaton: got depth {depth}; allowed: 1 or more; leave it out to order all items")
        self.depth = len(self.identifiers) if depth is None else min(depth, len(self.identifiers))
        self._opening, self._between = tuple(opening), tuple(between)
        self._ending = (*closing, *(() if end is None else (end,)))

    def __len__(self) -> int:
        return len(self.identifiers)

    @property
    def start(self) -> State:
        """Nothing written."""
        return State()

    def allowed(self, state: State) -> tuple[int, ...]:
        """The tokens that may come next, identifiers in the order of their items; none when the answer is finished."""
        fixed = self._fixed(state)
        if state.at < len(fixed):
            return (fixed[state.at],)
        if len(state.picked) == self.depth:
            return ()
        named = set(state.picked)
        return tuple(token for item, token in enumerate(self.identifiers) if item not in named)

    def forced(self, state: State) -> tuple[int, ...]:
        """The tokens that must follow whatever the model says, up to the next choice or the end: no need to ask it."""
        tokens: list[int] = []
        while len(choice := self.allowed(state)) == 1:
            tokens.append(choice[0])
            state = self.advance(state, choice[0])
        return tuple(tokens)

    def advance(self, state: State, *tokens: int) -> State:
        """The state after these tokens.

        Raises:
            DecodingError: a token is not allowed there.
        """
        for token in tokens:
            choice = self.allowed(state)
            if token not in choice:
                raise DecodingError(
                    f"automaton: got token {token} after {len(state.picked)} items; allowed: {list(choice[:5])}"
                    f"{' and others' * (len(choice) > 5)}; mask the logits"
                )
            if state.at < len(self._fixed(state)):
                state = State(state.picked, state.at + 1)
            else:
                state = State((*state.picked, self._item[token]))
        return state

    def finished(self, state: State) -> bool:
        """Whether nothing may follow."""
        return not self.allowed(state)

    def decided(self, state: State) -> bool:
        """Whether the order can no longer change: all is named, or only one item is left to be named."""
        return len(state.picked) == self.depth or len(state.picked) + 1 >= len(self.identifiers)

    def order(self, state: State) -> Order:
        """The items named, then all others in the order of the prompt: a permutation in every state."""
        named = set(state.picked)
        return (*state.picked, *(item for item in range(len(self.identifiers)) if item not in named))

    def mask(self, state: State, size: int) -> NDArray[np.bool_]:
        """Which of ``size`` tokens may come next; ``[size]``.

        Raises:
            ShapeError: the vocabulary ends before a token that may come.
        """
        choice = self.allowed(state)
        if choice and max(choice) >= size:
            raise ShapeError(
                f"automaton: got a vocabulary of {size} for token {max(choice)}; allowed: one logit a token; pass the "
                "whole row"
            )
        mask = np.zeros(size, bool)
        mask[list(choice)] = True
        return mask

    def mask_logits(self, logits: NDArray[np.floating], state: State) -> NDArray[np.floating]:
        """The logits with everything illegal at minus infinity, so that greedy and sampled tokens are legal.

        What is legal comes out finite: infinite values are brought to the ends of the number type.

        Shapes:
            logits, return: [V] float
        Raises:
            DecodingError: a legal token has no number (NaN), or the answer is finished.
            ShapeError: not one row, or too short a one.
        """
        values = self._row(logits, state)
        masked = np.full_like(values, -np.inf)
        kept = list(self.allowed(state))
        masked[kept] = np.nan_to_num(values[kept])
        return masked

    def choose(self, logits: NDArray[np.floating], state: State) -> int:
        """The legal token with the largest logit; of equal ones the item that stands first in the prompt.

        Shapes:
            logits: [V] float
        Raises:
            DecodingError, ShapeError: as ``mask_logits``.
        """
        values = self._row(logits, state)
        choice = self.allowed(state)
        return choice[int(np.argmax(values[list(choice)]))]

    def _row(self, logits: NDArray[np.floating], state: State) -> NDArray[np.floating]:
        if logits.ndim != 1:
            raise ShapeError(f"automaton: got logits of shape {logits.shape}; allowed: [V]; pass one row at a time")
        if self.finished(state):
            raise DecodingError("automaton: got logits after the end; allowed: none; stop when the answer is finished")
        _numbers(logits[self.mask(state, len(logits))])
        return logits

    def _fixed(self, state: State) -> tuple[int, ...]:
        """The fixed tokens between the last item named and what follows it."""
        if not self.identifiers:
            return ()
        if len(state.picked) == self.depth:
            return self._ending
        return self._between if state.picked else self._opening


def decoding(automaton: PermutationAutomaton) -> Decoding:
    """Greedy decoding of one answer, a model call only where there is a choice.

    Yields the tokens to append to what the model has read, the first time those that open the answer; is sent the
    logits that follow them; returns the order as soon as it is decided. ``min(depth, n - 1)`` calls.

    Raises:
        DecodingError, ShapeError: logits that cannot be read (``PermutationAutomaton.choose``), when they are sent.
    """
    state = automaton.start
    tokens: tuple[int, ...] = ()
    while not automaton.decided(state):
        forced = automaton.forced(state)
        state = automaton.advance(state, *forced)
        logits = yield tokens + forced
        tokens = (automaton.choose(logits, state),)
        state = automaton.advance(state, *tokens)
    return automaton.order(state)


def order_by_logits(values: NDArray[np.floating]) -> Order:
    """Items by the logits of their identifiers as the first token of the answer; equal ones as in the prompt.

    Shapes:
        values: [n] float, one an item; infinite ones have their place
    Raises:
        DecodingError: an item has no number (NaN).
        ShapeError: not one row.
    """
    return tuple(int(i) for i in np.argsort(-_numbers(values), kind="stable"))


def log_probabilities(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log-probability that each item is named first, given that one of them is; falls along ``order_by_logits``.

    The sum does not depend on the order of the items. Finite for infinite logits, which count as +-1e30.

    Shapes:
        values: [n] float; return: [n] float64
    Raises:
        DecodingError, ShapeError: as ``order_by_logits``.
    """
    numbers = np.clip(_numbers(values), -_FAR, _FAR)
    if not len(numbers):
        return numbers
    above = numbers - numbers.max()
    return np.asarray(above - math.log(math.fsum(np.exp(above))))


def _numbers(values: NDArray[np.floating]) -> NDArray[np.float64]:
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1:
        raise ShapeError(f"logits: got shape {numbers.shape}; allowed: [n], one an item; pass one list at a time")
    missing = np.flatnonzero(np.isnan(numbers))
    if len(missing):
        raise DecodingError(
            f"logits: got NaN for items {missing[:5].tolist()} of {len(numbers)}; allowed: numbers; look for an "
            "overflow in the model, or compute its head in float32"
        )
    return numbers
