"""One round of pages through the windows of a listwise ranker: what is asked of the engine, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.model import Page
from wholepage.rankers.listwise_attention import Memory
from wholepage.rankers.listwise_decoding import Answer
from wholepage.rankers.listwise_diagnostics import PageDiagnostics
from wholepage.rankers.listwise_options import CONSENSUS, mean_log_probabilities, shuffles
from wholepage.rankers.listwise_prompt import Request, WindowPrompt, WindowPrompter
from wholepage.rankers.permutation import Identifiers, Order, draw_identifiers, log_probabilities, order_by_logits
from wholepage.rankers.permutation_text import Repairs
from wholepage.rankers.window_scores import Told, rest_by_scores, window_scores
from wholepage.rankers.windows import Asked, Driven, Window, drive

Reads = Callable[[Sequence[WindowPrompt], Sequence[Memory]], list[Answer]]


@dataclass
class Sheet:
    """One page on its way: its request, the head that was read, and what its windows told."""

    page: Page
    request: Request
    head: Memory
    told: list[Told] = field(default_factory=list)
    prompts: int = 0
    visual_tokens: int = 0
    repairs: Repairs = field(default_factory=Repairs)
    avoided: int = 0

    def diagnostics(self, driven: Driven) -> PageDiagnostics:
        """What there is to tell of it."""
        fit = self.request.fit
        return PageDiagnostics(
            self.page.query_id,
            windows=driven.windows,
            prompts=self.prompts,
            rounds=driven.rounds,
            window=fit.plan.window,
            per_picture=fit.per_picture,
            visual_tokens=self.visual_tokens,
            truncated=self.request.cut,
            left_pictures=self.request.left,
            repairs=self.repairs,
            repairs_avoided=self.avoided,
        )


class WindowRound:
    """Orders the windows of several pages.

    Args:
        reads: gives the answers to prompts that follow their heads.
        shuffled: how often each window is asked in another order; 0 = once, in the order of the window.
    """

    def __init__(
        self, sheets: Sequence[Sheet], prompter: WindowPrompter, reads: Reads, *, shuffled: int, seed: int
    ) -> None:
        self._sheets, self._prompter, self._reads = sheets, prompter, reads
        self._shuffled, self._seed = shuffled, seed
        self._drawn: dict[tuple[int, int], Identifiers] = {}

    def drive(self) -> list[Driven]:
        """Takes all pages to the end of their windows."""
        return drive([sheet.request.fit.plan.start(len(sheet.page)) for sheet in self._sheets], self._answer)

    def _answer(self, asked: Sequence[Asked]) -> list[Order]:
        """The order of each window, from one answer or several."""
        shows = [self._shows(one) for one in asked]
        prompts, pasts = [], []
        for (query, window), orders in zip(asked, shows, strict=True):
            sheet = self._sheets[query]
            for turn, show in enumerate(orders):
                names = self._identifiers(query, turn, len(window))
                prompt = self._prompter.window(sheet.request, [window[place] for place in show], names)
                prompts.append(prompt)
                pasts.append(sheet.head)
                sheet.prompts += 1
                sheet.visual_tokens += prompt.body.visual_tokens
        answers = iter(self._reads(prompts, pasts))
        return [
            self._told(self._sheets[query], window, orders, [next(answers) for _ in orders])
            for (query, window), orders in zip(asked, shows, strict=True)
        ]

    def _told(self, sheet: Sheet, window: Window, shows: Sequence[Order], answers: Sequence[Answer]) -> Order:
        rows = np.empty((len(shows), len(window)))
        orders = []
        for row, show, answer in zip(rows, shows, answers, strict=True):
            row[list(show)] = log_probabilities(answer.first.logits)
            orders.append(tuple(show[place] for place in answer.order))
            sheet.repairs += answer.repairs
            sheet.avoided += answer.avoided
        values: NDArray[np.float64] = rows[0] if len(rows) == 1 else mean_log_probabilities(rows)
        sheet.told.append(Told(window, values))
        if all(order == order_by_logits(row) for order, row in zip(orders, rows, strict=True)):
            return order_by_logits(values)
        return orders[0] if len(orders) == 1 else CONSENSUS["borda"](orders)

    def _shows(self, asked: Asked) -> Sequence[Order]:
        """The orders in which the places of a window are shown."""
        query, window = asked
        if not self._shuffled:
            return (tuple(range(len(window))),)
        page = self._sheets[query].page
        keys = [page.results[item].result_id for item in window]
        return shuffles(keys, self._shuffled, seed=self._seed, request=page.query_id)

    def _identifiers(self, query: int, turn: int, count: int) -> Identifiers:
        """Drawn once a request and turn; a smaller window uses the first of them."""
        sheet, pool = self._sheets[query], self._prompter.words.pool
        if (query, turn) not in self._drawn:
            name = f"{sheet.request.name}#{turn}"
            size = sheet.request.fit.plan.window
            self._drawn[query, turn] = draw_identifiers(pool, size, seed=self._seed, request=name)
        drawn = self._drawn[query, turn]
        return Identifiers(drawn.texts[:count], drawn.tokens[:count])


def final_order(sheet: Sheet, driven: Driven) -> Order:
    """The order of all items; of strategies that settle the first places only, the others by what windows told."""
    plan = sheet.request.fit.plan
    if plan.strategy == "sliding" or len(sheet.page) < 2:
        return driven.order
    return rest_by_scores(driven.order, sheet.told, plan.top_k)


def final_scores(sheet: Sheet, order: Order) -> tuple[float, ...]:
    """Scores along an order: log-probabilities to be named first among all items."""
    scores = window_scores(order, sheet.told)
    return tuple(float(scores[item]) for item in order)
