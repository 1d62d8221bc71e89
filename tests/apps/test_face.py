"""The public face: what ``import wholepage`` gives, and ``rerank`` in the shape its users know."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import wholepage
from wholepage.apps import places, resolve
from wholepage.apps.places import NotFound
from wholepage.pages.errors import InputError, WeightsError
from wholepage.pages.model import Page, Ranking
from wholepage.rankers.text import BiEncoderScorer
from wholepage.rankers.weights import save_model


class _ByLength:
    """A Scorer: the longer text is the better; no opinion on results without text."""

    name = "by-length"

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        return [np.array([len(r.text) or math.nan for r in page.results], np.float32) for page in pages]


class _Backwards:
    """A Ranker that knows an order only."""

    name = "backwards"

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        return [Ranking(page.query_id, page.result_ids[::-1], None, self.name) for page in pages]


@pytest.fixture
def drawn_words(tmp_path: Path) -> Path:
    """A picture that says "red running shoes"."""
    picture = Image.new("RGB", (420, 110), "white")
    ImageDraw.Draw(picture).text((20, 25), "red running shoes", fill="black", font=ImageFont.load_default(40))
    picture.save(tmp_path / "words.png")
    return tmp_path / "words.png"


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    Image.new("RGB", (48, 48), "blue").save(tmp_path / "blank.png")
    return tmp_path / "blank.png"


# --- names ------------------------------------------------------------------------------------------------------------


def test_every_public_name_is_there_and_listed() -> None:
    assert all(getattr(wholepage, name) is not None for name in wholepage.__all__)
    assert set(wholepage.__all__) <= set(dir(wholepage))
    wanted = {"Page", "Query", "Result", "Modality", "ImageRef", "Ranking", "Judgments", "Grade", "Preference"}
    assert wanted | {"errors", "by_score", "load", "rerank", "open_collection", "__version__"} <= set(wholepage.__all__)
    assert wholepage.errors.PageError is wholepage.pages.errors.PageError


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'reorder'; it has .*rerank"):
        wholepage.reorder  # noqa: B018
    with pytest.raises(ImportError):
        from wholepage import reorder  # noqa: F401


def test_rerank_without_torch_says_which_extra(tmp_path: Path) -> None:
    """The face imports without any optional library; asking for one that is gone names its extra."""
    code = """
import sys
sys.modules["torch"] = None
sys.modules["sentence_transformers"] = None
import wholepage
assert wholepage.rerank("q", [], model=None) == []
pages = list(wholepage.open_collection("synthetic", queries=4).pages("train"))
assert len(pages) > 0
for call in (lambda: wholepage.rerank("q", ["a"]), lambda: wholepage.load(sys.argv[1])):
    try:
        call()
    except wholepage.errors.MissingExtra as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False, env=_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "wholepage[text]" in done.stdout
    assert "wholepage[train]" in done.stdout


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


# --- rerank -----------------------------------------------------------------------------------------------------------


def test_offline_default_orders_texts_as_the_bi_encoder_does() -> None:
    texts = ["A soup of red lentils", "Light red running shoes", "How to tie shoes", "The stock market fell"]
    found = wholepage.rerank("red running shoes", texts)
    page = Page(wholepage.Query("q", "red running shoes"), tuple(_text(i, t) for i, t in enumerate(texts)))
    cosines = BiEncoderScorer(resolve.text_encoder()).score([page])[0].astype(np.float64)
    expected = (cosines - cosines.mean()) / cosines.std()  # one modality: z-scores of its cosines
    assert [one["corpus_id"] for one in found] == np.argsort(-cosines).tolist()
    assert found[0]["corpus_id"] == 1
    for one in found:
        assert set(one) == {"corpus_id", "score"}
        assert one["score"] == pytest.approx(expected[one["corpus_id"]], abs=1e-5)
    assert found.ranker.startswith("offline default: single-modal rankers merged by z-score: text=")
    assert "image=" in found.ranker
    assert found.without_opinion == ()
    json.dumps(found)


def _text(index: int, text: str) -> wholepage.Result:
    return wholepage.Result(str(index), wholepage.Modality.TEXT, text)


def test_all_kinds_of_documents_on_one_page(drawn_words: Path, blank: Path) -> None:
    documents = [
        "A recipe for lentil soup",  # 0
        "Light red shoes suit short runs",  # 1
        drawn_words,  # 2: its words are read
        {"image": str(blank), "id": "photo"},  # 3: nothing to read
        {"text": "A sleeping dog", "image": Image.open(blank)},  # 4
        Image.open(blank),  # 5: nothing to read
        {"text": "Red shoes are best.", "modality": "answer"},  # 6
    ]
    found = wholepage.rerank("red running shoes", documents, return_documents=True)
    order = [one["corpus_id"] for one in found]
    assert sorted(order) == list(range(7))
    assert order[-2:] == [3, 5]
    assert found.without_opinion == (3, 5)
    assert [one["score"] for one in found[-2:]] == [None, None]
    scores = {one["corpus_id"]: one["score"] for one in found}
    assert scores[2] == pytest.approx(1.0)  # two pictures with words: z-scores are 1 and -1, and OCR read the right one
    assert scores[4] == pytest.approx(-1.0)
    assert scores[6] == 0.0  # alone in its modality
    assert all(one["document"] is documents[one["corpus_id"]] for one in found)
    assert [one.get("id") for one in found] == ["photo" if i == 3 else None for i in order]


def test_video_is_several_pictures(drawn_words: Path, blank: Path) -> None:
    found = wholepage.rerank(
        "red running shoes",
        [
            {"image": [blank, drawn_words], "modality": "video"},
            {"image": [blank], "text": "tax law", "modality": "video"},
        ],
    )
    assert [one["corpus_id"] for one in found] == [0, 1]
    assert found[0]["score"] == pytest.approx(1.0)


def test_top_k_ids_and_ties() -> None:
    scorer = wholepage.by_score(_ByLength())
    found = wholepage.rerank("q", ["aa", "bbbb", "cc", "d"], ids=[10, "x", 12, 13], top_k=3, model=scorer)
    assert found == [
        {"corpus_id": 1, "score": 4.0, "id": "x"},
        {"corpus_id": 0, "score": 2.0, "id": 10},  # a tie keeps the order received
        {"corpus_id": 2, "score": 2.0, "id": 12},
    ]
    assert found.ranker == "by-length"
    assert len(wholepage.rerank("q", ["aa"], top_k=99, model=scorer)) == 1


def test_cut_off_documents_without_opinion_are_still_named(blank: Path) -> None:
    found = wholepage.rerank("q", [blank, "aa"], top_k=1, model=wholepage.by_score(_ByLength()))
    assert [one["corpus_id"] for one in found] == [1]
    assert found.without_opinion == (0,)


def test_a_ranker_that_only_orders_gives_negated_ranks() -> None:
    found = wholepage.rerank("q", ["a", "b", "c"], model=_Backwards())
    assert [(one["corpus_id"], one["score"]) for one in found] == [(2, 0.0), (1, -1.0), (0, -2.0)]


def test_order_of_documents_does_not_matter() -> None:
    texts = ["A soup of red lentils", "Light red running shoes", "How to tie shoes"]
    one = {texts[r["corpus_id"]]: r["score"] for r in wholepage.rerank("red shoes", texts)}
    other = {texts[::-1][r["corpus_id"]]: r["score"] for r in wholepage.rerank("red shoes", texts[::-1])}
    assert one == pytest.approx(other, abs=1e-5)


# --- names become objects ---------------------------------------------------------------------------------------------


def test_data_root_and_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHOLEPAGE_DATA", raising=False)
    with pytest.raises(NotFound, match=r"--root .* WHOLEPAGE_DATA"):
        places.data_root()
    monkeypatch.setenv("WHOLEPAGE_DATA", str(tmp_path))
    assert places.data_root() == tmp_path
    (tmp_path / "other").mkdir()
    assert places.data_root(tmp_path / "other") == tmp_path / "other"
    with pytest.raises(NotFound, match="gone"):
        places.data_root(tmp_path / "gone")
    monkeypatch.delenv("WHOLEPAGE_CACHE", raising=False)
    assert places.cache_folder() == Path.home() / ".cache" / "wholepage"
    monkeypatch.setenv("WHOLEPAGE_CACHE", str(tmp_path / "kept"))
    assert places.cache_folder() == tmp_path / "kept"


def test_collections_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHOLEPAGE_DATA", str(tmp_path))
    assert wholepage.open_collection("synthetic", queries=4).name == "synthetic"
    with pytest.raises(NotFound, match=r"'opencqaa'; allowed: .*opencqa"):
        wholepage.open_collection("opencqaa")
    with pytest.raises(NotFound, match="opencqa_pages"):
        wholepage.open_collection("opencqa")
    with pytest.raises(NotFound, match="jsonl"):
        wholepage.open_collection("jsonl", tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="queries"):
        wholepage.open_collection("synthetic", queries=0)


def test_encoders_by_name(tmp_path: Path) -> None:
    assert resolve.image_encoder(None) is None
    pixels = resolve.image_encoder("pixels")
    assert pixels is not None
    assert pixels.name == "pixels-v1"
    with pytest.raises(NotFound, match=r"'pixel'; allowed: pixels, mobilenet"):
        resolve.image_encoder("pixel")
    with pytest.raises(NotFound, match=r"tflite"):
        resolve.image_encoder("mobilenet", root=tmp_path)
    with pytest.raises(NotFound, match=r"'mini'; allowed: minilm"):
        resolve.text_encoder("mini")


def test_mobilenet_lies_in_the_data_folder(data_root: Path) -> None:
    found = resolve.image_encoder("mobilenet", root=data_root)
    assert found is not None
    assert found.name.startswith("mobilenet@")


def test_vectors_of_a_model_folder_are_found_by_its_manifest(tmp_path: Path) -> None:
    for text, image in (("minilm", "pixels"), ("minilm", None)):
        vectors = resolve.result_vectors(text, image, cache=tmp_path / "cache")
        save_model(tmp_path / "m", "whole-page", {"encoders": vectors.name}, {})
        assert resolve.vectors_for(tmp_path / "m", cache=tmp_path / "cache").name == vectors.name
    assert (tmp_path / "cache" / "vectors.sqlite").is_file()
    for strange in ("clip@123/77", "minilm@0/256+clip@123", None):
        save_model(tmp_path / "m", "whole-page", {"encoders": strange}, {})
        with pytest.raises(WeightsError, match=r"vectors=\.\.\."):
            resolve.vectors_for(tmp_path / "m")
