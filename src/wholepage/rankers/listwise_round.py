"""One round of pages through the windows of a listwise ranker: what is asked of a model, and what comes of it.

How a prompt is written and read is the affair of who calls: an engine here, or a server elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.model import Page, Ranking
from wholepage.rankers.listwise_answers import Answer
from wholepage.rankers.listwise_diagnostics import PageDiagnostics
from wholepage.rankers.listwise_options import CONSENSUS, limit_rise_within, mean_log_probabilities, shuffles
from wholepage.rankers.listwise_prompt import Fit
from wholepage.rankers.permutation import Identifiers, Order, draw_identifiers, log_probabilities, order_by_logits
from wholepage.rankers.permutation_text import Repairs
from wholepage.rankers.window_scores import Told, rest_by_scores, window_scores
from wholepage.rankers.windows import Asked, Driven, Window, drive


class PageRequest(Protocol):
    """A page as it is put to a model: its name and sizes, and what was cut from it."""

    @property
    def name(self) -> str: ...

    @property
    def fit(self) -> Fit: ...

    @property
    def cut(self) -> Mapping[str, int]: ...

    @property
    def left(self) -> Mapping[str, int]: ...


class Prompt(Protocol):
    """One window as it is put to a model."""

    @property
    def visual_tokens(self) -> int: ...


_Request = TypeVar("_Request", bound=PageRequest)
_Prompt = TypeVar("_Prompt", bound=Prompt)


@dataclass
class Sheet(Generic[_Request]):
    """One page on its way: its request, and what its windows told."""

    page: Page
    request: _Request
    told: list[Told] = field(default_factory=list)
    prompts: int = 0
    visual_tokens: int = 0
    repairs: Repairs = field(default_factory=Repairs)
    avoided: int = 0

    def order(self, driven: Driven) -> Order:
        """All items; of strategies that settle the first places only, the others by what windows told of them."""
        plan = self.request.fit.plan
        if plan.strategy == "sliding" or len(self.page) < 2:
            return driven.order
        return rest_by_scores(driven.order, self.told, plan.top_k)

    def guarded(self, order: Order, reference: Order, max_rise: int | None) -> Order:
        """An order in which nobody rises too far among those of its modality."""
        if max_rise is None:
            return order
        return limit_rise_within(order, reference, [result.modality for result in self.page.results], max_rise)

    def ranking(self, order: Order, by: str) -> Ranking:
        """The ranking that an order means, scored by log-probabilities to be named first among all items."""
        scores = window_scores(order, self.told)
        ids = tuple(self.page.results[item].result_id for item in order)
        return Ranking(self.page.query_id, ids, tuple(float(scores[item]) for item in order), by)

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


class WindowRound(Generic[_Request, _Prompt]):
    """Orders the windows of several pages.

    Args:
        pool: identifiers are drawn from it.
        write: makes the prompt of a window: a request, its items in the order shown, their identifiers.
        read: gives the answers to prompts, each with the number of its page.
        shuffled: how often each window is asked in another order; 0 = once, in the order of the window.
    """

    def __init__(
        self,
        sheets: Sequence[Sheet[_Request]],
        pool: Identifiers,
        write: Callable[[_Request, Sequence[int], Identifiers], _Prompt],
        read: Callable[[Sequence[_Prompt], Sequence[int]], Sequence[Answer]],
        *,
        shuffled: int,
        seed: int,
    ) -> None:
        self._sheets, self._pool, self._write, self._read = sheets, pool, write, read
        self._shuffled, self._seed = shuffled, seed
        self._drawn: dict[tuple[int, int], Identifiers] = {}

    def drive(self) -> list[Driven]:
        """Takes all pages to the end of their windows."""
        return drive([sheet.request.fit.plan.start(len(sheet.page)) for sheet in self._sheets], self._answer)

    def _answer(self, asked: Sequence[Asked]) -> list[Order]:
        """The order of each window, from one answer or several."""
        shows = [self._shows(one) for one in asked]
        prompts: list[_Prompt] = []
        pages: list[int] = []
        for (query, window), orders in zip(asked, shows, strict=True):
            sheet = self._sheets[query]
            for turn, show in enumerate(orders):
                names = self._identifiers(query, turn, len(window))
                prompt = self._write(sheet.request, [window[place] for place in show], names)
                prompts.append(prompt)
                pages.append(query)
                sheet.prompts += 1
                sheet.visual_tokens += prompt.visual_tokens
        answers = iter(self._read(prompts, pages))
        return [
            self._told(self._sheets[query], window, orders, [next(answers) for _ in orders])
            for (query, window), orders in zip(asked, shows, strict=True)
        ]

    def _told(self, sheet: Sheet[_Request], window: Window, shows: Sequence[Order], answers: Sequence[Answer]) -> Order:
        rows = np.empty((len(shows), len(window)))
        orders: list[Order] = []
        for row, show, answer in zip(rows, shows, answers, strict=True):
            row[list(show)] = log_probabilities(answer.first.logits)
            orders.append(tuple(show[place] for place in answer.order))
            sheet.repairs += answer.repairs
            sheet.avoided += answer.avoided
        values: NDArray[np.float64] = rows[0] if len(rows) == 1 else mean_log_probabilities(rows)
        sheet.told.append(Told(window, values))
        if len(orders) == 1:
            return orders[0]
        by_logits = [tuple(show[place] for place in order_by_logits(answer.first.logits)) for show, answer in
                     zip(shows, answers, strict=True)]  # fmt: skip
        return order_by_logits(values) if orders == by_logits else CONSENSUS["borda"](orders)

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
        request = self._sheets[query].request
        if (query, turn) not in self._drawn:
            name, size = f"{request.name}#{turn}", request.fit.plan.window
            self._drawn[query, turn] = draw_identifiers(self._pool, size, seed=self._seed, request=name)
        drawn = self._drawn[query, turn]
        return Identifiers(drawn.texts[:count], drawn.tokens[:count])


def order_of(page: Page, ranking: Ranking) -> Order:
    """A ranking of a page as item numbers.

    Raises:
        DecodingError: it is no permutation of the page.
    """
    place = {result_id: item for item, result_id in enumerate(page.result_ids)}
    return tuple(place[result_id] for result_id in ranking.check(page).result_ids)
