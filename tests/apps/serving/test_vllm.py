"""The shape of vLLM's ``/score``: one query and many documents, or pairs, under four pairs of names."""

from __future__ import annotations

from typing import Any

import pytest
from scipy.special import expit
from starlette.testclient import TestClient

from wholepage.apps.serving.calls import Call, Outcome, Told
from wholepage.apps.serving.http import create_app
from wholepage.apps.serving.limits import ServingSettings
from wholepage.pages.errors import InputError

from .fakes import FakeEngine, data_uri

QUERY, DOCUMENTS = "Where is Munich?", ["The sky is blue.", "Munich, where?"]
NAMES = [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")]


def posted(
    body: dict[str, Any],
    engine: FakeEngine | None = None,
    settings: ServingSettings | None = None,
    path: str = "/score",
) -> Any:
    """The answer to a body."""
    return TestClient(create_app(engine or FakeEngine(), settings)).post(path, json=body)


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(("left", "right"), NAMES)
@pytest.mark.parametrize("query", [QUERY, [QUERY]])
def test_one_query_and_many_documents(path: str, left: str, right: str, query: Any) -> None:
    engine = FakeEngine()
    answer = posted({left: query, right: DOCUMENTS, "model": "words"}, engine, path=path).json()
    assert answer["object"] == "list"
    assert answer["model"] == "words"
    assert answer["data"] == [
        {"index": 0, "object": "score", "score": pytest.approx(0.5)},
        {"index": 1, "object": "score", "score": pytest.approx(float(expit(1)))},
    ]
    assert answer["usage"] == {"prompt_tokens": 6, "total_tokens": 6, "completion_tokens": 0}
    assert answer["id"].startswith("score-")
    assert len(engine.calls) == 1


def test_pairs_are_pages_of_their_own() -> None:
    engine = FakeEngine(wait_s=0.01)
    queries, documents = [f"word{i}" for i in range(9)], [f"word{i} word{i + 1}" for i in range(9)]
    settings = ServingSettings(pairs_at_once=4)
    answer = posted({"text_1": queries, "text_2": documents, "use_activation": False}, engine, settings).json()
    assert [one["index"] for one in answer["data"]] == list(range(9))
    assert [one["score"] for one in answer["data"]] == [0.0] * 9
    assert [len(call.page) for call in engine.calls] == [1] * 9
    assert engine.most_running == 4
    assert answer["meta"]["rerank"]["modalities"] == {"text": 9}


def test_pairs_with_nothing_to_read_are_told_of() -> None:
    answer = posted({"queries": ["a", "b"], "documents": ["a", ""], "activation": False}).json()
    assert [one["score"] for one in answer["data"]] == [0.0, 0.0]
    assert answer["meta"]["warnings"] == ["documents[1]: nothing to read; placed last, without a score of the ranker"]


def test_what_was_cut_in_pairs_is_told_by_its_own_place() -> None:
    def outcome(call: Call) -> Outcome:
        return Outcome((0,), (1.0,), "cutting", Told(truncated=(0,) if call.page.query.text == "b" else ()))

    answer = posted({"queries": ["a", "b"], "documents": ["x", "y"]}, FakeEngine(outcome=outcome)).json()
    assert answer["meta"]["rerank"]["truncated"] == [1]
    assert answer["meta"]["warnings"] == ["documents[1]: longer than the ranker reads; cut"]


def test_when_one_pair_fails_the_request_does_and_the_rest_is_cancelled() -> None:
    class Failing(FakeEngine):
        async def rank(self, call: Call) -> Outcome:
            if call.page.query.text == "b":
                raise InputError("no page for b")
            return await super().rank(call)

    engine = Failing(wait_s=30)
    answer = posted({"queries": ["a", "b", "c"], "documents": ["x", "y", "z"]}, engine)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "no page for b")
    assert engine.cancelled == len(engine.calls) > 0


def test_parts_of_chat_messages() -> None:
    engine = FakeEngine()
    shown = {"type": "image_url", "image_url": {"url": data_uri()}}
    body = {
        "queries": {"content": [{"type": "text", "text": "map"}]},
        "documents": {"content": [shown, {"type": "text", "text": "a map"}]},
    }
    answer = posted(body, engine).json()
    assert answer["data"] == [{"index": 0, "object": "score", "score": pytest.approx(float(expit(0.5)))}]
    assert len(engine.calls[0].page.results[0].images) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "got none of the names"),
        ({"queries": "a"}, "got queries of the names"),
        ({"queries": "a", "documents": ["b"], "text_1": "c"}, "got documents, queries, text_1 of the names"),
        ({"queries": "a", "text_2": ["b"]}, "got queries, text_2 of the names"),
        ({"queries": ["a", "b"], "documents": ["c"]}, "queries: got 2 for 1 documents; allowed: one, or as many"),
        ({"queries": [], "documents": ["c"]}, "queries: got 0 for 1 documents"),
        ({"queries": "a", "documents": []}, "`documents` cannot be empty"),
        ({"text_1": ["a", " "], "text_2": ["c", "d"]}, "text_1[1]: got nothing to look for"),
        ({"text_1": "a", "text_2": ["c", 3]}, "text_2[1]: got `int`"),
        ({"queries": ["a"] * 4, "documents": ["b"] * 4}, "`documents`: got 4 documents; allowed: 3"),
    ],
)
def test_errors_as_vllm_tells_them(body: dict[str, Any], said: str) -> None:
    answer = posted(body, settings=ServingSettings(max_documents=3))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"].startswith(said)
    assert (error["type"], error["param"], error["code"]) == ("BadRequestError", None, 400)


def test_an_unknown_model() -> None:
    answer = posted({"queries": "a", "documents": ["b"], "model": "nope"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "NotFoundError")
