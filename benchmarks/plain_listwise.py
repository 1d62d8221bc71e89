"""Listwise reranking as it is done today: the loop that ``listwise_engine.py`` is measured against.

Window by window, back to front: open its pictures, write the whole prompt, let the model read all of it, pictures
included, and generate the permutation word by word; find the numbers by a regular expression, and mend what is missing
or named twice. As many tokens are generated as a complete answer has, no more and no fewer, as rank_llm does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from wholepage.pages.model import Page, Ranking, Result

SYSTEM = "You rank search results. Each result is a text, a picture, or both, and is marked by a number in brackets."
TASK = (
    "Rank all {n} results above, the one that serves the query best first. Answer with their numbers in brackets, "
    "joined by >, and nothing else, such as [4] > [2]."
)


@dataclass
class PlainCounts:
    """What the loop did: generations, pictures encoded, tokens read and generated, answers that had to be mended."""

    windows: int = 0
    images: int = 0
    read: int = 0
    generated: int = 0
    mended: int = 0


class PlainListwise:
    """A ranker that loops.

    Args:
        model: a vision-language model with its own attention.  tokenizer, processor: its own.
        visual_tokens: of one picture, at most.
    """

    name = "plain loop"

    def __init__(
        self, model: Any, tokenizer: Any, processor: Any, *, visual_tokens: int, window: int = 20, stride: int = 10
    ) -> None:
        self._model, self._tokenizer, self._processor = model, tokenizer, processor
        side = processor.patch_size * processor.merge_size
        self._most = visual_tokens * side * side
        self.window, self.stride = window, stride
        self.counts = PlainCounts()

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One page after another."""
        return [self._rank(page) for page in pages]

    def _rank(self, page: Page) -> Ranking:
        order = list(page.results)
        end = len(order)
        while True:
            start = max(0, end - self.window)
            order[start:end] = self._ordered(page.query.text, order[start:end])
            if start == 0:
                break
            end -= self.stride
        return Ranking(page.query_id, tuple(result.result_id for result in order), None, self.name)

    def _ordered(self, query: str, results: Sequence[Result]) -> list[Result]:
        inputs = self._inputs(query, results)
        answer = " > ".join(f"[{i}]" for i in range(1, len(results) + 1))
        count = len(self._tokenizer.encode(answer, add_special_tokens=False))
        with torch.no_grad():
            told = self._model.generate(
                **inputs, max_new_tokens=count, min_new_tokens=count, do_sample=False,
                pad_token_id=self._tokenizer.pad_token_id,
            )  # fmt: skip
        written = told[0, inputs["input_ids"].shape[1] :]
        self.counts.windows += 1
        self.counts.read += inputs["input_ids"].shape[1]
        self.counts.generated += len(written)
        return self._mended(self._tokenizer.decode(written, skip_special_tokens=True), results)

    def _mended(self, answer: str, results: Sequence[Result]) -> list[Result]:
        numbers = [int(found) - 1 for found in re.findall(r"\[(\d+)\]", answer)]
        named = list(dict.fromkeys(number for number in numbers if 0 <= number < len(results)))
        self.counts.mended += named != numbers or len(named) < len(results)
        return [results[number] for number in [*named, *(i for i in range(len(results)) if i not in named)]]

    def _inputs(self, query: str, results: Sequence[Result]) -> dict[str, Any]:
        opened = [Image.open(Path(ref.uri)).convert("RGB") for result in results for ref in result.images]
        pixels: dict[str, Any] = {}
        counts: list[int] = []
        if opened:
            size = {"shortest_edge": self._processor.size["shortest_edge"], "longest_edge": self._most}
            pixels = dict(self._processor(images=opened, size=size, return_tensors="pt"))
            counts = (pixels["image_grid_thw"].prod(-1) // self._processor.merge_size**2).tolist()
            self.counts.images += len(opened)
        shown = iter(counts)
        lines = []
        for i, result in enumerate(results, start=1):
            pictures = "".join(f"<|vision_start|>{'<|image_pad|>' * next(shown)}<|vision_end|>" for _ in result.images)
            lines.append(f"[{i}] {pictures}{result.text}")
        listed = "\n".join(lines)
        task = TASK.format(n=len(results))
        text = (
            f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nQuery: {query}\n\nResults:\n{listed}\n\n"
            f"Query: {query}\n{task}<|im_end|>\n<|im_start|>assistant\n"
        )
        ids = torch.tensor([self._tokenizer.encode(text, add_special_tokens=False)])
        places = (ids == self._model.config.image_token_id).int()
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": places, **pixels}
        return {name: tensor.to(self._model.device) for name, tensor in inputs.items()}
