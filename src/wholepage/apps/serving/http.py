"""The server as an application: ``create_app(engine, settings)`` is what a server runs.

A request is let in by its key, by its key's rate and by the engine before a byte of its body is read. Then its shape
reads it, its pictures are let in, the engine orders its page, and its shape tells the order. When the client hangs up
or its time runs out, the work is cancelled.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Lifespan

from wholepage.apps.serving.about import Status, info_of, models_of
from wholepage.apps.serving.calls import Call, Engine, Outcome, ServedModel, UnknownModel
from wholepage.apps.serving.cohere import COHERE
from wholepage.apps.serving.counted import SAFE, Counted, began_s, request_id
from wholepage.apps.serving.documents_in import Ask, Laid, laid
from wholepage.apps.serving.incoming import Patience, Room, body_of, check_type, too_large, while_waited_for
from wholepage.apps.serving.jina import JINA
from wholepage.apps.serving.keys import Keys
from wholepage.apps.serving.limits import ServingSettings
from wholepage.apps.serving.metrics import CONTENT_TYPE, Metrics
from wholepage.apps.serving.openapi import openapi
from wholepage.apps.serving.pictures_in import Fetch, PictureDoor
from wholepage.apps.serving.problems import NotServed, TeiProblem, problem
from wholepage.apps.serving.tei import TEI
from wholepage.apps.serving.together import together
from wholepage.apps.serving.vllm import VLLM
from wholepage.apps.serving.wire import Family, Fields, Moment, Ranked, Shape, Wanted, fields_of
from wholepage.pages.errors import InputError, WholepageError, shorten

_LOG = logging.getLogger("wholepage.serving")
_FAMILIES = {  # whose errors are told before a body was read
    "/v2": Family.COHERE,
    "/v1/score": Family.VLLM,
    "/score": Family.VLLM,
    "/rerank": Family.TEI,
    "/info": Family.TEI,
    "/health": Family.TEI,
    "/ping": Family.TEI,
}


def create_app(
    engine: Engine,
    settings: ServingSettings | None = None,
    *,
    keys: Keys | None = None,
    fetcher: Fetch | None = None,
    routes: Sequence[BaseRoute] = (),
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """Every client's rerank interface over one engine.

    Args:
        engine: orders pages; the app neither starts nor stops it.
        settings: what a request may ask for; None = as ``ServingSettings`` says.
        keys: who may ask; None = everybody.
        fetcher: brings pictures from the web; None = web addresses are refused.
        routes: more pages on the same server.
        lifespan: what to do before the first request and after the last.
    """
    settings = settings or ServingSettings()
    metrics = Metrics(engine)
    front = Front(engine, settings, keys or Keys((), settings), PictureDoor(settings, fetcher), metrics)
    post: tuple[tuple[str, Callable[[Fields], Shape]], ...] = (
        ("/v2/rerank", lambda _fields: COHERE),
        ("/v1/rerank", lambda _fields: JINA),
        ("/rerank", _by_body),
        ("/score", lambda _fields: VLLM),
        ("/v1/score", lambda _fields: VLLM),
    )
    own = [Route(path, partial(front.rank, choose), methods=["POST"]) for path, choose in post]
    own += [Route(path, look, methods=["GET"]) for path, look in front.looks().items()]
    app = Starlette(
        routes=[*own, *routes],
        middleware=[Middleware(Counted, metrics=metrics, paths=frozenset(route.path for route in own))],
        exception_handlers={HTTPException: _of_framework, Exception: _unnamed},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


class Front:
    """Takes requests in and answers them."""

    def __init__(
        self, engine: Engine, settings: ServingSettings, keys: Keys, door: PictureDoor, metrics: Metrics
    ) -> None:
        self._engine, self._settings, self._keys = engine, settings, keys
        self._door, self._metrics, self._room = door, metrics, Room(settings)

    def looks(self) -> dict[str, Callable[[Request], Coroutine[Any, Any, Response]]]:
        """The routes at which one only looks."""
        return {
            "/v1/models": partial(self._with_key, lambda: models_of(self._engine)),
            "/info": partial(self._with_key, lambda: info_of(self._engine, self._settings)),
            "/health": self._ready,
            "/ping": self._ready,
            "/readyz": self._ready,
            "/healthz": _alive,
            "/metrics": self._told_metrics,
            "/openapi.json": _openapi,
        }

    async def rank(self, choose: Callable[[Fields], Shape], request: Request) -> Response:
        """Answer a request that ranks, in the shape that its body chooses."""
        family, unread = _family_of(request), too_large(request.headers, self._settings.max_body_bytes)
        try:
            self._keys.admit(request.headers.get("authorization"))
            self._engine.admit()
            check_type(request.headers)
            patience = Patience(request.headers, self._settings, began_s(request))
            with self._room.held(request.headers):
                body = await body_of(request, self._settings.max_body_bytes, patience)
                unread = False
                fields = fields_of(body)
                shape = choose(fields)
                family = shape.family
                return await while_waited_for(request, self._answer(request, shape, fields, patience), patience)
        except WholepageError as error:
            answer = _told(request, error, family)
            if unread:  # what is left of a body without end must not be waited for
                answer.headers["connection"] = "close"
            return answer

    async def _answer(self, request: Request, shape: Shape, fields: Fields, patience: Patience) -> Response:
        wanted = shape.read(fields, self._settings)
        model = self._model(wanted.model)
        wanted = _with_note(wanted, model)
        refs = await self._door.refs(wanted.asks)
        pages = [laid(ask, refs) for ask in wanted.asks]
        if not any(len(one.page) for one in pages):
            at = wanted.asks[0].documents[0].at
            raise InputError(f"{at}: got documents that hold nothing; allowed: texts or pictures; send some")
        self._metrics.asked(shape.family, sum(len(ask.documents) for ask in wanted.asks), len(refs))
        jobs = [
            partial(self._ranked, ask, one, model.name, patience) for ask, one in zip(wanted.asks, pages, strict=True)
        ]
        ranked = [await jobs[0]()] if len(jobs) == 1 else await together(jobs, at_once=self._settings.pairs_at_once)
        moment = Moment(request_id(request), model.name, int(time.time()), patience.spent_s * 1000)
        answer = shape.answer(wanted, ranked, moment)
        if wanted.notes:
            self._metrics.warned()
        return _json(answer.body, headers=dict(answer.headers))

    async def _ranked(self, ask: Ask, one: Laid, model: str, patience: Patience) -> Ranked:
        if not len(one.page):
            return Ranked(ask, one, Outcome((), (), model))
        return Ranked(ask, one, await self._engine.rank(Call(model, one.page, patience.left_s)))

    def _model(self, name: str | None) -> ServedModel:
        models = {model.name: model for model in self._engine.models}
        if name is None:
            return next(iter(models.values()))
        if name not in models:
            raise UnknownModel(f"got model {shorten(name)!r}; allowed: {', '.join(models)}; name one, or none")
        return models[name]

    async def _with_key(self, look: Callable[[], msgspec.Struct], request: Request) -> Response:
        try:
            self._keys.admit(request.headers.get("authorization"))
        except WholepageError as error:
            return _told(request, error, _family_of(request))
        return _json(look())

    async def _ready(self, _request: Request) -> Response:
        if self._engine.ready:
            return _json(Status())
        return _json(TeiProblem("unhealthy: calls would not be answered now", "Unhealthy"), 503)

    async def _told_metrics(self, _request: Request) -> Response:
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})


async def _alive(_request: Request) -> Response:
    return _json(Status())


async def _openapi(_request: Request) -> Response:
    return Response(openapi(), headers={"content-type": "application/json"})


def _by_body(fields: Fields) -> Shape:
    """TEI's shape for texts, Jina's for documents."""
    if "texts" in fields:
        return TEI
    if "documents" in fields:
        return JINA
    raise InputError("got neither `texts` nor `documents`; allowed: one of them; send what is to be ordered")


def _with_note(wanted: Wanted, model: ServedModel) -> Wanted:
    """What the model cannot see of the query is said."""
    seen = not model.modalities or "image" in model.modalities
    if seen or not any(ask.query.pictures for ask in wanted.asks):
        return wanted
    return msgspec.structs.replace(wanted, notes=(*wanted.notes, f"query: {model.name} does not look at its picture"))


def _json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, {"content-type": "application/json", **(headers or {})})


def _told(request: Request, error: WholepageError, family: Family) -> Response:
    own_id = request_id(request)
    told = problem(error, family, own_id)
    if told.status >= 500 or told.status == 424:
        # Errors of the ranker bring their trace; what a full or leaving server says is no news.
        told_before = told.status in (503, 504)
        _LOG.log(
            logging.INFO if told_before else logging.ERROR,
            "%s %r: %s", own_id, request.url.path, error, exc_info=None if told_before else error,
        )  # fmt: skip
    return _json(told.body, told.status, told.headers)


def _family_of(request: Request) -> Family:
    path = request.url.path
    return next((family for start, family in _FAMILIES.items() if path.startswith(start)), Family.JINA)


def _of_framework(request: Request, error: Exception) -> Response:
    """An address or method that is not served."""
    if not isinstance(error, HTTPException):
        raise error
    what = f"got {request.method} {shorten(request.url.path)}; allowed: the routes in /openapi.json; mend the address"
    answer = _told(request, NotServed(what, error.status_code), _family_of(request))
    answer.headers.update(error.headers or {})
    return answer


def _unnamed(request: Request, _error: Exception) -> Response:
    """An error that has no name: the server's log has the trace. This answer passes outside of ``Counted``."""
    answer = _told(request, WholepageError("an error without a name"), _family_of(request))
    for name, value in (*SAFE, (b"x-request-id", request_id(request).encode())):
        answer.headers[name.decode()] = value.decode()
    return answer
