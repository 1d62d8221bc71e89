"""Lists of mere words: targets are what a count says, draws follow the seed."""

from __future__ import annotations

import pytest

from wholepage.pages import InputError
from wholepage.training.lookup_lists import lookup_lists, words_of

WORDS = [f"word{chr(97 + i)}" for i in range(26)]


def test_targets_count_the_words_of_the_query() -> None:
    for taught in lookup_lists(WORDS, 50, results=6, seed=4):
        asked = set(taught.page.query.text.split())
        for result, target in zip(taught.page.results, taught.targets, strict=True):
            assert target == len(asked & set(result.text.split()))
        assert len(set(taught.targets)) > 1


def test_a_longer_run_begins_with_the_same_lists() -> None:
    assert lookup_lists(WORDS, 30, seed=1)[:10] == lookup_lists(WORDS, 10, seed=1)
    assert lookup_lists(WORDS, 10, seed=1) != lookup_lists(WORDS, 10, seed=2)


def test_words_are_the_most_frequent_ones() -> None:
    assert words_of(["Red lamp, red box", "lamp of 12 ox"], most=2) == ["lamp", "red"]


def test_too_few_words_are_refused() -> None:
    with pytest.raises(InputError, match="20 words"):
        lookup_lists(WORDS[:5], 3)
