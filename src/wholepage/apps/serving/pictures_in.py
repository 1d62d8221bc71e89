"""The pictures of a request, opened as far as it takes to trust them, and nothing else of this machine or the network.

What came in the request is decoded and its header read; an http(s) address is fetched only where the server was given
something that fetches. Paths, ``file:``, ``zip:`` and every other scheme are refused: no file that a client names is
opened.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

from wholepage.apps.serving.documents_in import Ask, on_the_web
from wholepage.apps.serving.limits import ServingSettings
from wholepage.apps.serving.together import together
from wholepage.pages.addresses import scheme_of
from wholepage.pages.errors import ImageError, InputError
from wholepage.pages.images import image_size, read_image_bytes, to_data_uri
from wholepage.pages.model import ImageRef


class Fetch(Protocol):
    """Brings what lies at a web address, or refuses to."""

    async def fetch(self, url: str, *, at: str = "") -> bytes:
        """The bytes of a picture.

        Args:
            at: where in the request its address stands; begins the message.
        Raises:
            ImageError: missing, unreadable, too large, or an address that is not fetched.
        """
        ...


class PictureDoor:
    """Lets pictures of a request in.

    Args:
        settings: caps on number, bytes and pixels.
        fetcher: brings http(s) addresses; None = they are refused.
    """

    def __init__(self, settings: ServingSettings, fetcher: Fetch | None = None) -> None:
        self._settings, self._fetcher = settings, fetcher

    async def refs(self, asks: Sequence[Ask]) -> dict[str, ImageRef]:
        """Every address in the asks -> its picture as a ``data:`` address; each is fetched once.

        Raises:
            InputError: more pictures than are allowed.
            ImageError: unreadable, too large, or not let in; begins with the place in the request.
        """
        places = self._places(asks)
        if not places:
            return {}
        sent = {uri: at for uri, at in places.items() if not on_the_web(uri)}
        refs = await asyncio.to_thread(self._opened, sent) if sent else {}
        web = {uri: at for uri, at in places.items() if on_the_web(uri)}
        return refs | await self._fetched(web) if web else refs

    def _places(self, asks: Sequence[Ask]) -> dict[str, str]:
        places: dict[str, str] = {}
        number, most = 0, self._settings.max_pictures
        queries = {ask.query.at: ask.query for ask in asks}.values()
        for document in (*queries, *(document for ask in asks for document in ask.documents)):
            number += len(document.pictures)
            for picture in document.pictures:
                places.setdefault(picture, document.at)
        if number > most:
            raise InputError(f"got {number} pictures in a request; allowed: {most}; send fewer at a time")
        return places

    def _opened(self, places: Mapping[str, str]) -> dict[str, ImageRef]:
        return {uri: self._let_in(self._sent(uri, at), uri, at) for uri, at in places.items()}

    def _sent(self, uri: str, at: str) -> bytes:
        """The bytes of a picture that came in the request: a ``data:`` address, or bare base64."""
        most = self._settings.max_picture_bytes
        scheme = scheme_of(uri)
        if scheme == "data":
            return read_image_bytes(ImageRef(uri), max_bytes=most, at=at)
        allowed = "data:image/<type>;base64,<data>, or the base64 alone"
        if scheme:
            raise ImageError(uri, "scheme", f"got {scheme}:; allowed: {allowed}; send the picture itself", at=at)
        if len(uri) * 3 // 4 - 2 > most:
            detail = f"got {len(uri) * 3 // 4} bytes or more; allowed: {most}; shrink it"
            raise ImageError(uri, "too-large", detail, at=at)
        try:
            return base64.b64decode(uri, validate=True)
        except (binascii.Error, ValueError) as error:
            detail = f"got neither an address that is let in nor base64; allowed: {allowed}; send the picture itself"
            raise ImageError(uri, "scheme", detail, at=at) from error

    def _let_in(self, raw: bytes, uri: str, at: str) -> ImageRef:
        image_size(raw, max_pixels=self._settings.max_pixels, uri=uri, at=at)
        return ImageRef(to_data_uri(raw))

    async def _fetched(self, places: Mapping[str, str]) -> dict[str, ImageRef]:
        if self._fetcher is None:
            uri, at = next(iter(places.items()))
            allowed = "data:image/<type>;base64,<data>"
            detail = f"got a web address, and this server fetches none; allowed: {allowed}; send the picture itself"
            raise ImageError(uri, "scheme", detail, at=at)
        left = [self._settings.max_body_bytes]
        found = await together([partial(self._fetch, self._fetcher, uri, at, left) for uri, at in places.items()])
        return dict(zip(places, found, strict=True))

    async def _fetch(self, fetcher: Fetch, uri: str, at: str, left: list[int]) -> ImageRef:
        """One picture from the web; together they may be no larger than a body, as if they had been sent."""
        raw = await fetcher.fetch(uri, at=at)
        left[0] -= len(raw)
        if len(raw) > self._settings.max_picture_bytes or left[0] < 0:
            detail = (
                f"got {len(raw)} bytes; allowed: {self._settings.max_picture_bytes} a picture, and "
                f"{self._settings.max_body_bytes} in all pictures fetched for a request; send fewer or smaller ones"
            )
            raise ImageError(uri, "too-large", detail, at=at)
        return await asyncio.to_thread(self._let_in, raw, uri, at)
