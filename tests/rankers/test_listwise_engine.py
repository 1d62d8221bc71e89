"""The engine: what it computes is what the whole model computes, in any company, and with less memory too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForCausalLM, AutoModelForImageTextToText

from wholepage.pages.errors import InputError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.listwise import ListwiseConfig, ListwiseRanker
from wholepage.rankers.listwise_answers import Answer, Mode
from wholepage.rankers.listwise_decoding import ANSWERS
from wholepage.rankers.listwise_prompt import BETWEEN, Request, WindowLimits, WindowPrompt
from wholepage.rankers.permutation import draw_identifiers, order_by_logits
from wholepage.rankers.permutation_text import parse_permutation

KINDS = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llama", "qwen3"]
LIMITS = WindowLimits(
    text_tokens=40, query_tokens=20, visual_tokens=200, most_per_picture=16, least_per_picture=4, pictures=2
)
Folder = Callable[[str], Path]


@pytest.fixture
def pages(tmp_path: Path) -> list[Page]:
    """Two pages: words, pictures, both, frames; the first with a picture in its query."""
    draw = np.random.default_rng(5)
    refs = []
    for i, size in enumerate([(24, 32), (40, 17), (90, 20)]):
        path = tmp_path / f"{i}.png"
        Image.fromarray(draw.integers(0, 256, (*size, 3), np.uint8)).save(path)
        refs.append(ImageRef(str(path)))
    a, b, c = refs
    return [
        Page(
            Query("q", "red lamp", a),
            (
                Result("text", Modality.TEXT, "a blue shoe"),
                Result("both", Modality.IMAGE, "lamp, red and long", (b,)),
                Result("video", Modality.VIDEO, "shoe", (b, c)),
                Result("image", Modality.IMAGE, "a lamp", (a,)),
            ),
        ),
        Page(
            Query("p", "blue shoe, or a lamp that is red"),
            (Result("one", Modality.TEXT, "lamp " * 20), Result("two", Modality.IMAGE, "Result: shoe", (c,))),
        ),
    ]


class Bench:
    """A ranker taken apart: prompts of whole pages, their heads read."""

    def __init__(
        self, folder: Path, pages: Sequence[Page], dtype: torch.dtype = torch.float32, **settings: Any
    ) -> None:
        self.ranker = ListwiseRanker.from_pretrained(
            folder, ListwiseConfig(limits=LIMITS), device="cpu", dtype=dtype, **settings
        )
        self.engine, self.words = self.ranker.engine, self.ranker.prompter.words
        sheets, self.heads, self.seen = self.ranker._sheets(pages)
        self.requests: list[Request] = [sheet.request for sheet in sheets]
        self.prompts: list[WindowPrompt] = []
        for request in self.requests:
            names = draw_identifiers(self.words.pool, len(request.entries), seed=0, request=request.name)
            self.prompts.append(self.ranker.prompter.window(request, range(len(request.entries)), names))

    def answers(self, mode: Mode, rows: Sequence[int] = (0, 1)) -> list[Answer]:
        prompts, heads = [self.prompts[i] for i in rows], [self.heads[i] for i in rows]
        return ANSWERS[mode](self.engine, self.words, prompts, heads, self.seen)

    def tokens(self, row: int) -> list[int]:
        return [*self.requests[row].head.tokens.tolist(), *self.prompts[row].body.tokens.tolist()]


class Whole:
    """The library's own way: all tokens and pixels in, logits of the whole vocabulary out, for every call anew."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.eyes = kind.endswith("vl")
        auto = AutoModelForImageTextToText if self.eyes else AutoModelForCausalLM
        self.model = auto.from_pretrained(folder, local_files_only=True).eval()
        if self.eyes:
            size = {"shortest_edge": 256, "longest_edge": 16 * 64}
            self.processor = AutoImageProcessor.from_pretrained(folder, backend="pil", size=size)

    def inputs(self, tokens: Sequence[int], shown: Sequence[ImageRef]) -> dict[str, Any]:
        ids = torch.tensor([tokens])
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self.eyes:
            inputs["mm_token_type_ids"] = (ids == self.model.config.image_token_id).int()
            if shown:
                inputs |= self.processor(images=[Image.open(ref.uri) for ref in shown], return_tensors="pt")
        return inputs

    def logits(self, tokens: Sequence[int], shown: Sequence[ImageRef]) -> torch.Tensor:
        with torch.no_grad():
            return self.model(**self.inputs(tokens, shown)).logits[0, -1]


def shown_in(page: Page, eyes: bool) -> list[ImageRef]:
    if not eyes:
        return []
    asked = [] if page.query.image is None else [page.query.image]
    return [*asked, *(ref for result in page.results for ref in result.images)]


@pytest.mark.parametrize("kind", KINDS)
def test_first_tokens_are_those_of_the_whole_model(deep_model: Folder, kind: str, pages: list[Page]) -> None:
    bench, whole = Bench(deep_model(kind), pages), Whole(deep_model(kind), kind)
    for row, answer in enumerate(bench.answers("first_token")):
        logits = whole.logits(bench.tokens(row), shown_in(pages[row], whole.eyes))
        own = logits[list(bench.prompts[row].identifiers.tokens)]
        torch.testing.assert_close(torch.from_numpy(answer.first.logits), own, atol=2e-4, rtol=1e-4)
        assert answer.order == order_by_logits(own.numpy())
        assert answer.avoided == (int(logits.argmax()) not in bench.prompts[row].identifiers.tokens)
    assert own.std() > 0.01
    seen = sum(len(shown_in(page, whole.eyes)) for page in pages)
    assert bench.engine.counts.pictures == seen
    assert bench.engine.counts.calls == 2  # the heads, and the windows of both queries


@pytest.mark.parametrize("kind", KINDS)
def test_constrained_answers_are_greedy_ones_under_the_mask(deep_model: Folder, kind: str, pages: list[Page]) -> None:
    bench, whole = Bench(deep_model(kind), pages), Whole(deep_model(kind), kind)
    between = bench.words.encode(BETWEEN)
    for row, answer in enumerate(bench.answers("constrained")):
        tokens, left = bench.tokens(row), list(bench.prompts[row].identifiers.tokens)
        order, avoided = [], False
        shown = shown_in(pages[row], whole.eyes)
        while len(left) > 1:
            logits = whole.logits(tokens, shown)
            best = max(left, key=lambda token: float(logits[token]))
            avoided |= int(logits.argmax()) not in left
            order.append(bench.prompts[row].identifiers.tokens.index(best))
            left.remove(best)
            for token in (best, *between):
                avoided |= len(left) > 1 and token != best and int(whole.logits(tokens, shown).argmax()) != token
                tokens.append(token)
        order.append(bench.prompts[row].identifiers.tokens.index(left[0]))
        assert answer.order == tuple(order)
        assert answer.avoided == avoided
    assert bench.engine.counts.calls == 1 + 1 + 2  # heads, windows, and two more choices of the longer one


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen3_vl", "llama"])
def test_free_answers_are_what_the_library_generates(deep_model: Folder, kind: str, pages: list[Page]) -> None:
    bench, whole = Bench(deep_model(kind), pages), Whole(deep_model(kind), kind)
    for row, answer in enumerate(bench.answers("free")):
        names = bench.prompts[row].identifiers
        count = len(names) * (1 + len(bench.words.encode(BETWEEN))) + 8
        inputs = whole.inputs(bench.tokens(row), shown_in(pages[row], whole.eyes))
        with torch.no_grad():
            told = whole.model.generate(
                **inputs, max_new_tokens=count, do_sample=False, pad_token_id=0, eos_token_id=sorted(bench.words.ends)
            )
        written = "[" + bench.words.decode(told[0, len(bench.tokens(row)) :].tolist())
        parsed = parse_permutation(written, names.texts)
        assert (answer.order, answer.repairs) == (parsed.order, parsed.repairs)


@pytest.mark.parametrize("mode", ["first_token", "constrained", "free"])
@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen3_vl", "llama"])
def test_company_changes_nothing_but_rounding(deep_model: Folder, kind: str, mode: Mode, pages: list[Page]) -> None:
    bench = Bench(deep_model(kind), pages)
    together = bench.answers(mode, (0, 1, 0, 1))
    for windows, tokens in [(1, 10**6), (10, 1), (3, 10**6)]:
        bench.engine.windows_per_pass, bench.engine.tokens_per_pass = windows, tokens
        for one, other in zip(bench.answers(mode, (0, 1, 0, 1)), together, strict=True):
            np.testing.assert_allclose(one.first.logits, other.first.logits, atol=1e-4, rtol=1e-4)
            assert (one.order, one.repairs, one.avoided) == (other.order, other.repairs, other.avoided)
    turned = bench.answers(mode, (1, 0))
    np.testing.assert_allclose(turned[1].first.logits, together[0].first.logits, atol=1e-4, rtol=1e-4)


def test_half_precision_scores_identifiers_in_float32(deep_model: Folder, pages: list[Page]) -> None:
    exact = Bench(deep_model("qwen2_vl"), pages).answers("first_token")
    half = Bench(deep_model("qwen2_vl"), pages, dtype=torch.bfloat16).answers("first_token")
    for one, other in zip(exact, half, strict=True):
        assert other.first.logits.dtype == np.float32
        coarse = torch.from_numpy(other.first.logits).bfloat16().float().numpy()
        assert (other.first.logits != coarse).any()  # not rounded to what the model runs in
        assert np.abs(one.first.logits - other.first.logits).mean() < 0.3 * one.first.logits.std()


# --- memory -----------------------------------------------------------------------------------------------------------


class Narrow:
    """A model that runs out of memory over more than so many tokens."""

    def __init__(self, real: Any, tokens: int, error: Exception) -> None:
        self.real, self.tokens, self.error = real, tokens, error

    def read(self, embedded: torch.Tensor, *rest: Any) -> torch.Tensor:
        if embedded.shape[1] > self.tokens:
            raise self.error
        return self.real.read(embedded, *rest)


OUT = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate"), MemoryError()]


@pytest.mark.parametrize("error", OUT, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("mode", ["first_token", "constrained"])
def test_a_pass_that_memory_does_not_hold_is_halved_and_told(
    deep_model: Folder, pages: list[Page], error: Exception, mode: Mode
) -> None:
    bench = Bench(deep_model("qwen2_vl"), pages)
    wanted = bench.answers(mode, (0, 1, 0, 1))
    longest = max(len(prompt.body) for prompt in bench.prompts)
    bench.engine._model = Narrow(bench.engine._model, longest, error)
    for one, other in zip(bench.answers(mode, (0, 1, 0, 1)), wanted, strict=True):
        np.testing.assert_allclose(one.first.logits, other.first.logits, atol=1e-4, rtol=1e-4)
        assert one.order == other.order
    first, second = bench.engine.counts.notices
    assert first.startswith("out of memory with 4 windows")
    assert first.endswith("went on with 2")
    assert second.endswith("went on with 1")
    bench.answers(mode, (0, 1, 0, 1))
    assert len(bench.engine.counts.notices) == 2  # it stays halved


def test_a_window_that_memory_does_not_hold_is_an_error(deep_model: Folder, pages: list[Page]) -> None:
    bench = Bench(deep_model("llama"), pages)
    bench.engine._model = Narrow(bench.engine._model, 5, OUT[0])
    with pytest.raises(InputError, match=r"a window of \d+ tokens that memory does not hold"):
        bench.answers("first_token")


def test_other_errors_of_the_model_come_through(deep_model: Folder, pages: list[Page]) -> None:
    bench = Bench(deep_model("llama"), pages)
    bench.engine._model = Narrow(bench.engine._model, 5, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        bench.answers("first_token")
    assert not bench.engine.counts.notices


def test_limits_of_a_pass_must_be_positive(deep_model: Folder, pages: list[Page]) -> None:
    with pytest.raises(InputError, match="0 windows"):
        Bench(deep_model("llama"), pages, windows_per_pass=0)
