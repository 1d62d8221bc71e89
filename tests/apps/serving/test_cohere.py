"""Cohere's own client against a real server, and the shape of ``/v2/rerank``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from scipy.special import expit
from starlette.testclient import TestClient

from wholepage.apps.serving.calls import Draining, Expired, Overloaded
from wholepage.apps.serving.http import create_app
from wholepage.apps.serving.keys import Keys, digest_of
from wholepage.apps.serving.limits import ServingSettings
from wholepage.pages.errors import DecodingError

from .fakes import FakeEngine, data_uri, served

cohere = pytest.importorskip("cohere", reason="the official client is not installed: pip install cohere")

KEY = "a-key-of-enough-letters"
QUERY = "Where is Munich?"
DOCUMENTS = ["The sky is blue.", "Munich is in Germany.", "Munich is where?"]


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture(scope="module")
def address(engine: FakeEngine) -> Iterator[str]:
    settings = ServingSettings()
    with served(create_app(engine, settings, keys=Keys([digest_of(KEY)], settings))) as found:
        yield found


@pytest.fixture(scope="module")
def client(address: str) -> Any:
    return cohere.ClientV2(api_key=KEY, base_url=address)


@pytest.fixture
def posted() -> Any:
    browser = TestClient(create_app(FakeEngine()))
    return lambda **body: browser.post("/v2/rerank", json={"query": QUERY, "documents": DOCUMENTS, **body})


def test_the_official_client_reads_the_order(client: Any) -> None:
    answer = client.rerank(model="words", query=QUERY, documents=DOCUMENTS)
    assert [one.index for one in answer.results] == [2, 1, 0]
    assert [one.relevance_score for one in answer.results] == pytest.approx([float(expit(x)) for x in (2, 1, 0)])
    assert answer.meta.api_version.version == "2"
    assert answer.meta.billed_units.search_units == 1
    assert answer.meta.warnings is None
    assert answer.meta.rerank["modalities"] == {"text": 3}
    assert len(answer.id) == 32


def test_the_official_client_takes_the_top(client: Any) -> None:
    assert [r.index for r in client.rerank(model="words", query=QUERY, documents=DOCUMENTS, top_n=2).results] == [2, 1]
    assert len(client.rerank(model="words", query=QUERY, documents=DOCUMENTS, top_n=99).results) == 3


def test_the_first_version_of_the_client(address: str) -> None:
    client = cohere.Client(api_key=KEY, base_url=address)
    answer = client.rerank(
        query=QUERY, documents=[{"text": text} for text in DOCUMENTS], top_n=1, return_documents=True,
        rank_fields=["text"],
    )  # fmt: skip
    assert [(one.index, one.document.text) for one in answer.results] == [(2, DOCUMENTS[2])]
    assert answer.meta.warnings == ["not used here: rank_fields"]
    assert [model.name for model in client.models.list().models] == ["words", "other-words"]


def test_the_asynchronous_client(address: str) -> None:
    async def asked() -> list[int]:
        async with cohere.AsyncClientV2(api_key=KEY, base_url=address) as client:
            answers = [client.rerank(model="words", query=QUERY, documents=DOCUMENTS) for _ in range(8)]
            return [answer.results[0].index for answer in await asyncio.gather(*answers)]

    assert asyncio.run(asked()) == [2] * 8


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"model": "nope"}, "NotFoundError", "got model 'nope'; allowed: words, other-words"),
        ({"documents": []}, "BadRequestError", "`documents` cannot be empty"),
        ({"query": "  "}, "UnprocessableEntityError", "query: got nothing to look for"),
        ({"top_n": 0}, "UnprocessableEntityError", "top_n: got 0; allowed: 1 or more"),
    ],
)
def test_the_official_client_raises_its_own_errors(client: Any, asked: dict[str, Any], error: str, said: str) -> None:
    with pytest.raises(getattr(cohere.errors, error)) as caught:
        client.rerank(**{"model": "words", "query": QUERY, "documents": DOCUMENTS, **asked})
    assert said in caught.value.body["message"]
    assert caught.value.body["id"] == caught.value.headers["x-request-id"]


def test_the_official_client_without_a_right_key(address: str) -> None:
    with pytest.raises(cohere.errors.UnauthorizedError, match="a key that is not known"):
        cohere.ClientV2(api_key="another", base_url=address).rerank(model="words", query="q", documents=["a"])


@pytest.mark.parametrize(
    ("engine_error", "error"),
    [
        (Overloaded("full", 0.1), "TooManyRequestsError"),
        (Draining("leaving"), "ServiceUnavailableError"),
        (Expired("late"), "GatewayTimeoutError"),
        (DecodingError("/secret/path"), "InternalServerError"),
    ],
)
def test_what_the_engine_says_reaches_the_official_client(
    client: Any, engine: FakeEngine, engine_error: Exception, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "fail", engine_error)
    with pytest.raises(getattr(cohere.errors, error)) as caught:
        client.rerank(model="words", query=QUERY, documents=DOCUMENTS, request_options={"max_retries": 0})
    assert "secret" not in str(caught.value)
    assert caught.value.headers.get("retry-after") == ("1" if isinstance(engine_error, Overloaded) else None)


def test_the_official_client_tries_again_when_the_queue_was_full(
    client: Any, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [Overloaded("full", 0.1)]

    def admit() -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(engine, "admit", admit)
    answer = client.rerank(model="words", query=QUERY, documents=DOCUMENTS, request_options={"max_retries": 2})
    assert answer.results[0].index == 2
    assert not failures


def test_unknown_fields_are_refused_as_cohere_refuses_them(posted: Any) -> None:
    answer = posted(top_k=3)
    assert answer.status_code == 422
    assert answer.json()["message"].startswith("unknown field: parameter 'top_k' is not a valid field; allowed: query,")
    assert posted(return_documents=True).status_code == 422


def test_fields_without_effect_are_told_of(posted: Any) -> None:
    answer = posted(max_tokens_per_doc=100, priority=1, relevant_spans={"mode": "enabled"}).json()
    assert answer["meta"]["warnings"] == ["not used here: max_tokens_per_doc, priority, relevant_spans"]


def test_documents_beyond_coheres_own(posted: Any) -> None:
    documents = ["Munich", {"image": data_uri(), "id": "p", "title": "x"}, {"text": "where", "id": 9}, ""]
    answer = posted(documents=documents).json()
    assert [(one["index"], one.get("id")) for one in answer["results"]] == [(0, None), (2, 9), (1, "p"), (3, None)]
    assert answer["results"][-1]["relevance_score"] == 0.0
    assert answer["meta"]["warnings"] == [
        "not used here in documents: title",
        "documents[3]: nothing to read; placed last, without a score of the ranker",
    ]
    assert posted(query={"content": [{"type": "text", "text": "Munich"}]}).json()["results"][0]["index"] == 1


def test_search_units_are_hundreds(posted: Any) -> None:
    units = [posted(documents=["a"] * n).json()["meta"]["billed_units"]["search_units"] for n in (1, 100, 101, 300)]
    assert units == [1, 1, 2, 3]
