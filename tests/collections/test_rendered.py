"""Texts as pictures: what is drawn, what is cut, and that equal texts give equal bytes."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wholepage.collections.rendered import CUT, draw_text, rendered
from wholepage.pages import ImageRef, InputError, Modality, Page, Query, Result
from wholepage.pages.images import open_image

WORDS = "Ink is made of soot and glue, and was made in China long before anybody wrote with it elsewhere. "
PAGE = Page(
    Query("q", "ink"),
    (
        Result("text", Modality.TEXT, "Ink is made of soot.", features={"kind:text": 1.0}),
        Result("answer", Modality.ANSWER, WORDS * 20),
        Result("photo", Modality.IMAGE, "its words", (ImageRef("photo.png"),)),
        Result("table", Modality.TEXT, "1 | 2", (ImageRef("table.png"),)),
    ),
)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


def test_texts_become_pictures_and_pictures_stay(tmp_path: Path) -> None:
    page = rendered(PAGE, tmp_path)
    assert page.query == PAGE.query
    assert page.result_ids == PAGE.result_ids
    text, answer, photo, table = page.results
    assert (photo, table) == PAGE.results[2:]
    assert (text.modality, text.text, text.features) == (Modality.IMAGE, "", {"kind:text": 1.0, CUT: 0.0})
    assert answer.modality is Modality.IMAGE
    assert 0.5 < answer.features[CUT] < 1
    for result in (text, answer):
        (ref,) = result.images
        raw = Path(ref.uri).read_bytes()
        assert Path(ref.uri).stem == ref.sha256 == hashlib.sha256(raw).hexdigest()
        assert open_image(ref).size == (224, 224)


def test_without_a_folder_each_reference_holds_its_picture(tmp_path: Path) -> None:
    held, kept = rendered(PAGE, None), rendered(PAGE, tmp_path)
    for one, other in zip(held.results[:2], kept.results[:2], strict=True):
        assert one.images[0].sha256 == other.images[0].sha256
        assert open_image(one.images[0]).tobytes() == open_image(other.images[0]).tobytes()


def test_equal_texts_are_one_file(tmp_path: Path) -> None:
    twice = Page(Query("q"), tuple(Result(str(i), Modality.TEXT, "the same") for i in range(5)))
    assert len({result.images for result in rendered(twice, tmp_path).results}) == 1
    assert len(list(tmp_path.rglob("*.png"))) == 1


def test_bytes_do_not_depend_on_the_process() -> None:
    code = (
        "import hashlib; from wholepage.collections.rendered import draw_text; "
        f"print(hashlib.sha256(draw_text({WORDS!r}).png).hexdigest())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == hashlib.sha256(draw_text(WORDS).png).hexdigest()


def test_white_space_does_not_count() -> None:
    assert draw_text("a  b\n\tc") == draw_text(" a b c ") != draw_text("abc")


@pytest.mark.parametrize(
    "text", ["x", WORDS, WORDS * 20, "y" * 3000, "one " + "z" * 90 + " two", "\u2028 W W W W " * 99]
)
@pytest.mark.parametrize(("size", "font"), [((224, 224), 14), ((96, 40), 10), ((40, 300), 20)])
def test_letters_stay_within_the_picture(text: str, size: tuple[int, int], font: int) -> None:
    drawn = draw_text(text, size=size, font=font)
    seen = pixels(drawn.png)
    assert seen.shape == (size[1], size[0])
    assert (seen < 128).any()
    assert (seen[:, :2] == 255).all()
    assert (seen[:, -2:] == 255).all()
    assert (seen[:2] == 255).all()
    assert (seen[-2:] == 255).all()
    assert 0 <= drawn.cut < drawn.characters == len(" ".join(text.split()))


def test_the_cut_is_what_is_lost_and_no_more() -> None:
    whole = draw_text(WORDS * 3)
    assert whole.cut == 0
    long = draw_text(WORDS * 20)
    shown = long.characters - long.cut
    # The last line gives way to the ellipsis: what is shown of the long text fits when it is a text of its own.
    kept = " ".join((WORDS * 20).split())[:shown]
    assert draw_text(kept).cut == 0
    assert draw_text(kept + " " + "more words " * 6).cut > 0
    # All lines but the last are the same pixels.
    rows = 17 * 11
    assert (pixels(draw_text(kept).png)[:rows] == pixels(long.png)[:rows]).all()


def test_more_room_cuts_less() -> None:
    cuts = [draw_text(WORDS * 20, size=(side, side)).cut for side in (100, 200, 400, 800)]
    assert cuts == sorted(cuts, reverse=True)
    assert cuts[-1] == 0
    assert draw_text(WORDS * 20, font=20).cut > draw_text(WORDS * 20, font=10).cut


def test_letters_that_the_font_lacks_are_folded_or_told() -> None:
    assert draw_text("caf\u00e9 \u2013 na\u00efve").png == draw_text("cafe - naive").png
    assert draw_text("caf\u00e9").boxes == 0
    assert draw_text("soft\u00adhyphen").png == draw_text("softhyphen").png
    boxed = draw_text("ink \u58a8\u6c34 ink")
    assert (boxed.boxes, boxed.characters) == (2, 10)
    assert boxed.png == draw_text("ink \u65e5\u672c ink").png != draw_text("ink  ink").png


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="text: got ' '; allowed: at least one letter"):
        draw_text(" ")
    for size, font in (((224, 20), 14), ((16, 224), 14), ((224, 224), 0)):
        with pytest.raises(InputError, match="room for one line"):
            draw_text("x", size=size, font=font)
