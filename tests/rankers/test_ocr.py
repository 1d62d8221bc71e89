from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wholepage.pages.errors import ImageError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.pages.protocols import Scorer
from wholepage.rankers.bm25 import BM25Scorer
from wholepage.rankers.ocr import OcrReader, OcrScorer


def sign(folder: Path, *lines: str) -> ImageRef:
    """A white sign with black lines."""
    picture = Image.new("RGB", (360, 70 * max(1, len(lines))), "white")
    for i, line in enumerate(lines):
        ImageDraw.Draw(picture).text((15, 15 + 70 * i), line, fill="black", font=ImageFont.load_default(size=36))
    path = folder / f"{'-'.join(lines) or 'blank'}.png"
    picture.save(path)
    return ImageRef(str(path))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ocr") / "texts.db"


@pytest.fixture(scope="module")
def reader(cache: Path) -> OcrReader:
    return OcrReader(cache, threads=1)


def test_words_are_read_from_the_top_and_kept_by_content(reader: OcrReader, cache: Path, tmp_path: Path) -> None:
    ref, blank = sign(tmp_path, "red fox", "tree 42"), sign(tmp_path)
    assert reader.read_words(ref).lower() == "red fox tree 42"
    assert reader.read_words(blank) == ""

    def never(ref: ImageRef, *, at: str = "") -> Image.Image:
        raise AssertionError("opened again")

    again = OcrReader(cache, threads=1, open_picture=never)
    assert again.read_words(ref).lower() == "red fox tree 42"
    assert again.read_words(blank) == ""
    with pytest.raises(AssertionError):
        again.read_words(sign(tmp_path, "other"))


class Listening:
    """Remembers the texts it was given."""

    name = "listening"

    def __init__(self) -> None:
        self.texts: list[str] = []

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        self.texts.extend(result.text for page in pages for result in page.results)
        return [np.zeros(len(page), dtype=np.float32) for page in pages]


def test_given_text_goes_before_ocr_and_frames_are_joined(reader: OcrReader, tmp_path: Path) -> None:
    fox, tree = sign(tmp_path, "red fox"), sign(tmp_path, "tree")
    table = Page(
        Query("q", "fox"),
        (
            Result("caption", Modality.IMAGE, "a caption", (fox,)),
            Result("picture", Modality.IMAGE, "", (fox,)),
            Result("video", Modality.VIDEO, "", (tree, sign(tmp_path), fox)),
            Result("text", Modality.TEXT, "plain"),
        ),
    )
    listening = Listening()
    scorer = OcrScorer(listening, reader)
    assert isinstance(scorer, Scorer)
    assert scorer.name == "ocr(listening)"
    scorer.score([table])
    assert [text.lower() for text in listening.texts] == ["a caption", "red fox", "tree red fox", "plain"]


def test_pictures_without_words_get_no_opinion(reader: OcrReader, tmp_path: Path) -> None:
    results = (
        Result("blank", Modality.IMAGE, "", (sign(tmp_path),)),
        Result("fox", Modality.IMAGE, "", (sign(tmp_path, "red fox"),)),
        Result("tree", Modality.IMAGE, "", (sign(tmp_path, "tree"),)),
    )
    got = OcrScorer(BM25Scorer(), reader).score([Page(Query("q", "fox"), results), Page(Query("e", "fox"))])
    assert np.isnan(got[0][0])
    assert got[0][1] > got[0][2] == 0
    assert got[1].shape == (0,)


def test_pictures_that_cannot_be_read_are_placed(reader: OcrReader, tmp_path: Path) -> None:
    gone = Result("r1", Modality.IMAGE, "", (ImageRef(str(tmp_path / "gone.png")),))
    table = Page(Query("q", "fox"), (Result("r0", Modality.TEXT, "t"), gone))
    with pytest.raises(ImageError, match=r"query 'q': results\[1\] 'r1'.*missing"):
        OcrScorer(BM25Scorer(), reader).score([table])
