"""The routes that rank: what goes in, what comes out, and examples that every test of the interface sends."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from wholepage.apps.serving.cohere import CohereRequest, CohereResponse
from wholepage.apps.serving.jina import JinaRequest, JinaResponse
from wholepage.apps.serving.tei import TeiRank, TeiRequest
from wholepage.apps.serving.vllm import ScoreRequest, ScoreResponse
from wholepage.apps.serving.wire import Family, Fields

_PIXELS: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFk"
    "lEQVR42mP8z8DAwMDAxMDAwMDAAAANHQEDaB7T3gAAAABJRU5ErkJggg=="
)


class Operation(NamedTuple):
    """A route that ranks.

    Attributes:
        families: whose shapes it takes; errors before the body is read are told as the first does.
        requests, answers: one a family.
    """

    path: str
    name: str
    summary: str
    families: tuple[Family, ...]
    requests: tuple[type[msgspec.Struct], ...]
    answers: tuple[Any, ...]
    examples: dict[str, Fields]


_TEXTS: Final[Fields] = {
    "query": "Where is Munich?",
    "documents": ["Munich is in Germany.", "The sky is blue."],
    "top_n": 1,
}
_MIXED: Final[Fields] = {
    "query": "a city in the south",
    "documents": [
        "Munich is in Germany.",
        {"text": "A small map", "image": _PIXELS, "id": "map-1"},
        {"content": [{"type": "text", "text": "From above"}, {"type": "image_url", "image_url": {"url": _PIXELS}}]},
        {"text": "Munich lies on the Isar.", "modality": "answer"},
    ],
    "return_documents": True,
}
_TEI: Final[Fields] = {"query": "Where is Munich?", "texts": ["The sky is blue.", "Munich is in Germany."]}
_SCORES: Final[dict[str, Fields]] = {
    "one_to_many": {"queries": "Where is Munich?", "documents": ["The sky is blue.", "Munich is a city."]},
    "pairs": {"text_1": ["Where is Munich?", "blue"], "text_2": ["A city.", "The sky is blue."]},
}

OPERATIONS: Final = (
    Operation(
        "/v2/rerank",
        "rerank_v2",
        "Order documents (Cohere v2)",
        (Family.COHERE,),
        (CohereRequest,),
        (CohereResponse,),
        {"texts": _TEXTS},
    ),
    Operation(
        "/v1/rerank",
        "rerank_v1",
        "Order documents (Jina; also Cohere v1, vLLM, infinity)",
        (Family.JINA,),
        (JinaRequest,),
        (JinaResponse,),
        {"texts": _TEXTS, "mixed": _MIXED},
    ),
    Operation(
        "/rerank",
        "rerank",
        "Order texts (TEI), or documents (Jina), by the body",
        (Family.TEI, Family.JINA),
        (TeiRequest, JinaRequest),
        (list[TeiRank], JinaResponse),
        {"tei": _TEI, "jina": _MIXED},
    ),
    Operation(
        "/score",
        "score",
        "Score documents, in the order sent (vLLM)",
        (Family.VLLM,),
        (ScoreRequest,),
        (ScoreResponse,),
        _SCORES,
    ),
    Operation(
        "/v1/score",
        "score_v1",
        "Score documents, in the order sent (vLLM)",
        (Family.VLLM,),
        (ScoreRequest,),
        (ScoreResponse,),
        _SCORES,
    ),
)
"""The routes that rank."""
