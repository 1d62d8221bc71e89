"""The shape of ``/v1/rerank``: requests of Jina, vLLM, infinity and other clients, as they send them."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from wholepage.apps.serving.calls import Call, Outcome, ServedModel
from wholepage.apps.serving.http import create_app

from .fakes import FakeEngine, FakeFetch, base64_of, data_uri, png

QUERY = "Where is Munich?"


def posted(body: dict[str, Any], path: str = "/v1/rerank", **app: Any) -> Any:
    """The answer to a body."""
    return TestClient(create_app(app.pop("engine", FakeEngine()), **app)).post(path, json=body)


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
def test_a_request_of_jina_with_pictures(path: str) -> None:
    body = {
        "model": "words",
        "query": QUERY,
        "documents": [
            "The sky is blue.",
            {"text": "Munich is in Germany."},
            {"image": base64_of(png())},
            {"image": "https://pictures.test/a.png"},
        ],
        "top_n": 3,
        "return_documents": True,
    }
    answer = posted(body, path, fetcher=FakeFetch(a=png())).json()
    assert answer["model"] == "words"
    assert answer["usage"] == {"prompt_tokens": 8, "total_tokens": 8}
    results = [(one["index"], one["document"]) for one in answer["results"]]
    assert results == [
        (1, {"text": "Munich is in Germany."}), (0, {"text": "The sky is blue."}), (2, {"image": "<omitted>"}),
    ]  # fmt: skip
    assert answer["meta"]["rerank"]["modalities"] == {"image": 2, "text": 2}


def test_a_request_of_vllm() -> None:
    parts = [{"type": "text", "text": "Munich"}, {"type": "image_url", "image_url": {"url": data_uri()}}]
    body = {
        "model": "words", "query": QUERY, "documents": ["sky", {"content": parts}], "top_n": 0, "instruction": "rank",
        "max_tokens_per_doc": 0, "max_tokens_per_query": 0, "truncate_prompt_tokens": -1, "truncation_side": "right",
        "use_activation": False,
    }  # fmt: skip
    answer = posted(body).json()
    assert [(one["index"], one["relevance_score"]) for one in answer["results"]] == [(1, 0.5), (0, -1.0)]
    first, second = answer["meta"]["warnings"]
    assert first == (
        "not used here: instruction, max_tokens_per_doc, max_tokens_per_query, truncate_prompt_tokens, truncation_side"
    )
    assert second == "top_n: 0 was read as all"
    assert posted({"query": QUERY, "documents": "alone"}).json()["results"][0]["index"] == 0


def test_a_request_of_infinity() -> None:
    body = {"model": "words", "query": QUERY, "documents": ["Munich is in Germany.", "Blue."], "return_documents": True}
    answer = posted({**body, "top_n": 1}, "/rerank").json()
    assert len(answer["results"]) == 1
    assert answer["results"][0]["document"] == {"text": "Munich is in Germany."}


@pytest.mark.parametrize(
    ("more", "number", "notes"),
    [
        ({"top_k": 2}, 2, None),
        ({"top_n": 1, "top_k": 2}, 1, ["not used here beside top_n: top_k"]),
        ({"top_n": None, "top_k": 0}, 3, ["top_k: 0 was read as all"]),
        ({"top_n": 10**30}, 3, None),
        ({"rank_fields": ["title"]}, 3, ["not used here: rank_fields"]),
    ],
)
def test_how_many_results(more: dict[str, Any], number: int, notes: list[str] | None) -> None:
    answer = posted({"query": "q", "documents": ["a", "b", "c"], **more}).json()
    assert [one["index"] for one in answer["results"]] == list(range(number))
    assert answer["meta"]["warnings"] == notes


@pytest.mark.parametrize("top", [{"top_n": -1}, {"top_k": -3}])
def test_numbers_below_nought_are_refused(top: dict[str, int]) -> None:
    answer = posted({"query": "q", "documents": ["a"], **top})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"{next(iter(top))}: got -")


def test_ties_keep_the_order_sent() -> None:
    answer = posted({"query": "q", "documents": ["a", "b", "c", "d"]}).json()
    assert [one["index"] for one in answer["results"]] == [0, 1, 2, 3]


def test_nothing_that_was_sent_as_base64_comes_back() -> None:
    secret = base64_of(png(9, 9, "blue"))
    documents = [
        {"image": secret}, {"text": "t", "image": data_uri(png(9, 9, "blue"))},
        {"content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{secret}"}}]},
        {"image": [secret, secret], "modality": "video"},
    ]  # fmt: skip
    for path in ("/v1/rerank", "/rerank"):
        answer = posted(
            {"query": {"text": "q", "image": secret}, "documents": documents, "return_documents": True}, path
        )
        assert answer.status_code == 200
        assert secret[20:40] not in answer.text
    wrong = posted({"query": "q", "documents": [{"image": "data:image/png;base64," + "A" * 9000}]})
    assert wrong.status_code == 422
    assert "A" * 100 not in wrong.text


def test_a_query_with_a_picture_reaches_the_engine_and_is_missed_by_models_of_text() -> None:
    engine = FakeEngine()
    query = {"content": [{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {"url": data_uri()}}]}
    assert posted({"query": query, "documents": ["a"]}, engine=engine).json()["meta"]["warnings"] is None
    assert engine.calls[0].page.query.image.uri == data_uri()
    answer = posted({"query": query, "documents": ["a"], "model": "other-words"}, engine=engine).json()
    assert answer["meta"]["warnings"] == ["query: other-words does not look at its picture"]


def test_the_first_model_is_the_default() -> None:
    engine = FakeEngine(models=[ServedModel("b", "overlap", ()), ServedModel("a", "overlap", ())])
    assert posted({"query": "q", "documents": ["a"]}, engine=engine).json()["model"] == "b"
    assert engine.calls[0].model == "b"
    unknown = posted({"query": "q", "documents": ["a"], "model": ""}, engine=engine)
    assert (unknown.status_code, unknown.json()) == (
        404, {"detail": "got model ''; allowed: b, a; name one, or none"},
    )  # fmt: skip


def test_results_without_an_opinion_are_last_and_told_of() -> None:
    def outcome(call: Call) -> Outcome:
        return Outcome((2, 0, 1), (-1.0, None, 4.0), "half")

    answer = posted({"query": "q", "documents": ["a", "b", "c"]}, engine=FakeEngine(outcome=outcome)).json()
    assert [one["index"] for one in answer["results"]] == [2, 0, 1]
    assert answer["results"][2]["relevance_score"] == 0.0
    assert answer["meta"]["warnings"] == ["documents[1]: the ranker had no opinion; placed last"]


def test_documents_that_all_hold_nothing_are_refused() -> None:
    answer = posted({"query": "q", "documents": ["", {"text": " "}]})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("documents[0]: got documents that hold nothing")


def test_a_body_of_neither_kind() -> None:
    answer = posted({"query": "q"}, "/rerank")
    assert (answer.status_code, answer.json()["error_type"]) == (422, "Validation")
