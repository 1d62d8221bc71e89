"""Haystack's ranker component, against the library itself."""

from __future__ import annotations

import asyncio
import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # before the library reads it: nothing is sent from here
pytest.importorskip("haystack", reason="haystack-ai is not installed; it comes with the extra 'haystack'")

from haystack import Document, Pipeline, component
from haystack.dataclasses import ByteStream

from wholepage.apps.adapters.haystack import WholepageRanker
from wholepage.apps.places import NotFound
from wholepage.pages.errors import ImageError, InputError
from wholepage.pages.model import Modality
from wholepage.pages.protocols import by_score

from .words import OrderOnly, WordScorer, words


def documents() -> list[Document]:
    texts = ["blue hat", "", "red shoe", "red shoe", "red hat", None]
    return [Document(content=text, meta={"n": i}, score=0.1 * i) for i, text in enumerate(texts)]


def test_documents_come_back_as_copies_best_first() -> None:
    given = documents()
    given.append(given[2])
    found = WholepageRanker(words()).run("red shoe", given)["documents"]
    assert [one.meta["n"] for one in found] == [2, 3, 2, 4, 0, 1, 5]
    assert [one.score for one in found] == [0.5, 0.5, 0.5, -0.5, -1.5, None, None]
    assert [one.id for one in found[:2]] == [given[2].id, given[3].id]
    assert given[:6] == documents()
    assert [replace(one, score=None) for one in found] == [replace(given[one.meta["n"]], score=None) for one in found]


def test_top_k_of_the_call_goes_before_that_of_the_component() -> None:
    ranker = WholepageRanker(words(), top_k=3)
    assert len(ranker.run("red", documents())["documents"]) == 3
    assert len(ranker.run("red", documents(), top_k=1)["documents"]) == 1
    assert len(asyncio.run(ranker.run_async("red", documents(), top_k=99))["documents"]) == 6


def test_it_works_in_a_pipeline_and_is_written_down(tmp_path: Path) -> None:
    @component
    class Everything:
        @component.output_types(documents=list[Document])
        def run(self) -> dict[str, Any]:
            return {"documents": documents()}

    pipeline = Pipeline()
    pipeline.add_component("everything", Everything())
    pipeline.add_component("ranker", WholepageRanker(words(), top_k=2))
    pipeline.connect("everything.documents", "ranker.documents")
    found = pipeline.run({"ranker": {"query": "red shoe"}})["ranker"]["documents"]
    assert [one.meta["n"] for one in found] == [2, 3]

    ranker = WholepageRanker(tmp_path / "model", 4, root_path="pictures")
    written = ranker.to_dict()
    assert written["init_parameters"]["model"] == str(tmp_path / "model")
    again = WholepageRanker.from_dict(written)
    assert again.to_dict() == written
    with pytest.raises(NotFound, match="model"):
        again.warm_up()
    with pytest.raises(InputError, match=r"^model: got a _ByScore; allowed: a model folder, or None"):
        WholepageRanker(words()).to_dict()
    assert WholepageRanker().to_dict()["init_parameters"]["model"] is None


def test_pictures_come_from_blobs_and_files(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    (tmp_path / "a.PNG").write_bytes(buffer.getvalue())
    given = [
        Document(content="red shoe", blob=ByteStream(buffer.getvalue(), mime_type="image/png")),
        Document(content="red", meta={"file_path": "a.PNG"}),
        Document(meta={"file_path": "a.PNG", "modality": "video"}),
        Document(content="red shoe", meta={"file_path": "book.pdf"}),
        Document(blob=ByteStream(b"sound", mime_type="audio/ogg")),
        Document(content="blue", meta={"file_path": tmp_path / "a.PNG", "modality": "answer"}),
    ]
    scorer = WordScorer()
    found = WholepageRanker(by_score(scorer), root_path=str(tmp_path)).run("red shoe", given)["documents"]
    assert [next(i for i, one in enumerate(given) if one.id == f.id) for f in found] == [0, 3, 1, 5, 2, 4]
    [page] = scorer.pages
    assert [result.result_id for result in page.results] == [f"documents[{i}]" for i in (0, 1, 2, 3, 5)]
    assert [len(result.images) for result in page.results] == [1, 1, 1, 0, 1]
    assert [result.modality for result in page.results][2::2] == [Modality.VIDEO, Modality.ANSWER]
    with pytest.raises(ImageError, match=r"^documents\[1\]: image .* is missing"):
        WholepageRanker(words()).run("red", given)


def test_what_cannot_be_is_said_at_once() -> None:
    ranker = WholepageRanker(OrderOnly())
    assert ranker.run("q", []) == {"documents": []}
    with pytest.raises(InputError, match="query: got ''"):
        ranker.run("", documents())
    for make in (lambda: WholepageRanker(words(), 0), lambda: ranker.run("q", documents(), top_k=0)):
        with pytest.raises(InputError, match="top_k: got 0"):
            make()
