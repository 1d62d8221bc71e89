"""What all shapes share: JSON in, places and scores out, checked against brute force and scipy."""

from __future__ import annotations

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from wholepage.apps.serving import wire
from wholepage.apps.serving.calls import Outcome, Told
from wholepage.apps.serving.documents_in import Ask, Document, laid
from wholepage.apps.serving.jina import JinaRequest
from wholepage.apps.serving.limits import ServingSettings
from wholepage.pages.errors import DecodingError, InputError


def ranked(
    texts: list[str], scores: list[float | None], order: list[int] | None = None, told: Told | None = None
) -> wire.Ranked:
    """Texts ordered by scores; those that are empty have none."""
    ask = Ask(Document("query", "q"), tuple(Document(f"documents[{i}]", text) for i, text in enumerate(texts)))
    if order is None:
        order = sorted(range(len(scores)), key=lambda i: (scores[i] is None, -(scores[i] or 0.0)))
    return wire.Ranked(ask, laid(ask, {}), Outcome(tuple(order), tuple(scores), "test", told or Told()))


@given(st.floats(-800, 800))
def test_relevance_is_the_logistic_function(score: float) -> None:
    assert wire.relevance(score) == pytest.approx(float(expit(score)), rel=1e-14, abs=1e-300)
    assert 0 <= wire.relevance(score) <= 1


def test_relevance_of_the_largest_scores() -> None:
    assert [wire.relevance(x) for x in (-1e308, 0.0, 1e308)] == [0.0, 0.5, 1.0]


@given(st.lists(st.tuples(st.sampled_from(["", " ", "text"]), st.none() | st.floats(-9, 9)), min_size=1, max_size=9))
def test_places_are_a_permutation_best_first(drawn: list[tuple[str, float | None]]) -> None:
    texts = [text for text, _ in drawn]
    scores = [score for text, score in drawn if text.strip()]
    places = wire.placed(ranked(texts, scores))
    assert sorted(place.index for place in places) == list(range(len(texts)))
    known = iter(scores)
    expected = [next(known) if text.strip() else None for text in texts]
    assert all(place.score == expected[place.index] for place in places)
    values = [place.score for place in places if place.score is not None]
    assert values == sorted(values, reverse=True)
    assert [place.score is None for place in places] == sorted(place.score is None for place in places)
    nothing = [place.index for place in places[len(scores) :]]
    assert nothing == [i for i, text in enumerate(texts) if not text.strip()]


@pytest.mark.parametrize(
    ("scores", "order"),
    [
        ([1.0, 2.0], [0, 0]),
        ([1.0, 2.0], [1]),
        ([1.0, 2.0], [1, 2]),
        ([1.0], [1, 0]),
        ([1.0, math.nan], [0, 1]),
        ([math.inf, 1.0], [0, 1]),
        ([None, 1.0], [0, 1]),
    ],
)
def test_what_is_no_order_is_refused(scores: list[float | None], order: list[int]) -> None:
    with pytest.raises(DecodingError, match="test: got"):
        wire.placed(ranked(["a", "b"], scores, order))


def test_scores_without_an_opinion_are_the_least() -> None:
    places = wire.placed(ranked(["a", "b", "", "c"], [-3.0, None, -5.0]))
    assert [place.index for place in places] == [0, 3, 1, 2]
    assert wire.shown_scores(places, raw=True) == [-3.0, -5.0, -5.0, -5.0]
    assert wire.shown_scores(places, raw=False)[2:] == [0.0, 0.0]
    assert wire.shown_scores([wire.Place(0, None)], raw=True) == [0.0]


def test_diagnostics_speak_of_the_requests_indices() -> None:
    told = Told(windows=3, repairs=1, truncated=(1,), tokens=7, rank_ms=1.23456, waited_ms=2.0)
    one = ranked(["a", "", "b"], [1.0, None], told=told)
    meta = wire.meta_of(wire.Wanted((one.ask,), notes=("first",)), [one], wire.Moment("id", "m", 0, 9.87654))
    assert msgspec.to_builtins(meta) == {
        "warnings": [
            "first",
            "documents[2]: the ranker had no opinion; placed last",
            "documents[2]: longer than the ranker reads; cut",
        ],
        "rerank": {
            "ranker": "test", "windows": 3, "repairs": 1, "truncated": [2], "modalities": {"text": 2}, "tokens": 7,
            "cached": False, "rank_ms": 1.235, "waited_ms": 2.0, "ms": 9.877,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"3", b'"x"', b"null", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e999}', b"\xff\xfe{}",
        b'{"a": "\xff"}', b'{"a": "\\ud800"}', b"[" * 100_000, b'{"a":' * 5000, b"\xef\xbb\xbf{}", b"{} x",
        b"9" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(wire.NotJson, match="got"):
        wire.fields_of(body)


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.text(), st.lists, max_leaves=5)))
def test_every_json_object_is_read(fields: dict[str, object]) -> None:
    assert wire.fields_of(json.dumps(fields).encode("utf-8", "surrogatepass")) == fields


@given(st.binary(max_size=60))
def test_bytes_are_fields_or_refused(body: bytes) -> None:
    try:
        known = json.loads(body)
    except ValueError:
        known = None
    if isinstance(known, dict) and "NaN" not in str(body):
        assert wire.fields_of(body) == known
    else:
        with pytest.raises(wire.NotJson, match="got"):
            wire.fields_of(body)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"documents": []}, "body: got no field 'query'; allowed: an object with it; mend the request"),
        (
            {"query": "q", "documents": ["a", {"text": 4}]},
            "documents[1].text: got `int`; allowed: `str | null`; mend the request",
        ),
        ({"query": "q", "documents": ["a"], "top_n": True}, "top_n: got `bool`; allowed: `int | null`"),
        ({"query": "q", "documents": ["a"], "top_n": 2.5}, "top_n: got `float`; allowed: `int | null`"),
        ({"query": None, "documents": ["a"]}, "query: got `null`; allowed: `str | object`"),
        (
            {"query": "q", "documents": [{"text": "a", "modality": "smell"}]},
            "documents[0].modality: got 'smell'; allowed: text, image, video, answer",
        ),
    ],
)
def test_fields_that_are_wrong_are_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        wire.read_as(fields, JinaRequest)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_documents": 0},
        {"timeout_s": math.nan},
        {"timeout_s": 200.0},
        {"requests_per_s": -1.0},
        {"burst": -1},
        {"max_body_bytes": 2**40},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))}: got"):
        ServingSettings(**wrong)  # type: ignore[arg-type]
