"""LangChain's compressor, against the library itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scipy.special import expit

pytest.importorskip("langchain_core", reason="langchain-core is not installed; it comes with the extra 'langchain'")

from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from wholepage.apps.adapters.langchain import WholepageCompressor
from wholepage.apps.places import NotFound
from wholepage.pages.errors import ImageError, InputError

from .words import OrderOnly, words


def documents() -> list[Document]:
    return [
        Document("blue hat", id="1", metadata={"source": "a"}),
        Document("", id="2"),
        Document("red shoe", id="3", metadata={"relevance_score": 9.0}),
        Document("red shoe", id="3", metadata={"relevance_score": 9.0}),
        Document("red hat", metadata={"source": "b"}),
    ]


def test_documents_come_back_as_copies_best_first() -> None:
    given = documents()
    compressor = WholepageCompressor(model=words())
    assert isinstance(compressor, BaseDocumentCompressor)
    found = compressor.compress_documents(given, "red shoe")
    assert [one.page_content for one in found] == ["red shoe", "red shoe", "red hat", "blue hat", ""]
    assert [one.id for one in found] == ["3", "3", None, "1", "2"]
    scores = [one.metadata["relevance_score"] for one in found]
    assert scores == pytest.approx([expit(0.5), expit(0.5), expit(-0.5), expit(-1.5), 0.0], abs=1e-12)
    assert found[3].metadata["source"] == "a"
    assert given == documents()


def test_async_and_in_a_chain_of_a_retriever() -> None:
    class All(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
            return documents()

    compressor = WholepageCompressor(model=words(), top_n=2)
    chain = All() | RunnableLambda(lambda found: compressor.compress_documents(found, "red shoe"))
    for found in (
        asyncio.run(compressor.acompress_documents(documents(), "red shoe")),
        chain.invoke("red shoe"),
    ):
        assert [one.page_content for one in found] == ["red shoe", "red shoe"]


def test_pictures_and_modalities_come_from_metadata(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    given = [
        Document("a red shoe", metadata={"image": str(tmp_path / "a.png")}),
        Document("", metadata={"image": tmp_path / "a.png"}),
        Document("red", metadata={"image": [str(tmp_path / "a.png")] * 2, "modality": "video"}),
    ]
    found = WholepageCompressor(model=words()).compress_documents(given, "red shoe")
    assert [one.page_content for one in found] == ["a red shoe", "red", ""]
    other = WholepageCompressor(model=words(), image_key="picture", modality_key="kind")
    assert len(other.compress_documents([Document("a", metadata={"image": "none.png", "modality": "x"})], "a")) == 1
    with pytest.raises(ImageError, match=r"^documents\[1\]: image 'none.png' is missing"):
        WholepageCompressor(model=words()).compress_documents(
            [given[0], Document("a", metadata={"image": "none.png"})], "a"
        )
    with pytest.raises(InputError, match=r"^documents\[0\].metadata\['modality'\]: got 'film'"):
        WholepageCompressor(model=words()).compress_documents([Document("a", metadata={"modality": "film"})], "a")


def test_what_cannot_be_is_said_at_once() -> None:
    compressor = WholepageCompressor(model=OrderOnly())
    assert compressor.compress_documents([], "q") == []
    for make, error, said in (
        (lambda: compressor.compress_documents(documents(), " "), InputError, "query: got ' '"),
        (lambda: WholepageCompressor(model="nowhere/at/all"), NotFound, "nowhere/at/all"),
        (lambda: WholepageCompressor(model=7), InputError, "model: got int"),
        (lambda: WholepageCompressor(model=words(), top_n=0), InputError, "top_n: got 0"),
        (lambda: WholepageCompressor(model=words(), top=3), TypeError, "top"),  # type: ignore[call-arg]
    ):
        with pytest.raises(error, match=said):
            make()


@pytest.mark.slow
def test_without_a_model_it_is_the_offline_default() -> None:
    found = WholepageCompressor(top_n=1).compress_documents(documents()[:3], "shoes of a red colour")
    assert [one.page_content for one in found] == ["red shoe"]
    assert 0 < found[0].metadata["relevance_score"] < 1
