"""The shape of text-embeddings-inference's ``/rerank``: its own request samples, and its bare array."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scipy.special import expit
from starlette.testclient import TestClient

from wholepage.apps.serving.calls import Call, Outcome, Told
from wholepage.apps.serving.http import create_app
from wholepage.apps.serving.limits import ServingSettings

from .fakes import FakeEngine

QUERY, TEXTS = "Where is Munich?", ["The sky is blue.", "Munich is in Germany."]


def posted(engine: FakeEngine | None = None, settings: ServingSettings | None = None, **body: Any) -> Any:
    """The answer to a body."""
    app = create_app(engine or FakeEngine(), settings)
    return TestClient(app).post("/rerank", json={"query": QUERY, "texts": TEXTS, **body})


def cutting(call: Call) -> Outcome:
    """A ranker that reads half of the second text."""
    return Outcome((0, 1), (1.0, 0.0), "cutting", Told(truncated=(1,), rank_ms=12.4, waited_ms=3.2, tokens=9))


def test_a_request_as_the_servers_own_page_shows_it() -> None:
    answer = posted(truncate=False, truncation_direction="right", raw_scores=False, return_text=False)
    assert answer.json() == [
        {"index": 1, "score": pytest.approx(float(expit(1)))}, {"index": 0, "score": pytest.approx(0.5)},
    ]  # fmt: skip


def test_raw_scores_and_texts() -> None:
    assert posted(raw_scores=True, return_text=True).json() == [
        {"index": 1, "text": TEXTS[1], "score": 1.0}, {"index": 0, "text": TEXTS[0], "score": 0.0},
    ]  # fmt: skip


def test_times_come_in_headers() -> None:
    headers = posted(FakeEngine(outcome=cutting)).headers
    assert headers["x-inference-time"] == "12"
    assert headers["x-queue-time"] == "3"
    assert headers["x-compute-tokens"] == "9"
    assert headers["x-compute-characters"] == str(2 * len(QUERY) + sum(map(len, TEXTS)))
    assert headers["x-total-time"] == headers["x-compute-time"]
    assert headers["x-total-time"].isdigit()


def test_warnings_come_in_a_header() -> None:
    answer = posted(truncation_direction="Left", texts=[*TEXTS, ""], **{"naïve\r\nX-Evil: 1": 1})
    assert json.loads(answer.headers["x-warnings"]) == [
        "not used here: naïve\r\nX-Evil: 1",
        "truncation_direction: long texts are cut on the right only",
        "texts[2]: nothing to read; placed last, without a score of the ranker",
    ]
    assert "x-evil" not in answer.headers
    assert [one["index"] for one in answer.json()] == [1, 0, 2]
    assert "x-warnings" not in posted().headers


def test_long_texts_are_cut_or_refused_as_asked() -> None:
    for truncate in (None, True):
        answer = posted(FakeEngine(outcome=cutting), truncate=truncate)
        assert answer.status_code == 200
        assert json.loads(answer.headers["x-warnings"]) == ["texts[1]: longer than the ranker reads; cut"]
    refused = posted(FakeEngine(outcome=cutting), truncate=False)
    assert (refused.status_code, refused.json()["error_type"]) == (422, "Tokenizer")
    assert refused.json()["error"].startswith("texts[1]: got 1 texts that are longer than the ranker reads")


@pytest.mark.parametrize(
    ("body", "status", "kind", "said"),
    [
        ({"texts": []}, 400, "Empty", "`texts` cannot be empty"),
        ({"query": ""}, 422, "Validation", "query: got nothing to look for"),
        ({"texts": ["a"] * 4}, 422, "Validation", "`texts`: got 4 documents; allowed: 3"),
        ({"texts": ["a", 5]}, 422, "Validation", "texts[1]: got `int`"),
        ({"texts": ["a"], "raw_scores": "yes"}, 422, "Validation", "raw_scores: got `str`"),
        ({"texts": ["a"], "truncation_direction": "up"}, 422, "Validation", "truncation_direction: got 'up'"),
        ({"texts": ["a"], "model": "nope"}, 404, "Validation", "got model 'nope'"),
    ],
)
def test_errors_as_tei_tells_them(body: dict[str, Any], status: int, kind: str, said: str) -> None:
    answer = posted(settings=ServingSettings(max_documents=3), **body)
    assert (answer.status_code, answer.json()["error_type"]) == (status, kind)
    assert answer.json()["error"].startswith(said)
    assert set(answer.json()) == {"error", "error_type"}


def test_what_the_server_is() -> None:
    browser = TestClient(create_app(FakeEngine(), ServingSettings(max_documents=7)))
    info = browser.get("/info").json()
    assert (info["model_id"], info["max_client_batch_size"], info["auto_truncate"]) == ("words", 7, True)
    assert info["model_type"] == {"reranker": {"kind": "overlap"}}
    assert browser.get("/health").status_code == 200
    down = TestClient(create_app(FakeEngine(ready=False))).get("/health")
    assert (down.status_code, down.json()["error_type"]) == (503, "Unhealthy")
