"""Modalities that training never saw are believed less."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality, Page
from wholepage.pages.protocols import Scorer
from wholepage.rankers.features import Featurizer
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.page_head import UNSEEN_TRUST, PageHead, head_scores, tempered
from wholepage.rankers.weights import MANIFEST
from wholepage.rankers.whole_page import WholePageRanker

SCORES = np.array([4.0, 1.0, -2.0, 3.0, 0.0], np.float32)
UNSEEN = np.array([True, False, False, True, True])


def test_by_hand() -> None:
    # the mean is 1.2: 4 -> 1.2 + .5 * 2.8, 3 -> 1.2 + .5 * 1.8, 0 -> 1.2 - .5 * 1.2
    np.testing.assert_allclose(tempered(SCORES, UNSEEN, 0.5), [2.6, 1.0, -2.0, 2.1, 0.6], atol=1e-6)


@pytest.mark.parametrize("trust", [0.1, 0.5, 0.9])
def test_orders_within_are_kept(trust: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        scores = random.normal(size=12).astype(np.float32)
        unseen = random.random(12) < 0.5
        found = tempered(scores, unseen, trust)
        for part in (unseen, ~unseen):
            assert (np.argsort(found[part]) == np.argsort(scores[part])).all()
        np.testing.assert_array_equal(found[~unseen], scores[~unseen])


def test_full_trust_and_none() -> None:
    np.testing.assert_allclose(tempered(SCORES, UNSEEN, 1.0), SCORES, atol=1e-6)
    np.testing.assert_allclose(tempered(SCORES, UNSEEN, 0.0)[UNSEEN], SCORES.mean(), atol=1e-6)


@pytest.mark.parametrize("unseen", [np.zeros(5, bool), np.ones(5, bool)])
def test_where_all_are_alike_nothing_changes(unseen: NDArray[np.bool_]) -> None:
    assert tempered(SCORES, unseen) is SCORES
    assert len(tempered(SCORES[:0], unseen[:0])) == 0


class Zeros:
    """A Scorer that likes everything alike."""

    name = "zeros"

    def score(self, pages: list[Page]) -> list[NDArray[np.float32]]:
        return [np.zeros(len(page), np.float32) for page in pages]


@pytest.fixture(scope="module")
def ranker(vectors: ResultVectors, make_page: object) -> WholePageRanker:
    upstream: Scorer = Zeros()  # type: ignore[assignment]
    pages = [make_page(f"q{i}", [Modality.TEXT, Modality.IMAGE] * 3) for i in range(6)]  # type: ignore[operator]
    scores = upstream.score(pages)
    featurizer = Featurizer.fit(upstream, vectors, pages, scores, (), {Modality.ANSWER: Modality.TEXT})
    head = PageHead.reading(featurizer.read(pages)[0], width=16, layers=1, heads=2, dropout=0.0)
    return WholePageRanker(featurizer, [head])


@pytest.fixture(scope="module")
def mixed(make_page: object) -> Page:
    kinds = [Modality.TEXT, Modality.ANSWER, Modality.IMAGE, Modality.ANSWER]
    return make_page("new", kinds)  # type: ignore[operator, no-any-return]


def test_the_ranker_tempers_what_it_reads_as_another(ranker: WholePageRanker, mixed: Page) -> None:
    (plain,) = head_scores(ranker.heads, ranker.featurizer.read([mixed]))
    (found,) = ranker.score([mixed])
    unseen = np.array([False, True, False, True])
    np.testing.assert_array_equal(ranker.featurizer.unseen(mixed), unseen)
    np.testing.assert_allclose(found, tempered(plain, unseen, UNSEEN_TRUST), atol=1e-6)
    assert not np.allclose(found, plain)


@pytest.mark.parametrize("trust", [-0.1, 1.1, float("nan")])
def test_a_trust_that_is_no_share_is_refused(ranker: WholePageRanker, trust: float) -> None:
    with pytest.raises(InputError, match="unseen_trust"):
        WholePageRanker(ranker.featurizer, ranker.heads, unseen_trust=trust)


def test_folders_keep_the_trust(ranker: WholePageRanker, mixed: Page, vectors: ResultVectors, tmp_path: Path) -> None:
    own = WholePageRanker(ranker.featurizer, ranker.heads, unseen_trust=0.25)
    own.save(tmp_path / "model")
    loaded = WholePageRanker.load(tmp_path / "model", vectors, ranker.featurizer.upstream)
    np.testing.assert_array_equal(loaded.score([mixed])[0], own.score([mixed])[0])


def test_folders_from_before_score_as_before(
    ranker: WholePageRanker, mixed: Page, vectors: ResultVectors, tmp_path: Path
) -> None:
    ranker.save(tmp_path / "model")
    manifest = msgspec.json.decode((tmp_path / "model" / MANIFEST).read_bytes())
    del manifest["config"]["unseen_trust"]
    (tmp_path / "model" / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    loaded = WholePageRanker.load(tmp_path / "model", vectors, ranker.featurizer.upstream)
    (plain,) = head_scores(ranker.heads, ranker.featurizer.read([mixed]))
    np.testing.assert_allclose(loaded.score([mixed])[0], plain, atol=1e-6)
