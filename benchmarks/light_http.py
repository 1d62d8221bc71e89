"""A client of HTTP/1.1 that costs little: what shares its cores with a server should not be measured itself.

Bytes in, status out; bodies of answers are read and dropped. httptools reads the answers. A request that met the end of
an idle connection is sent again on another, as clients are to (RFC 9112, section 9.3.1).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from urllib.parse import urlsplit

import httptools


class Refused(OSError):
    """No connection was made."""


class Client:
    """Of one server, with as many connections as it takes; those that are idle are used again.

    Args:
        address: http://host:port.  limit_s: for one request.
    """

    def __init__(self, address: str, limit_s: float = 120.0) -> None:
        told = urlsplit(address)
        self._host, self._port, self._limit_s = told.hostname or "", told.port or 80, limit_s
        self._idle: list[_Connection] = []

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._idle:
            one.close()

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """The status that came.

        Raises:
            Refused: nobody takes connections there.
            OSError, TimeoutError: the connection broke, or no answer came in time.
        """
        lines = [f"POST {path} HTTP/1.1", f"host: {self._host}:{self._port}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        async with asyncio.timeout(self._limit_s):
            while True:
                connection = await self._connection()
                try:
                    status = await connection.exchange(request)
                    break
                except BaseException as error:
                    connection.close()
                    if not (isinstance(error, OSError) and connection.was_idle):
                        raise
        if connection.lasts:
            self._idle.append(connection)
        else:
            connection.close()
        return status

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.lasts:
                return connection
        try:
            _, made = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port)
        except OSError as error:
            raise Refused(str(error)) from error
        return made


class _Connection(asyncio.Protocol):
    """One connection, one request at a time.

    Attributes:
        lasts: another request may be sent on it.
        was_idle: it was used before, and nothing of an answer has come since.
    """

    def __init__(self) -> None:
        self.lasts, self.was_idle, self._used = True, False, False
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    async def exchange(self, request: bytes) -> int:
        """Send, and wait for the whole answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self.was_idle, self._used = self._used, True
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.close()  # nothing was asked
            return
        self.was_idle = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._tell(OSError(f"no HTTP: {error}"))

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.lasts = self.lasts and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(self._parser.get_status_code())
        self._answer = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.lasts = False
        self._tell(ConnectionResetError(str(exc or "the server closed the connection before it answered")))

    def close(self) -> None:
        """End it."""
        self.lasts = False
        self._transport.close()

    def _tell(self, error: OSError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._answer = None
