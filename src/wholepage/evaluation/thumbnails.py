"""Small pictures for a report, inlined within a budget of bytes; a picture that cannot be shown says why."""

from __future__ import annotations

import base64
import io

from PIL import Image

from wholepage.evaluation.page_view import NoPicture
from wholepage.pages.errors import ImageError, InputError
from wholepage.pages.images import MAX_BYTES, MAX_PIXELS, open_image
from wholepage.pages.model import ImageRef

_QUALITIES = (80, 60, 40)
_WHY = {
    "missing": "its file is missing",
    "unreadable": "its file cannot be read",
    "too-large": "its file is too large",
    "scheme": "its address is not opened here",
}


class Thumbnails:
    """Makes ``data:`` addresses of small pictures: ``thumbnails(ref)``.

    The same pictures asked for in the same order give the same bytes. Nothing is fetched: an http address is told as a
    picture that is not opened.

    Args:
        px: the longer side, at most.
        max_bytes: of one small picture; where it is more, it is made coarser, then smaller.
        max_bytes_all: of all of them together; pictures after that are left out.
        max_file_bytes, max_pixels: of the picture's own file; larger ones are left out.
    Raises:
        InputError: a limit below 1.
    """

    def __init__(
        self,
        *,
        px: int = 176,
        max_bytes: int = 12_000,
        max_bytes_all: int = 3_000_000,
        max_file_bytes: int = MAX_BYTES,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        limits = (px, max_bytes, max_bytes_all, max_file_bytes, max_pixels)
        if min(limits) < 1:
            raise InputError(f"Thumbnails: got limits {limits}; allowed: 1 or more; raise what is below")
        self._px, self._max_bytes, self._left = px, max_bytes, max_bytes_all
        self._max_file_bytes, self._max_pixels = max_file_bytes, max_pixels
        self._made: dict[ImageRef, bytes | NoPicture] = {}
        self._refused = 0

    @property
    def not_shown(self) -> int:
        """How many different pictures could not be opened."""
        return sum(isinstance(made, NoPicture) for made in self._made.values())

    @property
    def over_budget(self) -> int:
        """How often a picture was left out because the bytes for all of them were spent."""
        return self._refused

    def __call__(self, ref: ImageRef) -> str | NoPicture:
        """The small picture, or why there is none."""
        if ref not in self._made:
            self._made[ref] = self._make(ref)
        made = self._made[ref]
        if isinstance(made, NoPicture):
            return made
        if len(made) > self._left:
            self._refused += 1
            return NoPicture("the room for pictures in this report is full")
        self._left -= len(made)
        return f"data:image/webp;base64,{base64.b64encode(made).decode('ascii')}"

    def _make(self, ref: ImageRef) -> bytes | NoPicture:
        try:
            picture = open_image(ref, max_bytes=self._max_file_bytes, max_pixels=self._max_pixels)
        except ImageError as error:
            return NoPicture(_WHY.get(error.reason, error.reason))
        side = self._px
        while side >= 1:
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
            for quality in _QUALITIES:
                buffer = io.BytesIO()
                picture.save(buffer, format="WEBP", quality=quality)
                if buffer.tell() <= self._max_bytes:
                    return buffer.getvalue()
            side //= 2
        return NoPicture("it cannot be made small enough")
