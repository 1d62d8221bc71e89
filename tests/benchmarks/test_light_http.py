"""The client of the load benchmarks: when it asks again, and when it must not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import ModuleType

import pytest

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def statuses(light_http: ModuleType, connections: Sequence[Sequence[bytes]], asks: int) -> tuple[list[object], int]:
    """What each of some requests became, one after the other; and how many requests the server read.

    Args:
        connections: what the server says on each connection in turn, a request after the other, before it closes it.
    """
    found, read = list[object](), 0
    waiting = iter(connections)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal read
        for said in next(waiting):
            await reader.readuntil(b"\r\n\r\n")
            read += 1
            writer.write(said)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with light_http.Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", limit_s=60.0) as http:
            for _ in range(asks):
                try:
                    found.append(await http.post("/", b"", {}))
                except OSError as error:
                    found.append(type(error))
        server.close()
        await server.wait_closed()

    asyncio.run(run())
    return found, read


def test_connections_are_used_again(script: Callable[[str], ModuleType]) -> None:
    assert statuses(script("light_http"), [[WHOLE, WHOLE, WHOLE]], 3) == ([200, 200, 200], 3)


def test_a_request_that_met_the_end_of_an_idle_connection_is_sent_again(script: Callable[[str], ModuleType]) -> None:
    assert statuses(script("light_http"), [[WHOLE, b""], [WHOLE]], 2) == ([200, 200], 3)


@pytest.mark.parametrize("connections", [[[b""]], [[WHOLE, WHOLE[:20]]]], ids=["a new one", "half an answer"])
def test_what_was_lost_otherwise_is_told(script: Callable[[str], ModuleType], connections: list[list[bytes]]) -> None:
    said = connections[0]
    expected = [200] * (len(said) - 1) + [ConnectionResetError]
    assert statuses(script("light_http"), connections, len(said)) == (expected, len(said))
