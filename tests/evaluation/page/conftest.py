"""Random pages with everything that goes wrong on real ones: gaps, ties, empty queries, results nobody ranked."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from wholepage.pages.judgments import Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result


class Made(NamedTuple):
    """Pages, an order of each, what was judged, and the same as dictionaries of a run with tied scores."""

    pages: list[Page]
    rankings: list[Ranking]
    judgments: Judgments
    qrels: dict[str, dict[str, int]]
    run: dict[str, dict[str, float]]


def result_of(result_id: str, modality: Modality) -> Result:
    """A result with the least it needs."""
    pictures = (ImageRef("a.png"),) if modality in (Modality.IMAGE, Modality.VIDEO) else ()
    return Result(result_id, modality, "words", pictures)


def page_of(query_id: str, kinds: str) -> Page:
    """``page_of("q", "tia")``: results r0, r1, r2 of text, image and answer."""
    letters = {kind.value[0]: kind for kind in Modality}
    return Page(Query(query_id), tuple(result_of(f"r{i}", letters[letter]) for i, letter in enumerate(kinds)))


def made(count: int, seed: int, *, longest: int = 25) -> Made:
    """Random pages; every tenth query has no relevant result, and one in fifteen pages is empty."""
    random = np.random.default_rng(seed)
    pages, rankings = [], []
    qrels: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for number in range(count):
        query = f"q{number}"
        size = 0 if number % 15 == 7 else int(random.integers(1, longest + 1))
        kinds = random.choice(list(Modality), size)
        results = tuple(result_of(f"d{random.integers(10**6)}-{i}", Modality(kind)) for i, kind in enumerate(kinds))
        page = Page(Query(query), results)
        order = random.permutation(size)
        ids = [results[i].result_id for i in order]
        known = [result_id for result_id in ids if random.random() < 0.7]
        known += [f"elsewhere-{i}" for i in range(random.integers(0, 4))]
        top = 1 if number % 10 == 3 else 4
        pages.append(page)
        rankings.append(Ranking(query, tuple(ids)))
        qrels[query] = {result_id: int(random.integers(0, top)) for result_id in known} or {"elsewhere": 0}
        run[query] = {result_id: float(random.integers(0, 6)) / 4 for result_id in ids}
    return Made(pages, rankings, Judgments.from_mapping(qrels), qrels, run)


@pytest.fixture(scope="session")
def thousand() -> Made:
    """A thousand random pages."""
    return made(1000, seed=8)


@pytest.fixture(scope="session")
def page() -> Callable[[str, str], Page]:
    """``page("q", "tia")``: a page of text, image and answer."""
    return page_of
