"""Emoji: small drawings of the same things in several styles, asked for by the keywords that people gave them.

A query is a keyword ("laugh"), or the name of an emoji; a result is a drawing (IMAGE, without words) or the name and
tags of an emoji (TEXT). The grade is the number of independent word lists (CLDR, emojilib, gemoji) that attach the
keyword to the emoji, 1 to 3, and 0 for one that none attaches it to: an agreement of lists made by people, no
judgment of a query. The emoji whose name is asked for has grade 3, all others 0.

A list is sampled, and depends on the seed and on its own name alone: some graded emojis, one of the best grade among
them; of the others one half hard (same subgroup as a graded one, or a rare word in common), one half any. Never
among the others: an emoji whose words hold the keyword though no list attaches it ("flower", "flowers"), and a drawing
that is the same picture as a graded one's.

Two things are held out. **Styles**: training draws from ``styles_train``, the test from ``styles_test``. **Terms**:
keywords and names are parted by a hash (70 : 15 : 15), a plural with its singular. The splits::

    train         training terms in training styles       dev   dev terms in training styles
    test          test terms in test styles: neither term nor style was seen
    test-terms    test terms in training styles            test-styles   training terms in test styles

The emojis themselves are not held out: training shows the things that test terms ask for, under other words and in
other styles, and texts may hold a test term. Lists of texts have no style.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple, get_args
from urllib.parse import quote

import numpy as np

from wholepage.collections.emoji_sampling import TEXT, Asked, Sampler
from wholepage.collections.emoji_words import EmojiWords, read_emoji, stem_of
from wholepage.pages import Grade, ImageRef, InputError, Judgments, Modality, Page, Query, Result

Kind = Literal["text", "image", "mixed"]
LICENCES: Mapping[str, str] = MappingProxyType(
    {
        "blob": "Apache-2.0",
        "fxemoji": "CC BY 4.0",
        "noto": "Apache-2.0 / OFL",
        "openmoji": "CC BY-SA 4.0",
        "twemoji": "CC BY 4.0",
    }
)
"""Of the drawings, by style. Weights trained on all but openmoji may ship, with attribution."""

_SPLITS = {
    "train": ("train", "train"),
    "dev": ("dev", "train"),
    "test": ("test", "test"),
    "test-terms": ("test", "train"),
    "test-styles": ("train", "test"),
}
_PARTS = {"train": 70, "dev": 15, "test": 15}
_NAME_GRADE = 3


class NoList(NamedTuple):
    """A list that cannot be made, and why."""

    query_id: str
    why: str


class Emoji:
    """Lists of drawings, of texts, and of both, for keywords or names of emojis.

    Args:
        root: the data folder, with ``emoji.zip`` and ``emoji/``.
        styles_train, styles_test: the styles of training and of the test; None in common.
        kinds: which lists to make for each query: of texts, of drawings, or half and half.
        asked: what the queries are.
        text: what the text of an emoji is: its name, or name and CLDR tags.
        draws: how many lists of each kind a query gets, each sampled anew.
        results: the least and the most results of a list.
        seed: of the sampling.
    Raises:
        InputError: a file is missing, or an option is unknown or out of range.
        RecordError: a line cannot be read.
    """

    name: ClassVar[str] = "emoji"
    source: ClassVar[str] = (
        "drawings of svgmoji/svgmoji (OpenMoji, Noto, Twemoji, Blobmoji) and mozilla/fxemoji; words of CLDR, "
        "muan/emojilib and github/gemoji"
    )

    def __init__(
        self,
        root: str | Path,
        *,
        styles_train: Sequence[str] = ("noto", "twemoji"),
        styles_test: Sequence[str] = ("fxemoji",),
        kinds: Sequence[Kind] = ("text", "image", "mixed"),
        asked: Literal["terms", "names", "both"] = "terms",
        text: Literal["name", "description"] = "description",
        draws: int = 1,
        results: tuple[int, int] = (12, 20),
        seed: int = 0,
    ) -> None:
        self.root = Path(root).resolve()
        self.words = read_emoji(self.root)
        self._styles = {"train": tuple(styles_train), "test": tuple(styles_test)}
        self.kinds, self.asked, self.text, self.draws, self.seed = tuple(kinds), asked, text, draws, seed
        self._check(results)
        self._sampler = Sampler(self.words, results)
        self._of_part = _parted(self.words, asked)

    def __repr__(self) -> str:
        return f"Emoji({str(self.root)!r}, styles_train={self._styles['train']}, styles_test={self._styles['test']})"

    @property
    def licence(self) -> str:
        """Of the styles in use, and of the words."""
        used = sorted({style for styles in self._styles.values() for style in styles})
        drawings = "; ".join(f"{style}: {LICENCES.get(style, 'unknown')}" for style in used)
        return f"{drawings}; words: Unicode licence (CLDR), MIT (emojilib, gemoji)"

    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(_SPLITS)

    def pages(self, split: str) -> Iterator[Page]:
        """The lists of one split: query by query, for each its draws, for each the kinds.

        Raises:
            InputError: there is no such split.
        """
        for query_id, asked, _, forms in self._lists(split):
            yield Page(Query(query_id, asked.text), tuple(self._result(*form) for form in forms))

    def judgments(self, split: str) -> Judgments:
        """The grades of every result of one split, 0 to 3.

        Raises:
            InputError: as ``pages``.
        """
        return Judgments(
            Grade(query_id, _id(*form), float(asked.grades.get(form[0], 0)), who=self.name)
            for query_id, asked, _, forms in self._lists(split)
            for form in forms
        )

    def left_out(self, split: str) -> tuple[NoList, ...]:
        """The lists of one split that cannot be made, with the reason.

        Raises:
            InputError: as ``pages``.
        """
        return tuple(NoList(query_id, why) for query_id, _, why, _ in self._tried(split) if why)

    def captions(self, result_id: str) -> tuple[str, ...]:
        """What a result shows, in words, for a teacher that reads: name and CLDR tags.

        Raises:
            InputError: no such result.
        """
        emoji = self.words.emojis.get(result_id.partition(":")[2])
        if emoji is None:
            raise InputError(f"result: got {result_id!r}; allowed: <style>:<emoji> or text:<emoji>; take ids of pages")
        return (emoji.description,)

    def _check(self, results: tuple[int, int]) -> None:
        drawn = self.words.drawings
        for option, styles in self._styles.items():
            unknown = [style for style in styles if style not in drawn]
            if unknown or not styles or len(set(styles)) < len(styles):
                found = ", ".join(f"{style} ({len(of)})" for style, of in sorted(drawn.items()))
                raise InputError(
                    f"styles_{option}: got {', '.join(styles) or 'none'}; allowed: each once, of those drawn in "
                    f"{self.root / 'emoji.zip'}: {found}; choose of them"
                )
        both = sorted(set(self._styles["train"]) & set(self._styles["test"]))
        if both:
            raise InputError(f"styles: got {', '.join(both)} in training and test; allowed: in one; drop it from one")
        for name, given, allowed in (
            ("kinds", self.kinds, get_args(Kind)),
            ("asked", (self.asked,), ("terms", "names", "both")),
            ("text", (self.text,), ("name", "description")),
        ):
            if not given or not set(given) <= set(allowed) or len(set(given)) < len(given):
                raise InputError(f"{name}: got {given}; allowed: {', '.join(allowed)}, each once; choose of them")
        if self.draws < 1 or not 4 <= results[0] <= results[1]:
            raise InputError(
                f"draws, results: got {self.draws}, {results}; allowed: 1 draw and up, (least, most) with "
                "4 <= least <= most; mend them"
            )

    def _lists(self, split: str) -> Iterator[tuple[str, Asked, str, list[tuple[str, str]]]]:
        return (one for one in self._tried(split) if not one[2])

    def _tried(self, split: str) -> Iterator[tuple[str, Asked, str, list[tuple[str, str]]]]:
        """Query id, query, why there is no list (or empty), and emoji and form (style or text) of each result."""
        if split not in _SPLITS:
            raise InputError(
                f"collection 'emoji': got split {split!r}; allowed: {', '.join(_SPLITS)}; choose one of them"
            )
        part, side = _SPLITS[split]
        for asked in self._of_part[part]:
            for draw in range(self.draws):
                for kind in self.kinds:
                    query_id = f"{split}/{kind}/{quote(asked.text, safe='')}/{draw}"
                    forms = self._sampler.draw(asked, kind, self._styles[side], _rng(self.seed, query_id))
                    why = "" if forms else f"no emoji of {asked.text!r} is drawn in {', '.join(self._styles[side])}"
                    yield query_id, asked, why, forms

    def _result(self, emoji_id: str, form: str) -> Result:
        if form != TEXT:
            drawing = self.words.drawings[form][emoji_id]
            ref = ImageRef(f"zip:{self.root / 'emoji.zip'}!/{drawing.member}")
            return Result(_id(emoji_id, form), Modality.IMAGE, images=(ref,))
        emoji = self.words.emojis[emoji_id]
        said = emoji.name if self.text == "name" else emoji.description
        return Result(_id(emoji_id, form), Modality.TEXT, said)


def part_of(term: str) -> str:
    """The part a keyword or name belongs to, ``train``, ``dev`` or ``test``; the same everywhere and always."""
    place = int.from_bytes(hashlib.sha256(stem_of(term).encode()).digest(), "big") % sum(_PARTS.values())
    for part, share in _PARTS.items():
        if place < share:
            return part
        place -= share
    raise InputError(f"term: got {term!r}, place {place} beyond the parts; allowed: a share for each; mend _PARTS")


def _parted(words: EmojiWords, asked: str) -> dict[str, list[Asked]]:
    """The queries of each part, in the order of the files."""
    queries: dict[str, Asked] = {}
    if asked in ("terms", "both"):
        queries |= {term: Asked(term, grades) for term, grades in words.grades.items()}
    if asked in ("names", "both"):
        for emoji in words.emojis.values():
            # A name that is a keyword too keeps the keyword's grades, which know more than one emoji.
            queries.setdefault(emoji.name, Asked(emoji.name, {emoji.id: _NAME_GRADE}))
    parted: dict[str, list[Asked]] = {part: [] for part in _PARTS}
    for query in queries.values():
        parted[part_of(query.text)].append(query)
    return parted


def _id(emoji_id: str, form: str) -> str:
    return f"{form}:{emoji_id}"


def _rng(seed: int, query_id: str) -> np.random.Generator:
    return np.random.default_rng([seed, *hashlib.sha256(query_id.encode()).digest()])
