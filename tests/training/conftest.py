"""A planted world for training: what a result is worth is a linear function of its vector, known exactly.

Texts and pictures are names; the fake encoders turn a name into a vector by its hash. Within a modality the level of a
result is 0 to 3; on the page a modality may be lifted, so that its levels start higher (a cross-modal offset).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wholepage.pages.judgments import Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result
from wholepage.rankers.matching import ResultVectors

DIM = 8


def name_vector(name: str) -> NDArray[np.float32]:
    """A vector of length 1 that depends on the name alone; names of queries point almost the same way."""
    draw = np.random.default_rng(list(hashlib.sha256(name.encode()).digest())).standard_normal(DIM)
    if name.startswith("query"):
        draw = 0.1 * draw + 2.0 * np.eye(DIM)[0]
    return np.asarray(draw / np.linalg.norm(draw), np.float32)


class FakeTexts:
    """A text encoder of names."""

    name, dim = "fake-texts", DIM

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([name_vector(text) for text in texts])


class FakeImages:
    """An image encoder of addresses; nothing is opened."""

    name, dim = "fake-images", DIM

    def encode_images(self, refs: Sequence[ImageRef]) -> NDArray[np.float32]:
        return np.stack([name_vector(ref.uri) for ref in refs])


def fake_vectors() -> ResultVectors:
    return ResultVectors(FakeTexts(), FakeImages())


def result(result_id: str, modality: Modality, content: str) -> Result:
    if modality in (Modality.TEXT, Modality.ANSWER):
        return Result(result_id, modality, content)
    return Result(result_id, modality, images=(ImageRef(content),))


def level(modality: Modality, content: str) -> int:
    """0 to 3, a quarter of the results each: the rank of a linear function of the vector."""
    like_text = modality in (Modality.TEXT, Modality.ANSWER)
    worth = name_vector(content)[1] if like_text else name_vector(content)[2]
    return int(np.digitize(worth * DIM**0.5, [-0.7, 0.0, 0.7]))


@dataclass(frozen=True)
class World:
    """Pages with all their levels within the modality."""

    pages: list[Page]
    levels: dict[str, dict[str, int]]

    def single(self) -> Judgments:
        """Every single-modal label."""
        return Judgments.from_mapping(self.levels)

    def lifted(self, offsets: Mapping[Modality, int], share: float = 1.0, seed: int = 0) -> Judgments:
        """Page grades: levels plus the offset of the modality; of a random share of the results."""
        draw = np.random.default_rng(seed)
        grades = {
            page.query_id: {
                r.result_id: self.levels[page.query_id][r.result_id] + offsets.get(r.modality, 0)
                for r in page.results
                if draw.random() < share
            }
            for page in self.pages
        }
        return Judgments.from_mapping({query_id: given for query_id, given in grades.items() if given})


def world(count: int, sizes: Mapping[Modality, int] | None = None, *, prefix: str = "q", vary: bool = False) -> World:
    """Pages ``<prefix>0`` to ``<prefix><count - 1>`` with so many results of each modality, interleaved.

    Args:
        vary: page i has up to i % 3 results of each modality less, and at least one.
    """
    sizes = {Modality.TEXT: 6, Modality.IMAGE: 6} if sizes is None else sizes
    pages, levels = [], {}
    for index in range(count):
        query_id = f"{prefix}{index}"
        less = index % 3 if vary else 0
        lists = [
            [result(f"{m.value}{k}", m, f"{query_id} {m.value} {k}") for k in range(max(1, size - less))]
            for m, size in sizes.items()
        ]
        longest = max(map(len, lists))
        results = tuple(one[k] for k in range(longest) for one in lists if k < len(one))
        pages.append(Page(Query(query_id, f"query {query_id}"), results))
        levels[query_id] = {
            r.result_id: level(
                r.modality, f"{query_id} {r.modality.value} {r.result_id.removeprefix(r.modality.value)}"
            )
            for r in results
        }
    return World(pages, levels)


def ndcg(rankings: Sequence[Ranking], judgments: Judgments) -> float:
    """Mean nDCG of whole lists with gains 2^grade - 1, over the queries that have a gain."""
    values = []
    for ranking in rankings:
        grades = judgments.by_result(ranking.query_id)
        gains = np.exp2([grades.get(i, 0.0) for i in ranking.result_ids]) - 1
        discounts = 1 / np.log2(np.arange(len(gains)) + 2)
        if gains.any():
            values.append(float(gains @ discounts / (np.sort(gains)[::-1] @ discounts)))
    return float(np.mean(values))


def pair_accuracy(rankings: Sequence[Ranking], pages: Sequence[Page], judgments: Judgments, *, across: bool) -> float:
    """Share of pairs of different grade in the right order: of different modalities, or of the same one."""
    right, total = 0, 0
    for ranking, page in zip(rankings, pages, strict=True):
        at, grades = ranking.positions(), judgments.by_result(page.query_id)
        kinds = {r.result_id: r.modality for r in page.results}
        for a in grades:
            for b in grades:
                if grades[a] > grades[b] and (kinds[a] is not kinds[b]) == across:
                    right, total = right + (at[a] < at[b]), total + 1
    return right / total


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The networks are so small that threads only wait; and one thread makes sums repeat themselves."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def planted() -> SimpleNamespace:
    """The functions of this file, for tests to call."""
    kept: dict[str, Callable[..., object]] = {
        f.__name__: f for f in (world, fake_vectors, result, level, name_vector, ndcg, pair_accuracy)
    }
    return SimpleNamespace(**kept, World=World, file=__file__)
