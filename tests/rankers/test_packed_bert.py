"""A BERT read without padding says what its own forward says, whatever stands beside a pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

from wholepage.rankers.cross_encoder import PairReader, pair_scores, pretrained_module
from wholepage.rankers.packed_bert import can_pack, packed_logits
from wholepage.rankers.text import CrossEncoderScorer

from .test_text import page, save_bert

SIZES = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 48,
}


def bert(seed: int = 0, **more: object) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    module = BertForSequenceClassification(BertConfig(**SIZES, **{"num_labels": 1, **more})).eval()
    for weight in module.parameters():
        weight.data *= 6.0 if weight.ndim > 1 else 1.0  # what is this small would say nothing at its usual scale
    return module


def pairs_of(lengths: list[int], seed: int = 0) -> list[dict[str, NDArray[np.int64]]]:
    draws = np.random.default_rng(seed)
    return [
        {"input_ids": draws.integers(0, 60, n), "token_type_ids": (np.arange(n) > n // 2).astype(np.int64)}
        for n in lengths
    ]


def own(module: BertForSequenceClassification, pair: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    """Of the module's own forward, one pair at a time."""
    with torch.inference_mode():
        return module(**{name: torch.from_numpy(row)[None] for name, row in pair.items()}).logits[0].numpy()


@given(st.lists(st.integers(1, 48), min_size=1, max_size=9), st.integers(0, 5))
def test_it_says_what_the_own_forward_says(lengths: list[int], seed: int) -> None:
    module, pairs = bert(seed), pairs_of(lengths, seed)
    with torch.inference_mode():
        packed = packed_logits(module, pairs).numpy()
    expected = np.stack([own(module, pair) for pair in pairs])
    np.testing.assert_allclose(packed, expected, atol=2e-6)


def test_it_does_not_matter_what_stands_beside_a_pair() -> None:
    module, pairs = bert(), pairs_of([5, 48, 1, 17, 30])
    together = packed_logits(module, pairs)
    for order in ([4, 3, 2, 1, 0], [2], [1, 3]):
        some = packed_logits(module, [pairs[i] for i in order])
        torch.testing.assert_close(some, together[order], atol=2e-6, rtol=0)
    assert together.std() > 1e-3, "the pairs are told apart at all"


def test_several_outputs_other_activations_and_no_sides() -> None:
    module = bert(num_labels=3, hidden_act="relu")
    pairs = [{"input_ids": pair["input_ids"]} for pair in pairs_of([7, 12])]
    torch.testing.assert_close(
        packed_logits(module, pairs), torch.from_numpy(np.stack([own(module, p) for p in pairs])), atol=2e-6, rtol=0
    )


def test_what_cannot_be_packed_keeps_its_own_forward() -> None:
    assert can_pack(bert())
    assert not can_pack(bert().train())
    assert not can_pack(bert(is_decoder=True))
    assert not can_pack(RobertaForSequenceClassification(RobertaConfig(**SIZES)).eval())
    assert not can_pack(bert().to("meta"))


def test_the_minilm_scores_are_those_of_its_own_forward() -> None:
    transformers = pytest.importorskip("transformers")
    module = pretrained_module("minilm")
    from wholepage.rankers.text import minilm_folder

    reader = PairReader(transformers.AutoTokenizer.from_pretrained(minilm_folder()), 128)
    texts = ["Munich is in Germany.", "The sky is blue. " * 40, "", "lamp", "Where are all of them?"]
    tokens = reader.read([("Where is Munich?", text) for text in texts])
    packed = pair_scores(module, tokens, reader.pad_id)
    np.testing.assert_allclose(packed, [own(module, dict(pair))[0] for pair in tokens], atol=2e-6)


def test_a_cross_encoder_scores_alike_packed_and_by_its_library(tmp_path: Path) -> None:
    scorer = CrossEncoderScorer(save_bert(tmp_path / "cross", BertForSequenceClassification))
    pages = [page("red fox", *["fox " * (1 + (7 * i) % 90) for i in range(30)])]
    assert scorer._packed is not None
    packed = scorer.score(pages)[0]
    scorer._packed = None
    np.testing.assert_allclose(packed, scorer.score(pages)[0], atol=1e-5)
