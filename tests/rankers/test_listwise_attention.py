"""Spans in one row: each is read as if it were alone, and on from what was read before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from wholepage.pages.errors import InputError, WeightsError
from wholepage.rankers.listwise_attention import Memory, Span, SpanModel, Spans

KINDS = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llama", "qwen3", "mistral"]
DIM = 32
Folder = Callable[[str], Path]


def decoder(folder: Path, kind: str) -> Any:
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    return model.language_model if kind.endswith("vl") else model


def tokens(count: int, seed: int) -> torch.Tensor:
    return torch.randn(1, count, DIM, generator=torch.Generator().manual_seed(seed))


def positions(first: int, count: int, kind: str) -> torch.Tensor:
    """Words, but that the axes of a vision-language model are told apart."""
    row = torch.arange(first, first + count)
    if not kind.endswith("vl"):
        return row[None]
    return torch.stack([row, row + row % 3, row + row % 5])[:, None]


def alone(language: Any, embedded: torch.Tensor, placed: torch.Tensor) -> torch.Tensor:
    return language(inputs_embeds=embedded, position_ids=placed, use_cache=False).last_hidden_state[0]


@pytest.mark.parametrize("kind", KINDS)
def test_spans_are_read_as_the_model_reads_each_alone(deep_model: Folder, kind: str) -> None:
    own, language = decoder(deep_model(kind), kind), SpanModel(decoder(deep_model(kind), kind))
    lengths = [7, 1, 12]
    rows = [tokens(n, seed) for seed, n in enumerate(lengths)]
    places = [positions(3 * i, n, kind) for i, n in enumerate(lengths)]
    with torch.inference_mode():
        wanted = [alone(own, row, place) for row, place in zip(rows, places, strict=True)]
        joined, placed = torch.cat(rows, dim=1), torch.cat(places, dim=-1)
        every = language.read(joined, placed, Spans([Span(n) for n in lengths]))
        last = language.read(joined, placed, Spans([Span(n) for n in lengths], last_only=True))
    torch.testing.assert_close(every, torch.cat(wanted), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(last, torch.stack([one[-1] for one in wanted]), atol=2e-6, rtol=1e-5)
    assert last.shape == (3, DIM)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("head", "body"), [(5, 9), (30, 4), (6, 1)])
def test_what_was_read_is_not_read_again(deep_model: Folder, kind: str, head: int, body: int) -> None:
    own, language = decoder(deep_model(kind), kind), SpanModel(decoder(deep_model(kind), kind))
    first, second = tokens(head, 1), [tokens(body, 2), tokens(body + 3, 3)]
    with torch.inference_mode():
        begun = Spans([Span(head)], keep=True, last_only=True)
        language.read(first, positions(0, head, kind), begun)
        (memory,) = begun.kept
        assert len(memory) == head
        assert memory.bytes == 2 * 5 * 2 * head * 8 * 4  # keys and values, layers, heads, tokens, dim, float32
        after = Spans([Span(row.shape[1], memory) for row in second], keep=True, last_only=True)
        joined = torch.cat(second, dim=1)
        placed = torch.cat([positions(head, row.shape[1], kind) for row in second], dim=-1)
        states = language.read(joined, placed, after)
        for i, row in enumerate(second):
            whole = torch.cat([first, row], dim=1)
            wanted = alone(own, whole, positions(0, whole.shape[1], kind))
            torch.testing.assert_close(states[i], wanted[-1], atol=2e-6, rtol=1e-5)
            assert len(after.kept[i]) == whole.shape[1]
        assert len(memory) == head  # the shared past stays what it was
        # And on from there, some tokens and then one.
        going, read = after.kept[0], head + body
        for count in (3, 1):
            more = tokens(count, 40 + count)
            spans = Spans([Span(count, going)], keep=True)
            states = language.read(more, positions(read, count, kind), spans)
            whole = torch.cat([first, second[0], *([tokens(3, 43)] if count == 1 else []), more], dim=1)
            wanted = alone(own, whole, positions(0, whole.shape[1], kind))[-count:]
            torch.testing.assert_close(states, wanted, atol=2e-6, rtol=1e-5)
            (going,), read = spans.kept, read + count


def test_a_shallow_model_is_read_whole_and_says_the_same(tiny_vlm: Folder) -> None:
    own = AutoModel.from_pretrained(tiny_vlm("qwen3_vl"), local_files_only=True).eval().language_model
    language = SpanModel(AutoModel.from_pretrained(tiny_vlm("qwen3_vl"), local_files_only=True).eval().language_model)
    row, placed = tokens(6, 9), positions(0, 6, "qwen3_vl")
    with torch.inference_mode():
        last = language.read(row, placed, Spans([Span(4), Span(2)], last_only=True))
        wanted = torch.stack([alone(own, row[:, :4], placed[..., :4])[-1], alone(own, row[:, 4:], placed[..., 4:])[-1]])
    torch.testing.assert_close(last, wanted, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("last_only", [False, True])
def test_gradients_flow_through_spans_and_their_past(deep_model: Folder, last_only: bool) -> None:
    language = SpanModel(decoder(deep_model("qwen2_vl"), "qwen2_vl"))
    head, body = tokens(4, 1).requires_grad_(), tokens(5, 2).requires_grad_()
    begun = Spans([Span(4)], keep=True, last_only=True)
    language.read(head, positions(0, 4, "qwen2_vl"), begun)
    states = language.read(body, positions(4, 5, "qwen2_vl"), Spans([Span(5, begun.kept[0])], last_only=last_only))
    states[-1].square().sum().backward()
    for gradient in (head.grad, body.grad):
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert (gradient.abs().sum(-1) > 0).all()  # every token reaches the last one
    last = language.language.layers[-1]
    assert (last.mlp.down_proj.weight.grad.abs().sum() > 0) & (last.self_attn.k_proj.weight.grad.abs().sum() > 0)


def test_the_last_layer_reads_last_tokens_alone(deep_model: Folder) -> None:
    language = SpanModel(decoder(deep_model("llama"), "llama"))
    widths: list[int] = []
    for layer in language.language.layers:
        layer.mlp.register_forward_hook(lambda _m, args, _o: widths.append(args[0].shape[1]))
    with torch.inference_mode():
        language.read(tokens(11, 0), positions(0, 11, "llama"), Spans([Span(8), Span(3)], last_only=True))
    assert widths == [11, 11, 11, 11, 2]


def test_a_model_of_spans_is_run_in_no_other_way(deep_model: Folder) -> None:
    language = SpanModel(decoder(deep_model("llama"), "llama"))
    with pytest.raises(InputError, match="no spans"):
        language.language(inputs_embeds=tokens(3, 0))
    with pytest.raises(InputError, match="2 rows"):
        language.read(torch.cat([tokens(3, 0)] * 2), positions(0, 3, "llama"), Spans([Span(3)]))


def test_layers_that_do_not_see_everything_are_refused() -> None:
    config = AutoConfig.for_model(
        "gemma3_text", vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    with pytest.raises(WeightsError, match="sliding_attention"):
        SpanModel(AutoModelForCausalLM.from_config(config).model)
    with pytest.raises(WeightsError, match="unknown form"):
        SpanModel(_Odd())


class _Odd:
    config = SimpleNamespace(model_type="odd")


def test_an_empty_memory_is_nothing() -> None:
    assert (len(Memory()), Memory().bytes) == (0, 0)
