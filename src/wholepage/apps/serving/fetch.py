"""Pictures fetched from the web for strangers: a server that does so is switched on, and this is how it keeps itself.

    fetcher = SafeFetcher(FetchSettings(hosts=("pictures.example", ".cdn.example")))
    raw = await fetcher.fetch("https://pictures.example/shoe.jpg")

A name is looked up here, once; every address it has must be public; the connection goes to the address that was
checked, with TLS for the name. Each redirect is an address anew. Nothing of this server goes along: no cookies, no
keys, no proxy of the environment. Time, bytes, pixels and connections are bounded, and what comes back is the bytes of
a picture whose header was read and whose pixels were not.
"""

from __future__ import annotations

import asyncio
import io
import logging
import re
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import urljoin

import httpcore
import msgspec

from wholepage.apps.serving.addresses_allowed import Address, read_address, read_networks, why_refused
from wholepage.apps.serving.fetch_settings import FetchSettings
from wholepage.apps.serving.pinned import Connect, PinnedNetwork, TooMuch, connect_tcp
from wholepage.apps.serving.web_addresses import FetchRefused, WebAddress, web_address
from wholepage.pages.errors import ImageError, shorten
from wholepage.pages.image_bytes import unreadable
from wholepage.pages.images import image_size

__all__ = ["FetchRefused", "FetchSettings", "Resolve", "SafeFetcher"]

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""Looks a host's name up: a name in ASCII -> its IP addresses; raises ``OSError`` when there are none."""

_HEAD_BYTES = 2**17  # of the answer's headers
_LOOKUPS = 8
_REDIRECTS = (301, 302, 303, 307, 308)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_FREE_PIECES, _SMALL_PIECE = 4096, 64
_HEADERS = [("Accept", "image/*"), ("Accept-Encoding", "identity"), ("Connection", "close")]
_NETWORK = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, ssl.SSLError, OSError)
_LOG = logging.getLogger("wholepage.serving")


class _Asked(msgspec.Struct, frozen=True):
    """What a client asked for, and the errors that it is told: of its own address and of nothing behind it."""

    url: str
    at: str

    def refused(self, why: str, got: str, allowed: str, do: str = "send the picture itself, as data:") -> FetchRefused:
        return FetchRefused(self.url, why, f"got {got}; allowed: {allowed}; {do}", at=self.at)

    def unreadable(self, got: str, allowed: str = "a picture", do: str = "check the address") -> ImageError:
        return unreadable(self.url, self.at, got, allowed, do)

    def too_large(self, max_bytes: int) -> ImageError:
        detail = f"got more than {max_bytes} bytes; allowed: {max_bytes}; shrink it"
        return ImageError(self.url, "too-large", detail, at=self.at)


class SafeFetcher:
    """Fetches pictures from the web; one for a server, in one event loop.

    Args:
        resolver: looks names up; None = the system does.
        connect: opens TCP; None = the system does.
        ssl_context: which certificates are believed; None = those of public authorities.
    """

    def __init__(
        self,
        settings: FetchSettings | None = None,
        resolver: Resolve | None = None,
        connect: Connect | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings or FetchSettings()
        self._refused_networks = read_networks(self._settings.refused_networks)
        # Threads of its own: a look-up cannot be ended, and slow ones must not take those of others.
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="lookup") if resolver is None else None
        self._resolve = resolver or self._look_up
        self._connect = connect or connect_tcp
        self._ssl = ssl_context or httpcore.default_ssl_context()
        self._places = asyncio.Semaphore(self._settings.at_once)
        self._of_host: dict[str, tuple[asyncio.Semaphore, int]] = {}
        self.counts: Counter[str] = Counter()
        """What came of fetches: fetched, cancelled, or the ``reason`` of the error."""

    async def fetch(self, url: str, *, at: str = "") -> bytes:
        """The bytes of a picture on the web.

        Args:
            at: whose picture it is, such as ``documents[3]``; begins the message.
        Raises:
            FetchRefused: the address, or one it redirects to, may not be called.
            ImageError: missing, too large in bytes or pixels, or unreadable: no connection, no answer in time, another
                answer than a picture.
        """
        asked, came = _Asked(url, at), "cancelled"
        try:
            async with asyncio.timeout(self._settings.total_s):
                raw = await self._follow(asked)
                await asyncio.to_thread(image_size, raw, max_pixels=self._settings.max_pixels, uri=url, at=at)
            came = "fetched"
            return raw
        except TimeoutError as error:
            came = "unreadable"
            limit = f"{self._settings.total_s:g} s"
            raise asked.unreadable(f"no whole answer within {limit}", f"{limit} in all", "try again later") from error
        except ImageError as error:
            came = error.reason
            raise
        finally:
            self.counts[came] += 1

    def close(self) -> None:
        """End the threads that look names up, once they are done."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    # -------------------------------------------------------------- where to

    async def _follow(self, asked: _Asked) -> bytes:
        """The body at the end of the redirects, each of which is checked like the first address."""
        place = web_address(asked.url, at=asked.at)
        self._check(asked, place)
        for hop in range(self._settings.max_redirects + 1):
            async with self._place_for(place.host):
                addresses = await self._addresses(place)
                if not addresses and hop:
                    raise asked.refused("redirect", "a redirect to a host without a public address", "public hosts")
                if not addresses:
                    # The same words for a name that nobody has and for one that only this network has.
                    got = f"the host {place.host!r}, which has no public address"
                    raise asked.refused("address", got, "public hosts")
                found = await self._ask(asked, place, addresses)
            if isinstance(found, bytes):
                return found
            place = self._redirected(asked, place, found)
        raise asked.refused("redirect", "one redirect after another", f"{self._settings.max_redirects} at most")

    def _check(self, asked: _Asked, place: WebAddress) -> None:
        settings = self._settings
        if place.scheme not in settings.schemes:
            raise asked.refused("scheme", f"{place.scheme}:", ", ".join(f"{scheme}:" for scheme in settings.schemes))
        if place.port not in settings.ports:
            raise asked.refused("port", f"the port {place.port}", ", ".join(map(str, settings.ports)))
        if not settings.lists(place.host):
            raise asked.refused("unlisted", f"the host {place.host!r}", "the hosts that this server is told of")

    def _redirected(self, asked: _Asked, place: WebAddress, location: str) -> WebAddress:
        try:
            onward = web_address(_joined(place, location))
            self._check(_Asked(onward.url, ""), onward)
        except FetchRefused as error:
            raise asked.refused("redirect", "a redirect to an address of another kind", "one like the first") from error
        if place.scheme == "https" and onward.scheme != "https":
            raise asked.refused("redirect", "a redirect from https to http", "https all the way")
        return onward

    async def _addresses(self, place: WebAddress) -> list[Address]:
        """All addresses of a host; none where one of them is not public. Why is told to the log and to nobody else."""
        literal = place.literal
        try:
            texts = [str(literal)] if literal is not None else await self._resolve(place.host)
        except (OSError, UnicodeError) as error:
            _LOG.info("not fetched: %s cannot be looked up (%s)", place.host, error)
            return []
        found: dict[Address, None] = {}
        for text in texts:
            address = read_address(text)
            why = "no address" if address is None else why_refused(address, self._refused_networks)
            if address is None or why:
                _LOG.warning("not fetched: %s is %r, %s", place.host, text, why)
                return []
            found[address] = None
        return list(found)

    async def _look_up(self, host: str) -> list[str]:
        # The dot at the end keeps the system from adding the names of its own networks.
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(f"{host}.", None, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for *_, address in found]

    @asynccontextmanager
    async def _place_for(self, host: str) -> AsyncIterator[None]:
        """A place among the fetches of a host, then one among all."""
        places, users = self._of_host.get(host, (asyncio.Semaphore(self._settings.per_host), 0))
        self._of_host[host] = places, users + 1
        try:
            async with places, self._places:
                yield
        finally:
            _, users = self._of_host[host]
            if users > 1:
                self._of_host[host] = places, users - 1
            else:
                del self._of_host[host]

    # -------------------------------------------------------------- what comes

    async def _ask(self, asked: _Asked, place: WebAddress, addresses: Sequence[Address]) -> bytes | str:
        """The body of an answer, or where it redirects to."""
        network = PinnedNetwork(addresses, self._connect, bytes_allowed=_HEAD_BYTES)
        scheme, host = place.scheme.encode(), place.host.encode()
        request = httpcore.Request(
            "GET",
            httpcore.URL(scheme=scheme, host=host, port=place.port, target=place.target.encode()),
            headers=[("Host", place.authority), ("User-Agent", self._settings.user_agent), *_HEADERS],
            extensions={"timeout": {"connect": self._settings.connect_s}},
        )
        # One connection a request: none that was checked for one is used for another.
        connection = httpcore.AsyncHTTPConnection(request.url.origin, self._ssl, network_backend=network)
        try:
            answer = await connection.handle_async_request(request)
            if answer.status in _REDIRECTS:
                return self._location(asked, answer)
            length = self._check_head(asked, answer)
            allowed = self._settings.max_bytes
            if length > allowed:
                raise asked.too_large(allowed)
            # Framing takes bytes as well.
            network.bytes_allowed = network.bytes_in + allowed + allowed // 4 + _HEAD_BYTES
            return await self._body(asked, answer)
        except TooMuch as error:
            raise asked.too_large(self._settings.max_bytes) from error
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            wrong = isinstance(error.__cause__, ssl.SSLCertVerificationError)
            got = "a certificate that is not this host's, or is not believed" if wrong else "no connection"
            raise asked.unreadable(got, "a server that answers", "try again later") from error
        except _NETWORK as error:
            raise asked.unreadable("an answer that broke off, or is none of HTTP", "a whole answer") from error
        finally:
            await network.aclose()

    def _location(self, asked: _Asked, answer: httpcore.Response) -> str:
        location = _header(answer, b"location")
        if not location:
            raise asked.unreadable(f"status {answer.status} without an address", "status 200")
        return location

    def _check_head(self, asked: _Asked, answer: httpcore.Response) -> int:
        """Refuse what is no picture by its headers; the length it claims, 0 = none."""
        if answer.status != 200:
            reason = "missing" if answer.status in (404, 410) else "unreadable"
            detail = f"got status {answer.status}; allowed: 200; check the address"
            raise ImageError(asked.url, reason, detail, at=asked.at)
        encoding = _header(answer, b"content-encoding").lower()
        if encoding not in ("", "identity"):
            raise asked.unreadable(f"bytes encoded as {shorten(encoding)!r}", "bytes as they are", "turn it off there")
        kind = _header(answer, b"content-type").partition(";")[0].strip().lower()
        known = self._settings.content_types
        if not any(kind.startswith(name) if name.endswith("/") else kind == name for name in known):
            raise asked.unreadable(f"the content type {shorten(kind)!r}", ", ".join(known))
        length = _header(answer, b"content-length")
        return int(length) if length.isascii() and length.isdigit() else 0

    async def _body(self, asked: _Asked, answer: httpcore.Response) -> bytes:
        size = pieces = 0
        # Its bytes are handed on without a copy, and are not kept by an error.
        with io.BytesIO() as raw:
            async for piece in answer.aiter_stream():
                size += raw.write(piece)
                pieces += 1
                if size > self._settings.max_bytes:
                    raise asked.too_large(self._settings.max_bytes)
                if pieces > _FREE_PIECES + size // _SMALL_PIECE:
                    raise asked.unreadable(f"{pieces} pieces of a few bytes", "larger ones")
                await asyncio.sleep(0)  # pieces that lie ready must not keep others from their turn
            return raw.getvalue()


def _header(answer: httpcore.Response, name: bytes) -> str:
    """All values of a header, in one; an address in it may be UTF-8."""
    values = [value for key, value in answer.headers if key.lower() == name]
    return ", ".join(value.decode("utf-8", "replace") for value in values).strip()


def _joined(place: WebAddress, location: str) -> str:
    """A redirect without a host of its own, with the one it came from."""
    if location.startswith("//"):
        return f"{place.scheme}:{location}"
    if _SCHEME.match(location):
        return location
    return f"{place.scheme}://{place.authority}{urljoin(place.target, location)}"
