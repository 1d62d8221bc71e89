from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wholepage.pages.errors import NoRanker, PageError, ShapeError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.features import Featurizer, modality_codes, number_names, within_modality
from wholepage.rankers.matching import MATCH_NAMES, NumberScale, ResultVectors, match_numbers

TEXT, IMAGE, VIDEO, ANSWER = Modality
MIXED = [TEXT, IMAGE, VIDEO, ANSWER, TEXT, IMAGE, VIDEO, TEXT]
NAMES = ("clicks", "price")


class ByContent:
    """A score for each result from its own words and address; NaN for every ``silent`` one."""

    name = "by-content"

    def __init__(self, silent: Sequence[str] = (), scale: float = 1.0) -> None:
        self.silent, self.scale = set(silent), scale

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        return [np.array([self._of(result) for result in page.results], np.float32) for page in pages]

    def _of(self, result: Result) -> float:
        if result.result_id in self.silent:
            return np.nan
        letters = sum(map(ord, result.result_id + result.text))
        return float(self.scale * np.sin(letters))


def fitted(
    pages: Sequence[Page],
    vectors: ResultVectors,
    upstream: Any = None,
    read_as: Mapping[Modality, Modality] | None = None,
) -> Featurizer:
    upstream = upstream or ByContent()
    return Featurizer.fit(upstream, vectors, pages, upstream.score(pages), NAMES, read_as, keep=10)


@pytest.fixture(scope="module")
def pages(make_page: Any) -> list[Page]:
    return [make_page(f"q{i}", MIXED) for i in range(12)]


def raw_columns(featurizer: Featurizer, page: Page, scores: Any = None) -> dict[str, NDArray[np.float32]]:
    """The numeric columns by name, as they are before scaling; none reaches the limit of 1000 times 5."""
    names = featurizer.scale.names
    wide = NumberScale(names, np.zeros(len(names), np.float32), np.full(len(names), 1000, np.float32))
    parts = featurizer.upstream, featurizer.vectors, featurizer.known, wide, featurizer.vector_scale
    reader = Featurizer(*parts, featurizer.read_as)
    [items] = reader.read([page], None if scores is None else [np.array(scores, np.float32)])
    return dict(zip(names, items.numbers.T * 1000, strict=True))


# ---------------------------------------------------------------- within_modality

SCORES = st.lists(
    st.tuples(st.sampled_from(["text", "image", "video"]), st.sampled_from([np.nan, -2.5, 0.0, 0.1, 1.0, 1e6])),
    max_size=12,
)


@given(SCORES)
def test_within_modality_is_what_counting_finds(drawn: list[tuple[str, float]]) -> None:
    modality = np.array([name for name, _ in drawn], dtype=np.str_)
    scores = np.array([value for _, value in drawn], np.float32)
    placed = within_modality(scores, modality)
    assert placed.shape == (len(drawn), 3)
    for i, value in enumerate(scores):
        peers = [float(v) for v, m in zip(scores, modality, strict=True) if m == modality[i] and not np.isnan(v)]
        if np.isnan(value):
            assert placed[i].tolist() == [0, 1, 0]
            continue
        better, equal = sum(v > value for v in peers), sum(v == value for v in peers)
        ranks = [better + k for k in range(equal)]  # the places that the equal ones share
        spread = np.std(peers)
        expected = [
            (value - np.mean(peers)) / spread if spread > 1e-9 else 0,
            np.mean(ranks) / (len(peers) - 1) if len(peers) > 1 else 0,
            max(peers) - value,
        ]
        np.testing.assert_allclose(placed[i], expected, rtol=1e-5, atol=1e-6)


def test_within_modality_by_hand() -> None:
    placed = within_modality(
        np.array([3, 10, 1, np.nan, 10], np.float32), np.array(["text", "image", "text", "text", "image"])
    )
    np.testing.assert_allclose(placed[:, 0], [1, 0, -1, 0, 0])
    np.testing.assert_allclose(placed[:, 1], [0, 0.5, 1, 1, 0.5])
    np.testing.assert_allclose(placed[:, 2], [0, 0, 2, 0, 0])


# ---------------------------------------------------------------- columns


def test_every_column_has_its_name(pages: list[Page], vectors: ResultVectors) -> None:
    featurizer = fitted(pages, vectors)
    assert featurizer.known == (TEXT, IMAGE, VIDEO, ANSWER)
    assert featurizer.scale.names == number_names(featurizer.known, NAMES)
    assert featurizer.feature_names == NAMES
    [items] = featurizer.read(pages[:1])
    assert items.numbers.shape == (8, 4 + 3 + 4 + 4 + 4 + 4 + 2)
    assert items.item.shape == (8, 10)
    np.testing.assert_array_equal(items.group, modality_codes(pages[0]))
    assert items.group.tolist() == [0, 1, 2, 3, 0, 1, 2, 0]


def test_columns_hold_what_their_names_say(pages: list[Page], vectors: ResultVectors) -> None:
    featurizer, page = fitted(pages, vectors), pages[2]
    columns = raw_columns(featurizer, page)
    scores = ByContent().score([page])[0]
    modality = np.array([r.modality.value for r in page.results])
    expected = {f"is {m.value}": modality == m.value for m in Modality}
    expected |= {f"raw {m.value}": np.where(modality == m.value, scores, 0) for m in Modality}
    expected |= {f"best {m.value}": np.full(8, scores[modality == m.value].max()) for m in Modality}
    expected |= dict(
        zip(("standardised", "rank fraction", "behind best"), within_modality(scores, modality).T, strict=True)
    )
    expected |= dict(zip(MATCH_NAMES, match_numbers(page, vectors.encode([page])[0]).T, strict=True))
    clicks = np.array([r.features["clicks"] for r in page.results])
    expected["clicks"] = np.log1p(clicks)
    for name, values in expected.items():
        np.testing.assert_allclose(columns[name], values, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_support_is_what_a_loop_finds(scale: float, pages: list[Page], vectors: ResultVectors) -> None:
    silent = [pages[1].results[4].result_id]
    upstream, page = ByContent(silent, scale), pages[1]
    columns = raw_columns(fitted(pages, vectors, upstream), page)
    scores = upstream.score([page])[0].astype(float)
    text = vectors.encode([page])[0].text.astype(float)
    for modality in Modality:
        for i in range(len(page)):
            others = [
                j
                for j, result in enumerate(page.results)
                if j != i and result.modality is modality and not np.isnan(scores[j])
            ]
            support = 0.0
            if others:
                weights = [np.exp(scores[j] - max(scores[k] for k in others)) for j in others]
                support = sum(w * (text[i] @ text[j]) for w, j in zip(weights, others, strict=True)) / sum(weights)
            np.testing.assert_allclose(columns[f"support {modality.value}"][i], support, atol=1e-4)


def test_support_of_the_far_best_result_is_that_of_the_others(vectors: ResultVectors) -> None:
    twins = [Result(name, TEXT, "red shoe") for name in "abc"]
    page = Page(Query("q", "red"), tuple(twins))
    scores = np.array([100, 0, 0], np.float32)
    featurizer = Featurizer.fit(ByContent(), vectors, [page], [scores], (), keep=None)
    np.testing.assert_allclose(raw_columns(featurizer, page, scores)["support text"], 1.0, atol=1e-5)


# ---------------------------------------------------------------- no opinion, empty pages, other modalities


def test_no_opinion_gives_finite_features(pages: list[Page], vectors: ResultVectors) -> None:
    mute = ByContent([r.result_id for page in pages[:3] for r in page.results])
    for upstream in (ByContent(), mute):
        for items in fitted(pages, vectors, upstream).read(pages, mute.score(pages)):
            assert np.isfinite(items.numbers).all()
            assert np.isfinite(items.item).all()
    [items] = fitted(pages, vectors).read(pages[:1], mute.score(pages[:1]))
    columns = raw_columns(fitted(pages, vectors), pages[0], mute.score(pages[:1])[0])
    np.testing.assert_allclose(columns["rank fraction"], 1.0, atol=1e-5)
    np.testing.assert_allclose(columns["standardised"], 0.0, atol=1e-5)
    assert np.abs(items.numbers).max() <= 5


def test_a_page_is_read_as_it_would_be_alone(pages: list[Page], vectors: ResultVectors, make_page: Any) -> None:
    featurizer = fitted(pages, vectors)
    batch = [pages[0], make_page("none", []), make_page("long", MIXED * 8), make_page("one", [IMAGE])]
    for page, together in zip(batch, featurizer.read(batch), strict=True):
        [alone] = featurizer.read([page])
        for name in ("query", "item", "numbers", "group"):
            np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))


def test_reading_follows_the_order_of_results(vectors: ResultVectors, pages: list[Page], make_page: Any) -> None:
    featurizer, page = fitted(pages, vectors), make_page("long", MIXED * 4)
    order = np.random.default_rng(1).permutation(len(page))
    [here], [there] = (
        featurizer.read([page]),
        featurizer.read([Page(page.query, tuple(page.results[i] for i in order))]),
    )
    np.testing.assert_allclose(there.numbers, here.numbers[order], atol=1e-5)
    np.testing.assert_allclose(there.item, here.item[order], atol=1e-6)
    np.testing.assert_array_equal(there.group, here.group[order])


def test_an_empty_page_has_no_rows(pages: list[Page], vectors: ResultVectors) -> None:
    featurizer = fitted([*pages, Page(Query("none", "red"))], vectors)
    [items] = featurizer.read([Page(Query("none", "red"))])
    assert len(items) == 0
    assert items.numbers.shape == (0, 25)
    assert items.item.shape == (0, 10)
    assert featurizer.read([]) == []


def test_a_modality_that_training_did_not_see_is_refused_by_place(vectors: ResultVectors, make_page: Any) -> None:
    featurizer = fitted([make_page(f"q{i}", [TEXT, IMAGE]) for i in range(4)], vectors)
    with pytest.raises(NoRanker, match=r"'new': results\[2\] 'new/2': got modality 'answer'; allowed: \['text', 'im"):
        featurizer.read([make_page("new", [TEXT, IMAGE, ANSWER])])


def test_a_modality_can_be_read_as_a_known_one(vectors: ResultVectors, make_page: Any) -> None:
    read_as = {ANSWER: TEXT, VIDEO: IMAGE}
    featurizer = fitted([make_page(f"q{i}", [TEXT, IMAGE]) for i in range(4)], vectors, read_as=read_as)
    page = make_page("new", [TEXT, IMAGE, ANSWER, VIDEO])
    columns = raw_columns(featurizer, page, [1.0, -0.5, 0.25, 0.75])
    np.testing.assert_allclose(columns["is text"], [1, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(columns["is image"], [0, 1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(columns["raw text"], [1, 0, 0.25, 0], atol=1e-6)
    np.testing.assert_allclose(columns["raw image"], [0, -0.5, 0, 0.75], atol=1e-6)
    # It stands among its own kind: each is the only one here.
    np.testing.assert_allclose(columns["standardised"], 0, atol=1e-6)
    np.testing.assert_allclose(columns["best text"], 1, atol=1e-6)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_an_infinite_single_modal_score_is_refused_by_place(
    bad: float, pages: list[Page], vectors: ResultVectors
) -> None:
    scores = np.zeros(8, np.float32)
    scores[5] = bad
    with pytest.raises(PageError, match=r"'q0': results\[5\] 'q0/5': got single-modal score -?inf; allowed: finite"):
        fitted(pages, vectors).read(pages[:1], [scores])


@pytest.mark.parametrize("shape", [(7,), (9,), (8, 1)])
def test_scores_that_do_not_fit_their_page_are_refused(
    shape: tuple[int, ...], pages: list[Page], vectors: ResultVectors
) -> None:
    with pytest.raises(ShapeError, match=r"'q0': got single-modal scores of shape .*allowed: \(8,\)"):
        fitted(pages, vectors).read(pages[:1], [np.zeros(shape, np.float32)])


def test_scores_for_another_number_of_pages_are_refused(pages: list[Page], vectors: ResultVectors) -> None:
    with pytest.raises(ShapeError, match="1 arrays of scores for 2 pages"):
        fitted(pages, vectors).read(pages[:2], [np.zeros(8, np.float32)])


def test_pictures_without_words_have_zero_support_and_no_match(pages: list[Page], vectors: ResultVectors) -> None:
    silent = Page(Query("q", "red"), (Result("a", IMAGE, images=(ImageRef("a.png"),)), Result("b", TEXT, "red shoe")))
    columns = raw_columns(fitted(pages, vectors), silent)
    for name in (*MATCH_NAMES, "support text", "support image"):
        np.testing.assert_allclose(columns[name][0], 0, atol=1e-5, err_msg=name)
