"""How a window is answered: by the logits of the first token, by decoding under the automaton, or left free.

All three give a permutation. Under the automaton the model is asked only where there is a choice; tokens that must
follow are read in the same pass as the choice before them. Left free it may break the rules; every repair is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wholepage.rankers.listwise_answers import Answer, FirstToken, Mode
from wholepage.rankers.listwise_attention import Memory, Span, Spans
from wholepage.rankers.listwise_engine import WindowEngine
from wholepage.rankers.listwise_pictures import Seen
from wholepage.rankers.listwise_prompt import BETWEEN, CLOSING, OPENING, Passage, WindowPrompt
from wholepage.rankers.listwise_words import Words
from wholepage.rankers.permutation import Decoding, Order, PermutationAutomaton, decoding, order_by_logits
from wholepage.rankers.permutation_text import parse_permutation

_SPARE_TOKENS = 8  # that a free answer may take beyond a lawful one


AnswerWindows: TypeAlias = Callable[
    [WindowEngine, Words, Sequence[WindowPrompt], Sequence[Memory], Mapping[str, Seen]], list[Answer]
]


def by_first_token(
    engine: WindowEngine,
    words: Words,
    prompts: Sequence[WindowPrompt],
    pasts: Sequence[Memory],
    seen: Mapping[str, Seen],
) -> list[Answer]:
    """Orders by the logits of the first answer token: one pass over each window."""
    first = engine.first_tokens(prompts, pasts, seen)
    return [Answer(order_by_logits(told.logits), told, avoided=not told.lawful) for told in first]


def constrained(
    engine: WindowEngine,
    words: Words,
    prompts: Sequence[WindowPrompt],
    pasts: Sequence[Memory],
    seen: Mapping[str, Seen],
) -> list[Answer]:
    """Decodes each answer under the automaton: a pass a choice, and none for what must follow."""
    between, closing = words.encode(BETWEEN), words.encode(CLOSING)

    def run(part: Sequence[tuple[WindowPrompt, Memory]]) -> list[Answer]:
        first, memories = _begun(engine, part, seen)
        turns = []
        for (prompt, _), memory, (told, _) in zip(part, memories, first, strict=True):
            automaton = PermutationAutomaton(prompt.identifiers.tokens, between=between, closing=closing)
            turns.append(_Turn(prompt, memory, told, decoding(automaton), len(engine.vocabulary)))
        while going := [turn for turn in turns if turn.order is None]:
            states = _read_on(engine, going)
            for turn, own in zip(going, states, strict=True):
                turn.go_on(own, engine)
        return [Answer(turn.order or (), turn.first, avoided=turn.avoided) for turn in turns]

    return engine.in_passes(list(zip(prompts, pasts, strict=True)), _tokens, run)


def free(
    engine: WindowEngine,
    words: Words,
    prompts: Sequence[WindowPrompt],
    pasts: Sequence[Memory],
    seen: Mapping[str, Seen],
) -> list[Answer]:
    """Lets the model write, greedily, as long as a lawful answer would be and a little more; then reads and repairs."""
    between = len(words.encode(BETWEEN))

    def run(part: Sequence[tuple[WindowPrompt, Memory]]) -> list[Answer]:
        first, memories = _begun(engine, part, seen)
        writings = [
            _Writing(prompt, memory, liked, (between + 1) * len(prompt.identifiers) + _SPARE_TOKENS)
            for (prompt, _), memory, (_, liked) in zip(part, memories, first, strict=True)
        ]
        for writing in writings:
            writing.stop(words.ends)
        while going := [writing for writing in writings if not writing.done]:
            for writing, own in zip(going, _read_on(engine, going), strict=True):
                writing.tokens.append(int(engine.vocabulary.row(own[-1:]).argmax()))
                writing.stop(words.ends)
        answers = []
        for writing, (told, _) in zip(writings, first, strict=True):
            parsed = parse_permutation(OPENING + words.decode(writing.tokens), writing.prompt.identifiers.texts)
            answers.append(Answer(parsed.order, told, parsed.repairs))
        return answers

    return engine.in_passes(list(zip(prompts, pasts, strict=True)), _tokens, run)


ANSWERS: Mapping[Mode, AnswerWindows] = {"first_token": by_first_token, "constrained": constrained, "free": free}
"""The ways to answer, by name."""


class _Begun:
    """An answer half written: what the model has read of it, where it stands, and what it reads next."""

    memory: Memory
    at: int

    @property
    def next(self) -> tuple[int, ...]:
        """The tokens to read next."""
        return ()


class _Turn(_Begun):
    """One answer under the automaton, half written."""

    def __init__(self, prompt: WindowPrompt, memory: Memory, first: FirstToken, turn: Decoding, size: int) -> None:
        self.prompt, self.memory, self.first = prompt, memory, first
        self.at = prompt.body.reach
        self.order: Order | None = None
        self.avoided = not first.lawful
        self._turn, self._size = turn, size
        self._left = set(prompt.identifiers.tokens)
        self._next: tuple[int, ...] = ()
        next(turn)
        self._send(first.logits)

    @property
    def next(self) -> tuple[int, ...]:
        return self._next

    def _send(self, logits: NDArray[np.float32]) -> None:
        row = np.full(self._size, -np.inf, np.float32)
        row[list(self.prompt.identifiers.tokens)] = logits
        try:
            self._next = self._turn.send(row)
            self._left.discard(self._next[0])
        except StopIteration as done:
            self.order = tuple(done.value)

    def go_on(self, states: Tensor, engine: WindowEngine) -> None:
        """Take the states after the tokens of ``next``."""
        liked = engine.vocabulary.row(states).argmax(dim=-1).tolist()
        self.avoided |= liked[:-1] != list(self._next[1:]) or liked[-1] not in self._left
        self._send(engine.vocabulary.of(states[-1], self.prompt.identifiers.tokens).cpu().numpy())


class _Writing(_Begun):
    """One free answer, half written."""

    def __init__(self, prompt: WindowPrompt, memory: Memory, first: int, limit: int) -> None:
        self.prompt, self.memory, self.at = prompt, memory, prompt.body.reach
        self.tokens, self._limit = [first], limit
        self.done = False

    @property
    def next(self) -> tuple[int, ...]:
        return (self.tokens[-1],)

    def stop(self, ends: frozenset[int]) -> None:
        self.done = self.tokens[-1] in ends or len(self.tokens) >= self._limit


def _begun(
    engine: WindowEngine, part: Sequence[tuple[WindowPrompt, Memory]], seen: Mapping[str, Seen]
) -> tuple[list[tuple[FirstToken, int]], list[Memory]]:
    spans = Spans([Span(len(prompt.body), past) for prompt, past in part], keep=True, last_only=True)
    states = engine.read([prompt.body for prompt, _ in part], spans, seen)
    return engine.first_of(states, [prompt for prompt, _ in part]), spans.kept


def _read_on(engine: WindowEngine, going: Sequence[_Begun]) -> list[Tensor]:
    """States after the next tokens of each answer, ``[tokens, dim]`` each; memories and places move on."""
    passages = [_passage(one.next, one.at) for one in going]
    spans = Spans([Span(len(passage), one.memory) for passage, one in zip(passages, going, strict=True)], keep=True)
    states = engine.read(passages, spans, {})
    for one, passage, memory in zip(going, passages, spans.kept, strict=True):
        one.memory, one.at = memory, one.at + len(passage)
    return list(torch.split(states, spans.lengths))


def _passage(tokens: Sequence[int], at: int) -> Passage:
    ids = np.array(tokens, np.int64)
    positions = np.tile(np.arange(at, at + len(ids)), (3, 1))
    return Passage(ids, np.zeros(len(ids), np.bool_), positions, (), at + len(ids))


def _tokens(item: tuple[WindowPrompt, Memory]) -> int:
    return len(item[0].body)
