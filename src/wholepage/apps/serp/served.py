"""Models of the server beside which the result page is shown, as rankers: they are asked like any other client does."""

from __future__ import annotations

from collections.abc import Sequence

from anyio import from_thread

from wholepage.apps.serving.calls import Call, Engine
from wholepage.pages.model import Page, Ranking

TIMEOUT_S = 30.0


class ServedRanker:
    """A served model as a Ranker; to be asked from a worker thread of the server's own event loop.

    Args:
        engine: of the server.
        model: as it lists it.
        timeout_s: for how long an order is waited for.
    """

    def __init__(self, engine: Engine, model: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._engine, self._model, self._timeout_s = engine, model, timeout_s

    @property
    def name(self) -> str:
        return self._model

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page.

        Raises:
            Overloaded, Expired, Draining: the server did not come to it.  Whatever the ranker raises.
        """
        return [self._rank(page) for page in pages]

    def _rank(self, page: Page) -> Ranking:
        outcome = from_thread.run(self._engine.rank, Call(self._model, page, self._timeout_s))
        return Ranking(
            page.query_id,
            tuple(page.results[i].result_id for i in outcome.order),
            tuple(outcome.scores[i] for i in outcome.order),
            outcome.ranker,
        )


def served_rankers(engine: Engine, *, timeout_s: float = TIMEOUT_S) -> dict[str, ServedRanker]:
    """Every model of a server, by its name.

    Args:
        engine: of the server.
        timeout_s: for how long an order is waited for.
    """
    return {model.name: ServedRanker(engine, model.name, timeout_s=timeout_s) for model in engine.models}
