"""The result page that people look at, on a server of models: which pages, and in whose order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from wholepage.apps.serp.app import SerpSettings, serp_routes
from wholepage.apps.serp.served import ServedRanker
from wholepage.apps.serp.shelf import Shelf
from wholepage.apps.serving.calls import Engine
from wholepage.apps.serving.served_models import FOLDER, ModelSpec, load_model
from wholepage.pages.protocols import Ranker
from wholepage.rankers.weights import read_manifest

if TYPE_CHECKING:  # people and their log need a database, which most result pages have none of
    from wholepage.apps.serp.judging import JudgeInto

Routes = Callable[[Engine], Sequence[BaseRoute]]


def result_page(
    shelf: Shelf,
    models: Mapping[str, ModelSpec],
    *,
    judge_into: JudgeInto | None = None,
    secure_cookies: bool = False,
) -> Routes:
    """The routes of the result page, for the engine of its server.

    A page reranker is read here a second time, because it alone can say why a result stands where it does; every other
    model is asked through the server's workers.

    Args:
        shelf: the pages.
        models: of the server; the first one's order is shown first.
        judge_into: a campaign that takes the grades of people who are signed in; None = nobody grades.
        secure_cookies: people come over https.
    Raises:
        InputError: a model goes by a name that an order may not have.
        NotFound, WeightsError, MissingExtra: a page reranker that cannot be read.
    """
    explaining = {name: load_model(spec).ranker for name, spec in models.items() if _explains(spec)}
    settings = SerpSettings(secure_cookies=secure_cookies)

    def routes(engine: Engine) -> Sequence[BaseRoute]:
        rankers: dict[str, Ranker] = {name: explaining.get(name) or ServedRanker(engine, name) for name in models}
        return serp_routes(shelf, rankers, judge_into=judge_into, settings=settings)

    return routes


def _explains(spec: ModelSpec) -> bool:
    if spec.kind != FOLDER:
        return False
    from wholepage.rankers.whole_page import KIND

    return read_manifest(Path(spec.source)).kind == KIND
