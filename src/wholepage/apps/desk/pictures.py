"""Pictures of a campaign as browsers get them: opened within limits, made small, encoded anew, kept for a while.

No byte of a picture file reaches a browser: what is sent was decoded and encoded here. Addresses on the web are never
opened. A picture that cannot be shown is replaced by a drawing that says so.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from threading import BoundedSemaphore, Lock

import msgspec
from PIL import Image

from wholepage.pages.addresses import archive_and_member, beside, file_of, scheme_of
from wholepage.pages.errors import ImageError
from wholepage.pages.images import open_image, read_image_bytes
from wholepage.pages.model import ImageRef, Page

SIDES = {"": 640, "large": 1800}
"""Longest side in pixels, by what an address asks for."""

_WORDS = {
    "missing": "The picture is not where it should be.",
    "unreadable": "The picture file is broken.",
    "too-large": "The picture is too large to be opened.",
    "scheme": "The picture lies at an address that is not opened.",
}
_DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 200" width="320" height="200" role="img">'
    "<title>{0}</title>"
    '<rect width="318" height="198" x="1" y="1" rx="8" fill="#f4f4f5" stroke="#a1a1aa" stroke-dasharray="6 4"/>'
    '<path d="M130 70h60v44h-60zM134 108l16-18 12 12 8-8 16 14M124 122l72-60" fill="none" stroke="#71717a" '
    'stroke-width="3" stroke-linejoin="round" stroke-linecap="round"/>'
    '<text x="160" y="158" font-family="sans-serif" font-size="13" fill="#52525b" text-anchor="middle">{0}</text></svg>'
)


class Shown(msgspec.Struct, frozen=True):
    """A picture as it is sent.

    Attributes:
        etag: of the bytes.  problem: why it is only a drawing; empty = it is the picture.
    """

    body: bytes
    media_type: str
    etag: str
    problem: str = ""


class Pictures:
    """Opens pictures for browsers and remembers the latest.

    Args:
        root: a folder outside which nothing is opened, and in which relative addresses lie; None = wherever the
            campaign's pages say.
        kept_bytes: of encoded pictures that are remembered at most.
        at_once: pictures that are decoded at the same time at most, for each takes memory.
    """

    def __init__(self, root: Path | None = None, *, kept_bytes: int = 128 * 2**20, at_once: int = 2) -> None:
        self._root = root.resolve() if root is not None else None
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[tuple[ImageRef, int], Shown] = OrderedDict()
        self._size = 0
        self._problems: dict[ImageRef, str] = {}
        self._lock = Lock()
        self._decoders = BoundedSemaphore(at_once)

    def problem(self, ref: ImageRef) -> str:
        """Why a picture cannot be shown, in words for people; empty when nothing is known against it.

        Looks whether its bytes are there, and again until they are; whether they decode is known after ``shown``.
        """
        known = self._problems.get(ref)
        if known is not None and known != _WORDS["missing"]:
            return known
        try:
            read_image_bytes(self._placed(ref))
            known = ""
        except ImageError as error:
            known = _WORDS[error.reason]
        with self._lock:
            self._problems[ref] = known
        return known

    def shown(self, ref: ImageRef, longest_side: int) -> Shown:
        """A picture with no side longer than so many pixels; a drawing where it cannot be shown."""
        key = (ref, longest_side)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._decoders:
            try:
                made = _encoded(open_image(self._placed(ref)), longest_side)
            except ImageError as error:
                made = drawing(_WORDS[error.reason])
        with self._lock:
            self._problems[ref] = made.problem
            if not made.problem:
                self._keep(key, made)
        return made

    def as_data(self, ref: ImageRef) -> str:
        """A picture, or the drawing in its place, as a ``data:`` address that holds it."""
        shown = self.shown(ref, SIDES[""])
        return f"data:{shown.media_type};base64,{base64.b64encode(shown.body).decode('ascii')}"

    def check(self, pages: Iterable[Page]) -> dict[ImageRef, str]:
        """Decode every picture of the pages; those that cannot be shown, with why."""
        refs = {ref: None for page in pages for ref in refs_of(page)}
        found = {ref: self.shown(ref, SIDES[""]).problem for ref in refs}
        return {ref: problem for ref, problem in found.items() if problem}

    def broken(self, pages: Iterable[Page]) -> int:
        """How many pictures of the pages are known not to be shown, without opening any."""
        return sum(bool(self._problems.get(ref)) for ref in {ref: None for page in pages for ref in refs_of(page)})

    def _placed(self, ref: ImageRef) -> ImageRef:
        if self._root is None:
            return ref
        placed = ImageRef(beside(ref.uri, self._root), ref.sha256)
        scheme = scheme_of(placed.uri)
        if scheme == "zip":
            halves = archive_and_member(placed.uri)
            if halves is not None and not os.path.isabs(halves[0]):
                halves = (os.path.join(self._root, halves[0]), halves[1])
                placed = ImageRef(f"zip:{halves[0]}!/{halves[1]}", ref.sha256)
            path = halves[0] if halves else None
        else:
            path = file_of(placed.uri) if scheme == "file" else placed.uri if not scheme else None
        if path is not None and not self._inside(path):
            raise ImageError(
                ref.uri, "scheme", f"got a file outside {str(self._root)!r}; allowed: files in it; move it there"
            )
        return placed

    def _inside(self, path: str) -> bool:
        try:
            return self._root is None or Path(os.path.realpath(path)).is_relative_to(self._root)
        except (OSError, ValueError):
            return False

    def _keep(self, key: tuple[ImageRef, int], made: Shown) -> None:
        if key not in self._kept:
            self._kept[key] = made
            self._size += len(made.body)
        while self._size > self._kept_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped.body)


def refs_of(page: Page) -> list[ImageRef]:
    """Every picture of a page, that of its query first."""
    asked = [page.query.image] if page.query.image is not None else []
    return [*asked, *(ref for result in page.results for ref in result.images)]


def drawing(problem: str) -> Shown:
    """The drawing in place of a picture; ``problem`` is one of this module's own texts."""
    return _shown(_DRAWING.format(problem).encode(), "image/svg+xml", problem)


def _encoded(picture: Image.Image, longest_side: int) -> Shown:
    """The picture as JPEG, or as PNG where that is exact at little cost: drawings, diagrams, pages of text."""
    picture.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    photo = _written(picture, "JPEG", quality=88, subsampling=0)
    if picture.getcolors(256) is not None:
        exact = _written(picture, "PNG")
        if len(exact) <= 2 * len(photo):
            return _shown(exact, "image/png")
    return _shown(photo, "image/jpeg")


def _written(picture: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=form, **options)
    return buffer.getvalue()


def _shown(body: bytes, media_type: str, problem: str = "") -> Shown:
    return Shown(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"', problem)
