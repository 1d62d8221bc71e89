"""A connection to an address that was checked, and to no other.

The library that speaks HTTP is handed a network in which a host's name is never looked up again: whatever it asks to
be connected to, it gets the addresses that were checked before, while TLS goes on asking for the name. All bytes that
come in are counted below TLS's plain text and above HTTP, so that endless headers end as endless bodies do.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias

import anyio
import httpcore

from wholepage.apps.serving.addresses_allowed import Address

Connect: TypeAlias = Callable[[str, int, float], Awaitable[httpcore.AsyncNetworkStream]]
"""Opens TCP: an IP address, a port, seconds at most -> the connection; raises ``httpcore.ConnectError`` or its kin."""


class TooMuch(Exception):
    """More bytes came in than are allowed just now."""


async def connect_tcp(address: str, port: int, timeout_s: float) -> httpcore.AsyncNetworkStream:
    """TCP to an IP address.

    Raises:
        httpcore.ConnectError, httpcore.ConnectTimeout: it cannot be reached.
    """
    return await httpcore.AnyIOBackend().connect_tcp(address, port, timeout_s)


class PinnedNetwork(httpcore.AsyncNetworkBackend):
    """A network of one host whose addresses are known; connects to the first of them that answers.

    Args:
        addresses: checked before.  bytes_allowed: that may come in; raise the attribute once more is in order.
        tries: addresses that are tried at most.
    """

    def __init__(self, addresses: Sequence[Address], connect: Connect, *, bytes_allowed: int, tries: int = 3) -> None:
        self._addresses, self._connect, self.bytes_allowed = tuple(addresses)[:tries], connect, bytes_allowed
        self.bytes_in = 0
        self._open: list[httpcore.AsyncNetworkStream] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the port at one of the addresses, whatever the host is called."""
        last: httpcore.ConnectError | httpcore.ConnectTimeout = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                stream = await self._connect(str(address), port, timeout or 0.0)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
                continue
            self._open.append(stream)
            return _Counted(stream, self)
        raise last

    async def aclose(self) -> None:
        """Close what was opened, whoever is being cancelled."""
        with anyio.CancelScope(shield=True):
            for stream in self._open:
                await stream.aclose()

    def count(self, received: int) -> None:
        """Note bytes that came in.

        Raises:
            TooMuch: they are more than allowed.
        """
        self.bytes_in += received
        if self.bytes_in > self.bytes_allowed:
            raise TooMuch(f"{self.bytes_in} bytes; allowed: {self.bytes_allowed}")


class _Counted(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, network: PinnedNetwork) -> None:
        self._stream, self._network = stream, network

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        received = await self._stream.read(max_bytes, timeout)
        self._network.count(len(received))
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Counted(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
