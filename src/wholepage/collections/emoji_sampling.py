"""Which emojis stand on a list, and in what form: graded ones, hard ones, and any."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wholepage.collections.emoji_words import EmojiWords, says, stem_of, words_of

TEXT = "text"
"""The form of a result that is words; every other form is a style."""
_RARE = 40
"""A word that so many emojis have at most makes two of them alike."""

_Mask = NDArray[np.bool_]
_Places = NDArray[np.intp]


class Asked(NamedTuple):
    """A query, and the grades of the emojis that answer it; all others have 0."""

    text: str
    grades: Mapping[str, int]


class Sampler:
    """Draws lists of emojis.

    Args:
        words: all emojis.
        results: the least and the most results of a list.
    """

    def __init__(self, words: EmojiWords, results: tuple[int, int]) -> None:
        self._words, self._results = words, results
        self._ids = tuple(words.emojis)
        self._place = {emoji_id: place for place, emoji_id in enumerate(self._ids)}
        self._of_word: dict[str, list[str]] = defaultdict(list)
        of_subgroup: dict[tuple[int, int], list[str]] = defaultdict(list)
        for emoji in words.emojis.values():
            of_subgroup[emoji.group, emoji.subgroup].append(emoji.id)
            for word in words_of(emoji):
                self._of_word[word].append(emoji.id)
        self._near = np.zeros((len(self._ids), len(self._ids)), dtype=np.bool_)
        rare = (of for of in self._of_word.values() if len(of) <= _RARE)
        for group in (*of_subgroup.values(), *rare):
            places = self._places(group)
            self._near[np.ix_(places, places)] = True
        self._drawn = {style: self._mask(drawings) for style, drawings in words.drawings.items()}
        self._same: dict[str, dict[tuple[int, int], list[str]]] = {}
        for style, drawings in words.drawings.items():
            same: dict[tuple[int, int], list[str]] = defaultdict(list)
            for emoji_id, drawing in drawings.items():
                same[drawing.same_as].append(emoji_id)
            self._same[style] = same
        self._kept: dict[tuple[str, tuple[str, ...]], _Mask] = {}

    def draw(self, asked: Asked, kind: str, styles: tuple[str, ...], rng: np.random.Generator) -> list[tuple[str, str]]:
        """Emoji and form (a style, or ``text``) of each result, shuffled; empty when no graded emoji can be shown.

        Args:
            kind: ``text``, ``image``, or ``mixed``: half of the results texts, whatever their grades.
        """
        shown = np.logical_or.reduce([self._drawn[style] for style in styles])
        if kind == TEXT:
            styles, shown = (), np.ones_like(shown)
        graded = np.flatnonzero(shown & self._mask(asked.grades))
        if not graded.size:
            return []
        count = int(rng.integers(self._results[0], self._results[1] + 1))
        chosen = self._graded(asked, graded, int(rng.integers(2, count // 2 + 1)), rng)
        others = shown & ~self._not_others(asked, styles)
        hard = np.flatnonzero(self._near[chosen].any(axis=0) & others)
        hard = rng.permutation(hard)[: -(-(count - chosen.size) // 2)]
        others[hard] = False
        rest = rng.permutation(np.flatnonzero(others))[: count - chosen.size - hard.size]
        together = rng.permutation(np.concatenate([chosen, hard, rest]))
        worded = rng.permutation(together.size) < together.size // 2 if kind == "mixed" else np.zeros_like(together)
        forms = []
        for place, in_words in zip(together, worded, strict=True):
            able = [style for style in styles if self._drawn[style][place]]
            form = TEXT if in_words or not styles else able[int(rng.integers(len(able)))]
            forms.append((self._ids[place], form))
        return forms

    def _graded(self, asked: Asked, graded: _Places, count: int, rng: np.random.Generator) -> _Places:
        """So many graded emojis, one of the best grade first."""
        mixed = rng.permutation(graded)
        grades = np.array([asked.grades[self._ids[place]] for place in mixed])
        first = int(np.argmax(grades))
        return np.concatenate([mixed[first : first + 1], np.delete(mixed, first)])[:count]

    def _not_others(self, asked: Asked, styles: tuple[str, ...]) -> _Mask:
        """Emojis that may not stand for irrelevant ones.

        They are graded; or their words hold the query though no list attaches it; or one is drawn, in one of the
        styles, as a graded one is.
        """
        key = (asked.text, styles)
        if key not in self._kept:
            stems = stem_of(asked.text).split()
            having = [one for one in self._of_word.get(stems[0], ()) if says(self._words.emojis[one], asked.text)]
            found = self._mask(asked.grades) | self._mask(having)
            for style in styles:
                drawings, same = self._words.drawings[style], self._same[style]
                pictures = [drawings[one].same_as for one in asked.grades if one in drawings]
                found |= self._mask(one for picture in pictures for one in same[picture])
            self._kept[key] = found
        return self._kept[key]

    def _places(self, emoji_ids: Iterable[str]) -> _Places:
        return np.array([self._place[one] for one in emoji_ids], dtype=np.intp)

    def _mask(self, emoji_ids: Iterable[str]) -> _Mask:
        mask = np.zeros(len(self._ids), dtype=np.bool_)
        mask[self._places(emoji_ids)] = True
        return mask
