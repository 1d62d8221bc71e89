"""Attention over windows that lie end to end in one row: no padding, and what was read before is not read again.

A language model is given one long row of tokens, cut into spans. A token sees the tokens of its own span up to itself,
and the memory that its span goes on from: what the model made of an earlier span, such as the head that all windows of
one query share. So windows of different queries run in one pass, and none sees another.

Where only the last token of each span matters, the last layer computes that token alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from wholepage.pages.errors import InputError, WeightsError, require

NAME = "wholepage-spans"
TRIMMED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen2", "qwen3", "llama", "mistral")
"""Model types whose last layer is known to need nothing but hidden states and rotary embeddings, row by row."""


@dataclass
class Memory:
    """What a language model keeps of tokens it has read.

    Shapes:
        keys, values: per layer [1, heads, T, dim]
    """

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        return self.keys[0].shape[2] if self.keys else 0

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))


@dataclass
class Span:
    """Tokens of one reading: ``length`` of them in the row, seen on from ``past``."""

    length: int
    past: Memory | None = None


@dataclass
class Spans:
    """One pass: the spans of a row, in order.

    Attributes:
        keep: whether what is read is remembered; then ``kept`` holds one Memory a span, its past included.
        last_only: whether only the last token of each span is wanted; the model then returns one state a span.
    """

    spans: Sequence[Span]
    keep: bool = False
    last_only: bool = False
    kept: list[Memory] = field(init=False)
    _last: tuple[Tensor, Tensor] | None = field(init=False, default=None)
    _reading_last: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.kept = [Memory() for _ in self.spans] if self.keep else []

    @property
    def lengths(self) -> list[int]:
        """Tokens of each span."""
        return [span.length for span in self.spans]

    def last_rows(self) -> list[int]:
        """The place in the row of the last token of each span."""
        ends = torch.tensor(self.lengths).cumsum(0) - 1
        return [int(end) for end in ends]


class _KeysTaken(Exception):
    """Ends the last layer once its keys and values are known."""


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    spans: Spans | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The attention function that a model is given in place of its own.

    Shapes:
        query: [1, heads, T, dim]; key, value: [1, key heads, T, dim]; T = all spans end to end
        return: [1, T, heads, dim]
    Raises:
        InputError: the model was run without spans.
    """
    if spans is None or query.shape[0] != 1:
        raise InputError(
            f"attention over spans: got {'no spans' if spans is None else f'{query.shape[0]} rows'}; allowed: one row "
            "and its spans; run this model through SpanModel, or give it its own attention back"
        )
    if spans._reading_last:
        return _attend_last(module.layer_idx, query, spans, scaling), None
    if spans._last is not None:
        spans._last = (key, value)
        raise _KeysTaken
    parts = zip(*(torch.split(tensor, spans.lengths, dim=2) for tensor in (query, key, value)), strict=True)
    seen = []
    for i, (span, (q, k, v)) in enumerate(zip(spans.spans, parts, strict=True)):
        k, v = _joined(spans, i, span, module.layer_idx, k, v)
        seen.append(_causal(q, k, v, scaling))
    return torch.cat(seen, dim=2).transpose(1, 2), None


def _attend_last(layer: int, query: Tensor, spans: Spans, scaling: float | None) -> Tensor:
    """The last token of each span over all of its span; shape ``[1, spans, heads, dim]``."""
    taken = spans._last or (query[:, :, :0], query[:, :, :0])
    parts = zip(*(torch.split(tensor, spans.lengths, dim=2) for tensor in taken), strict=True)
    seen = []
    for i, (span, (k, v)) in enumerate(zip(spans.spans, parts, strict=True)):
        k, v = _joined(spans, i, span, layer, k, v)
        seen.append(_attended(query[:, :, i : i + 1], k, v, scaling))
    return torch.cat(seen, dim=2).transpose(1, 2)


def _joined(spans: Spans, i: int, span: Span, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    if span.past is not None and len(span.past):
        key = torch.cat([span.past.keys[layer], key], dim=2)
        value = torch.cat([span.past.values[layer], value], dim=2)
    if spans.keep:
        spans.kept[i].keys.append(key)
        spans.kept[i].values.append(value)
    return key, value


def _causal(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """Each token over itself and what stands before it; of more keys than queries the first ones are the past."""
    count, past = query.shape[2], key.shape[2] - query.shape[2]
    if count == 1:
        return _attended(query, key, value, scaling)
    if past > count:  # few tokens after a long past: the mask is small
        ones = torch.ones(count, past + count, dtype=torch.bool, device=query.device)
        return _attended(query, key, value, scaling, attn_mask=ones.tril(past))
    # A square needs no mask, and the kernels skip half of it: empty queries stand where the past's would.
    square = pad(query, (0, 0, past, 0)) if past else query
    return _attended(square, key, value, scaling, is_causal=True)[:, :, past:]


def _attended(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, **kwargs: Any) -> Tensor:
    grouped = query.shape[1] != key.shape[1]
    if grouped and kwargs.get("attn_mask") is not None:  # with a mask, grouped heads fall off the fast kernels
        repeats = query.shape[1] // key.shape[1]
        key, value, grouped = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1), False
    return scaled_dot_product_attention(query, key, value, scale=scaling, enable_gqa=grouped, **kwargs)


class SpanModel:
    """A language model that reads spans; made once a model, which then runs in no other way.

    Args:
        language: a decoder of transformers without its head, such as ``model.language_model``.
    Raises:
        WeightsError: layers of it do not see all that stands before them (a sliding window, a linear attention).
    """

    def __init__(self, language: Any) -> None:
        config = language.config
        odd = sorted({kind for kind in getattr(config, "layer_types", None) or () if kind != "full_attention"})
        if odd or not hasattr(language, "layers"):
            raise WeightsError(
                f"language model of type {config.model_type!r}: got layers of {odd or 'an unknown form'}; allowed: a "
                "decoder whose layers all have full attention; use Qwen, Llama, or another model of that form"
            )
        require("transformers", "text").AttentionInterface.register(NAME, attend)
        language.set_attn_implementation(NAME)
        self.language = language
        deep = getattr(config, "model_type", "").removesuffix("_text")
        self._trims = deep in TRIMMED and len(language.layers) > _DEEPEST_SIGHT
        if self._trims:
            language.layers[-1].register_forward_pre_hook(_only_last_tokens, with_kwargs=True)

    def read(
        self, embedded: Tensor, positions: Tensor, spans: Spans, visual: Mapping[str, Any] | None = None
    ) -> Tensor:
        """States of the last layer: of every token, or one a span.

        Shapes:
            embedded: [1, T, dim]; positions: [1, T] or [3, 1, T]
            return: [T, dim]; [spans, dim] where only the last tokens are wanted
        """
        spans._last, spans._reading_last = None, False
        states = self.language(
            inputs_embeds=embedded, position_ids=positions, use_cache=False, spans=spans, **(visual or {})
        ).last_hidden_state[0]
        if spans.last_only and not self._trims:
            states = states[torch.tensor(spans.last_rows(), device=states.device)]
        return states if isinstance(states, Tensor) else torch.as_tensor(states)


_DEEPEST_SIGHT = 3  # pictures are added to the states of up to this many first layers, which must stay whole


def _only_last_tokens(
    layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Before the last layer: take keys and values of all tokens, then let it go on with the last ones alone."""
    spans: Spans | None = kwargs.get("spans")
    if spans is None or not spans.last_only:
        return None
    hidden = args[0] if args else kwargs["hidden_states"]
    empty = hidden.new_zeros(0)
    spans._last = (empty, empty)
    with suppress(_KeysTaken):
        layer.forward(*args, **kwargs)
    spans._reading_last = True
    rows = torch.tensor(spans.last_rows(), device=hidden.device)
    cos, sin = kwargs["position_embeddings"]
    kwargs = {**kwargs, "position_embeddings": (cos[:, rows], sin[:, rows])}
    kwargs.pop("hidden_states", None)
    return (hidden[:, rows], *args[1:]), kwargs
