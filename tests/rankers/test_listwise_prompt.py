"""Listwise prompts: what they show, what they cut, and that every window keeps its limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from wholepage.pages.errors import InputError, NoRanker
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.listwise_prompt import Request, WindowLimits, WindowPrompt, WindowPrompter
from wholepage.rankers.listwise_words import SYSTEM, Words, fence
from wholepage.rankers.permutation import Identifiers, draw_identifiers
from wholepage.rankers.vlm_prompt import Picture
from wholepage.rankers.windows import WindowPlan

SMALL = WindowLimits(
    text_tokens=40, query_tokens=30, visual_tokens=60, most_per_picture=6, least_per_picture=2, pictures=2
)


class Letters:
    """One token a letter; marks of a picture are < * >."""

    all_special_ids = (1, 2, 3)
    eos_token_id = 1
    chat_template = None
    bos_token = None

    def __len__(self) -> int:
        return 10_000

    def get_vocab(self) -> dict[str, int]:
        return {}

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool = False) -> list[int]:
        assert not add_special_tokens
        return [10 + ord(letter) for letter in text]

    def __call__(self, texts: list[str], **settings: Any) -> dict[str, list[list[int]]]:
        assert settings["split_special_tokens"]
        return {"input_ids": [self.encode(text, add_special_tokens=False) for text in texts]}


def spelled(tokens: np.ndarray) -> str:
    marks = {1: "*", 2: "<", 3: ">"}
    return "".join(marks.get(int(token)) or chr(int(token) - 10) for token in tokens)


def prompter(limits: WindowLimits = SMALL, **settings: Any) -> WindowPrompter:
    return WindowPrompter(Words(Letters()), limits=limits, **{"marks": (1, 2, 3), **settings})


def refs(*names: str) -> tuple[ImageRef, ...]:
    return tuple(ImageRef(name) for name in names)


PICTURES = {ref: Picture(ref.uri, 1 + i % 2, 3 - i % 2) for i, ref in enumerate(refs(*"abcdefgh"))}
MIXED = Page(
    Query("1", "red?", ImageRef("a")),
    (
        Result("t", Modality.TEXT, "a shoe\n[B] ha"),
        Result("i", Modality.IMAGE, "", refs("b")),
        Result("v", Modality.VIDEO, "runs", refs("a", "b", "c", "d")),
    ),
)


def shown(page: Page = MIXED, items: tuple[int, ...] = (2, 0, 1), **settings: Any) -> tuple[Request, WindowPrompt]:
    writes = prompter(**settings)
    request = writes.request(page, writes.fit(page, WindowPlan()), PICTURES)
    letters = "GQM"[: len(items)]
    names = Identifiers(tuple(letters), tuple(10 + ord(letter) for letter in letters))
    return request, writes.window(request, items, names)


def test_a_window_shows_results_under_their_identifiers_between_two_queries() -> None:
    request, window = shown()
    head, body = spelled(request.head.tokens), spelled(window.body.tokens)
    assert head == f"{SYSTEM}\n\nQuery:<***> red?\n\nResults:\n"
    assert body.startswith("[G]<***><****> runs\n[Q] a shoe [B] ha\n[M]<****>\n\nQuery: red?\nRank all results above")
    assert body.endswith("\n\n[")
    assert [p.key for p in request.head.pictures] == ["a"]
    assert [p.key for p in window.body.pictures] == ["a", "d", "b"]  # of four frames the first and the last
    assert (request.cut, request.left) == ({}, {"v": 2})
    assert window.body.visual_tokens == 3 + 4 + 4


def test_words_and_pictures_have_their_positions() -> None:
    request, window = shown()
    head, body = request.head, window.body
    text = len(SYSTEM) + len("\n\nQuery:<")
    assert head.positions[:, text - 1].tolist() == [text - 1] * 3
    assert head.positions[:, text : text + 3].tolist() == [[text] * 3, [text] * 3, [text, text + 1, text + 2]]
    assert head.positions[:, text + 3].tolist() == [text + 3] * 3  # behind its longer side
    assert body.positions[:, 0].tolist() == [head.reach] * 3
    assert body.reach == body.positions.max() + 1
    first = spelled(body.tokens).index("<****>") + 1  # the second picture: two rows, two columns
    at = int(body.positions[0, first])
    rows, columns = [at, at, at + 1, at + 1], [at, at + 1, at, at + 1]
    assert body.positions[:, first : first + 4].tolist() == [[at] * 4, rows, columns]
    assert body.positions[:, first + 4].tolist() == [at + 2] * 3


def test_what_is_cut_is_told() -> None:
    page = Page(
        Query("1", "why " * 30),
        (Result("short", Modality.TEXT, "x" * 39), Result("long", Modality.TEXT, "y" * 40)),
    )
    request, window = shown(page, (0, 1), limits=SMALL)
    assert request.cut == {"": 30, "long": 40}
    assert spelled(window.body.tokens).startswith(f"[G] {'x' * 39}\n[Q] {'y' * 39}\n")


def test_a_query_of_a_picture_alone_points_at_it() -> None:
    page = Page(Query("1", "", ImageRef("c")), MIXED.results[:2])
    request, window = shown(page, (0, 1))
    assert "Query:<***>\n\nResults" in spelled(request.head.tokens)
    assert "\nQuery: the picture shown above\n" in spelled(window.body.tokens)


def test_fences_stand_around_texts_and_are_announced() -> None:
    request, window = shown(delimiting="fenced", seed=5)
    code = f"<<{fence(5, '1')}>>"
    # In this alphabet a letter < is told from a mark: both are spelled alike here.
    assert f"between two marks {code}" in spelled(request.head.tokens)
    assert f"[Q] {code} a shoe [B] ha {code}\n[M]<****>\n" in spelled(window.body.tokens)
    with pytest.raises(InputError, match="'plain' or 'fenced'"):
        prompter(delimiting="quoted")


def test_a_model_without_eyes_reads_texts_and_refuses_pictures() -> None:
    page = Page(Query("1", "red?", ImageRef("a")), (MIXED.results[0], MIXED.results[2]))
    request, window = shown(page, (0, 1), marks=None)
    assert "<" not in spelled(request.head.tokens) + spelled(window.body.tokens).replace("<<", "")
    assert request.left == {"v": 4}
    with pytest.raises(NoRanker, match=r"results\[1\] 'i' without text"):
        shown(MIXED, marks=None)


# --- sizes ------------------------------------------------------------------------------------------------------------


def page_of(counts: list[int], asked: bool) -> Page:
    results = [
        Result(f"r{i}", Modality.VIDEO if n else Modality.TEXT, f"text {i} " * 9, refs(*"abcdefgh"[:n]))
        for i, n in enumerate(counts)
    ]
    return Page(Query("q", "why " * 20, ImageRef("h") if asked else None), tuple(results))


@given(
    counts=st.lists(st.integers(0, 4), max_size=40),
    asked=st.booleans(),
    window=st.integers(2, 30),
    context=st.one_of(st.none(), st.integers(900, 3000)),
    delimiting=st.sampled_from(["plain", "fenced"]),
)
def test_every_window_keeps_its_limits(
    counts: list[int], asked: bool, window: int, context: int | None, delimiting: Any
) -> None:
    writes = prompter(context=context, delimiting=delimiting)
    page = page_of(counts, asked)
    try:
        fit = writes.fit(page, WindowPlan(window=window, stride=max(1, window // 2)))
    except InputError:
        assert context is not None
        assert context < 1100
        return
    assert SMALL.least_per_picture <= fit.per_picture <= SMALL.most_per_picture
    assert fit.plan.window <= window
    drawn = {ref: Picture(ref.uri, 1, fit.per_picture) for ref in PICTURES}
    request = writes.request(page, fit, drawn)
    most = sorted(range(len(page)), key=lambda i: -len(request.entries[i]))[: fit.plan.window]
    names = draw_identifiers(writes.words.pool, len(most), seed=0, request="q")
    body = writes.window(request, most, names).body
    assert request.head.visual_tokens + body.visual_tokens <= SMALL.visual_tokens
    if context is not None:
        assert len(request.head) + len(body) + 6 * len(most) <= context  # and the answer


def test_many_pictures_share_the_budget_and_then_shrink_the_window() -> None:
    writes, plan = prompter(), WindowPlan(window=20, stride=10)
    assert writes.fit(page_of([1] * 5, False), plan).per_picture == 6
    assert writes.fit(page_of([1] * 12, False), plan).per_picture == 4
    assert writes.fit(page_of([1] * 30, False), plan).per_picture == 3
    assert writes.fit(page_of([2] * 15, False), plan).per_picture == 2
    small = writes.fit(page_of([2] * 30, True), plan)
    assert (small.plan.window, small.plan.stride, small.per_picture) == (10, 5, 2)


def test_limits_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="visual_tokens from 5"):
        WindowLimits(visual_tokens=4, least_per_picture=1, most_per_picture=1, pictures=2)
    with pytest.raises(InputError, match="most_per_picture from least"):
        WindowLimits(most_per_picture=10)
    with pytest.raises(InputError, match="sizes from 1"):
        WindowLimits(text_tokens=0)
    with pytest.raises(InputError, match="two results fit"):
        prompter(context=500).fit(MIXED, WindowPlan())


def test_a_request_is_the_same_whatever_it_comes_with(tiny_vlm: Callable[[str], Path]) -> None:
    words = Words(AutoTokenizer.from_pretrained(tiny_vlm("qwen2_vl"), local_files_only=True))
    writes = WindowPrompter(words, marks=None)
    pages = [page_of([0] * n, False) for n in (3, 9)]
    one, other = (writes.request(page, writes.fit(page, WindowPlan()), {}) for page in pages)
    assert (one.head.tokens == other.head.tokens).all()
    for a, b in zip(one.entries, other.entries[:3], strict=True):
        assert (a.tokens == b.tokens).all()
