"""The server: one front process that speaks HTTP, and the workers behind it.

    serve({"default": ModelSpec("offline")}, "127.0.0.1", 8000)

On SIGTERM or Ctrl-C it tells at ``/readyz`` that it goes, asks its clients to close their connections, and after
``leave_s`` lets no new one be made, reads what those that were made send within half a second, answers every request
that it has begun to read, and stops the workers. A second signal shortens the leave, a third ends it at once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

import msgspec
import uvicorn
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wholepage.apps.serving.calls import Engine
from wholepage.apps.serving.door import keep_new_out
from wholepage.apps.serving.engine import ServingEngine
from wholepage.apps.serving.engine_settings import EngineSettings
from wholepage.apps.serving.http import create_app
from wholepage.apps.serving.keys import Keys
from wholepage.apps.serving.limits import ServingSettings
from wholepage.apps.serving.pictures_in import Fetch
from wholepage.apps.serving.served_models import ModelSpec

_GARBAGE = (50_000, 20, 50)
_BACKLOG = 2048  # connections that the system holds before they are taken
# After the door is shut: how often the loop looks who still came in or began to speak, at least and at most.
_TURN_S, _LEAST_TURNS, _MOST_TURNS = 0.01, 10, 50
_LOG = logging.getLogger("wholepage.serving")


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a server is set up.

    Attributes:
        engine: how much runs at once.  requests: what one may ask for.
        leave_s: how long after a signal new connections are still taken, so that clients and load balancers turn away
            first.
        log_level: of the server's own log: ``info`` writes a line a request.
    """

    engine: EngineSettings = EngineSettings()
    requests: ServingSettings = ServingSettings()
    leave_s: float = 1.0
    log_level: str = "warning"


def serve(
    models: Mapping[str, ModelSpec],
    host: str = "127.0.0.1",
    port: int = 8000,
    settings: ServerSettings | None = None,
    *,
    keys: Keys | None = None,
    fetcher: Fetch | None = None,
    routes: Callable[[Engine], Sequence[BaseRoute]] | None = None,
    listening: Callable[[int], None] | None = None,
) -> None:
    """Serve models until a signal comes; every request that has begun is answered first.

    Args:
        models: what each is made of, by the name that requests use; the first is the default.
        host, port: where to listen; port 0 = any that is free.
        settings: None = as ``ServerSettings`` says.
        keys: who may ask; None = everybody.
        fetcher: brings pictures from the web; None = web addresses are refused.
        routes: makes more pages on the same server, which may ask its engine; None = none.
        listening: told the port once requests are answered and signals are heard.
    Raises:
        Whatever reading a model raises: NotFound, WeightsError, MissingExtra.
        OSError: the address is taken, or not this machine's.
    """
    settings = settings or ServerSettings()
    engine = ServingEngine(models, settings.engine)
    more = () if routes is None else routes(engine)
    app = create_app(engine, settings.requests, keys=keys, fetcher=fetcher, routes=more)
    server = LeavingServer(app, engine, settings, listening)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.create_server((host, port), family=family, backlog=_BACKLOG) as door,
        asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner,
    ):
        runner.run(_serve(server, engine, door))


async def _serve(server: LeavingServer, engine: ServingEngine, door: socket.socket) -> None:
    try:
        await engine.start()
        # What is here now lives as long as the server: looking through it for garbage makes callers wait.
        gc.freeze()
        gc.set_threshold(*_GARBAGE)
        await server.serve(sockets=[door])
    finally:
        await engine.drain()


class LeavingServer(uvicorn.Server):
    """Says that it is about to go before it goes.

    Args:
        app: what answers.  engine: told of the leave, and waited for.
        listening: told the port once requests are answered and signals are heard.
    """

    def __init__(
        self,
        app: ASGIApp,
        engine: ServingEngine,
        settings: ServerSettings,
        listening: Callable[[int], None] | None = None,
    ) -> None:
        config = uvicorn.Config(
            self._parting(app),
            log_level=settings.log_level,
            access_log=settings.log_level in ("info", "debug", "trace"),
            server_header=False,
            backlog=_BACKLOG,
            lifespan="off",
            timeout_graceful_shutdown=int(settings.engine.drain_limit_s) + 1,
        )
        super().__init__(config)
        self._engine, self._leave_s, self._signals = engine, settings.leave_s, 0
        self._listening = listening

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal; uvicorn's own would end the process before the workers are stopped."""
        self._signals += 1
        self._engine.leave()
        if self._signals == 1 and self._leave_s > 0:
            _LOG.info("leaving in %g s", self._leave_s)
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(loop.call_later, self._leave_s, self._go)
        self.force_exit = self._signals > 2
        self.should_exit = self.should_exit or self._signals > 1 or self._leave_s <= 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer from now on, and say so."""
        await super().startup(sockets)
        if self._listening is not None and sockets:
            self._listening(int(sockets[0].getsockname()[1]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Hear those out who have connected, and go then.

        uvicorn's own closes the listening sockets at once, and connections on which no request was read yet.
        """
        if not self.force_exit:
            for door in sockets or ():
                keep_new_out(door)
            await self._first_requests()
        await super().shutdown(sockets)

    async def _first_requests(self) -> None:
        """Take the connections that stand in line, and wait a little for what they ask.

        Turns of the loop are counted, not time: a process that gets no processor has not heard anybody meanwhile.
        """
        for turn in range(_MOST_TURNS):
            await asyncio.sleep(_TURN_S)
            silent = any(getattr(one, "cycle", one) is None for one in self.server_state.connections)
            if self.force_exit or (turn >= _LEAST_TURNS and not silent):
                return

    def _go(self) -> None:
        self.should_exit = True

    def _parting(self, app: ASGIApp) -> ASGIApp:
        """While it leaves, answers ask clients to close their connections: no request is sent into a closed one."""

        async def parting(scope: Scope, receive: Receive, send: Send) -> None:
            async def say(message: Message) -> None:
                if self._signals and message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
                await send(message)

            await app(scope, receive, say)

        return parting
