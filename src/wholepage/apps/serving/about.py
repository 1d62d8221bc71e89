"""What the server says of itself: which models, and whether it is ready."""

from __future__ import annotations

import msgspec

from wholepage import __version__
from wholepage.apps.serving.calls import Engine
from wholepage.apps.serving.limits import ServingSettings


class Model(msgspec.Struct, frozen=True):
    """A model, as OpenAI's clients read it; ``kind`` and ``modalities`` are ours."""

    id: str
    kind: str
    modalities: list[str]
    object: str = "model"
    created: int = 0
    owned_by: str = "wholepage"


class CohereModel(msgspec.Struct, frozen=True):
    """A model, as Cohere's clients read it."""

    name: str
    endpoints: list[str]


class ModelList(msgspec.Struct, frozen=True):
    """What is served: ``data`` for OpenAI's clients, ``models`` for Cohere's."""

    object: str
    data: list[Model]
    models: list[CohereModel]


class Info(msgspec.Struct, frozen=True):
    """What is served, in TEI's words; what is not known here is left out.

    Attributes:
        model_id: the default.  model_type: the kind of ranker under TEI's ``reranker``.
        max_client_batch_size: documents of a request.  auto_truncate: long texts are cut if not asked otherwise.
    """

    model_id: str
    model_type: dict[str, dict[str, str]]
    max_client_batch_size: int
    auto_truncate: bool
    version: str


class Status(msgspec.Struct, frozen=True):
    """That all is well."""

    status: str = "ok"


def models_of(engine: Engine) -> ModelList:
    """What an engine serves."""
    data = [Model(one.name, one.kind, list(one.modalities)) for one in engine.models]
    return ModelList("list", data, [CohereModel(one.id, ["rerank"]) for one in data])


def info_of(engine: Engine, settings: ServingSettings) -> Info:
    """What an engine serves first, in TEI's words."""
    first = engine.models[0]
    kind = {"reranker": {"kind": first.kind}}
    return Info(first.name, kind, settings.max_documents, auto_truncate=True, version=__version__)
