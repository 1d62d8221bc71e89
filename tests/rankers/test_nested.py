"""Single-modal rankers inside a page reranker's folder, whatever their kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from wholepage.pages.errors import NoRanker, WeightsError
from wholepage.pages.model import Modality, Page
from wholepage.rankers.bm25 import BM25Scorer
from wholepage.rankers.cross_encoder import PairReader, TrainedCrossEncoder
from wholepage.rankers.features import Featurizer
from wholepage.rankers.fusion import SingleModal
from wholepage.rankers.matching import MATCH_NAMES, ResultVectors
from wholepage.rankers.nested import KINDS, SavedScorer, SingleModalRanker, load_single, nestable, places
from wholepage.rankers.tower import Tower, TowerReader, TowerScorer
from wholepage.rankers.weights import read_manifest, save_model
from wholepage.rankers.whole_page import PageHead, WholePageRanker

TEXT, IMAGE, ANSWER = Modality.TEXT, Modality.IMAGE, Modality.ANSWER
MakePage = Callable[[str, Sequence[Modality]], Page]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "shoe", "lamp", "soup", "train"]


@pytest.fixture(scope="module")
def pages(make_page: MakePage) -> list[Page]:
    return [make_page(f"q{i}", [TEXT, IMAGE, TEXT, IMAGE, ANSWER]) for i in range(3)]


@pytest.fixture(scope="module")
def texts_ranker(tmp_path_factory: pytest.TempPathFactory) -> TrainedCrossEncoder:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, num_labels=1, **sizes)
    words = tmp_path_factory.mktemp("words") / "vocab.txt"
    words.write_text("\n".join(WORDS))
    reader = PairReader(BertTokenizerFast(vocab=str(words)), 32)
    return TrainedCrossEncoder(TEXT, reader, [BertForSequenceClassification(config)], also=[ANSWER], device="cpu")


@pytest.fixture(scope="module")
def pictures_ranker(vectors: ResultVectors, pages: list[Page]) -> TowerScorer:
    torch.manual_seed(0)
    reader = TowerReader.fit(vectors, [page.only(IMAGE) for page in pages], ["clicks"], keep=4)
    return TowerScorer(IMAGE, reader, [Tower(16, 4, len(MATCH_NAMES) + 1, rank=4, hidden=4)])


@pytest.fixture(scope="module")
def mixed(texts_ranker: TrainedCrossEncoder, pictures_ranker: TowerScorer) -> SingleModal:
    return SingleModal({TEXT: texts_ranker, IMAGE: pictures_ranker, ANSWER: texts_ranker}, missing="last")


def page_ranker(upstream: SingleModal, vectors: ResultVectors, pages: list[Page]) -> WholePageRanker:
    featurizer = Featurizer.fit(upstream, vectors, pages, upstream.score(pages), ["price"], keep=4)
    items = featurizer.read(pages)[0]
    torch.manual_seed(1)
    return WholePageRanker(featurizer, [PageHead(16, items.item.shape[1], items.numbers.shape[1], width=8, heads=2)])


def test_both_kinds_live_in_the_page_rerankers_folder(
    mixed: SingleModal, vectors: ResultVectors, pages: list[Page], tmp_path: Path
) -> None:
    ranker = page_ranker(mixed, vectors, pages)
    ranker.save(tmp_path / "model")
    assert set(read_manifest(tmp_path / "model").children) == {"single-text", "single-image"}
    loaded = WholePageRanker.load(tmp_path / "model", vectors)
    for wanted, found in zip(ranker.score(pages), loaded.score(pages), strict=True):
        np.testing.assert_array_equal(found, wanted)
    upstream = loaded.featurizer.upstream
    assert isinstance(upstream, SingleModal)
    assert upstream.scorers[TEXT] is upstream.scorers[ANSWER]  # kept once
    assert upstream.name == mixed.name
    weights = tmp_path / "model" / "single-text" / "0" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        WholePageRanker.load(tmp_path / "model", vectors)


def test_one_ranker_that_cannot_be_saved_keeps_all_out(
    texts_ranker: TrainedCrossEncoder, vectors: ResultVectors, pages: list[Page], tmp_path: Path
) -> None:
    upstream = SingleModal({TEXT: texts_ranker, IMAGE: BM25Scorer(), ANSWER: texts_ranker})
    assert nestable(upstream) == {}
    assert nestable(BM25Scorer()) == {}
    ranker = page_ranker(upstream, vectors, pages)
    ranker.save(tmp_path / "model")
    with pytest.raises(WeightsError, match="pass them as upstream"):
        WholePageRanker.load(tmp_path / "model", vectors)
    loaded = WholePageRanker.load(tmp_path / "model", vectors, upstream)
    np.testing.assert_array_equal(loaded.score(pages)[0], ranker.score(pages)[0])


def test_places_are_named_by_the_first_modality(mixed: SingleModal) -> None:
    assert places(nestable(mixed)) == {TEXT: "single-text", IMAGE: "single-image", ANSWER: "single-text"}


def test_every_kind_is_read_back(mixed: SingleModal, vectors: ResultVectors, pages: list[Page], tmp_path: Path) -> None:
    kinds = set()
    for modality in (TEXT, IMAGE):
        scorer = nestable(mixed)[modality]
        scorer.save(tmp_path / modality.value)
        loaded = load_single(tmp_path / modality.value, vectors)
        assert isinstance(loaded, SavedScorer)
        kinds.add(loaded.kind)
        parts = [page.only(modality) for page in pages]
        for wanted, found in zip(scorer.score(parts), loaded.score(parts), strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert kinds == set(KINDS)
    assert load_single(tmp_path / "text").name == "cross-encoder-text"  # needs no encoders
    with pytest.raises(WeightsError, match="got no encoders"):
        load_single(tmp_path / "image")
    save_model(tmp_path / "other", "lambdamart", {}, {})
    with pytest.raises(WeightsError, match="kind 'lambdamart'; allowed: tower, cross-encoder"):
        load_single(tmp_path / "other", vectors)


def test_a_single_modal_ranker_orders_its_modality_alone(mixed: SingleModal, pages: list[Page]) -> None:
    for modality in (TEXT, IMAGE):
        scorer = nestable(mixed)[modality]
        ranker = SingleModalRanker(scorer)
        part = pages[0].only(modality)
        ranking = ranker.rank([part])[0].check(part)
        assert ranking.by == ranker.name == scorer.name
        scores: NDArray[np.float32] = scorer.score([part])[0]
        assert ranking.result_ids[0] == part.results[int(np.nanargmax(scores))].result_id
        with pytest.raises(NoRanker, match=r"ranks one modality; pass page\.only"):
            ranker.rank(pages)
    assert SingleModalRanker(nestable(mixed)[IMAGE]).truncated == 0
    texts = SingleModalRanker(nestable(mixed)[TEXT])
    before = texts.truncated
    long = pages[0].only(TEXT)
    results = tuple(type(r)(r.result_id, TEXT, "red " * 50) for r in long.results)
    texts.rank([Page(long.query, results)])
    assert texts.truncated == before + len(results)
