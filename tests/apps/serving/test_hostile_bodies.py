"""Bodies from strangers, whole and broken: each is answered in its family's shape, and a 200 is never a wrong order."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wholepage.apps.serving.http import create_app
from wholepage.apps.serving.limits import ServingSettings
from wholepage.apps.serving.operations import OPERATIONS

from .fakes import FakeEngine, base64_of, data_uri, png

APP = create_app(FakeEngine(), ServingSettings(max_documents=20, max_query_chars=200))
PATHS = [one.path for one in OPERATIONS]
PICTURE = base64_of(png())

NUMBERS = st.sampled_from([0, 1, 2, -1, 10**30, 2.5, True]) | st.integers(-3, 30)
TEXTS = st.sampled_from(["", " ", "where is munich", "munich", "https://x.test/a.png", "\0"]) | st.text(max_size=12)
GOOD_ADDRESSES = st.sampled_from([PICTURE, data_uri()])
BAD_ADDRESSES = st.sampled_from(["/etc/passwd", "file:///x", "http://x.test/a.png", "", "zip:a!/b", "data:image/png,x"])
ODD = (
    st.none()
    | NUMBERS
    | TEXTS
    | BAD_ADDRESSES
    | st.lists(TEXTS, max_size=2)
    | st.dictionaries(TEXTS, TEXTS, max_size=2)
)
PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}),
    st.fixed_dictionaries({"type": st.just("image"), "image": GOOD_ADDRESSES}),
    st.fixed_dictionaries({"type": st.just("image_url"), "image_url": GOOD_ADDRESSES}),
    st.fixed_dictionaries(
        {"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": GOOD_ADDRESSES})}, optional={"x": ODD}
    ),
)
OBJECTS = st.one_of(
    st.fixed_dictionaries({"text": TEXTS}, optional={"modality": st.sampled_from(["text", "answer"]), "title": ODD}),
    st.fixed_dictionaries({"image": GOOD_ADDRESSES}, optional={"text": TEXTS}),
    st.fixed_dictionaries({"image": st.lists(GOOD_ADDRESSES, min_size=1, max_size=3), "modality": st.just("video")}),
    st.fixed_dictionaries({"content": TEXTS | st.lists(PARTS, max_size=3)}),
)
QUERIES = st.sampled_from(["where is munich", {"text": "munich"}, {"image": PICTURE}]) | st.text(min_size=1, max_size=9)
DOCUMENTS = st.lists(TEXTS | OBJECTS, min_size=1, max_size=8)
LIKELY = {  # what a client may well send
    "/v2/rerank": {"query": QUERIES, "documents": DOCUMENTS, "top_n": st.integers(1, 9)},
    "/v1/rerank": {
        "query": QUERIES, "documents": DOCUMENTS, "top_n": st.integers(0, 9), "return_documents": st.booleans(),
        "use_activation": st.booleans(),
    },
    "/rerank": {
        "query": st.just("where is munich"), "texts": st.lists(TEXTS, min_size=1, max_size=8),
        "raw_scores": st.booleans(), "return_text": st.booleans(), "truncate": st.booleans(),
    },
    "/score": {"queries": QUERIES, "documents": DOCUMENTS, "use_activation": st.booleans()},
    "/v1/score": {"text_1": QUERIES, "text_2": DOCUMENTS},
}  # fmt: skip
NAMES = [
    "query", "queries", "documents", "texts", "items", "data_1", "data_2", "text_1", "text_2", "model", "top_n",
    "top_k", "return_documents", "return_text", "raw_scores", "truncate", "truncation_direction", "use_activation",
    "activation", "rank_fields", "max_tokens_per_doc", "priority", "relevant_spans", "id", "modality",
]  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn, path: str) -> dict[str, Any]:
    """A body as a client may send it, with up to two things put into it, or taken out, that do not belong so."""
    body = draw(st.fixed_dictionaries(LIKELY[path]))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        name = draw(st.sampled_from([*body, *NAMES]))
        inside = body.get(name)
        if isinstance(inside, list) and inside and draw(st.booleans()):
            at = draw(st.integers(0, len(inside) - 1))
            one = inside[at]
            if isinstance(one, dict) and draw(st.booleans()):
                one = {**one, draw(st.sampled_from(["id", "modality", "image", "content", "text"])): draw(ODD)}
                body[name] = [*inside[:at], one, *inside[at + 1 :]]
            else:
                body[name] = [*inside[:at], draw(ODD), *inside[at + 1 :]]
        elif draw(st.booleans()):
            body.pop(name, None)
        else:
            body[name] = draw(ODD | DOCUMENTS | st.booleans())
    return body


PROBLEMS = ({"id", "message"}, {"detail"}, {"error", "error_type"}, {"error"})


def post(path: str, body: bytes) -> tuple[int, Any]:
    """Status and JSON of the answer to a body."""
    sent: list[dict[str, Any]] = []
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if given:
            return given.pop()
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http", "headers": [],
        "client": ("x", 1), "server": ("x", 80),
    }  # fmt: skip
    asyncio.run(APP(scope, receive, send))
    return sent[0]["status"], json.loads(b"".join(message["body"] for message in sent[1:]))


def check_order(path: str, asked: dict[str, Any], told: Any) -> None:
    """The order told is a beginning of a permutation of what was asked, with finite scores."""
    results = told if isinstance(told, list) else told.get("results", told.get("data"))
    if path == "/rerank" and "texts" in asked:
        name = "texts"
    else:
        name = next(name for name in ("documents", "items", "data_2", "text_2") if asked.get(name) is not None)
    number = len(asked[name]) if isinstance(asked[name], list) else 1
    indices = [one["index"] for one in results]
    assert len(set(indices)) == len(indices) <= number
    assert set(indices) <= set(range(number))
    if "score" in path:
        assert indices == list(range(number))
    scores = [one.get("relevance_score", one.get("score")) for one in results]
    assert all(math.isfinite(score) for score in scores)
    if (
        not asked.get("raw_scores")
        and asked.get("use_activation") is not False
        and asked.get("activation") is not False
    ):
        assert all(0 <= score <= 1 for score in scores)
    if "score" not in path:
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("path", PATHS)
def test_every_body_is_answered_rightly_or_refused(path: str) -> None:
    found: Counter[int] = Counter()

    @settings(max_examples=120)
    @given(asked=bodies(path))
    def run(asked: dict[str, Any]) -> None:
        status, told = post(path, json.dumps(asked).encode())
        found[status] += 1
        assert status < 500
        if status == 200:
            check_order(path, asked, told)
        else:
            assert set(told) in PROBLEMS
        assert PICTURE not in json.dumps(told)

    run()
    # The strategy is neither so tame that all is taken nor so odd that all is refused.
    assert 0.2 < found[200] / found.total() < 0.9, found


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=40)
@given(data=st.data())
def test_broken_bytes_are_refused(path: str, data: st.DataObject) -> None:
    whole = json.dumps(next(iter(next(one for one in OPERATIONS if one.path == path).examples.values()))).encode()
    at = data.draw(st.integers(0, len(whole)))
    bad = data.draw(st.sampled_from([b"\xff", b'"', b"\\", b"{", b"\x00", b"\\ud800"]))
    body = data.draw(st.sampled_from([whole[:at], whole[:at] + bad + whole[at:], whole[:at] + bad + whole[at + 1 :]]))
    status, told = post(path, body)
    assert status < 500
    assert status == 200 or set(told) in PROBLEMS
