"""The engine of the listwise ranker: reads heads once, and windows of many queries in one pass.

A pass is one row of windows laid end to end (``listwise_attention``), up to so many windows and tokens. Of the last
layer only the last token is computed, and of the vocabulary only the identifiers, in float32. Where memory does not
suffice, a pass is halved, and stays halved; that is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wholepage.pages.errors import InputError
from wholepage.rankers.listwise_answers import FirstToken
from wholepage.rankers.listwise_attention import Memory, Span, SpanModel, Spans
from wholepage.rankers.listwise_diagnostics import EngineCounts
from wholepage.rankers.listwise_pictures import Seen
from wholepage.rankers.listwise_prompt import Passage, WindowPrompt

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


class Vocabulary:
    """The head of a language model, used for few tokens at a time.

    Args:
        weight: [V, dim].  bias: [V], where there is one.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight, self._bias = weight, bias

    def __len__(self) -> int:
        return int(self._weight.shape[0])

    def of(self, state: Tensor, tokens: Sequence[int]) -> Tensor:
        """Logits of some tokens after one state, computed in float32 whatever the model runs in; ``[tokens]``."""
        rows = torch.tensor(tokens, device=state.device)
        logits = self._weight[rows].float() @ state.float()
        return logits if self._bias is None else logits + self._bias[rows].float()

    def row(self, states: Tensor) -> Tensor:
        """Logits of all tokens after each state, in the model's own precision; ``[n, V]``."""
        logits = states @ self._weight.T
        return logits if self._bias is None else logits + self._bias


class WindowEngine:
    """Runs a frozen language model over heads and windows.

    Args:
        model: reads spans.  embed: its token embeddings.  head: its vocabulary.
        seen: what the vision tower made of pictures, by key; filled before prompts that show them are read.
        windows_per_pass, tokens_per_pass: limits of one pass; a longer window goes alone.
        three_axes: whether positions are time, row and column, or one number.
    Raises:
        InputError: a limit below 1.
    """

    def __init__(
        self,
        model: SpanModel,
        embed: torch.nn.Module,
        head: Vocabulary,
        *,
        three_axes: bool,
        windows_per_pass: int = 32,
        tokens_per_pass: int = 16384,
    ) -> None:
        if min(windows_per_pass, tokens_per_pass) < 1:
            raise InputError(
                f"engine: got {windows_per_pass} windows and {tokens_per_pass} tokens a pass; allowed: 1 or more"
            )
        self._model, self._embed, self.vocabulary = model, embed, head
        self._axes = 3 if three_axes else 1
        self.windows_per_pass, self.tokens_per_pass = windows_per_pass, tokens_per_pass
        self.counts = EngineCounts()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(next(self._embed.parameters()).device)

    def heads(self, passages: Sequence[Passage], seen: Mapping[str, Seen]) -> list[Memory]:
        """What the model keeps of each head, for the windows that follow it."""

        def run(part: Sequence[Passage]) -> list[Memory]:
            spans = Spans([Span(len(passage)) for passage in part], keep=True, last_only=True)
            self.read(part, spans, seen)
            return spans.kept

        return self.in_passes(passages, len, run)

    def first_tokens(
        self, prompts: Sequence[WindowPrompt], pasts: Sequence[Memory], seen: Mapping[str, Seen]
    ) -> list[FirstToken]:
        """What the model would answer first to each window, one pass over its body."""

        def run(part: Sequence[tuple[WindowPrompt, Memory]]) -> list[FirstToken]:
            spans = Spans([Span(len(prompt.body), past) for prompt, past in part], last_only=True)
            states = self.read([prompt.body for prompt, _ in part], spans, seen)
            return [told for told, _ in self.first_of(states, [prompt for prompt, _ in part])]

        return self.in_passes(list(zip(prompts, pasts, strict=True)), _window_tokens, run)

    def first_of(self, states: Tensor, prompts: Sequence[WindowPrompt]) -> list[tuple[FirstToken, int]]:
        """The first answer token out of the state before it, and the token liked best of all, one a window.

        Shapes:
            states: [windows, dim]
        """
        liked = self.vocabulary.row(states).argmax(dim=-1).tolist()
        told = []
        for state, prompt, best in zip(states, prompts, liked, strict=True):
            logits = self.vocabulary.of(state, prompt.identifiers.tokens).cpu().numpy()
            told.append((FirstToken(logits, best in prompt.identifiers.tokens), int(best)))
        return told

    def read(self, passages: Sequence[Passage], spans: Spans, seen: Mapping[str, Seen]) -> Tensor:
        """One pass over passages laid end to end; gradients flow unless they are switched off.

        Shapes:
            return: [T, dim], or [spans, dim] where only the last tokens are wanted
        """
        device = self.device
        tokens = torch.from_numpy(np.concatenate([passage.tokens for passage in passages])).to(device)
        positions = np.concatenate([passage.positions for passage in passages], axis=1)
        embedded = self._embed(tokens)[None]
        shown = [seen[picture.key].layers for passage in passages for picture in passage.pictures]
        visual: dict[str, Any] = {}
        if shown:
            places = torch.from_numpy(np.concatenate([passage.places for passage in passages])).to(device)[None]
            layers = torch.cat(shown, dim=1).to(device)
            embedded = embedded.masked_scatter(places.unsqueeze(-1), layers[0])
            if len(layers) > 1:
                visual = {"visual_pos_masks": places, "deepstack_visual_embeds": list(layers[1:])}
            self.counts.visual_tokens += layers.shape[1]
            self.counts.pictures += len(shown)
        self.counts.calls += 1
        self.counts.tokens += len(tokens)
        return self._model.read(embedded, self._placed(positions), spans, visual)

    def _placed(self, positions: NDArray[np.int64]) -> Tensor:
        """Positions as the model takes them: ``[3, 1, T]`` or ``[1, T]``."""
        rows = torch.from_numpy(np.ascontiguousarray(positions[: self._axes])).to(self.device)
        return rows[:, None] if self._axes == 3 else rows

    def in_passes(
        self, items: Sequence[_Item], tokens_of: Callable[[_Item], int], run: Callable[[Sequence[_Item]], list[_Found]]
    ) -> list[_Found]:
        """Runs items in passes within the limits, in their order; a pass that memory does not hold is halved.

        Raises:
            InputError: memory does not hold a single item.
        """
        found: list[_Found] = []
        waiting = list(items)
        while waiting:
            part = list(self._next_pass(waiting, tokens_of))
            try:
                with torch.inference_mode():
                    found += run(part)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                self._halve(part, sum(map(tokens_of, part)), error)
                continue
            waiting = waiting[len(part) :]
        return found

    def _next_pass(self, waiting: Sequence[_Item], tokens_of: Callable[[_Item], int]) -> Iterator[_Item]:
        held = 0
        for item in waiting[: self.windows_per_pass]:
            held += tokens_of(item)
            if held > self.tokens_per_pass and item is not waiting[0]:
                return
            yield item

    def _halve(self, part: Sequence[object], tokens: int, error: Exception) -> None:
        if len(part) == 1:
            raise InputError(
                f"listwise ranker: got a window of {tokens} tokens that memory does not hold; allowed: smaller ones; "
                "lower window, visual_tokens or text_tokens"
            ) from error
        self.windows_per_pass = max(1, len(part) // 2)
        self.counts.notices.append(
            f"out of memory with {len(part)} windows, {tokens} tokens in a pass; went on with {self.windows_per_pass}"
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _window_tokens(item: tuple[WindowPrompt, Memory]) -> int:
    return len(item[0].body)


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return "DefaultCPUAllocator" in str(error)
