"""Bad input, one test each: the typed error or the stated behaviour, in Python and on the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import wholepage
from wholepage.apps.cli import app
from wholepage.apps.places import NotFound
from wholepage.pages.errors import ImageError, InputError, NoRanker, PageError, WeightsError
from wholepage.rankers.bm25 import BM25Scorer
from wholepage.rankers.fusion import SingleModal, ZScoreMerge
from wholepage.rankers.weights import save_model

TEXT = {"result_id": "a", "modality": "text", "text": "red shoes"}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def cut(tmp_path: Path, photo: Path) -> Path:
    """A picture whose second half is missing."""
    whole = photo.read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "cut.png"


def rank(tmp_path: Path, *results: dict[str, Any], query: str = "red shoes", more: str = "", args: Any = ()) -> Result:
    """``wholepage rank`` on one page of these results."""
    page = {"query": {"query_id": "q1", "text": query}, "results": list(results)}
    (tmp_path / "pages.jsonl").write_text(json.dumps(page) + "\n" + more)
    return CliRunner().invoke(app, ["rank", str(tmp_path / "pages.jsonl"), *args])


def said(result: Result, code: int, *parts: str) -> None:
    """It ended with this code, one line on stderr that says all of the parts, and nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert [line for line in result.stderr.splitlines() if line.startswith("error: ")] == [
        result.stderr.splitlines()[-1]
    ]
    for part in parts:
        assert part in result.stderr
    assert "Traceback" not in result.stderr


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_missing_image(tmp_path: Path) -> None:
    gone = tmp_path / "gone.png"
    with pytest.raises(ImageError, match=r"documents\[1\]: .*gone\.png.* is missing") as caught:
        wholepage.rerank("red shoes", ["a text", gone])
    assert caught.value.reason == "missing"
    with pytest.raises(ImageError, match=r"documents\[0\]"):
        wholepage.rerank("red shoes", [{"text": "words do not excuse it", "image": str(gone)}])
    with pytest.raises(ImageError, match=r"documents\[0\] 'd7'"):
        wholepage.rerank("red shoes", [{"image": [str(gone)], "id": "d7", "modality": "video"}])
    result = rank(tmp_path, TEXT, {"result_id": "b", "modality": "image", "text": "x", "images": [{"uri": "gone.png"}]})
    said(result, 5, "q1", "results[1] 'b'", "missing")


def test_corrupt_image(tmp_path: Path, cut: Path) -> None:
    with pytest.raises(ImageError, match=r"documents\[0\]: .*unreadable"):
        wholepage.rerank("red shoes", [cut])
    with pytest.raises(ImageError, match=r"documents\[0\]: .*unreadable"):
        wholepage.rerank("red shoes", [Image.open(cut)])  # PIL itself notices late
    with pytest.raises(ImageError, match=r"documents\[0\]: .*unreadable"):
        wholepage.rerank("red shoes", [{"image": "data:image/png;base64,AAAA"}])
    result = rank(tmp_path, TEXT, {"result_id": "b", "modality": "image", "images": [{"uri": str(cut)}]})
    said(result, 5, "results[1] 'b'", "unreadable")


def test_network_address_is_not_fetched() -> None:
    with pytest.raises(ImageError, match=r"documents\[0\]") as caught:
        wholepage.rerank("red shoes", [{"image": "https://example.org/a.png"}])
    assert caught.value.reason == "scheme"


@pytest.mark.parametrize("text", ["shoe.png", "photos/SHOE.JPG", "data:image/png;base64,AAAA", "https://a.b/c.webp"])
def test_picture_address_as_text_is_not_scored_as_words(text: str) -> None:
    with pytest.raises(InputError, match=r"documents\[1\]: .*looks like a picture's address.*pathlib\.Path"):
        wholepage.rerank("red shoes", ["fine", text])


# --- ids --------------------------------------------------------------------------------------------------------------


def test_duplicate_id(tmp_path: Path) -> None:
    with pytest.raises(PageError, match=r"documents\[0\] and documents\[2\] share the id 'x'"):
        wholepage.rerank("q", [{"text": "a", "id": "x"}, "b", {"text": "c", "id": "x"}])
    with pytest.raises(PageError, match="share the id"):
        wholepage.rerank("q", ["a", "b"], ids=["1", 1])
    said(rank(tmp_path, TEXT, TEXT), 5, "pages.jsonl:1", "'a'")


def test_ids_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="2 documents"):
        wholepage.rerank("q", ["a", "b"], ids=["1"])
    with pytest.raises(InputError, match="beside documents with an 'id'"):
        wholepage.rerank("q", [{"text": "a", "id": "x"}], ids=["1"])
    with pytest.raises(InputError, match=r"documents\[0\]: got id float"):
        wholepage.rerank("q", [{"text": "a", "id": 1.5}])


def test_same_query_twice_in_a_file(tmp_path: Path) -> None:
    page = json.dumps({"query": {"query_id": "q1", "text": "x"}, "results": []})
    said(rank(tmp_path, TEXT, more=page), 5, "pages.jsonl:2", "q1")


# --- fields -----------------------------------------------------------------------------------------------------------


def test_nan_feature(tmp_path: Path) -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(PageError, match="clicks"):
            wholepage.Result("a", wholepage.Modality.TEXT, "red shoes", features={"clicks": value})
    result = rank(tmp_path, {**TEXT, "features": {"clicks": math.nan}})  # json.dumps writes a bare NaN
    said(result, 5, "pages.jsonl:1")


def test_unknown_field(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"documents\[1\]: got the keys \['txt'\]; allowed: text, image, id, modality"):
        wholepage.rerank("q", ["a", {"txt": "b"}])
    said(rank(tmp_path, {**TEXT, "colour": "red"}), 5, "pages.jsonl:1", "colour")


def test_unknown_modality(tmp_path: Path, photo: Path) -> None:
    with pytest.raises(InputError, match=r"documents\[0\]\['modality'\]: .*'sound'.*; allowed: text, image, video"):
        wholepage.rerank("q", [{"text": "a", "modality": "sound"}])
    with pytest.raises(PageError, match=r"documents\[0\].*image.*without images"):
        wholepage.rerank("q", [{"text": "a", "modality": "image"}])
    said(rank(tmp_path, {**TEXT, "modality": "sound"}), 5, "pages.jsonl:1", "sound")


@pytest.mark.parametrize("document", ["", "   ", {}, {"id": "x"}, {"text": " "}, {"image": None}])
def test_empty_document(document: Any) -> None:
    with pytest.raises(InputError, match=r"documents\[1\]: got neither words nor a picture"):
        wholepage.rerank("q", ["a", document])


@pytest.mark.parametrize("document", [None, 3, b"bytes", ["a"], {"text": 3}, {"image": 3}, {"image": ""}])
def test_document_of_another_type(document: Any) -> None:
    with pytest.raises(InputError, match=r"documents\[1\]"):
        wholepage.rerank("q", ["a", document])


@pytest.mark.parametrize("documents", ["a text", {"text": "a"}, None, 3])
def test_documents_that_are_no_list(documents: Any) -> None:
    with pytest.raises(InputError, match=r"documents: got .* put them into a list"):
        wholepage.rerank("q", documents)


@pytest.mark.parametrize("query", ["", "  ", None, 3])
def test_empty_query(query: Any) -> None:
    with pytest.raises(InputError, match="query: got"):
        wholepage.rerank(query, ["a"])


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True, "3"])
def test_top_k_out_of_range(top_k: Any) -> None:
    with pytest.raises(InputError, match="top_k: got"):
        wholepage.rerank("q", ["a"], top_k=top_k)


# --- pages ------------------------------------------------------------------------------------------------------------


def test_empty_page(tmp_path: Path) -> None:
    found = wholepage.rerank("red shoes", [])
    assert found == []
    assert found.ranker.startswith("offline default")
    result = rank(tmp_path)
    assert result.exit_code == 0, result.output
    ranking = json.loads(result.stdout)
    assert ranking["query_id"] == "q1"
    assert ranking["result_ids"] == []


def test_empty_file_of_pages(tmp_path: Path) -> None:
    (tmp_path / "pages.jsonl").write_text("")
    result = CliRunner().invoke(app, ["rank", str(tmp_path / "pages.jsonl")])
    assert result.exit_code == 0, result.output
    assert result.stdout == ""


def test_one_item_page(tmp_path: Path, photo: Path) -> None:
    assert wholepage.rerank("red shoes", ["a text"]) == [{"corpus_id": 0, "score": 0.0}]
    alone = wholepage.rerank("red shoes", [photo])
    assert alone == [{"corpus_id": 0, "score": None}]
    assert alone.without_opinion == (0,)
    result = rank(tmp_path, TEXT)
    assert json.loads(result.stdout)["result_ids"] == ["a"]
    assert json.loads(result.stdout)["scores"] == [0.0]


def test_modality_without_a_ranker(photo: Path) -> None:
    texts_only = {wholepage.Modality.TEXT: BM25Scorer()}
    with pytest.raises(NoRanker, match=r"results\[1\] 'documents\[1\]': got modality 'image'; allowed: \['text'\]"):
        wholepage.rerank("red shoes", ["red shoes", photo], model=ZScoreMerge(SingleModal(texts_only)))
    last = ZScoreMerge(SingleModal(texts_only, missing="last"))
    found = wholepage.rerank("red shoes", [photo, "red shoes"], model=last)
    assert [(one["corpus_id"], one["score"]) for one in found] == [(1, 0.0), (0, None)]
    assert found.without_opinion == (0,)


def test_query_without_words_on_the_command_line(tmp_path: Path) -> None:
    """The offline default reads; a query of a picture alone leaves it without any opinion, and it says so."""
    result = rank(tmp_path, TEXT, query="")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["scores"] == [None]
    assert "no opinion" in result.stderr


# --- models -----------------------------------------------------------------------------------------------------------


def test_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="which is no folder"):
        wholepage.load(tmp_path / "none")
    with pytest.raises(NotFound, match="which is no folder"):
        wholepage.rerank("q", ["a"], model=str(tmp_path / "none"))
    said(rank(tmp_path, TEXT, args=["--model", str(tmp_path / "none")]), 4, "which is no folder")


def test_wrong_weights(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"not ours")
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        wholepage.load(folder)
    said(rank(tmp_path, TEXT, args=["--model", str(folder)]), 6, "manifest.json")
    save_model(tmp_path / "trees", "lambdamart", {}, {})
    with pytest.raises(WeightsError, match=r"kind 'lambdamart'; allowed: 'whole-page'"):
        wholepage.load(tmp_path / "trees")
    with pytest.raises(WeightsError, match=r"kind 'lambdamart'"):
        wholepage.rerank("q", [], model=tmp_path / "trees")
    said(rank(tmp_path, TEXT, args=["--model", str(tmp_path / "trees")]), 6, "kind 'lambdamart'")
    save_model(tmp_path / "tower", "tower", {}, {})  # the kind is right, but nothing is in it
    with pytest.raises(WeightsError, match=r"encoders None"):
        wholepage.load(tmp_path / "tower")


def test_model_that_cannot_rank() -> None:
    with pytest.raises(InputError, match=r"model: got BM25Scorer; .*by_score"):
        wholepage.rerank("q", ["a"], model=BM25Scorer())  # type: ignore[arg-type]
