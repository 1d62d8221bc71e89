"""A web server, a name server and a network that are not there: everything ends on this machine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType

import httpcore

Body = AsyncIterator[bytes]
Answer = Callable[[str], "bytes | Body"]


class Web:
    """A server on loopback that answers by path; counts who comes in, and keeps what was asked."""

    def __init__(self, answer: Answer, **options: object) -> None:
        self._answer, self._options = answer, options
        self.hits = self.now = self.most = self.left = 0
        self.heads: list[bytes] = []

    async def __aenter__(self) -> Web:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, **self._options)  # type: ignore[arg-type]
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            answer = self._answer(head.split(b" ", 2)[1].decode())
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                async for part in answer:
                    writer.write(part)
                    await writer.drain()
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            self.left += 1
        finally:
            self.now -= 1
            writer.close()


def http(body: bytes = b"", *headers: str, status: str = "200 OK", kind: str | None = "image/png") -> bytes:
    """A whole answer; its length is said unless a header says it otherwise."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if kind is not None:
        lines.append(f"Content-Type: {kind}")
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(to: str, status: str = "302 Found") -> bytes:
    """An answer that leads on."""
    return http(b"", f"Location: {to}", "Set-Cookie: a=b", status=status, kind=None)


class Names:
    """A name server that answers in turn; counts the look-ups."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._answers = answers
        self.asked: Counter[str] = Counter()

    async def __call__(self, host: str) -> Sequence[str]:
        if host not in self._answers:
            raise OSError("name or service not known")
        turns = self._answers[host]
        self.asked[host] += 1
        return turns[min(self.asked[host], len(turns)) - 1]


class Network:
    """Brings every address to a server on this machine: some to one, all others to the canary."""

    def __init__(self, servers: Mapping[str, Web], canary: Web | None = None) -> None:
        self._servers, self._canary = servers, canary
        self.called: list[tuple[str, int]] = []

    async def __call__(self, address: str, port: int, timeout_s: float) -> httpcore.AsyncNetworkStream:
        self.called.append((address, port))
        server = self._servers.get(address, self._canary)
        if server is None:
            raise httpcore.ConnectError(f"no route to {address}")
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", server.port, timeout_s)
