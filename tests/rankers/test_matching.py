from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wholepage.pages.errors import InputError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.matching import (
    MATCH_NAMES,
    NumberScale,
    PageVectors,
    ResultVectors,
    VectorScale,
    feature_columns,
    feature_names,
    match_numbers,
)

TEXT, IMAGE, VIDEO, ANSWER = Modality
MIXED = [TEXT, IMAGE, VIDEO, ANSWER, TEXT, IMAGE, VIDEO]


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vector / np.linalg.norm(vector))


# ---------------------------------------------------------------- ResultVectors


def test_a_text_has_the_encoders_vector_and_no_picture(vectors: ResultVectors) -> None:
    [encoded] = vectors.encode([Page(Query("q", "red shoe"), (Result("a", TEXT, "a red shoe"),))])
    np.testing.assert_array_equal(encoded.query, vectors.text.encode_texts(["red shoe"])[0])
    np.testing.assert_array_equal(encoded.text, vectors.text.encode_texts(["a red shoe"]))
    np.testing.assert_array_equal(encoded.image, np.zeros((1, 8)))
    np.testing.assert_array_equal(encoded.item, np.concatenate([encoded.text, encoded.image], axis=1))


def test_a_videos_vector_is_the_normalised_mean_of_its_normalised_frames(vectors: ResultVectors, images: Any) -> None:
    frames = (ImageRef("1.png"), ImageRef("2.png"), ImageRef("3.png"))
    page = Page(Query("q", "x"), (Result("p", IMAGE, images=frames[:1]), Result("v", VIDEO, images=frames)))
    [encoded] = vectors.encode([page])
    each = [unit(row) for row in images().encode_images(frames)]
    np.testing.assert_allclose(encoded.image[0], each[0], atol=1e-6)
    np.testing.assert_allclose(encoded.image[1], unit(np.mean(each, axis=0)), atol=1e-6)
    np.testing.assert_array_equal(encoded.text, np.zeros((2, 16)))


def test_pictures_are_not_looked_at_without_an_image_encoder(texts: Any, make_page: Any) -> None:
    blind = ResultVectors(texts())
    [encoded] = blind.encode([make_page("q", MIXED)])
    assert blind.image_dim == 0
    assert blind.name == "hash-text"
    assert encoded.image.shape == (7, 0)
    assert encoded.item.shape == (7, 16)


def test_both_encoders_are_in_the_name(vectors: ResultVectors) -> None:
    assert vectors.name == "hash-text+hash-image"
    assert (vectors.text_dim, vectors.image_dim) == (16, 8)


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_query_without_words_is_refused_by_name(text: str, vectors: ResultVectors) -> None:
    with pytest.raises(InputError, match=r"'wordless'.*allowed: a query in words"):
        vectors.encode([Page(Query("q", "x")), Page(Query("wordless", text, ImageRef("a.png")))])


def test_pages_are_encoded_as_they_would_be_alone(vectors: ResultVectors, make_page: Any) -> None:
    pages = [make_page("a", MIXED), make_page("none", []), make_page("b", [IMAGE]), make_page("c", MIXED[::-1])]
    for page, together in zip(pages, vectors.encode(pages), strict=True):
        [alone] = vectors.encode([page])
        assert len(together.text) == len(together.image) == len(page)
        for name in ("query", "text", "image"):
            np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))


def test_no_pages_are_no_vectors(vectors: ResultVectors) -> None:
    assert vectors.encode([]) == []


# ---------------------------------------------------------------- VectorScale


@pytest.fixture
def encoded(vectors: ResultVectors, make_page: Any) -> list[PageVectors]:
    return vectors.encode([make_page(f"q{i}", MIXED) for i in range(20)])


def test_each_part_is_centred_and_brought_to_length_two(encoded: list[PageVectors]) -> None:
    scale = VectorScale.fit(encoded)
    assert scale.dim == 24
    rows = np.concatenate([scale.apply(page) for page in encoded])
    raw = np.concatenate([page.item for page in encoded])
    for part in (slice(0, 16), slice(16, 24)):
        has = np.abs(raw[:, part]).sum(axis=1) > 0
        assert 0 < has.sum() < len(raw)
        np.testing.assert_allclose(rows[has, part].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(np.sqrt((rows[has, part] ** 2).sum(axis=1).mean()), 2.0, atol=1e-4)
        np.testing.assert_array_equal(rows[~has, part], 0)


def test_what_occurs_often_counts_once(encoded: list[PageVectors]) -> None:
    once, often = VectorScale.fit(encoded, keep=5), VectorScale.fit([*encoded, *encoded[:3] * 4][::-1], keep=5)
    for name, array in once.arrays().items():
        np.testing.assert_array_equal(array, often.arrays()[name])


def test_kept_directions_are_the_principal_ones(encoded: list[PageVectors]) -> None:
    plain, kept = VectorScale.fit(encoded), VectorScale.fit(encoded, keep=6)
    directions = kept.directions
    assert directions is not None
    assert kept.dim == 6
    np.testing.assert_allclose(directions.T @ directions, np.eye(6), atol=1e-5)
    distinct = np.unique(np.concatenate([plain.apply(page) for page in encoded]), axis=0)
    _, _, right = np.linalg.svd(distinct, full_matrices=False)
    np.testing.assert_allclose(np.abs((right[:6] * directions.T).sum(axis=1)), 1.0, atol=1e-4)
    np.testing.assert_allclose(kept.apply(encoded[0]), plain.apply(encoded[0]) @ directions, atol=1e-5)


def test_the_largest_coordinate_of_a_direction_is_positive(encoded: list[PageVectors]) -> None:
    directions = VectorScale.fit(encoded, keep=12).directions
    assert directions is not None
    assert (directions[np.abs(directions).argmax(axis=0), np.arange(12)] > 0).all()


def test_the_first_directions_do_not_depend_on_how_many_are_kept(encoded: list[PageVectors]) -> None:
    few, many = VectorScale.fit(encoded, keep=3).directions, VectorScale.fit(encoded, keep=9).directions
    assert few is not None
    assert many is not None
    np.testing.assert_array_equal(few, many[:, :3])


@pytest.mark.parametrize("keep", [None, 24, 1000])
def test_all_columns_stay_when_no_fewer_are_asked_for(keep: int | None, encoded: list[PageVectors]) -> None:
    scale = VectorScale.fit(encoded, keep=keep)
    assert scale.directions is None
    assert scale.dim == 24


@pytest.mark.parametrize("keep", [None, 5])
def test_a_result_that_nobody_can_read_stays_zero(keep: int | None, encoded: list[PageVectors]) -> None:
    nothing = PageVectors(encoded[0].query, np.zeros((2, 16), np.float32), np.zeros((2, 8), np.float32))
    np.testing.assert_array_equal(VectorScale.fit(encoded, keep=keep).apply(nothing), 0)


@pytest.mark.parametrize("keep", [None, 5])
def test_vector_scale_comes_back_from_its_arrays(keep: int | None, encoded: list[PageVectors]) -> None:
    scale = VectorScale.fit(encoded, keep=keep)
    again = VectorScale.from_arrays(16, scale.arrays())
    np.testing.assert_array_equal(again.apply(encoded[3]), scale.apply(encoded[3]))


def test_vector_scale_without_pictures_or_results(texts: Any, make_page: Any) -> None:
    blind = ResultVectors(texts())
    scale = VectorScale.fit(blind.encode([make_page("q", MIXED)]))
    assert scale.dim == 16
    [empty] = blind.encode([make_page("none", [])])
    assert scale.apply(empty).shape == (0, 16)
    assert np.isfinite(VectorScale.fit([empty], keep=4).apply(empty)).all()


def test_vector_scale_wants_a_page() -> None:
    with pytest.raises(InputError, match="no page"):
        VectorScale.fit([])


# ---------------------------------------------------------------- match_numbers


def test_match_numbers_by_hand(vectors: ResultVectors) -> None:
    page = Page(
        Query("q", "red shoe shop"),
        (
            Result("a", TEXT, "Red shoe, red boot!"),
            Result("b", IMAGE, images=(ImageRef("b.png"),)),
            Result("c", ANSWER, "violin market"),
            Result("d", TEXT, " "),
        ),
    )
    [encoded] = vectors.encode([page])
    numbers = match_numbers(page, encoded)
    assert numbers.shape == (4, len(MATCH_NAMES))
    assert numbers.dtype == np.float32
    # Lucene's BM25, k1 1.2, b .75, over the two texts: 4 and 2 words long; red twice, shoe once, each in one of them.
    idf, norm = np.log(1 + (2 - 1 + 0.5) / (1 + 0.5)), 1.2 * (1 - 0.75 + 0.75 * 4 / 3)
    bm25 = idf * 2 / (2 + norm) + idf * 1 / (1 + norm)
    cosine = vectors.text.encode_texts(["Red shoe, red boot!"])[0] @ vectors.text.encode_texts(["red shoe shop"])[0]
    np.testing.assert_allclose(numbers[0], [np.log1p(bm25), cosine, 2 / 3, np.log(5)], rtol=1e-5)
    np.testing.assert_array_equal(numbers[1], 0)
    assert numbers[2, 0] == numbers[2, 2] == 0
    np.testing.assert_allclose(numbers[2, 3], np.log(3), rtol=1e-6)
    np.testing.assert_array_equal(numbers[3], 0)


def test_match_numbers_do_not_depend_on_the_order_of_results(vectors: ResultVectors, make_page: Any) -> None:
    page = make_page("q", MIXED * 3)
    order = np.random.default_rng(0).permutation(len(page))
    turned = Page(page.query, tuple(page.results[i] for i in order))
    [here], [there] = vectors.encode([page]), vectors.encode([turned])
    np.testing.assert_allclose(match_numbers(turned, there), match_numbers(page, here)[order], atol=1e-6)


def test_match_numbers_of_an_empty_page_and_of_a_query_of_signs(vectors: ResultVectors) -> None:
    empty, signs = Page(Query("q", "red")), Page(Query("s", "?!"), (Result("a", TEXT, "red shoe"),))
    here, there = vectors.encode([empty, signs])
    assert match_numbers(empty, here).shape == (0, 4)
    assert match_numbers(signs, there)[0, 2] == 0
    assert np.isfinite(match_numbers(signs, there)).all()


# ---------------------------------------------------------------- NumberScale and features


def test_number_scale_by_hand() -> None:
    rows = np.array([[i, 7.0] for i in range(11)], np.float32)
    scale = NumberScale.fit(["count", "same"], rows)
    # Median 5, deciles 1 and 9; a constant column keeps spread 1.
    np.testing.assert_allclose(scale.centre, [5, 7], rtol=1e-6)
    np.testing.assert_allclose(scale.spread, [4, 1], rtol=1e-6)
    given = np.array([[9, 7], [1, 8], [105, -93]], np.float32)
    np.testing.assert_allclose(scale.apply(given), [[1, 0], [-1, 1], [5, -5]], rtol=1e-6)


def test_a_column_that_is_nearly_always_zero_is_scaled_by_its_deviation() -> None:
    rows = np.zeros((100, 1), np.float32)
    rows[7] = 20.0
    scale = NumberScale.fit(["rare"], rows)
    np.testing.assert_allclose(scale.spread, [rows.std()], rtol=1e-5)
    np.testing.assert_allclose(scale.apply(rows)[7], [5.0])  # 20 / 1.99, clipped


def test_number_scale_without_rows_changes_nothing() -> None:
    scale = NumberScale.fit(["a", "b"], np.zeros((0, 2), np.float32))
    np.testing.assert_array_equal(scale.apply(np.array([[1, -2]], np.float32)), [[1, -2]])
    assert scale.apply(np.zeros((0, 2), np.float32)).shape == (0, 2)


def test_number_scale_comes_back_from_its_arrays() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    scale = NumberScale.fit(["a", "b", "c"], rows)
    again = NumberScale.from_arrays(["a", "b", "c"], scale.arrays())
    assert again.names == ("a", "b", "c")
    np.testing.assert_array_equal(again.apply(rows), scale.apply(rows))


def test_features_are_named_in_order_and_squeezed() -> None:
    one = Result("a", TEXT, "x", features={"price": -(np.e - 1), "clicks": np.e**2 - 1})
    two = Result("b", TEXT, "x", features={"age": 0.0, "clicks": 1.7e308})
    page = Page(Query("q", "x"), (one, two))
    assert feature_names([page, Page(Query("r", "x"))]) == ("age", "clicks", "price")
    columns = feature_columns(page, ["clicks", "price", "unknown"])
    np.testing.assert_allclose(columns[0], [2, -1, 0], rtol=1e-6)
    np.testing.assert_allclose(columns[1], [np.log(1.7e308), 0, 0], rtol=1e-6)  # the largest numbers stay finite
    assert feature_columns(Page(page.query), ["clicks"]).shape == (0, 1)
    assert feature_columns(page, []).shape == (2, 0)
