from __future__ import annotations

import gc
import math
import re
import threading

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.pages.errors import InputError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.pages.protocols import Scorer
from wholepage.rankers import bm25
from wholepage.rankers.bm25 import BM25Scorer, count_words, words_of


def page(query: str, *texts: str) -> Page:
    return Page(
        Query("q", query),
        tuple(
            Result(f"r{i}", Modality.TEXT, text) if text else Result(f"r{i}", Modality.IMAGE, "", (ImageRef("x.png"),))
            for i, text in enumerate(texts)
        ),
    )


def lucene(query: list[str], texts: list[list[str]], k1: float, b: float) -> list[float]:
    """BM25 as Lucene writes it, straight from the formula."""
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for text in texts:
        total = 0.0
        for word in query:
            df = sum(word in other for other in texts)
            tf = text.count(word)
            idf = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
            total += idf * tf / (tf + k1 * (1 - b + b * len(text) / mean))
        scores.append(total)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4), (2.0, 0.0)])
def test_scores_are_the_formula(k1: float, b: float) -> None:
    texts = ["red fox jumps", "blue fox fox sleeps long long day", "green tree", "red red red"]
    scorer = BM25Scorer(k1, b)
    assert isinstance(scorer, Scorer)
    got = scorer.score([page("Red FOX unknown", *texts)])[0]
    np.testing.assert_allclose(got, lucene(["red", "fox"], [t.split() for t in texts], k1, b), rtol=1e-5)
    assert got.dtype == np.float32


def test_results_without_text_get_no_opinion_and_do_not_count() -> None:
    with_picture = BM25Scorer().score([page("fox", "red fox", "", "green tree", "   ")])[0]
    alone = BM25Scorer().score([page("fox", "red fox", "green tree")])[0]
    np.testing.assert_array_equal(np.isnan(with_picture), [False, True, False, True])
    np.testing.assert_array_equal(with_picture[[0, 2]], alone)


def test_a_page_does_not_depend_on_other_pages() -> None:
    pages = [page("fox", "fox a", "tree"), page("tree", "tree fox", "fox", "fox den")]
    together = BM25Scorer().score(pages)
    for alone, beside in zip(pages, together, strict=True):
        np.testing.assert_array_equal(BM25Scorer().score([alone])[0], beside)


def test_texts_and_queries_without_words(capfd: pytest.CaptureFixture[str]) -> None:
    scorer = BM25Scorer()
    np.testing.assert_array_equal(scorer.score([page("fox", "the of and", "!!", "?")])[0], [0, 0, 0])
    np.testing.assert_array_equal(scorer.score([page("the", "the fox")])[0], [0])
    np.testing.assert_array_equal(scorer.score([page("fox", "fox den", "the")])[0] > 0, [True, False])
    assert np.isnan(scorer.score([page(" ", "fox")])[0]).all()
    assert scorer.score([page("fox")])[0].shape == (0,)
    assert scorer.score([]) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("k1", "b"), [(-1, 0.5), (1, 1.1), (float("nan"), 0.5)])
def test_parameters_out_of_range(k1: float, b: float) -> None:
    with pytest.raises(InputError, match="k1"):
        BM25Scorer(k1, b)


def test_a_language_without_stop_words_is_refused() -> None:
    assert BM25Scorer(stopwords="german").score([page("der hund", "der hund", "der")])[0][1] == 0
    with pytest.raises(InputError, match=r"got stop words of 'klingon'; allowed: a language bm25s knows"):
        BM25Scorer(stopwords="klingon")


# ---------------------------------------------------------------- the library it stands for

WORDS = ["fox", "Fox", "the", "of", "x", "1", "Straße", "don\u2019t", "well-known", "snake_case", "日本", "\u2014"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)


@given(
    TEXTS.filter(str.strip), st.lists(TEXTS.filter(str.strip), min_size=1, max_size=12), st.sampled_from([0, 1.2, 2])
)
def test_scores_are_to_the_bit_those_of_bm25s(query: str, texts: list[str], k1: float) -> None:
    split = bm25s.tokenize([query, *texts], stopwords="en", return_ids=False, show_progress=False)
    asked = [word for word in split[0] if any(word in text for text in split[1:])]
    expected = np.zeros(len(texts), np.float32)
    if asked:
        index = bm25s.BM25(k1=k1, b=0.75, method="lucene")
        index.index(split[1:], show_progress=False)
        expected = index.get_scores(asked)
    np.testing.assert_array_equal(BM25Scorer(k1).score([page(query, *texts)])[0], expected)


# ---------------------------------------------------------------- words


@given(st.one_of(st.text(max_size=60), st.text("aZ09_é \t\x1c\x85\u2019\u201c\u2014\u2026\u00a0.,İK²", max_size=60)))
def test_words_are_those_of_the_expression(text: str) -> None:
    assert words_of(text) == re.findall(r"\w+", text.lower())


def test_every_single_character_is_split_as_by_the_expression() -> None:
    for code in (*range(0x3000), 0x65E5, 0xFB01, 0x1F98A):
        text = f"a{chr(code)}b"
        assert words_of(text) == re.findall(r"\w+", text.lower()), hex(code)


def test_words_are_counted_with_and_without_stop_words() -> None:
    told = count_words("The fox, the x and the FOX_1 fox", frozenset({"the", "x", "and"}))
    assert told.counts == {"the": 3, "fox": 2, "x": 1, "and": 1, "fox_1": 1}
    assert (told.total, told.content) == (8, 3)


def test_kept_counts_are_no_work_for_a_collection_of_garbage() -> None:
    kept = bm25._Kept(1000)
    words = kept.of("the fox and the fox", frozenset({"the"}))
    gc.collect()
    (key,) = kept._counts
    assert not any(map(gc.is_tracked, (key, words, words.counts)))


def test_a_text_is_counted_for_each_list_of_stop_words() -> None:
    kept = bm25._Kept(1000)
    assert kept.of("the fox", frozenset()).content == 2
    assert kept.of("the fox", frozenset({"the"})).content == 1
    assert kept.of("the fox", frozenset()).content == 2


def test_counts_are_kept_within_their_bound_the_last_asked_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, counted = bm25._Kept(1000), []
    really = bm25._counted

    def spied(text: str, stopwords: frozenset[str]) -> bm25.TextWords:
        counted.append(text)
        return really(text, stopwords)

    monkeypatch.setattr(bm25, "_counted", spied)
    none, texts = frozenset[str](), ["a" * 300, "b" * 300, "c" * 300]
    for text in (texts[0], texts[1], texts[0], texts[2]):  # the third pushes out b, asked for before a
        assert kept.of(text, none).counts == {text: 1}
    assert kept.room >= 0
    kept.of(texts[0], none)
    assert counted == texts
    kept.of(texts[1], none)
    assert counted == [*texts, texts[1]]
    assert kept.of("z" * 5000, none).counts == {"z" * 5000: 1}  # never kept, and nothing else with it
    assert kept.room == 1000


def test_threads_count_alike() -> None:
    kept, found = bm25._Kept(2000), []
    texts = [f"word{i} word{i} other" * 20 for i in range(30)]

    def count() -> None:
        found.append([kept.of(text, frozenset()) for text in texts * 5])

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[bm25._counted(text, frozenset()) for text in texts * 5]] * 4
    held = list(kept._counts)
    assert kept.room == 2000 - sum(bm25._size(text) for text, _ in held) >= 0
