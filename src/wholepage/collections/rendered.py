"""Texts drawn as pictures: any collection's lists of texts become lists of pictures, as a listwise ranker needs them.

Black on white in Pillow's own font, wrapped at the width, cut at the height. A cut text ends in an ellipsis, and how
much of it is not in the picture is told: ``Drawn.cut`` for one text, the feature ``rendered:cut`` of a result. The same
text, size, font and version of Pillow give the same bytes, on every machine.

The font has ASCII and a few signs. Letters with marks lose them (an e with an accent becomes e), dashes become hyphens,
ligatures and the like their parts; every other letter becomes a box, and ``Drawn.boxes`` says how many.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from wholepage.collections.synthetic_drawing import embedded, filed
from wholepage.pages import InputError, Modality, Page, Result

CUT = "rendered:cut"
"""The feature that tells which share of a text is not in its picture, 0 to 1."""

_MARGIN_PX = 4
_ELLIPSIS = "\u2026"
_BOX = "\uffff"  # no letter: every font draws its box for it
_PROBE = 24  # large enough that no letter looks like the box
_LEADING = 1.2
"""Line height in font sizes."""


class Drawn(NamedTuple):
    """A text as a picture.

    Attributes:
        png: the bytes of the file, 8-bit grey.
        cut: how many of the characters, runs of white space counted as one, are not in the picture.
        characters: how many there are.
        boxes: how many of them the font lacks.
    """

    png: bytes
    cut: int
    characters: int
    boxes: int


def rendered(page: Page, folder: Path | None, *, size: tuple[int, int] = (224, 224), font: int = 14) -> Page:
    """The page with its texts as pictures: modality IMAGE, no words; ids, order and features stay.

    Results that have a picture already stay as they are.

    Args:
        folder: where the pictures are kept, named by their checksum; None = each reference holds its picture.
        size: width and height of a picture in pixels.
        font: size of the letters in pixels.
    Raises:
        InputError: no line of the font fits into the size.
    """
    return Page(page.query, tuple(_as_picture(result, folder, size, font) for result in page.results))


def draw_text(text: str, *, size: tuple[int, int] = (224, 224), font: int = 14) -> Drawn:
    """One text as a picture; white space of any kind is one blank.

    Raises:
        InputError: the text is empty, or no line of the font fits into the size.
    """
    said, boxes = _drawable(" ".join(text.split()))
    width, height = size[0] - 2 * _MARGIN_PX, size[1] - 2 * _MARGIN_PX
    if not said:
        raise InputError(f"text: got {text!r}; allowed: at least one letter; leave the result out")
    if font < 1 or round(font * _LEADING) > height or font > width:
        raise InputError(
            f"size, font: got {size[0]} x {size[1]} pixels and letters of {font}; allowed: room for one line within "
            f"margins of {_MARGIN_PX}; make the picture larger or the letters smaller"
        )
    letters = _font(font)
    room = height // round(font * _LEADING)
    lines: list[str] = []
    shown = 0
    for line, end in _wrapped(said, letters, width):
        if len(lines) == room:
            lines[-1], lost = _shortened(lines[-1], letters, width)
            shown -= lost
            break
        lines.append(line)
        shown = end
    picture = Image.new("L", size, 255)
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        pen.text((_MARGIN_PX, _MARGIN_PX + row * round(font * _LEADING)), line, fill=0, font=letters)
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=4)
    return Drawn(file.getvalue(), len(said) - shown, len(said), boxes)


def _drawable(text: str) -> tuple[str, int]:
    """The text in letters that the font has, as far as they can stand for its own, and how many cannot."""
    if text.isascii() and text.isprintable():
        return text, 0
    parts = [_in_font(letter) for letter in text if unicodedata.category(letter) != "Cf"]  # those nobody sees
    return "".join(part or _BOX for part in parts), parts.count("")


@lru_cache(maxsize=4096)
def _in_font(letter: str) -> str:
    """The letter, or what stands for it; empty when nothing does."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(one))
    plain = "".join("-" if unicodedata.category(one) == "Pd" else one for one in plain)
    for spelling in (letter, plain):
        if spelling and spelling.isprintable() and all(map(_has, spelling)):
            return spelling
    return ""


def _has(letter: str) -> bool:
    font = _font(_PROBE)
    return bytes(font.getmask(letter)) != bytes(font.getmask(_BOX))


def _as_picture(result: Result, folder: Path | None, size: tuple[int, int], font: int) -> Result:
    if result.images:
        return result
    drawn = draw_text(result.text, size=size, font=font)
    ref = embedded(drawn.png) if folder is None else filed(drawn.png, folder)
    features = {**result.features, CUT: drawn.cut / drawn.characters}
    return Result(result.result_id, Modality.IMAGE, images=(ref,), features=features)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> Iterator[tuple[str, int]]:
    """Lines that fit, each with where it ends in the text; a word that is too long is broken where it must be."""
    line, end, used = "", 0, 0.0
    blank = font.getlength(" ")
    for word in text.split(" "):
        long = font.getlength(word)
        if line and used + blank + long <= width:
            line, used = f"{line} {word}", used + blank + long
            continue
        if line:
            end += len(line)
            yield line, end
            end += 1  # the blank at which it breaks
        while long > width:
            fits = _fitting(word, font, width)
            end += fits
            yield word[:fits], end
            word = word[fits:]
            long = font.getlength(word)
        line, used = word, long
    yield line, end + len(line)


def _fitting(word: str, font: ImageFont.FreeTypeFont, width: float) -> int:
    """How many letters of a word fit, at least one."""
    fits, over = 1, len(word)
    while over - fits > 1:
        middle = (fits + over) // 2
        if font.getlength(word[:middle]) <= width:
            fits = middle
        else:
            over = middle
    return fits


def _shortened(line: str, font: ImageFont.FreeTypeFont, width: int) -> tuple[str, int]:
    """The line with an ellipsis at its end, and how many letters gave way to it."""
    kept = line
    while kept and font.getlength(kept + _ELLIPSIS) > width:
        kept = kept[:-1]
    kept = kept.rstrip()
    return kept + _ELLIPSIS, len(line) - len(kept)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise InputError(
            "font: got a Pillow without FreeType, which has one small font; allowed: a Pillow with FreeType, as its "
            "wheels have; install one of them"
        )
    return font
