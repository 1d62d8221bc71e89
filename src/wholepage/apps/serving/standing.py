"""The server as one application that brings its own engine, for other servers than ours: Ray Serve, uvicorn, gunicorn.

    app = standing_app({"default": ModelSpec("offline")})

The engine starts when the application does and is drained when it ends, by the lifespan protocol of ASGI. Each process
that holds such an application has workers of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from wholepage.apps.serving.engine import ServingEngine
from wholepage.apps.serving.http import create_app
from wholepage.apps.serving.keys import Keys
from wholepage.apps.serving.pictures_in import Fetch
from wholepage.apps.serving.served_models import ModelSpec
from wholepage.apps.serving.setup import Setup


def standing_app(
    models: Mapping[str, ModelSpec],
    setup: Setup | None = None,
    *,
    keys: Keys | None = None,
    fetcher: Fetch | None = None,
) -> Starlette:
    """Every client's rerank interface over an engine of its own, which is ``app.state.engine``.

    Args:
        models: what each is made of, by the name that requests use; the first is the default.
        setup: None = as ``Setup`` says.
        keys: who may ask; None = everybody.
        fetcher: brings pictures from the web; None = web addresses are refused.
    Raises:
        InputError: no model.  When it starts, whatever reading a model raises: NotFound, WeightsError, MissingExtra.
    """
    setup = setup or Setup()
    engine = ServingEngine(models, setup.engine)

    @asynccontextmanager
    async def running(_app: Starlette) -> AsyncIterator[None]:
        try:
            await engine.start()
            yield
        finally:
            await engine.drain()

    app = create_app(engine, setup.requests, keys=keys, fetcher=fetcher, lifespan=running)
    app.state.engine = engine
    return app
