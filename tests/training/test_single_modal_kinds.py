"""Rankers of other kinds than towers: fine-tuned cross-encoders, and rankers that the caller brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertModel, BertTokenizerFast

from wholepage.pages.errors import InputError, NoRanker, ShapeError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page
from wholepage.rankers.cross_encoder import TrainedCrossEncoder
from wholepage.rankers.tower import TowerScorer
from wholepage.rankers.whole_page import WholePageRanker
from wholepage.training.cross_encoder import CrossEncoderConfig
from wholepage.training.folds import fold_of
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_ranker, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_smar

TEXT, IMAGE, ANSWER = Modality.TEXT, Modality.IMAGE, Modality.ANSWER
BRIEF = LoopConfig(epochs=2, batch_size=16, learning_rate=0.02)
TOWERS = TowerConfig(folds=2, rank=8, hidden=8, loop=BRIEF, teacher_loop=BRIEF)


class Given:
    """A ranker from elsewhere: the longer the address or text, the better."""

    name = "given"

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        return [
            np.array([len(r.images[0].uri) if r.images else len(r.text) for r in page.results], np.float32)
            for page in pages
        ]


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> CrossEncoderConfig:
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query", "text", "answer", *map(str, range(40))]
    words += [f"q{i}" for i in range(30)]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes)).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    loop = LoopConfig(epochs=2, batch_size=8, learning_rate=1e-3)
    return CrossEncoderConfig(model=str(folder), max_tokens=16, loop=loop)


@pytest.fixture(scope="module")
def made(planted: SimpleNamespace) -> Any:
    return planted.world(24, {TEXT: 4, IMAGE: 4, ANSWER: 2})


@pytest.fixture(scope="module")
def labels(made: Any) -> Judgments:
    """Nobody labelled the answers."""
    found: Judgments = made.single().restrict(
        {p.query_id: [r.result_id for r in p.results if r.modality is not ANSWER] for p in made.pages}
    )
    return found


@pytest.fixture(scope="module")
def mixed(planted: SimpleNamespace, made: Any, labels: Judgments, reads: CrossEncoderConfig) -> SingleModalFit:
    torch.set_num_threads(1)
    return fit_single_modal(made.pages, labels, planted.fake_vectors(), TOWERS, rankers={TEXT: reads})


def rows_of(page: Page, modality: Modality) -> list[int]:
    return [i for i, result in enumerate(page.results) if result.modality is modality]


def test_texts_by_a_cross_encoder_and_pictures_by_towers(
    mixed: SingleModalFit, made: Any, reads: CrossEncoderConfig
) -> None:
    texts = mixed.upstream.scorers[TEXT]
    assert isinstance(texts, TrainedCrossEncoder)
    assert isinstance(mixed.upstream.scorers[IMAGE], TowerScorer)
    assert mixed.upstream.scorers[ANSWER] is texts  # answers read as texts
    assert mixed.labels == 24 * 8
    assert mixed.truncated == {TEXT: 0}
    for i in (0, 3, 11):
        page, fold = made.pages[i], fold_of(made.pages[i].query_id, reads.folds)
        alone = TrainedCrossEncoder(TEXT, texts.reader, [texts.members[fold]], also=[ANSWER])
        for modality in (TEXT, ANSWER):
            wanted = alone.score([page.only(modality)])[0]
            np.testing.assert_allclose(mixed.out_of_fold[i][rows_of(page, modality)], wanted, atol=1e-5)
            assert mixed.teachers[i][modality].check(page.only(modality)).by == "cross-encoder-text-teacher"
    assert mixed.subset([2]).truncated == mixed.truncated


def test_the_other_modalities_are_as_without_it(
    planted: SimpleNamespace, made: Any, labels: Judgments, mixed: SingleModalFit
) -> None:
    """To the bit: a modality's ranker does not look at how another's is made."""
    towers = fit_single_modal(made.pages, labels, planted.fake_vectors(), TOWERS)
    named = fit_single_modal(made.pages, labels, planted.fake_vectors(), rankers=dict.fromkeys(Modality, TOWERS))
    for page, one, two, three in zip(made.pages, towers.out_of_fold, mixed.out_of_fold, named.out_of_fold, strict=True):
        assert one[rows_of(page, IMAGE)].tobytes() == two[rows_of(page, IMAGE)].tobytes()
        assert one.tobytes() == three.tobytes()
    assert towers.teachers == named.teachers


def test_a_ranker_given_is_its_own_teacher(planted: SimpleNamespace, made: Any, labels: Judgments) -> None:
    fit = fit_single_modal(made.pages, labels, planted.fake_vectors(), TOWERS, rankers={IMAGE: Given()})
    assert fit.labels == 24 * 4  # its labels were not read
    assert fit.upstream.scorers[IMAGE].name == "given"
    for page, scores, teachers in zip(made.pages, fit.out_of_fold, fit.teachers, strict=True):
        wanted = Given().score([page.only(IMAGE)])[0]
        np.testing.assert_array_equal(scores[rows_of(page, IMAGE)], wanted)
        assert teachers[IMAGE].by == "given-teacher"
        assert np.isfinite(scores[rows_of(page, TEXT)]).all()


def test_rankers_given_need_no_labels_at_all(planted: SimpleNamespace, made: Any) -> None:
    fit = fit_single_modal(
        made.pages, Judgments(), planted.fake_vectors(), TOWERS, rankers={TEXT: Given(), IMAGE: Given()}
    )
    assert fit.labels == 0
    assert fit.upstream.scorers[ANSWER].name == "given"  # it orders whatever it gets
    assert all(np.isfinite(scores).all() for scores in fit.out_of_fold)


def test_a_ranker_given_for_another_modality_is_refused(
    planted: SimpleNamespace, made: Any, labels: Judgments, mixed: SingleModalFit
) -> None:
    with pytest.raises(NoRanker, match="'image' result"):
        fit_single_modal(
            made.pages, labels, planted.fake_vectors(), TOWERS, rankers={IMAGE: mixed.upstream.scorers[TEXT]}
        )
    towers = fit_single_modal(made.pages, labels, planted.fake_vectors(), TOWERS)
    picture = towers.upstream.scorers[IMAGE]
    fit = fit_single_modal(made.pages, labels, planted.fake_vectors(), TOWERS, rankers={IMAGE: picture, TEXT: TOWERS})
    assert fit.upstream.scorers[IMAGE] is picture


@pytest.mark.parametrize("wrong", ["pages", "results"])
def test_a_ranker_given_must_score_every_result(
    planted: SimpleNamespace, made: Any, labels: Judgments, wrong: str
) -> None:
    class Short(Given):
        def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
            scores = super().score(pages)
            return scores[1:] if wrong == "pages" else [of[1:] for of in scores]

    with pytest.raises(ShapeError, match="given"):
        fit_single_modal(made.pages, labels, planted.fake_vectors(), TOWERS, rankers={IMAGE: Short()})


def test_the_page_reranker_stands_on_any_kind(
    planted: SimpleNamespace, made: Any, mixed: SingleModalFit, tmp_path: Path
) -> None:
    vectors = planted.fake_vectors()
    config = SmarConfig(members=1, keep=4, width=8, heads=2, layers=1, loop=LoopConfig(epochs=1))
    ranker = fit_smar(made.pages, made.lifted({IMAGE: 2}, 0.3), mixed, vectors, config)
    ranker.save(tmp_path / "model")
    loaded = WholePageRanker.load(tmp_path / "model", vectors)
    for wanted, found in zip(ranker.score(made.pages), loaded.score(made.pages), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_one_modality_trained_for_itself_is_the_same_ranker(
    planted: SimpleNamespace, made: Any, labels: Judgments, mixed: SingleModalFit, reads: CrossEncoderConfig
) -> None:
    vectors = planted.fake_vectors()
    found = fit_ranker(IMAGE, made.pages, labels, TOWERS, vectors)
    assert (found.labels, found.truncated) == (24 * 4, 0)
    parts = [page.only(IMAGE) for page in made.pages]
    for wanted, scores in zip(mixed.upstream.scorers[IMAGE].score(parts), found.scorer.score(parts), strict=True):
        np.testing.assert_array_equal(scores, wanted)
    short = msgspec.structs.replace(reads, max_tokens=8)
    long = [
        Page(
            p.query, tuple(msgspec.structs.replace(r, text=r.text * 2) if r.modality is TEXT else r for r in p.results)
        )
        for p in made.pages
    ]
    texts = fit_ranker(TEXT, long, labels, short)
    assert texts.scorer.also == (ANSWER,)
    assert texts.truncated == texts.labels == 24 * 4
    with pytest.raises(InputError, match="got no encoders"):
        fit_ranker(IMAGE, made.pages, labels, TOWERS)
    with pytest.raises(InputError, match=r"answer ranker: got too few pages .* 24 of which hold answer"):
        fit_ranker(ANSWER, made.pages, labels, TOWERS, vectors)
