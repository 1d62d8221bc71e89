"""The desk as an application: ``create_app(store)`` is what a server runs.

app = create_app(Store.open("answers.db"))
uvicorn.run(app, host="127.0.0.1", port=8000)     # or wholepage.apps.desk.server.serve
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
from fastapi import Depends, FastAPI
from fastapi.responses import Response

from wholepage.annotation.moments import Clock, utc_now
from wholepage.annotation.store import Store
from wholepage.apps.desk import board, files, manage, people, problems, review, sign_in, work
from wholepage.apps.desk.pictures import Pictures
from wholepage.apps.desk.rendering import templates
from wholepage.apps.desk.security import Cookies, SecureHeaders, SmallBodies
from wholepage.apps.desk.state import Desk
from wholepage.apps.desk.visits import arrive

_THREADS = 8  # more would only wait for the same processor and the same database

_ROUTES: tuple[tuple[str, str, Callable[..., Response]], ...] = (
    ("GET", "/healthz", files.healthz),
    ("GET", "/static/{name}", files.static),
    ("GET", "/sign-in", sign_in.show_sign_in),
    ("POST", "/sign-in", sign_in.sign_in),
    ("GET", "/invite/{token}", sign_in.show_invite),
    ("POST", "/invite/{token}", sign_in.accept_invite),
    ("POST", "/sign-out", sign_in.sign_out),
    ("GET", "/", work.home),
    ("GET", "/campaigns/{campaign}/guideline", work.show_guideline),
    ("GET", "/campaigns/{campaign}/work", work.show),
    ("POST", "/campaigns/{campaign}/answer", work.answer),
    ("POST", "/campaigns/{campaign}/skip", work.skip),
    ("POST", "/campaigns/{campaign}/later", work.later),
    ("POST", "/campaigns/{campaign}/escalate", work.escalate),
    ("POST", "/campaigns/{campaign}/undo", work.undo),
    ("GET", "/pictures/{campaign}/{page}/query", files.query_picture),
    ("GET", "/pictures/{campaign}/{page}/{result}/{number}", files.result_picture),
    ("GET", "/campaigns/{campaign}/review", review.show_waiting),
    ("GET", "/campaigns/{campaign}/review/task", review.show_task),
    ("POST", "/campaigns/{campaign}/review/decide", review.decide),
    ("GET", "/campaigns/{campaign}/board", board.show_board),
    ("GET", "/campaigns/{campaign}/board.json", board.board_json),
    ("GET", "/campaigns/{campaign}/manage", manage.show_settings),
    ("POST", "/campaigns/{campaign}/guideline", manage.change_guideline),
    ("POST", "/campaigns/{campaign}/budget", manage.change_budget),
    ("POST", "/campaigns/{campaign}/pause", manage.pause),
    ("POST", "/campaigns/{campaign}/resume", manage.resume),
    ("POST", "/campaigns/{campaign}/close", manage.close),
    ("GET", "/campaigns/{campaign}/gold", manage.show_gold),
    ("GET", "/campaigns/{campaign}/gold/{page}", manage.show_gold_page),
    ("POST", "/campaigns/{campaign}/gold", manage.set_gold),
    ("GET", "/campaigns/{campaign}/export/{name}", manage.download),
    ("GET", "/people", people.show_people),
    ("POST", "/people/invite", people.invite),
    ("POST", "/people/{person}/role", people.set_role),
    ("POST", "/people/{person}/deactivate", people.deactivate),
    ("POST", "/people/{person}/activate", people.activate),
    ("POST", "/people/{person}/renew", people.renew),
)


def create_app(
    store: Store,
    *,
    clock: Clock = utc_now,
    secure_cookies: bool = False,
    pictures_root: Path | None = None,
    address: str | None = None,
) -> FastAPI:
    """The desk over a store.

    Args:
        store: of people and campaigns; it stays open when the app ends.
        clock: tells the time; the store should have the same.
        secure_cookies: people come over https: cookies are sent over nothing else.
        pictures_root: a folder in which all picture files lie; None = wherever the campaigns' pages say.
        address: where people reach the desk, for links in invitations; None = as whoever invites reaches it.
    """
    app = FastAPI(
        title="wholepage desk",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_few_threads,
        dependencies=[Depends(arrive)],
    )
    app.state.desk = Desk(
        store,
        clock=clock,
        cookies=Cookies(secure_cookies),
        pictures=Pictures(pictures_root),
        templates=templates(),
        address=address,
    )
    for method, path, handler in _ROUTES:
        app.add_api_route(path, handler, methods=[method], response_model=None)
    problems.add_handlers(app)
    app.add_middleware(SmallBodies)
    app.add_middleware(SecureHeaders, secure=secure_cookies)
    return app


@asynccontextmanager
async def _few_threads(_app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
    yield
