"""The interface in OpenAPI's words, made of the very structs that requests are read into and answers are made of.

It is kept in ``tests/golden/openapi.json``, so that a change of the interface is seen. After a change that is meant:

    python -m wholepage.apps.serving.openapi > tests/golden/openapi.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import msgspec

from wholepage import __version__
from wholepage.apps.serving.about import Info, ModelList, Status
from wholepage.apps.serving.operations import OPERATIONS, Operation
from wholepage.apps.serving.problems import TABLE, CohereProblem, JinaProblem, TeiProblem, VllmProblem
from wholepage.apps.serving.wire import Family

Json = dict[str, Any]

_ROOT: Final = "#/components/schemas/"
_PROBLEMS: Final[dict[Family, type[msgspec.Struct]]] = {
    Family.COHERE: CohereProblem,
    Family.JINA: JinaProblem,
    Family.TEI: TeiProblem,
    Family.VLLM: VllmProblem,
}
_WHY: Final = {
    400: "The body is no JSON, or cannot be used.",
    401: "No key, or one that is not known.",
    404: "No such model.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is of a type that is not read.",
    422: "The request cannot be used; the message says what was got and what is allowed.",
    424: "The ranker failed.",
    429: "Too many requests; Retry-After says when to come back.",
    500: "The ranker failed.",
    502: "A model behind the server failed.",
    503: "The server is on its way out, or not ready.",
    504: "The answer was not ready in time.",
}
_UNHEARD: Final = 499  # for the log: a client that hung up hears no status
_LOOKS: Final[tuple[tuple[str, str, str, type[msgspec.Struct]], ...]] = (
    ("/v1/models", "models", "What is served", ModelList),
    ("/info", "info", "What is served, as TEI tells it", Info),
    ("/health", "health", "Whether a call would be answered now", Status),
    ("/ping", "ping", "Whether a call would be answered now", Status),
    ("/readyz", "ready", "Whether a call would be answered now", Status),
    ("/healthz", "alive", "Whether the server's process lives", Status),
)
_UNREADY: Final = ("/health", "/ping", "/readyz")
_WITH_KEY: Final = ("/v1/models", "/info")


@cache
def openapi() -> bytes:
    """The document, as it is served at ``/openapi.json``."""
    return (json.dumps(document(), indent=1, ensure_ascii=True) + "\n").encode()


def document() -> Json:
    """The document: paths, and the schemas of everything that goes in and out."""
    kinds: list[Any] = [*_PROBLEMS.values(), *(look[3] for look in _LOOKS)]
    kinds += [kind for one in OPERATIONS for kind in (*one.requests, *one.answers)]
    kinds = list(dict.fromkeys(kinds))
    found, components = msgspec.json.schema_components(kinds, ref_template=_ROOT + "{name}")
    schemas = dict(zip(kinds, found, strict=True))
    paths: Json = {one.path: {"post": _ranking(one, schemas)} for one in OPERATIONS}
    paths |= {path: {"get": _look(path, name, summary, schemas[kind])} for path, name, summary, kind in _LOOKS}
    paths["/metrics"] = {"get": _plain("metrics", "Numbers of the running server, as Prometheus reads them")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wholepage",
            "version": __version__,
            "description": "Orders result pages of mixed modalities. Each route keeps the shape of its clients.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _ranking(one: Operation, schemas: dict[Any, Json]) -> Json:
    answers: Json = {"200": _answer("Ranked.", [schemas[kind] for kind in one.answers])}
    if Family.TEI in one.families:
        answers["200"]["headers"] |= _TEI_HEADERS
    for status in sorted({status for family in one.families for status in _statuses(family)}):
        told = [schemas[_PROBLEMS[family]] for family in one.families if status in _statuses(family)]
        answers[str(status)] = _answer(_WHY[status], told)
        if status == 429:
            answers["429"]["headers"] |= {"Retry-After": _header("Seconds.", "integer")}
    body = {
        "schema": _any([schemas[kind] for kind in one.requests]),
        "examples": {name: {"value": value} for name, value in one.examples.items()},
    }
    return {
        "operationId": one.name,
        "summary": one.summary,
        "security": [{}, {"key": []}],
        "parameters": [
            _parameter("X-Request-Timeout-Ms", "Within which an answer is of use.", {"type": "integer", "minimum": 1}),
            _parameter("X-Request-Id", "Comes back.", {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}),
        ],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": answers,
    }


_TEI_HEADERS: Final = {
    name: {"description": what, "schema": {"type": "string"}}
    for name, what in {
        "X-Compute-Characters": "Characters read, of a TEI request.",
        "X-Compute-Time": "Milliseconds altogether, of a TEI request.",
        "X-Compute-Tokens": "Tokens read, of a TEI request; 0 where they are not counted.",
        "X-Inference-Time": "Milliseconds of ranking, of a TEI request.",
        "X-Queue-Time": "Milliseconds in the queue, of a TEI request.",
        "X-Total-Time": "Milliseconds altogether, of a TEI request.",
        "X-Warnings": "What a TEI client should know: a JSON array of texts.",
    }.items()
}


def _statuses(family: Family) -> set[int]:
    return {row.others.get(family, row.status) for row in TABLE} - {_UNHEARD}


def _look(path: str, name: str, summary: str, schema: Json) -> Json:
    answers: Json = {"200": _answer("As asked.", [schema])}
    if path in _UNREADY:
        answers["503"] = _answer(_WHY[503], [{"$ref": f"{_ROOT}{TeiProblem.__name__}"}])
    if path in _WITH_KEY:
        family = Family.TEI if path == "/info" else Family.JINA
        answers["401"] = _answer(_WHY[401], [{"$ref": f"{_ROOT}{_PROBLEMS[family].__name__}"}])
        answers["429"] = _answer(_WHY[429], [{"$ref": f"{_ROOT}{_PROBLEMS[family].__name__}"}])
        answers["429"]["headers"] |= {"Retry-After": _header("Seconds.", "integer")}
    security: list[Json] = [{}, {"key": []}] if path in _WITH_KEY else []
    return {"operationId": name, "summary": summary, "security": security, "responses": answers}


def _plain(name: str, summary: str) -> Json:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": name,
        "summary": summary,
        "security": [],
        "responses": {"200": {"description": "As asked.", "content": content}},
    }


def _answer(why: str, schemas: Sequence[Json]) -> Json:
    return {
        "description": why,
        "headers": {"X-Request-Id": _header("Of this request, for the server's log.", "string")},
        "content": {"application/json": {"schema": _any(schemas)}},
    }


def _any(schemas: Sequence[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def _header(what: str, kind: str) -> Json:
    return {"description": what, "schema": {"type": kind}}


def _parameter(name: str, what: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "description": what, "schema": schema}


if __name__ == "__main__":
    sys.stdout.write(openapi().decode())
