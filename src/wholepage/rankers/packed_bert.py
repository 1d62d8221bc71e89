"""A BERT sequence classifier read without waste on a processor: no padding, and the last layer at the first token only.

Pairs of different lengths stand one after another in one long row: matrices see no filling, and attention looks at each
pair by itself, without a mask. The classifier reads the first token of a pair, so nothing else of the last layer is
computed. The logits are those of the module's own forward to rounding.

Only the module's parameters are used, under the names that every BERT checkpoint gives them; other models, and other
devices, keep their own forward (``can_pack``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from wholepage.pages.errors import require


def can_pack(module: nn.Module) -> bool:
    """Whether ``packed_logits`` reads that module: a plain BERT classifier on a processor, not in training."""
    if module.training or next(module.parameters()).device.type != "cpu":
        return False
    kind: Any = require("transformers", "text").BertForSequenceClassification
    if type(module) is not kind:
        return False
    config: Any = module.config
    places = getattr(config, "position_embedding_type", "absolute")
    return not config.is_decoder and places in (None, "absolute") and not config.add_cross_attention


def packed_logits(module: Any, pairs: Sequence[Mapping[str, NDArray[np.int64]]]) -> Tensor:
    """Logits of tokenized pairs.

    Args:
        module: as ``can_pack`` allows.
        pairs: ``input_ids`` and, where the tokenizer gives them, ``token_type_ids`` of each.
    Shapes:
        pairs[i][...]: [n_i]
        return: [len(pairs), outputs]
    """
    lengths = [len(pair["input_ids"]) for pair in pairs]
    ends = np.cumsum(lengths)
    spans = list(zip((ends - lengths).tolist(), ends.tolist(), strict=True))
    bert = module.bert
    rows = _embedded(bert.embeddings, pairs, lengths)
    *before, last = bert.encoder.layer
    for layer in before:
        rows = _layer(layer, rows, rows, spans, spans)
    first = rows[[begin for begin, _ in spans]]
    singles = [(number, number + 1) for number in range(len(spans))]
    return torch.as_tensor(module.classifier(bert.pooler(_layer(last, first, rows, singles, spans)[:, None])))


def _embedded(embeddings: Any, pairs: Sequence[Mapping[str, NDArray[np.int64]]], lengths: Sequence[int]) -> Tensor:
    """Words, places and sides of all tokens; ``[tokens, width]``."""
    ids = torch.from_numpy(np.concatenate([pair["input_ids"] for pair in pairs]))
    places = torch.from_numpy(np.concatenate([np.arange(length) for length in lengths]))
    sides = torch.zeros_like(ids)
    if "token_type_ids" in pairs[0]:
        sides = torch.from_numpy(np.concatenate([pair["token_type_ids"] for pair in pairs]))
    rows = embeddings.word_embeddings(ids)
    rows += embeddings.token_type_embeddings(sides)
    rows += embeddings.position_embeddings(places)
    return torch.as_tensor(embeddings.LayerNorm(rows))


def _layer(
    layer: Any, asking: Tensor, rows: Tensor, askers: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]
) -> Tensor:
    """One layer, for the tokens that ask; ``askers`` and ``spans`` say which rows are of the same pair.

    Shapes:
        asking, return: [askers, width]; rows: [tokens, width]
    """
    own = layer.attention.self
    heads = own.num_attention_heads
    # [heads, tokens, width of a head], so that each pair is a slice
    query, key, value = (
        part(of).view(len(of), heads, -1).transpose(0, 1)
        for part, of in ((own.query, asking), (own.key, rows), (own.value, rows))
    )
    seen = torch.empty_like(asking).view(len(asking), heads, -1)
    for (a, b), (c, d) in zip(askers, spans, strict=True):
        seen[a:b] = scaled_dot_product_attention(
            query[None, :, a:b], key[None, :, c:d], value[None, :, c:d], scale=own.scaling
        )[0].transpose(0, 1)
    told = layer.attention.output(seen.view(len(asking), -1), asking)
    return torch.as_tensor(layer.output(layer.intermediate(told), told))
