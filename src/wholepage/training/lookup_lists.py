"""Lists of mere words, on which a small model learns to look up: which results hold what the query names?

Query and results are a few words drawn from those the model will meet; a result is as good as it holds words of the
query. There is nothing to know, only to compare, so a small model learns it within minutes, and goes on from there to
texts, where words mean something. That training on lists made by a procedure helps what comes after is known of
language models (pre-pretraining on formal languages, arXiv 2502.19249); lists of this kind are ours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality, Page, Query, Result
from wholepage.training.taught import TaughtList

_WORD = re.compile(r"[^\W\d_]{3,}")
_HELD = 0.4  # chance of each word of the query to stand in a result
_MOST_ASKED, _MOST_OTHERS = 4, 6
TEACHER = "lookup"


def words_of(texts: Iterable[str], most: int = 2000) -> list[str]:
    """The words that come most often, three letters or more; equally frequent ones in the order of the alphabet."""
    counted = Counter(word for text in texts for word in _WORD.findall(text.lower()))
    return [word for word, _ in sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:most]]


def lookup_lists(words: Sequence[str], count: int, *, results: int = 8, seed: int = 0) -> list[TaughtList]:
    """So many lists; list ``i`` does not depend on how many there are.

    Args:
        words: to draw from; no word twice.
        results: of each list.
    Raises:
        InputError: fewer than 20 words, fewer than 2 results, or a negative count or seed.
    """
    if len(words) < 20 or results < 2 or min(count, seed) < 0:
        raise InputError(
            f"lookup lists: got {len(words)} words, {results} results, {count} lists, seed {seed}; allowed: 20 words, "
            "2 results, 0 or more; bring more texts"
        )
    return [_one(words, i, results, seed) for i in range(count)]


def _one(words: Sequence[str], index: int, results: int, seed: int) -> TaughtList:
    rng = np.random.default_rng([seed, index])
    asked = [words[i] for i in rng.choice(len(words), int(rng.integers(1, _MOST_ASKED + 1)), replace=False)]
    while True:
        held = rng.random((results, len(asked))) < _HELD
        if len(set(held.sum(axis=1))) > 1:
            break
    found = []
    for row, holds in enumerate(held):
        others = [words[i] for i in rng.choice(len(words), int(rng.integers(1, _MOST_OTHERS + 1)))]
        said = [word for word, one in zip(asked, holds, strict=True) if one] + [w for w in others if w not in asked]
        text = " ".join(said[i] for i in rng.permutation(len(said)))
        found.append(Result(str(row), Modality.TEXT, text or "nothing"))
    page = Page(Query(f"lookup-{index:06d}", " ".join(asked)), tuple(found))
    return TaughtList(page, tuple(float(n) for n in held.sum(axis=1)), TEACHER)
