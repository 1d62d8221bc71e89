from __future__ import annotations

import math

import numpy as np
import pytest

from wholepage.pages.errors import InputError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.pages.protocols import Scorer
from wholepage.rankers.bm25 import BM25Scorer


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
