"""LlamaIndex' postprocessor, against the library itself."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("llama_index.core", reason="llama-index-core is not installed; it comes with 'llama-index'")

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import (
    ImageNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)

from wholepage.apps.adapters.llama_index import WholepageRerank
from wholepage.apps.places import NotFound
from wholepage.pages.errors import ImageError, InputError
from wholepage.pages.model import Modality
from wholepage.pages.protocols import by_score

from .words import OrderOnly, WordScorer, words


def nodes(*texts: str) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text, id_=f"n{i}"), score=0.1 * i) for i, text in enumerate(texts)]


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    return buffer.getvalue()


def test_nodes_come_back_best_first_with_new_scores() -> None:
    given = nodes("blue hat", "", "red shoe", "red hat")
    given.append(given[2])
    rerank = WholepageRerank(words())
    assert isinstance(rerank, BaseNodePostprocessor)
    assert rerank.class_name() == "WholepageRerank"
    found = rerank.postprocess_nodes(given, query_str="red shoe")
    assert [one.node_id for one in found] == ["n2", "n2", "n3", "n0", "n1"]
    assert [one.score for one in found] == [0.5, 0.5, -0.5, -1.5, None]
    assert found[0].node is given[2].node
    assert [one.score for one in given] == [0.0, 0.1, 0.2, pytest.approx(0.3), 0.2]
    again = asyncio.run(WholepageRerank(words(), top_n=2).apostprocess_nodes(given, QueryBundle("red shoe")))
    assert [one.node_id for one in again] == ["n2", "n2"]


def test_pictures_come_from_nodes_of_every_kind(tmp_path: Path) -> None:
    raw = png()
    (tmp_path / "a.png").write_bytes(raw)
    packed = base64.b64encode(raw).decode()
    given = [
        ImageNode(text="red shoe", image_path=str(tmp_path / "a.png")),
        ImageNode(text="red", image=packed),
        ImageNode(image_url=f"file://{tmp_path}/a.png"),
        ImageNode(text="red frame", image_path=str(tmp_path / "a.png"), metadata={"modality": "video"}),
        Node(text_resource=MediaResource(text="blue"), image_resource=MediaResource(data=raw)),
        Node(image_resource=MediaResource(path=tmp_path / "a.png")),
        TextNode(text="red shoe", metadata={"colour": "shoe"}),
    ]
    scorer = WordScorer()
    bundle = QueryBundle("red shoe", image_path=str(tmp_path / "a.png"))
    rerank = WholepageRerank(by_score(scorer), metadata_mode=MetadataMode.NONE)
    found = rerank.postprocess_nodes([NodeWithScore(node=node) for node in given], bundle)
    assert [given.index(one.node) for one in found] == [0, 6, 1, 3, 4, 2, 5]
    [page] = scorer.pages
    assert page.query.image is not None
    assert [len(result.images) for result in page.results] == [1, 1, 1, 1, 1, 1, 0]
    assert [result.modality for result in page.results][2:4] == [Modality.IMAGE, Modality.VIDEO]
    assert page.results[1].images[0].uri == f"data:image/png;base64,{packed}"
    WholepageRerank(by_score(scorer)).postprocess_nodes([NodeWithScore(node=given[6])], query_str="red")
    assert scorer.pages[1].results[0].text == "colour: shoe\n\nred shoe"
    for bad, error in ((ImageNode(image_path="none.png"), "missing"), (ImageNode(image_url="http://a.b/c"), "scheme")):
        with pytest.raises(ImageError, match=rf"^documents\[0\]: image .* is {error}"):
            rerank.postprocess_nodes([NodeWithScore(node=bad)], query_str="q")


def test_what_cannot_be_is_said_at_once() -> None:
    rerank = WholepageRerank(OrderOnly())
    assert rerank.postprocess_nodes([], query_str="q") == []
    with pytest.raises(InputError, match="query: got none"):
        rerank.postprocess_nodes(nodes("a"))
    with pytest.raises(InputError, match="query: got ''"):
        rerank.postprocess_nodes(nodes("a"), query_str="")
    with pytest.raises(InputError, match="top_n: got 0"):
        WholepageRerank(words(), top_n=0)
    with pytest.raises(TypeError, match="top"):
        WholepageRerank(words(), top=3)  # type: ignore[call-arg]
    with pytest.raises(NotFound, match="nowhere/at/all"):
        WholepageRerank("nowhere/at/all")
