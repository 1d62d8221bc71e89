"""Vectors of lists, against sums done by hand."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.training.list_vectors import list_vectors, top_results
from wholepage.training.taught import TaughtList

TEXTS = {"asked": [2.0, 0.0], "also": [0.0, 3.0], "a": [3.0, 4.0], "b": [0.0, 1.0], "c": [1.0, 0.0], "d": [-1.0, 0.0]}
PICTURES = {"p": [1.0, 0.0, 0.0], "q": [0.0, 5.0, 0.0], "r": [0.0, 0.0, 2.0], "s": [0.0, -1.0, 0.0]}


class Table:
    """Both encoders, from a table; keeps what it was asked."""

    name = "table"

    def __init__(self, rows: dict[str, list[float]]) -> None:
        self.rows, self.dim = rows, len(next(iter(rows.values())))
        self.asked: list[list[str]] = []

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked.append(list(texts))
        return np.array([self.rows[text] for text in texts], np.float32)

    def encode_images(self, refs: Sequence[ImageRef]) -> NDArray[np.float32]:
        return self.encode_texts([ref.uri for ref in refs])


def words(text: str) -> Result:
    return Result(text, Modality.TEXT, text)


def shown(*uris: str) -> Result:
    return Result(uris[0], Modality.VIDEO if len(uris) > 1 else Modality.IMAGE, images=tuple(map(ImageRef, uris)))


def taught(query: Query, *best_first: Result) -> TaughtList:
    """Results received in reverse."""
    return TaughtList(Page(query, best_first[::-1]), tuple(float(i) for i in range(len(best_first))), "teacher")


LISTS = [
    taught(Query("1", "asked"), words("a"), words("b"), words("c"), words("d")),
    taught(Query("2", "also"), words("b"), words("c"), words("d")),
    taught(Query("3", "asked"), shown("p"), shown("q", "r"), words("c"), shown("s")),
    taught(Query("4", "", image=ImageRef("q")), shown("r"), shown("s")),
]
TEXT_PARTS = np.array(
    [
        [1.0 + (0.6 + 0.0 + 1.0) / 3, (0.8 + 1.0 + 0.0) / 3],
        [0.0, 1.0 + 1.0 / 3],
        [1.0 + 1.0, 0.0],
    ]
)
PICTURE_PARTS = np.array([[0.5, 0.5**0.5 / 2, 0.5**0.5 / 2], [0.0, 1.0 - 0.5, 0.5]])


def brought_to_length_two(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = parts - parts.mean(axis=0)
    return np.asarray(2 * centred / np.sqrt((centred**2).sum(axis=1).mean()))


def test_a_list_is_its_query_and_its_three_best() -> None:
    found = list_vectors(LISTS, Table(TEXTS), Table(PICTURES))
    assert found.shape == (4, 5)
    assert found.dtype == np.float32
    assert found[:3, :2] == pytest.approx(brought_to_length_two(TEXT_PARTS), abs=1e-6)
    assert found[2:, 2:] == pytest.approx(brought_to_length_two(PICTURE_PARTS), abs=1e-6)
    assert not found[:2, 2:].any()
    assert not found[3, :2].any()


def test_without_an_image_encoder_pictures_are_not_looked_at() -> None:
    found = list_vectors(LISTS[:3], Table(TEXTS))
    assert found == pytest.approx(brought_to_length_two(TEXT_PARTS), abs=1e-6)
    with pytest.raises(InputError, match=r"lists\[3\] of query '4': got nothing to encode"):
        list_vectors(LISTS, Table(TEXTS))


def test_the_order_of_the_lists_is_no_matter() -> None:
    texts = [Table(TEXTS), Table(TEXTS)]
    found = list_vectors(LISTS, texts[0], Table(PICTURES))
    again = list_vectors(LISTS[::-1], texts[1], Table(PICTURES))
    assert again[::-1].tolist() == found.tolist()
    assert texts[0].asked == texts[1].asked == [sorted(["asked", "also", "a", "b", "c", "d"])]


def test_lists_of_texts_and_pictures_from_encoders_of_names(planted: SimpleNamespace) -> None:
    vectors: Any = planted.fake_vectors()
    made = planted.world(30)
    lists = [TaughtList.graded(p, made.single().by_result(p.query_id), "people") for p in made.pages]
    found = list_vectors(lists, vectors.text, vectors.image)
    order = np.random.default_rng(0).permutation(len(lists))
    assert list_vectors([lists[i] for i in order], vectors.text, vectors.image).tolist() == found[order].tolist()
    assert np.isfinite(found).all()
    assert len(np.unique(found, axis=0)) == len(lists)


def test_of_equal_targets_the_first_on_the_page_is_better() -> None:
    page = Page(Query("q", "asked"), (words("a"), words("b"), words("c"), words("d")))
    best = top_results(TaughtList(page, (1.0, 3.0, 1.0, 1.0), "t"))
    assert [result.text for result in best] == ["b", "a", "c"]
    assert len(top_results(LISTS[0], 9)) == 4
    with pytest.raises(InputError, match="count=0"):
        top_results(LISTS[0], 0)


def test_no_list_is_refused() -> None:
    with pytest.raises(InputError, match="got no list"):
        list_vectors([], Table(TEXTS))


@pytest.mark.parametrize("wrong", [np.zeros((1, 2), np.float32), np.full((2, 2), np.nan, np.float32)])
def test_an_encoder_that_errs_is_refused(wrong: NDArray[np.float32]) -> None:
    class Wrong(Table):
        def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return wrong

    with pytest.raises(ShapeError, match="encoder 'table'"):
        list_vectors([taught(Query("1", ""), words("a"), words("b"))], Wrong(TEXTS))
