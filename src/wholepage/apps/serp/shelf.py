"""Pages that can be looked at: found by number, by their query, or put together of results that hold its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec
import numpy as np

from wholepage.apps.desk.access import NotThere
from wholepage.apps.places import NotFound, open_collection
from wholepage.collections import NAMES
from wholepage.collections.jsonl import WHOLE
from wholepage.pages.errors import InputError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.bm25 import BM25Scorer, TextWords, count_words, words_of

MOST_PAGES = 2_000
CANDIDATES = 24

_SPREAD = 12


class Place(NamedTuple):
    """Where a result lies: the number of its page, and its own number there."""

    page: int
    result: int


class Found(msgspec.Struct, frozen=True):
    """A page to look at.

    Attributes:
        page: its results in the order received.
        places: of each result.
        number: of the page on the shelf; None = it was put together for a query.
        matched: how many results hold a word of the query; of a page on the shelf 0.
    """

    page: Page
    places: tuple[Place, ...]
    number: int | None
    matched: int = 0

    @property
    def key(self) -> str:
        """What tells it from every other page of its shelf."""
        return f"#{self.number}" if self.number is not None else f"?{self.page.query.text}"


class _Index(NamedTuple):
    """Every different result that has a text, with where it lies first and the words that it has."""

    places: list[Place]
    words: list[TextWords]


class Shelf:
    """Pages of one collection, in memory.

    Args:
        pages: to be looked at; at most ``most_pages`` are taken.
        name: of the collection, as people read it.
        candidates: how many results a page has that is put together for a query.
        most_pages: how many are taken.
    Raises:
        InputError: no page.
        MissingExtra: bm25s, whose stop words the search leaves out, is not installed.
    """

    def __init__(
        self, pages: Iterable[Page], *, name: str, candidates: int = CANDIDATES, most_pages: int = MOST_PAGES
    ) -> None:
        taken = list(islice(pages, most_pages + 1))
        self.pages, self.more = tuple(taken[:most_pages]), len(taken) > most_pages
        if not self.pages:
            raise InputError(f"result page: got no pages of {name!r}; allowed: one at least; name another split")
        self.name = name
        self.kinds = kinds_of(result for page in self.pages for result in page.results)
        self.wordless = sum(not result.text.strip() for page in self.pages for result in page.results)
        self._candidates = candidates
        self._asked = [tidy(page.query.text) for page in self.pages]
        self._number = {text: i for i, text in reversed(list(enumerate(self._asked))) if text}
        self._scorer = BM25Scorer()
        self._index: _Index | None = None
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.pages)

    def page(self, number: int) -> Found:
        """The page of a number.

        Raises:
            NotThere: no such page.
        """
        if not 0 <= number < len(self.pages):
            raise NotThere(f"page: got {number}; allowed: 0 to {len(self.pages) - 1}; go back to the search")
        page = self.pages[number]
        return Found(page, tuple(Place(number, i) for i in range(len(page))), number)

    def ask(self, words: str) -> Found:
        """The page whose query has just these words, else the results of all pages that fit them best by BM25.

        Upper and lower case, and how many spaces stand between words, make no difference.
        """
        number = self._number.get(tidy(words))
        if number is not None:
            return self.page(number)
        index = self._words()
        scores = self._scorer.score_words(words_of(words), index.words)
        rows = np.flatnonzero(scores > 0)
        best = rows[np.argsort(-scores[rows], kind="stable")][: self._candidates]
        places = tuple(index.places[row] for row in best)
        results = tuple(
            msgspec.structs.replace(self._result(place), result_id=f"{place.page}.{place.result}") for place in places
        )
        text = " ".join(words.split())
        return Found(Page(Query(f"search: {text}", text), results), places, None, len(rows))

    def suggest(self, words: str, most: int) -> list[int]:
        """Numbers of pages whose queries hold the words, those that begin with them first."""
        sought = tidy(words)
        if not sought:
            return self.examples(0, most)
        found = [
            (0 if text.startswith(sought) else 1 if f" {sought}" in text else 2, number)
            for number, text in enumerate(self._asked)
            if sought in text
        ]
        return [number for _, number in sorted(found)[:most]]

    def examples(self, first: int, most: int) -> list[int]:
        """Numbers of pages to begin with: spread over the shelf so that the first few are not all alike.

        Args:
            first: how many to leave out.  most: how many to name.
        """
        step = max(1, len(self.pages) // _SPREAD)
        spread = [number for start in range(step) for number in range(start, len(self.pages), step)]
        return spread[first : first + most]

    def picture(self, page: int, result: int, number: int) -> ImageRef:
        """A picture of a result, by the numbers of page, result and picture.

        Raises:
            NotThere: no such picture.
        """
        results = self.page(page).page.results
        if not (0 <= result < len(results) and 0 <= number < len(results[result].images)):
            raise NotThere(f"picture: got number {number} of result {result} on page {page}; there is none")
        return results[result].images[number]

    def query_picture(self, page: int) -> ImageRef:
        """The picture that a query asks with.

        Raises:
            NotThere: it has none.
        """
        image = self.page(page).page.query.image
        if image is None:
            raise NotThere(f"picture: got the query of page {page}, which asks without one")
        return image

    def _result(self, place: Place) -> Result:
        return self.pages[place.page].results[place.result]

    def _words(self) -> _Index:
        """Counted when the first search comes: most who look at a page never search."""
        with self._lock:
            if self._index is None:
                places = list(self._different())
                texts = [count_words(self._result(place).text, self._scorer.stopwords) for place in places]
                self._index = _Index(places, texts)
            return self._index

    def _different(self) -> Iterator[Place]:
        """Where each result with a text lies; the same result on several pages counts once."""
        seen: set[tuple[Modality, str, tuple[ImageRef, ...]]] = set()
        for number, page in enumerate(self.pages):
            for i, result in enumerate(page.results):
                what = (result.modality, result.text, result.images)
                if result.text.strip() and what not in seen:
                    seen.add(what)
                    yield Place(number, i)


def load_shelf(
    named: str | Path, split: str | None = None, root: str | Path | None = None, *, most_pages: int = MOST_PAGES
) -> Shelf:
    """The pages of a collection.

    Args:
        named: a collection by name, or a file or folder of pages (``wholepage.collections.jsonl``).
        split: None = ``train``, of a single file all.
        root: the data folder, None = ``WHOLEPAGE_DATA``.
        most_pages: how many are taken.
    Raises:
        NotFound: neither a collection nor a path that exists.
        InputError: there is no such split, or it is empty.
        RecordError: a line of a file cannot be read.
    """
    name = str(named)
    own = name not in NAMES or name == "jsonl"
    if own and not Path(name).exists():
        raise NotFound(
            f"pages: got {name!r}; allowed: {', '.join(n for n in NAMES if n != 'jsonl')}, or a file or folder of "
            "pages that exists; check the name or path"
        )
    collection = open_collection("jsonl", Path(name)) if own else open_collection(name, root)
    usual = WHOLE if own and Path(name).is_file() else "train"
    shown = Path(name).name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".pages") if own else name
    return Shelf(collection.pages(split or usual), name=shown, most_pages=most_pages)


def tidy(words: str) -> str:
    """A query in the form in which two are compared."""
    return " ".join(words.casefold().split())


def kinds_of(results: Iterable[Result]) -> Counter[Modality]:
    """How many results there are of each kind."""
    return Counter(result.modality for result in results)
